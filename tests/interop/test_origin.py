"""From where somebody comes: behind which proxy, under which name, and what of that the lock, /metrics, limits and the audit
believe."""

import contextlib
import itertools
import json
import socket
import struct
from types import SimpleNamespace

import pytest
import requests

from clients import MqttJsDevice, PahoDevice
from flood import packet, text
from hub import free_port
from waiting import until

NUMBERS = itertools.count(1)
CLIENT = "203.0.113.5"


@pytest.fixture(scope="module")
def plain(make_hub):
    """A hub that trusts nobody, as it is when nothing is set."""
    return make_hub().start()


@pytest.fixture(scope="module")
def behind(make_hub):
    """A hub behind a proxy on its own machine."""
    hub = make_hub(TRUSTED_PROXIES="127.0.0.1").start()
    return hub


class Socket:
    """MQTT over a WebSocket whose request has exactly these header lines, as bytes."""

    def __init__(self, hub, *lines, peer="127.0.0.1"):
        self.socket = socket.create_connection(("127.0.0.1", hub.port), timeout=15, source_address=(peer, 0))
        head = [b"GET /mqtt HTTP/1.1", b"Host: 127.0.0.1", b"Connection: Upgrade", b"Upgrade: websocket",
                b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                b"Sec-WebSocket-Protocol: mqtt", *lines]  # fmt: skip
        self.socket.sendall(b"\r\n".join(head) + b"\r\n\r\n")
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self.socket.recv(4096) or pytest.fail(f"closed after {answer!r}")
        assert answer.startswith(b"HTTP/1.1 101"), answer
        self.rest = answer.split(b"\r\n\r\n", 1)[1]

    def send(self, data):
        length = bytes([0x80 | len(data)]) if len(data) < 126 else bytes([0xFE]) + struct.pack(">H", len(data))
        self.socket.sendall(b"\x82" + length + b"\0\0\0\0" + data)

    def receive(self):
        """The payload of the next frame, which are short ones here."""
        while len(self.rest) < 2 or len(self.rest) < 2 + self.rest[1]:
            self.rest += self.socket.recv(4096) or pytest.fail("closed")
        payload, self.rest = self.rest[2 : 2 + self.rest[1]], self.rest[2 + self.rest[1] :]
        return payload

    def connect(self, credentials):
        """The code of the CONNACK of MQTT 3.1.1."""
        login = text(f"c{next(NUMBERS)}") + text(credentials["username"]) + text(credentials["password"])
        self.send(packet(0x10, text("MQTT") + bytes([4, 0xC2, 0, 30]) + login))
        return self.receive()[3]


def command_by_socket(hub, *lines):
    """Whether the lock did what a controller asked for by a WebSocket with these header lines, and its row in the audit."""
    before = hub.get("/api/lock/history?limit=1")
    last = before[0]["id"] if before else 0
    # A controller of its own: only so many refusals of one have rows of their own.
    panel = hub.post("/api/devices", {"name": f"panel-{next(NUMBERS)}", "role": "controller"})
    client = Socket(hub, *lines)
    assert client.connect(panel) == 0
    client.send(packet(0x30, text("lock/command") + b"CLOSE"))
    ended = lambda row: row["id"] > last and row["outcome"]
    row = until(lambda: [row for row in hub.get("/api/lock/history?limit=5") if ended(row)], "the audit has it")[-1]
    client.socket.close()
    return row["outcome"] == "done", row["address"]


def test_nobody_that_a_proxy_brings_is_local(plain):
    """Without TRUSTED_PROXIES, as a proxy on this machine passes a client on; or a client pretends to be passed on."""
    assert command_by_socket(plain) == (True, "127.0.0.1"), "no proxy at all"
    for lines in [
        [b"X-Forwarded-For: 203.0.113.5", b"X-Forwarded-Proto: http"],
        [b"X-Forwarded-For: 127.0.0.1", b"X-Forwarded-Proto: https"],
        [b"X-Forwarded-For:"],
        [b"X-Forwarded-For: \xe9"],
        [b"Forwarded: for=127.0.0.1;proto=https"],
        [b"X-Real-IP: 127.0.0.1"],
        [b"Via: 1.1 door"],
        [b"CF-Connecting-IP: 203.0.113.5"],
    ]:
        assert command_by_socket(plain, *lines) == (False, None), lines
        name, value = lines[0].split(b":", 1)
        answer = requests.get(f"{plain.url}/metrics", headers={name: value.strip()}, timeout=10)
        assert answer.status_code == 401, lines


