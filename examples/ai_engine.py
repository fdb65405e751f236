#!/usr/bin/env python3
"""Counts people in pictures and reports them to a Portcullis hub.

The source is a picture, a video file, a webcam (its number) or a stream (rtsp://…, http://…). A picture is reported
once; of a video or a stream a frame is looked at every --interval seconds, and reported when the number of people
has changed or nothing has been reported for --repeat seconds. Nobody seen is reported too: it tells the hub that the
camera is alive, and the hub stores nothing of it.

Without --model, people are counted by their faces, with the cascade that OpenCV ships. With --model, a YOLO network
(an ONNX file of YOLOv5, v8, v11 or alike, trained on COCO, whose class 0 is a person) also counts those who look away.

Each report has a detectionId and the time of the frame. It is sent again, unchanged, after a lost connection until
the hub has acknowledged it; the hub stores it once. Each acknowledged report is a line of JSON on standard output.
"""

import argparse
import collections
import json
import logging
import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from datetime import datetime, timezone

import cv2
import numpy as np

log = logging.getLogger("ai_engine")

WAITING_MAX = 1000
"""How many reports may wait for the hub. A report that finds them all waiting is dropped, and that is logged."""
RETRY_MAX = 10.0
"""The longest pause between two tries, in seconds."""


class Refused(Exception):
    """Trying again would not help: wrong credentials, or a source that cannot be read."""


# Counting --------------------------------------------------------------------------------------------------------


class Cascade:
    """Counts faces. Needs no download, but sees only who looks towards the camera."""

    MIN_FACE = 40
    """Smaller squares, in pixels, are more often patterns than faces."""
    MIN_NEIGHBOURS = 5

    def __init__(self):
        path = os.path.join(cv2.data.haarcascades, "haarcascade_frontalface_alt2.xml")
        self.classifier = cv2.CascadeClassifier(path)
        if self.classifier.empty():
            raise Refused(f"cannot read {path}")

    def count(self, frame):
        """The number of people, and how sure that is (None where nobody is seen)."""
        grey = cv2.equalizeHist(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY))
        faces, hits = self.classifier.detectMultiScale2(
            grey, scaleFactor=1.1, minNeighbors=self.MIN_NEIGHBOURS, minSize=(self.MIN_FACE, self.MIN_FACE)
        )
        if len(faces) == 0:
            return 0, None
        # A cascade knows no probability. The more overlapping windows agree on a face, the nearer this comes to 1.
        best = int(np.max(hits))
        return len(faces), round(best / (best + self.MIN_NEIGHBOURS), 3)


class Yolo:
    """Counts people with a YOLO network from an ONNX file."""

    PERSON = 0
    OVERLAP = 0.45
    """Boxes that share more than this are one person."""

    def __init__(self, path, size, threshold):
        if not os.path.isfile(path):
            raise Refused(f"no such file: {path}")
        try:
            self.net = cv2.dnn.readNetFromONNX(path)
        except cv2.error as error:
            raise Refused(f"cannot read {path}: {error}") from error
        self.size, self.threshold = size, threshold

    def count(self, frame):
        """The number of people, and the surest one's score (None where nobody is seen)."""
        # Grey bars make the picture square without stretching anybody.
        side = max(frame.shape[:2])
        square = np.full((side, side, 3), 114, np.uint8)
        square[: frame.shape[0], : frame.shape[1]] = frame
        self.net.setInput(cv2.dnn.blobFromImage(square, 1 / 255, (self.size, self.size), swapRB=True))
        boxes, scores = people(self.net.forward(), self.PERSON)
        kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), self.threshold, self.OVERLAP)
        if len(kept) == 0:
            return 0, None
        return len(kept), round(min(float(scores[np.ravel(kept)].max()), 1.0), 3)


def people(output, person=0):
    """Reads a YOLO's output into boxes (left, top, width, height) and scores of people."""
    rows = np.squeeze(output, axis=0)
    if rows.shape[1] == 6:
        # Already chosen by the network (YOLOv10 and later): left, top, right, bottom, score, class.
        rows = rows[rows[:, 5] == person]
        boxes = np.column_stack([rows[:, :2], rows[:, 2:4] - rows[:, :2]])
        return boxes, rows[:, 4]
    if rows.shape[0] < rows.shape[1]:
        # YOLOv8 and v11: a column for each box, the classes' scores after its centre and size.
        rows = rows.T
        scores = rows[:, 4 + person]
    else:
        # YOLOv5 and v7: a row for each box, with a score for "anything" before those of the classes.
        scores = rows[:, 4] * rows[:, 5 + person]
    boxes = np.column_stack([rows[:, :2] - rows[:, 2:4] / 2, rows[:, 2:4]])
    return boxes, scores


