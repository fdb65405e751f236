"""Strangers who hold connections turn away strangers: whatever they do, people who are known come in, the door opens, a camera
reports, and memory stays bounded. PORTCULLIS_LONG=1 makes 10,000 connections of each flood."""

import contextlib
import os
import pathlib
import socket
import struct
import subprocess
import sys
import threading

import pytest
import requests

from flood import packet, text
from lock_agent import LockAgent
from test_overload import MEMORY_MAX_MIB, peak_mib
from waiting import until

STRANGERS = 10_000 if os.environ.get("PORTCULLIS_LONG") else 4_000
RENEWALS = 1000 if os.environ.get("PORTCULLIS_LONG") else 200
PROGRAM = pathlib.Path(__file__).with_name("strangers.py")


class Flood:
    """The program of that name, and what it said last."""

    def __init__(self, port, count, what):
        self.process = subprocess.Popen(
            [sys.executable, PROGRAM, str(port), str(count), what, str(RENEWALS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.held = self.renewed = 0
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            _, held, _, renewed = line.split()
            self.held, self.renewed = int(held), int(renewed)

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)


def works(hub, engine, paho):
    """An operator signs in and opens the door; a camera's detection is stored, by HTTP and by MQTT."""
    number = hub.get("/api/events/stats")["total"]

    def signed_in():
        body = {"username": "olga", "password": "correct horse"}
        return requests.post(f"{hub.url}/auth/login", json=body, timeout=15).json()["access_token"]

    token = until(signed_in, "an operator signs in", 60)
    until(lambda: answered(hub.call("POST", "/api/lock/open", token=token), 200), "the door opens", 60)
    report = {"cameraId": 1, "personCount": 1}
    until(lambda: answered(hub.call("POST", "/api/events", report, engine["token"]), 201), "a detection is stored", 60)
    session = until(lambda: connected(paho, hub, engine), "an engine has a session", 60)
    assert session.publish("camera/1/detections", {"personCount": 1}) == 0
    assert hub.get("/api/events/stats")["total"] >= number + 2


def answered(answer, status):
    if answer.status_code != status:
        raise OSError(f"{answer.status_code} {answer.text}")
    return True


def connected(paho, hub, credentials):
    try:
        return paho(hub, credentials)
    except AssertionError:
        return None


@pytest.fixture
def calm_hub(new_hub):
    hub = new_hub(RUST_LOG="warn")
    yield hub
    assert peak_mib(hub) < MEMORY_MAX_MIB, f"{peak_mib(hub):.0f} MiB\n{hub.tail()}"


def ready(hub):
    hub.user("olga", "OPERATOR", "correct horse")
    return hub.device("engine", "ai-engine")


@pytest.mark.parametrize("what", ["silent", "half", "idle", "body", "connect"])
def test_a_flood_of_strangers_turns_away_strangers(calm_hub, paho, closing, figures, what):
    hub = calm_hub.start()
    engine = ready(hub)
    flood = closing(Flood(hub.mqtt_port if what == "connect" else hub.port, STRANGERS, what))
    # HTTP has places for 1,000 strangers, MQTT for 5,000.
    is_there = lambda: flood.held >= STRANGERS if what == "connect" and STRANGERS < 5000 else flood.renewed > 100
    until(is_there, "the flood is there", 60)
    works(hub, engine, paho)
    renewed = flood.renewed
    works(hub, engine, paho)
    assert flood.process.poll() is None
    figures.append(f"{STRANGERS} strangers, {what}: {flood.held} held, {renewed} renewed, {peak_mib(hub):.0f} MiB at most")


@pytest.mark.parametrize("what", ["silent", "connect"])
def test_with_few_open_files_the_lock_agent_and_its_door_come_first(new_hub, paho, closing, what):
    """700 strangers with `ulimit -n 512`; the lock agent and everybody else come when they are there already."""
    hub = new_hub(LOCK_AGENT="remote", RUST_LOG="info")
    hub.files = 512
    hub.start_without_worker()
    engine = ready(hub)
    floods = [closing(Flood(hub.mqtt_port if what == "connect" else hub.port, 700, what))]
    until(lambda: floods[0].renewed > 100, "the flood is there", 60)
    agent = LockAgent(hub, hub.device("door", "lock-agent"))
    try:
        until(lambda: hub.get("/api/lock/status")["online"], "the lock agent is there", 60)
        works(hub, engine, paho)
        assert len(os.listdir(f"/proc/{hub.process.pid}/fd")) < 512
        assert "Too many open files" not in hub.log.read_text(errors="replace")
        assert requests.get(f"{hub.url}/readyz", timeout=15).status_code == 200
    finally:
        agent.stop()


def closes(connection, seconds):
    """Whether the hub closes the connection within that time."""
    connection.settimeout(seconds)
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


# WebSockets ------------------------------------------------------------------------------------------------------------


def upgraded(hub, path, *lines):
    """A WebSocket, open."""
    connection = socket.create_connection(("127.0.0.1", hub.port), timeout=30)
    head = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *lines]  # fmt: skip
    connection.sendall("\r\n".join([*head, "", ""]).encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 101"), answer
    return connection


def pour(connections, begin, length=15 << 20, frames=4):
    """Sends on each of them that many frames without an end, as far as the hub takes them."""
    part = bytes(1 << 16)

    def one(connection):
        with contextlib.suppress(OSError):
            connection.settimeout(10)
            for number in range(frames):
                # Binary, then continuations, none of which is the last; the mask is zero.
                connection.sendall(bytes([0x00 if number else 0x02, 0xFF]) + struct.pack(">Q", length) + bytes(4))
                connection.sendall(begin if number == 0 else b"")
                for _ in range(length // len(part)):
                    connection.sendall(part)

    threads = [threading.Thread(target=one, args=(connection,)) for connection in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)


@pytest.mark.parametrize("who", ["stranger", "half-connected", "sensor", "socket.io"])
def test_long_frames_are_not_gathered(calm_hub, paho, who):
    hub = calm_hub.start()
    engine = ready(hub)
    sensor = hub.device("sensor", "sensor")
    if who == "socket.io":
        connections = [upgraded(hub, "/socket.io/?EIO=4&transport=websocket") for _ in range(40)]
        pour(connections, b"")
    else:
        connections = [upgraded(hub, "/mqtt", "Sec-WebSocket-Protocol: mqtt") for _ in range(40)]
        if who == "sensor":
            for number, connection in enumerate(connections):
                login = text(f"c{number}") + text(sensor["username"]) + text(sensor["password"])
                data = packet(0x10, text("MQTT") + bytes([4, 0xC2, 0, 60]) + login)
                connection.sendall(b"\x82\xfe" + struct.pack(">H", len(data)) + bytes(4) + data)
                assert connection.recv(6)[:2] == b"\x82\x04"
        begins = {"stranger": b"", "half-connected": b"\x10\xff\xff\x03\x00\x04MQTT", "sensor": b"\x30\xff\xf0\x0f\x00\x01t"}
        pour(connections, begins[who])
    works(hub, engine, paho)
    for connection in connections:
        connection.close()