UNREADABLE = [b"unknown", b"", b"203.0.113.5, ", b"203.0.113.5:x", b"[2001:db8::9", b'"203.0.113.5', b"_hidden", b"\xe9", b"localhost"]


def test_what_a_trusted_proxy_says_that_cannot_be_read_is_nobody(behind):
    https = b"X-Forwarded-Proto: https"
    assert command_by_socket(behind, https) == (False, None), "none at all"
    for hop in UNREADABLE:
        assert command_by_socket(behind, b"X-Forwarded-For: " + hop, https) == (False, None), hop
        answer = requests.get(f"{behind.url}/metrics", headers={"X-Forwarded-For": hop}, timeout=10)
        assert answer.status_code == 401, hop
    until(lambda: "names no address" in behind.log.read_text(errors="replace"), "it is said in the log")


def test_a_client_is_who_the_trusted_proxy_says(behind):
    https = b"X-Forwarded-Proto: https"
    for lines, address in [
        ([b"X-Forwarded-For: 203.0.113.5:41234"], CLIENT),
        ([b"X-Forwarded-For: [2001:db8::9]:443"], "2001:db8::9"),
        ([b'X-Forwarded-For: "[2001:db8::9]:443"'], "2001:db8::9"),
        ([b"X-Forwarded-For: \xe9, 203.0.113.5"], CLIENT),
        ([b"X-Forwarded-For: 127.0.0.1", b"X-Forwarded-For: 203.0.113.5"], CLIENT),
        # A client on the proxy's own machine, if the proxy says so.
        ([b"X-Forwarded-For: 127.0.0.1"], "127.0.0.1"),
    ]:
        assert command_by_socket(behind, *lines, https) == (True, address), lines
        assert command_by_socket(behind, *lines) == (False, address), lines
    client = b"X-Forwarded-For: 203.0.113.5"
    for words in [[b"http"], [b"https", b"http"], [b"http", b"https"], [b"https, http"], [b"https, https"], [b""]]:
        lines = [b"X-Forwarded-Proto: " + word for word in words]
        assert command_by_socket(behind, client, *lines) == (False, CLIENT), words
    assert requests.get(f"{behind.url}/metrics", headers={"X-Forwarded-For": "127.0.0.1"}, timeout=10).status_code == 401
    assert requests.get(f"{behind.url}/metrics", timeout=10).status_code == 401, "a proxy that says nothing"


def test_a_lock_agent_is_let_in_by_the_same_rule(new_hub):
    hub = new_hub(TRUSTED_PROXIES="127.0.0.2", LOCK_AGENT="remote").start_without_worker()
    agent = hub.device("agent", "lock-agent")
    https = b"X-Forwarded-Proto: https"
    refused = [[b"X-Forwarded-For: 203.0.113.5", https], [b"X-Forwarded-For: 127.0.0.1"], [b"Forwarded: for=127.0.0.1"]]
    for lines in refused:
        assert Socket(hub, *lines).connect(agent) == 5, lines
    trusted = "127.0.0.2"
    for lines in [[https], [b"X-Forwarded-For: unknown", https], [b"X-Forwarded-For: 203.0.113.5"], [b"X-Forwarded-For: 127.0.0.1"], []]:
        assert Socket(hub, *lines, peer=trusted).connect(agent) == 5, lines
    let_in = Socket(hub, b"X-Forwarded-For: 203.0.113.5:4711", https, peer=trusted)
    assert let_in.connect(agent) == 0
    let_in.socket.close()
    until(lambda: not hub.get("/api/lock/status")["online"], "its place is free")
    assert until(lambda: Socket(hub).connect(agent) == 0, "of this machine, and by no proxy")