# Reading ---------------------------------------------------------------------------------------------------------


def frames(source, interval, stop):
    """The frames to look at, one every `interval` seconds; a live source is opened again when it breaks off."""
    if source.isdigit():
        yield from live(lambda: cv2.VideoCapture(int(source)), f"webcam {source}", interval, stop)
    elif "://" in source:
        # RTSP over TCP loses no packets. Whoever set the variable knows better.
        os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 10_000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 10_000]
        shown = urllib.parse.urlsplit(source).hostname or "the stream"
        yield from live(lambda: cv2.VideoCapture(source, cv2.CAP_FFMPEG, limits), shown, interval, stop)
    elif not os.path.isfile(source):
        raise Refused(f"no such file: {source}")
    elif (picture := cv2.imread(source)) is not None:
        yield picture
    else:
        yield from film(source, interval, stop)


def film(path, interval, stop):
    """Frames of a video file, `interval` seconds of the video apart, as fast as they can be looked at."""
    capture = cv2.VideoCapture(path)
    if not capture.isOpened():
        raise Refused(f"neither a picture nor a video: {path}")
    due = 0.0
    while not stop.is_set() and capture.grab():
        at = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if at >= due:
            due = at + interval
            ok, frame = capture.retrieve()
            if ok:
                yield frame
    capture.release()


def live(open_source, shown, interval, stop):
    """Frames of a camera, `interval` seconds apart. Those between are taken and thrown away, so that none is old."""
    pause, ever = 1.0, False
    while not stop.is_set():
        capture = open_source()
        due = 0.0
        while not stop.is_set() and capture.isOpened() and capture.grab():
            pause, ever = 1.0, True
            if time.monotonic() >= due:
                due = time.monotonic() + interval
                ok, frame = capture.retrieve()
                if ok:
                    yield frame
        capture.release()
        if not ever:
            raise Refused(f"cannot open {shown}")
        if not stop.is_set():
            log.warning("%s broke off, opening it again in %.0f s", shown, pause)
            stop.wait(pause)
            pause = min(pause * 2, RETRY_MAX)


# Reporting -------------------------------------------------------------------------------------------------------


def report_of(count, confidence, description):
    """A report as the hub takes it. Its id stays the same however often it is sent."""
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    report = {"detectionId": str(uuid.uuid4()), "personCount": count, "detectedAt": now}
    if confidence is not None:
        report["confidence"] = confidence
    if description:
        report["description"] = description
    return report


class Outbox:
    """What both ways of reporting share: the reports that wait for the hub, and what became of the others."""

    def __init__(self):
        self.changed = threading.Condition()
        self.waiting = collections.OrderedDict()
        self.lost = 0
        self.fatal = None

    def put(self, report):
        """Whether there was room."""
        with self.changed:
            if len(self.waiting) >= WAITING_MAX:
                self.lost += 1
                log.error("%d reports wait for the hub, dropped one of %d people", WAITING_MAX, report["personCount"])
                return False
            self.waiting[report["detectionId"]] = report
            self.changed.notify_all()
            return True

    def done(self, detection_id, refused=None):
        """The hub has answered: it has the report, or will never take it."""
        with self.changed:
            report = self.waiting.pop(detection_id, None)
            if report is not None and refused is None:
                print(json.dumps(report), flush=True)
            elif report is not None:
                self.lost += 1
                log.error("the hub refused report %s: %s", detection_id, refused)
            self.changed.notify_all()

    def fail(self, why):
        """No report will ever be taken."""
        with self.changed:
            self.fatal = self.fatal or why
            self.changed.notify_all()

    def drain(self, seconds):
        """Waits until nothing waits any more; how many still do."""
        with self.changed:
            self.changed.wait_for(lambda: not self.waiting or self.fatal, timeout=seconds)
            return len(self.waiting)


