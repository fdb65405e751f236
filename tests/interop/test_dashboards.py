"""Many dashboards, and dashboards that do not read: the hub serves the ones and gets rid of the others, its memory stays
bounded meanwhile, and nobody else notices."""

import base64
import contextlib
import functools
import json
import os
import resource
import socket
import struct
import threading

import pytest
import requests

from clients import PythonDashboard
from measure import Load, resident_mib
from waiting import until

DESCRIPTION = "x" * 1900
STALLED = 20
"""Of each transport."""
ROUND = 4_480
"""More events than wait for one dashboard; its connection takes as many again."""


@contextlib.contextmanager
def soft_limit_of_open_files(number):
    """For what is started meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
    try:
        yield hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_low_soft_limit_of_open_files_is_raised(new_hub):
    hub = new_hub()
    with soft_limit_of_open_files(256) as hard:
        hub.start()
    if hard < 1024:
        pytest.skip("this machine lets nobody raise it")
    until(lambda: "open files:" in hub.tail(), "the start's checks")
    assert f"open files: {hard} at most, raised from 256" in hub.tail()
    engine = hub.device("engine", "ai-engine")
    load = Load(
        "fanout", sockets=400, rate=5, seconds=2, first=0, port=hub.port, token=hub.token(), reporter=engine["token"]
    )
    load.go()
    found = load.found()
    assert found["heard"] == found["wanted"] == 4000


def test_a_hard_limit_that_is_too_low_is_told(new_hub):
    hub = new_hub()
    hub.folder.joinpath("broker.toml").write_text("[limits]\nconnections = 4000000000\n")
    hub.start()
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] == resource.RLIM_INFINITY:
        pytest.skip("there is no limit here")
    until(lambda: "open files: 4000002110 may be wanted" in hub.tail(), "the warning")


def frame(text):
    """A WebSocket frame as a client sends it, with a mask of zeros."""
    body = text.encode()
    length = struct.pack(">BH", 0xFE, len(body)) if len(body) > 125 else bytes([0x80 | len(body)])
    return b"\x81" + length + b"\0\0\0\0" + body


def stalled_websocket(hub, token):
    """A dashboard that has come in and never reads again."""
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.connect(("127.0.0.1", hub.port))
    key = base64.b64encode(os.urandom(16)).decode()
    line.sendall(
        f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        + frame(f"40{json.dumps({'token': token})}")
    )
    heard = b""
    while b'42["lock:status"' not in heard:
        got = line.recv(4096)
        assert got, heard
        heard += got
    return line


def stalled_polling(hub, token):
    """The same by polling: it has come in, and never polls again."""
    url = f"{hub.url}/socket.io/?EIO=4&transport=polling"
    sid = json.loads(requests.get(url, timeout=15).text[1:])["sid"]
    assert requests.post(f"{url}&sid={sid}", f"40{json.dumps({'token': token})}", timeout=15).text == "ok"
    heard = ""
    while '42["lock:status"' not in heard:
        heard += requests.get(f"{url}&sid={sid}", timeout=15).text
    return f"{url}&sid={sid}"


def report(hub, count, token):
    """Reports detections, some at a time; the id of the newest event."""

    def some(number):
        session = requests.Session()
        headers = {"Authorization": f"Bearer {token}"}
        for _ in range(count // 8):
            body = {"cameraId": 1, "personCount": 1, "description": DESCRIPTION}
            answer = session.post(f"{hub.url}/api/events", json=body, headers=headers, timeout=30)
            assert answer.status_code == 201, answer.text
            stored.append(answer.json()["id"])

    stored = []
    threads = [threading.Thread(target=some, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stored) == count // 8 * 8
    return max(stored)


def shown(hub, count, token, dashboard):
    """Reports them no faster than this dashboard, a Python program beside the load, hears of them."""
    part = count // 10
    for _ in range(10):
        newest = report(hub, part, token)
        heard = functools.partial(dashboard.all, "event:detected", lambda event, newest=newest: event["id"] == newest)
        until(heard, "it is shown", 60)
    return newest


def test_dashboards_that_do_not_read_are_dropped_and_cost_no_more_memory(new_hub):
    hub = new_hub(RUST_LOG="warn").start()
    engine, token = hub.device("engine", "ai-engine")["token"], hub.token()
    healthy = PythonDashboard(hub.url, token)
    healthy.wait("connection")
    first = report(hub, 400, engine)
    baseline = resident_mib(hub)
    lines = [stalled_websocket(hub, token) for _ in range(STALLED)]
    for _ in range(STALLED):
        stalled_polling(hub, token)
    until(lambda: hub.metrics()["sockets"] == 2 * STALLED + 1, "all are in")
    # More than their buffers hold: the memory stays near what these hold, however much more there is.
    middle = shown(hub, 2 * ROUND, engine, healthy)
    filled = resident_mib(hub)
    newest = shown(hub, ROUND, engine, healthy)
    after = resident_mib(hub)
    # The client hands each event to a thread of its own, so their order is not to be seen here.
    ids = sorted(event["id"] for event in healthy.all("event:detected"))
    assert len(set(ids)) == len(ids) == 400 + 3 * ROUND, "each once, for who reads"
    print(f"{baseline:.0f} MiB before, {filled:.0f} with full buffers, {after:.0f} after as many events again")
    assert filled - baseline < 80, "forty buffers that share their events"
    assert after - filled < 16, "nothing more waits"
    # A WebSocket is cut when its buffer is full, and one that polls by its missing sign of life.
    until(lambda: hub.metrics()["sockets"] == 1, "they are dropped", 90)
    assert hub.metrics()["sockets_cut_total"] >= STALLED, "those with a WebSocket; the others' signs of life may be missed before"
    for line in lines:
        line.close()
    back = PythonDashboard(hub.url, token)
    seen = middle
    while seen < newest:
        answer = back.ask("request:events-since", {"eventId": seen})
        assert [event["id"] for event in answer["events"]] == list(range(seen + 1, seen + 1 + answer["count"]))
        seen = answer["events"][-1]["id"]
    assert first < middle < seen == newest
    back.close()
    healthy.close()


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_a_dashboard_that_asks_and_does_not_read_is_dropped(new_hub, transport):
    hub = new_hub(RUST_LOG="warn").start()
    engine, token = hub.device("engine", "ai-engine")["token"], hub.token()
    newest = report(hub, 640, engine)
    healthy = PythonDashboard(hub.url, token, transports=[transport])
    # Once, so that what a first answer costs is not counted.
    assert healthy.ask("request:events-since", {"eventId": 0})["count"] == 500
    baseline = resident_mib(hub)
    # 500 events of 2 kB each time: half a gigabyte, if all of it waited.
    asked = ['42["request:events-since",{"eventId":0}]'] * 500
    if transport == "websocket":
        line = stalled_websocket(hub, token)
        line.sendall(b"".join(map(frame, asked)))
    else:
        url = stalled_polling(hub, token)
        assert requests.post(url, "\x1e".join(asked), timeout=60).text == "ok"
    until(lambda: hub.metrics()["sockets_cut_total"] == 1, "it is dropped", 120)
    held = resident_mib(hub)
    assert held - baseline < 120, f"{baseline:.0f} MiB before, {held:.0f} with what waits"
    # Who reads may ask for as much, one answer after the other.
    for _ in range(30):
        answer = healthy.ask("request:events-since", {"eventId": newest - 600})
        assert answer["count"] == 500 and answer["more"] is True
    until(lambda: hub.metrics()["sockets"] == 1, "it is gone", 60)
    assert hub.metrics()["sockets_cut_total"] == 1
    healthy.close()
    if transport == "websocket":
        line.close()