def test_wrong_passwords_of_one_client_concern_no_other(behind):
    def login(client, password):
        body = {"username": "admin", "password": password}
        return requests.post(f"{behind.url}/auth/login", json=body, headers={"X-Forwarded-For": client}, timeout=30)

    for number in range(10):
        assert login(f"198.51.100.66:{40000 + number}", "wrong").status_code == 401
    right = behind.admin_password()
    assert login("198.51.100.66:5", right).status_code == 429
    assert login("203.0.113.99:5555", right).status_code == 200
    assert login('"[2001:db8::7]:5555"', right).status_code == 200


def test_who_is_turned_away_from_the_lock_is_not_the_proxy(behind):
    headers = {"X-Forwarded-For": "unknown"}
    assert requests.post(f"{behind.url}/api/lock/open", headers=headers, timeout=10).status_code == 401
    rows = lambda: [row for row in behind.get("/api/lock/history") if row["message"] == "no token"]
    assert until(rows, "the audit has it")[0]["address"] is None


# Names -----------------------------------------------------------------------------------------------------------------


def ask(port, host, path="/healthz", more=(), line=None):
    """Status and body of a request with exactly this Host."""
    with contextlib.closing(socket.create_connection(("127.0.0.1", port), timeout=15)) as connection:
        hosts = [] if host is None else [b"Host: " + host.encode()]
        line = line or f"GET {path} HTTP/1.1"
        connection.sendall(b"\r\n".join([line.encode(), *hosts, b"Connection: close", *more]) + b"\r\n\r\n")
        answer = b""
        while part := connection.recv(4096):
            answer += part
            if answer.startswith(b"HTTP/1.1 101"):
                break
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def test_the_hub_answers_for_its_own_names(new_hub):
    metrics = free_port()
    hub = new_hub(HOST_NAMES="hub.example.org,*.door.example", METRICS_ADDR=f"127.0.0.1:{metrics}").start()
    own = socket.gethostname().split(".")[0]
    for host in ["localhost", f"127.0.0.1:{hub.port}", "[::1]:3000", own, f"{own}.local:{hub.port}", "HUB.example.org", "a.door.example"]:
        assert ask(hub.port, host)[0] == 200, host
    upgrade = [b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
               b"Sec-WebSocket-Protocol: mqtt"]  # fmt: skip
    for host in ["evil.example", f"evil.example:{hub.port}", "localhost.evil.example", "127.0.0.1.nip.io", f"{own}.evil.example"]:
        for path in ["/healthz", "/metrics", "/api/cameras", "/docs/", "/nope", "/socket.io/?EIO=4&transport=polling"]:
            status, body = ask(hub.port, host, path)
            assert status == 421, (host, path)
            said = json.loads(body)
            assert said["statusCode"] == 421 and said["error"] == "Misdirected Request" and "HOST_NAMES" in said["message"]
        origin = [b"Origin: http://" + host.encode(), b"Connection: Upgrade", *upgrade]
        assert ask(hub.port, host, "/mqtt", origin)[0] == 421, host
        assert ask(metrics, host, "/metrics")[0] == 421, host
    assert ask(hub.port, "localhost", line="GET http://evil.example/healthz HTTP/1.1")[0] == 421
    assert ask(metrics, f"127.0.0.1:{metrics}", "/metrics")[0] == 200


def test_what_a_trusted_proxy_passes_on_has_any_name(behind):
    assert ask(behind.port, "door.example", more=[b"X-Forwarded-For: 203.0.113.5"])[0] == 200


@pytest.mark.parametrize("client", ["paho", "mqtt.js"])
def test_mqtt_by_websocket_as_ever(plain, closing, node, client, detection):
    engine = plain.device(f"engine-{next(NUMBERS)}", "ai-engine")
    if client == "paho":
        device = closing(PahoDevice(plain, engine, port=plain.port, path="/mqtt"))
    else:
        by_socket = SimpleNamespace(mqtt_url=f"ws://127.0.0.1:{plain.port}/mqtt")
        device = closing(MqttJsDevice(node, by_socket, engine))
    assert device.subscribe("camera/+/events") == 1
    # Longer than what is read or written at once.
    report = detection(1, description="ä" * 900)
    assert device.publish("camera/1/detections", report) == 0
    device.wait("camera/1/events", lambda heard: heard.payload["detectionId"] == report["detectionId"])