class MqttReporter(Outbox):
    """Reports by MQTT 5 at QoS 1: the hub's PUBACK means that the report is stored."""

    def __init__(self, url, camera, credentials, ca):
        super().__init__()
        # Only here, so that reporting by HTTP needs OpenCV alone.
        import paho.mqtt.client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion

        self.topic = f"camera/{camera}/detections"
        self.sent, self.early = {}, {}
        # The same name at each connection: a session whose end the hub has not noticed gives way to the new one.
        name = f"{credentials['username']}-{uuid.uuid4().hex[:8]}"
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
        self.client.username_pw_set(credentials["username"], credentials["password"])
        self.client.reconnect_delay_set(1, int(RETRY_MAX))
        self.client.on_connect = self.on_connect
        self.client.on_connect_fail = lambda *_: log.warning("no answer from %s, trying again", url.hostname)
        self.client.on_disconnect = self.on_disconnect
        self.client.on_publish = self.on_publish
        if url.scheme == "mqtts":
            self.client.tls_set(ca_certs=ca)
        self.client.connect_async(url.hostname, url.port or (8883 if url.scheme == "mqtts" else 1883), keepalive=20)
        self.client.loop_start()

    def send(self, report):
        if not self.put(report):
            return
        # paho keeps what is not acknowledged and sends it again by itself after each new connection.
        mid = self.client.publish(self.topic, json.dumps(report), qos=1).mid
        with self.changed:
            # The PUBACK may have come before publish() told the number it bears. Not to hold the lock over
            # publish() is on purpose: paho calls on_publish with a lock that publish() takes.
            if mid not in self.early:
                self.sent[mid] = report["detectionId"]
                return
            refused = self.early.pop(mid)
        self.done(report["detectionId"], refused)

    def on_connect(self, _client, _userdata, _flags, reason, _properties):
        # 0x85–0x8C but 0x88 and 0x89 (unavailable, busy): this client with these credentials is never let in.
        if reason.is_failure and reason.value in (0x85, 0x86, 0x87, 0x8A, 0x8C):
            self.fail(f"the hub refused the connection: {reason}")
        elif reason.is_failure:
            log.warning("the hub is not ready (%s), trying again", reason)
        else:
            log.info("connected")

    def on_disconnect(self, _client, _userdata, _flags, reason, _properties):
        if reason.is_failure:
            log.warning("lost the connection (%s)", reason)

    def on_publish(self, _client, _userdata, mid, reason, _properties):
        refused = str(reason) if reason.is_failure else None
        with self.changed:
            detection_id = self.sent.pop(mid, None)
            if detection_id is None:
                self.early[mid] = refused
                return
        self.done(detection_id, refused)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


class HttpReporter(Outbox):
    """Reports by POST /api/events, one after the other."""

    def __init__(self, url, camera, token, ca):
        super().__init__()
        import ssl

        self.url = url.geturl().rstrip("/") + "/api/events"
        self.camera, self.token = camera, token
        self.tls = ssl.create_default_context(cafile=ca) if url.scheme == "https" else None
        self.closed = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def send(self, report):
        self.put(report)

    def work(self):
        pause = 0.5
        while not self.closed.is_set() and not self.fatal:
            with self.changed:
                self.changed.wait_for(lambda: self.waiting or self.closed.is_set())
                report = next(iter(self.waiting.values()), None)
            if report is None:
                return
            again = self.post(report)
            if again:
                log.warning("%s, trying again in %.1f s", again, pause)
                self.closed.wait(pause)
                pause = min(pause * 2, RETRY_MAX)
            else:
                pause = 0.5

    def post(self, report):
        """Sends a report; why it must be sent again, if it must."""
        body = json.dumps({"cameraId": self.camera, **report}).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        request = urllib.request.Request(self.url, body, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=10, context=self.tls):
                self.done(report["detectionId"])
        except urllib.error.HTTPError as error:
            if error.code >= 500 or error.code in (408, 429):
                return f"the hub answered {error.code}"
            if error.code == 401:
                self.fail("the hub refused the token")
            else:
                self.done(report["detectionId"], f"{error.code} {message_of(error)}")
        except (OSError, urllib.error.URLError) as error:
            return f"no answer from the hub ({getattr(error, 'reason', error)})"
        return None

    def close(self):
        with self.changed:
            self.closed.set()
            self.changed.notify_all()
        self.thread.join(timeout=12)


def message_of(error):
    """What the hub says is wrong."""
    try:
        return json.load(error)["message"]
    except (ValueError, KeyError, TypeError, OSError):
        return error.reason


