"""examples/ai_engine.py with real pictures: an astronaut's portrait is one person, twice side by side it is two."""

import json
import os
import socket
import subprocess
import sys
import threading

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from skimage import data

from hub import ROOT

ENGINE = ROOT / "examples" / "ai_engine.py"
sys.path.insert(0, str(ENGINE.parent))
import ai_engine  # noqa: E402


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    one = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)
    for name, picture in {"nobody": one * 0, "one": one, "two": np.hstack([one, one])}.items():
        assert cv2.imwrite(str(folder / f"{name}.png"), picture)
    film = cv2.VideoWriter(str(folder / "film.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (1024, 512))
    for left, right in [(0, 0)] * 20 + [(1, 0)] * 20 + [(1, 1)] * 20:
        film.write(np.hstack([one * left, one * right]))
    film.release()
    return folder


@pytest.fixture(params=["mqtt", "http"])
def engine(request, hub, devices):
    """Runs the engine by each way of reporting; its exit code, and the reports it says were acknowledged."""

    def run(source, *more, mqtt=None, http=None, credentials=devices.engine):
        where = ["--mqtt", mqtt or hub.mqtt_url] if request.param == "mqtt" else ["--http", http or hub.url]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PORTCULLIS_")}
        secrets = {f"PORTCULLIS_{name.upper()}": credentials[name] for name in ("username", "password", "token")}
        done = subprocess.run(
            [sys.executable, ENGINE, "--camera", "1", *where, "--wait", "20", *more, source],
            env={**kept, **secrets},
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr

    run.way = request.param
    return run


def events(hub, reports):
    """The events that came of the reports, oldest first."""
    listed = hub.get("/api/events/camera/1?limit=100")
    ids = [report["detectionId"] for report in reports]
    return [event for event in reversed(listed) if event["detectionId"] in ids]


@pytest.mark.parametrize(("name", "kind"), [("one", "PERSON_DETECTED"), ("two", "MULTIPLE_PERSONS")])
def test_a_picture_becomes_an_event(hub, engine, pictures, name, kind):
    code, reports, said = engine(pictures / f"{name}.png")
    assert code == 0, said
    (event,) = events(hub, reports)
    assert event["eventType"] == kind
    assert event["personCount"] == {"one": 1, "two": 2}[name]
    assert event["detectedAt"] == reports[0]["detectedAt"]
    assert 0 < event["confidence"] <= 1


def test_an_empty_picture_is_reported_and_becomes_nothing(hub, engine, pictures):
    code, reports, said = engine(pictures / "nobody.png")
    assert code == 0, said
    assert [report["personCount"] for report in reports] == [0]
    assert events(hub, reports) == []


def test_a_film_is_reported_when_the_number_changes(hub, engine, pictures):
    code, reports, said = engine(pictures / "film.avi")
    assert code == 0, said
    assert [report["personCount"] for report in reports] == [0, 1, 2]
    assert [event["personCount"] for event in events(hub, reports)] == [1, 2]


def test_wrong_credentials_end_it(engine, pictures):
    code, reports, said = engine(pictures / "one.png", credentials={"username": "x", "password": "y", "token": "z"})
    assert (code, reports) == (1, [])
    assert "refused" in said


def test_a_report_for_a_camera_not_its_own_is_refused(hub, devices, engine, pictures):
    code, reports, said = engine(pictures / "one.png", credentials=devices.camera2)
    assert (code, reports) == (1, []), said


def test_a_missing_file_and_wrong_usage(engine, pictures):
    assert engine(pictures / "none.png")[0] == 1
    assert engine(pictures / "one.png", "--camera", "front")[0] == 2


def test_an_answer_that_is_lost_makes_no_second_event(hub, engine, pictures):
    """Between engine and hub the first connection breaks as soon as the hub has answered the report."""
    with LosesTheAnswer(hub.port if engine.way == "http" else hub.mqtt_port, engine.way) as link:
        code, reports, said = engine(
            pictures / "two.png", mqtt=f"mqtt://127.0.0.1:{link.port}", http=f"http://127.0.0.1:{link.port}"
        )
    assert code == 0, said
    assert link.lost, "an answer was lost"
    (event,) = events(hub, reports)
    assert event["personCount"] == 2


class LosesTheAnswer:
    """A link to the hub that swallows the first answer to a report and then breaks; after that it carries all."""

    ANSWERS = {"mqtt": 0x40, "http": ord("H")}
    """The first byte of a PUBACK, and of HTTP's status line."""

    def __init__(self, port, way):
        self.hub_port, self.answer, self.lost = port, self.ANSWERS[way], False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            hub = socket.create_connection(("127.0.0.1", self.hub_port))
            for source, sink, answers in ((client, hub, False), (hub, client, True)):
                threading.Thread(target=self.carry, args=(source, sink, answers), daemon=True).start()

    def carry(self, source, sink, answers):
        try:
            while piece := source.recv(65536):
                if answers and not self.lost and piece[0] == self.answer:
                    self.lost = True
                    break
                sink.sendall(piece)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


# Counting with a YOLO: the three forms its output has ------------------------------------------------------------


def test_boxes_are_read_from_each_form_of_yolo():
    # A person of 20 × 40 around (100, 200), score 0.9, and a bicycle beside it.
    v8 = np.zeros((1, 84, 8400), np.float32)
    v8[0, :4, 0], v8[0, 4, 0] = [100, 200, 20, 40], 0.9
    v8[0, :4, 1], v8[0, 5, 1] = [300, 200, 20, 40], 0.8
    v5 = np.zeros((1, 25200, 85), np.float32)
    v5[0, 0, :6] = [100, 200, 20, 40, 0.9, 1.0]
    v5[0, 1, :7] = [300, 200, 20, 40, 0.8, 0.0, 1.0]
    v10 = np.zeros((1, 300, 6), np.float32)
    v10[0, 0] = [90, 180, 110, 220, 0.9, 0]
    v10[0, 1] = [290, 180, 310, 220, 0.8, 1]
    for output in (v8, v5, v10):
        boxes, scores = ai_engine.people(output)
        (found,) = np.flatnonzero(scores > 0.5)
        assert boxes[found].tolist() == pytest.approx([90, 180, 20, 40])
        assert scores[found] == pytest.approx(0.9)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.5])
def test_the_cascade_counts_at_several_sizes(pictures, scale):
    counter = ai_engine.Cascade()
    for name, people in {"nobody": 0, "one": 1, "two": 2}.items():
        picture = cv2.resize(cv2.imread(str(pictures / f"{name}.png")), None, fx=scale, fy=scale)
        assert counter.count(picture)[0] == people, name


def bright_squares(path):
    """A network of a YOLOv8's form that takes bright squares for people: each of its 20 × 20 cells scores by how bright
    its 32 × 32 pixels are, with a box of their size."""
    side, cells = 640, 20
    weights, offsets = np.zeros((84, 3, 1, 1), np.float32), np.zeros((1, 84, cells, cells), np.float32)
    weights[4] = 1 / 3
    middle = np.arange(cells, dtype=np.float32) * 32 + 16
    offsets[0, 0], offsets[0, 1], offsets[0, 2:4] = middle[None, :], middle[:, None], 32
    constants = {"weights": weights, "offsets": offsets, "shape": np.array([1, 84, cells * cells], np.int64)}
    graph = helper.make_graph(
        [
            helper.make_node("AveragePool", ["picture"], ["cells"], kernel_shape=[32, 32], strides=[32, 32]),
            helper.make_node("Conv", ["cells", "weights"], ["scores"]),
            helper.make_node("Add", ["scores", "offsets"], ["boxes"]),
            helper.make_node("Reshape", ["boxes", "shape"], ["output"]),
        ],
        "bright squares",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 84, cells * cells])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def test_a_network_counts_instead_of_the_cascade(hub, engine, pictures):
    bright_squares(str(pictures / "squares.onnx"))
    # Wider than high, so that the engine has to make it square: 640 × 320 with two bright cells.
    picture = np.zeros((320, 640, 3), np.uint8)
    picture[64:96, 64:96] = picture[256:288, 480:512] = 255
    cv2.imwrite(str(pictures / "squares.png"), picture)
    code, reports, said = engine(pictures / "squares.png", "--model", pictures / "squares.onnx")
    assert code == 0, said
    (event,) = events(hub, reports)
    assert event["personCount"] == 2
    assert event["confidence"] == pytest.approx(1.0, abs=0.01)
    assert engine(pictures / "one.png", "--model", pictures / "one.png")[0] == 1, "no network"