# Command line ----------------------------------------------------------------------------------------------------


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="""\
credentials: what `portcullis device add NAME --role ai-engine` prints, by --credentials FILE (that JSON), by the
options, or by PORTCULLIS_USERNAME and PORTCULLIS_PASSWORD (MQTT) or PORTCULLIS_TOKEN (HTTP). An option can be read by
everybody on the machine who lists the processes; a file or the environment cannot.

exit codes: 0 all reports acknowledged · 1 the source, the network or the credentials were no good, or the hub
refused or never acknowledged a report · 2 wrong usage

examples:
  ai_engine.py --camera 1 --credentials engine.json photo.jpg
  ai_engine.py --camera 1 --credentials engine.json --http http://127.0.0.1:3000 video.mp4
  ai_engine.py --camera 2 --credentials engine.json --model yolo11n.onnx rtsp://camera.local/stream
""",
    )
    parser.add_argument("source", help="a picture, a video file, a webcam's number, or a stream's URL")
    parser.add_argument("--camera", type=int, required=True, metavar="ID", help="the camera's id in the hub")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--mqtt",
        default="mqtt://127.0.0.1:1883",
        metavar="URL",
        help="report by MQTT, mqtt:// or mqtts:// (default: %(default)s)",
    )
    where.add_argument("--http", metavar="URL", help="report by HTTP instead, such as http://127.0.0.1:3000")
    parser.add_argument("--credentials", metavar="FILE", help="JSON with username and password, or token")
    parser.add_argument("--username", help="the device's name, for MQTT")
    parser.add_argument("--password", help="the device's secret, for MQTT")
    parser.add_argument("--token", help="the device's token, for HTTP")
    parser.add_argument("--ca", metavar="FILE", help="certificates to trust instead of the system's (mqtts, https)")
    parser.add_argument("--model", metavar="ONNX", help="a YOLO network to count with")
    parser.add_argument("--size", type=int, default=640, help="the network's input, in pixels (default: %(default)s)")
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.5,
        help="the score from which the network's finding counts (default: %(default)s)",
    )
    parser.add_argument(
        "--interval",
        type=float,
        default=1.0,
        metavar="S",
        help="seconds between two frames looked at (default: %(default)s)",
    )
    parser.add_argument(
        "--repeat",
        type=float,
        default=20.0,
        metavar="S",
        help="report at least every S seconds; keep it below the hub's CAMERA_TIMEOUT (default: %(default)s)",
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=60.0,
        metavar="S",
        help="at the end, wait this long for the hub's acknowledgements (default: %(default)s)",
    )
    parser.add_argument("--description", help="a text for each report")
    parser.add_argument("--quiet", action="store_true", help="log only what went wrong")
    chosen = parser.parse_args()
    chosen.url = urllib.parse.urlsplit(chosen.http or chosen.mqtt)
    if chosen.url.scheme not in (("http", "https") if chosen.http else ("mqtt", "mqtts")) or not chosen.url.hostname:
        parser.error(f"not a URL to report to: {chosen.http or chosen.mqtt}")
    chosen.secrets = credentials(parser, chosen)
    return chosen


def credentials(parser, chosen):
    """The credentials for the chosen way: options first, then the file, then the environment."""
    stored = {}
    if chosen.credentials:
        try:
            with open(chosen.credentials, encoding="utf-8") as file:
                stored = json.load(file)
        except (OSError, ValueError) as error:
            parser.error(f"--credentials: {error}")
    found = {}
    for name in ("token",) if chosen.http else ("username", "password"):
        value = getattr(chosen, name) or stored.get(name) or os.environ.get(f"PORTCULLIS_{name.upper()}")
        if not value:
            parser.error(f"no {name}: give --{name}, --credentials or PORTCULLIS_{name.upper()}")
        found[name] = value
    return found


def watch(chosen, counter, reporter, stop):
    """Looks at frame after frame and reports what there is to report."""
    last, sent_at = None, 0.0
    for frame in frames(chosen.source, chosen.interval, stop):
        count, confidence = counter.count(frame)
        if count != last or time.monotonic() - sent_at >= chosen.repeat:
            log.info("%d %s", count, "person" if count == 1 else "people")
            reporter.send(report_of(count, confidence, chosen.description))
            last, sent_at = count, time.monotonic()
        if reporter.fatal:
            return


def main():
    chosen = arguments()
    logging.basicConfig(level=logging.WARNING if chosen.quiet else logging.INFO, format="%(name)s: %(message)s")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    reporter = None
    try:
        counter = Yolo(chosen.model, chosen.size, chosen.threshold) if chosen.model else Cascade()
        if chosen.http:
            reporter = HttpReporter(chosen.url, chosen.camera, chosen.secrets["token"], chosen.ca)
        else:
            reporter = MqttReporter(chosen.url, chosen.camera, chosen.secrets, chosen.ca)
        watch(chosen, counter, reporter, stop)
    except (Refused, OSError, cv2.error) as error:
        log.error("%s", error)
        if reporter is not None:
            reporter.drain(1)
            reporter.close()
        return 1
    # Whoever stopped the engine does not want to wait long.
    left = reporter.drain(2 if stop.is_set() else chosen.wait)
    reporter.close()
    if reporter.fatal:
        log.error("%s", reporter.fatal)
    elif left:
        log.error("%d reports were never acknowledged", left)
    return 1 if reporter.fatal or left or reporter.lost else 0


if __name__ == "__main__":
    sys.exit(main())
