"""The log: what it says at the start, how much it shows, and what it never shows. And the health check for containers."""

import json
import os
import signal
import socket
import time
import uuid

import pytest
import requests

from clients import Refused
from waiting import until

SECRET = "correct horse battery"


def lines(hub, since=0):
    return hub.log.read_text(errors="replace")[since:].splitlines()


def busy(hub, python_dashboard, paho):
    """Everybody does everything once; answers every secret there is."""
    hub.user("olga", "OPERATOR", SECRET)
    devices = [hub.device(name, role) for name, role in (("engine", "ai-engine"), ("panel", "controller"))]
    rotated = json.loads(hub.run("device", "rotate", "panel", "--json").stdout)
    new = hub.post("/api/users", {"username": "uma", "email": "uma@example.org", "password": SECRET + " uma"})
    token, admin = hub.token("olga", SECRET), hub.token()
    wrong = SECRET + " wrong"
    assert requests.post(hub.url + "/auth/login", json={"username": "olga", "password": wrong}, timeout=10).status_code == 401
    body = {"password": SECRET + " new", "currentPassword": SECRET + " uma"}
    assert hub.call("PUT", f"/api/users/{new['id']}", body).status_code == 200
    assert hub.call("GET", "/api/users", token="nonsense.of.ours").status_code == 401
    stream = {"name": "Yard", "streamUrl": f"rtsp://viewer:{SECRET.replace(' ', '-')}@192.0.2.1/live"}
    camera = hub.post("/api/cameras", stream)["id"]
    dashboard = python_dashboard(hub.url, token)
    dashboard.wait("connection")
    polling = python_dashboard(hub.url, None, transports=["polling"], headers={"Authorization": f"Bearer {admin}"})
    polling.wait("connection")
    with pytest.raises(Refused):
        python_dashboard(hub.url, "nonsense.of.ours")
    engine = paho(hub, devices[0])
    watcher = paho(hub, {"username": "olga", "password": token})
    assert watcher.subscribe("camera/+/events") == 1
    with pytest.raises(Refused):
        paho(hub, {"username": "engine", "password": wrong})
    detection = str(uuid.uuid4())
    engine.publish(f"camera/{camera}/detections", {"personCount": 1, "detectionId": detection})
    hub.post("/api/events", {"cameraId": camera, "personCount": 1}, token=devices[0]["token"])
    dashboard.wait("event:detected", lambda event: event["detectionId"] == detection)
    engine.publish(f"camera/{camera}/detections", "no JSON")
    hub.post("/api/lock/open", expect=200, token=token)
    kept = [(hub.data / "jwt-secret").read_text().strip(), hub.admin_password()]
    made = [device[key] for device in [*devices, rotated] for key in ("password", "token")]
    written = [SECRET, SECRET.replace(" ", "-"), wrong, token, admin, "nonsense.of.ours"]
    return detection, [secret for secret in kept + made + written if secret]


@pytest.mark.parametrize("level", ["portcullis=trace,info", "trace"])
def test_no_secret_is_in_the_log(new_hub, python_dashboard, paho, level):
    """Whatever RUST_LOG says. The first start's welcome is on standard output and shows the first password: so the
    hub is looked at after its second start."""
    hub = new_hub(RUST_LOG=level).start()
    assert hub.stop() == 0
    since = len(hub.log.read_text(errors="replace"))
    hub.start()
    _, secrets = busy(hub, python_dashboard, paho)
    text = hub.log.read_text(errors="replace")[since:]
    assert len(secrets) > 10 and len(text) > 5_000
    found = [secret for secret in secrets if secret in text]
    assert not found, [line for line in text.splitlines() if any(secret in line for secret in found)][:5]


def test_one_span_from_the_publish_to_the_screen(new_hub, python_dashboard, paho):
    hub = new_hub(RUST_LOG="portcullis=debug,info", LOG_FORMAT="json").start()
    detection, _ = busy(hub, python_dashboard, paho)

    def told():
        logged = [json.loads(line) for line in lines(hub) if line.startswith("{")]
        return {
            line["message"]: line["span"]
            for line in logged
            if line.get("span", {}).get("detection.id") == detection and line["span"]["name"] == "detection"
        }

    until(lambda: "shown to dashboards" in told(), "the span reaches the dashboards")
    spans = told()
    assert {"a detection came", "stored", "shown to dashboards"} <= spans.keys(), spans
    event = next(event for event in hub.get("/api/events") if event["detectionId"] == detection)
    span = spans["shown to dashboards"]
    assert (span["event.id"], span["camera.id"], span["channel"]) == (str(event["id"]), str(event["cameraId"]), "mqtt")


def is_debug(hub):
    """Whether a request with a device's detection leaves debug lines."""
    since = len(hub.log.read_text(errors="replace"))
    hub.post("/api/events", {"cameraId": 1, "personCount": 1})
    # A stored detection's request is a debug line itself; this one is always logged.
    hub.get("/api/events/stats")
    until(lambda: any("/api/events/stats" in line for line in lines(hub, since)), "the request is logged")
    return any("stored" in line and "DEBUG" in line for line in lines(hub, since))


def test_an_admin_changes_the_level(new_hub):
    hub = new_hub().start()
    assert hub.get("/api/log-level") == {"filter": "info"}
    assert not is_debug(hub)
    answer = hub.call("PUT", "/api/log-level", {"level": "debug"})
    assert (answer.status_code, answer.json()) == (200, {"filter": "info,portcullis=debug"})
    assert is_debug(hub)
    assert hub.call("PUT", "/api/log-level", {"level": "loud"}).status_code == 400
    assert hub.call("PUT", "/api/log-level", {"level": "info"}).status_code == 200
    assert not is_debug(hub)


def test_a_hangup_changes_the_level_and_stops_nothing(new_hub):
    hub = new_hub().start()
    hub.process.send_signal(signal.SIGHUP)
    until(lambda: hub.get("/api/log-level")["filter"] == "info,portcullis=debug", "debug lines are on")
    (hub.folder / ".env").write_text("RUST_LOG=warn\n")
    hub.process.send_signal(signal.SIGHUP)
    until(lambda: hub.get("/api/log-level")["filter"] == "warn", "as .env says")
    (hub.folder / ".env").unlink()
    hub.process.send_signal(signal.SIGHUP)
    until(lambda: hub.get("/api/log-level")["filter"] == "info", "as at the start")
    assert hub.process.poll() is None


def test_at_a_terminal_a_hangup_is_its_end(new_hub):
    """Whoever closes the window with the hub in it does not leave one behind that nobody sees."""
    hub = new_hub()
    ours, terminal = os.openpty()
    try:
        hub.start(stdin=terminal)
        assert hub.stop(signal.SIGHUP) == 0
    finally:
        os.close(ours)
        os.close(terminal)


def test_the_start_is_one_readable_list(new_hub):
    hub = new_hub(LOG_FORMAT="json").start()
    logged = [json.loads(line) for line in lines(hub) if line.startswith("{")]
    checks = {line["check"]: line["message"] for line in logged if "check" in line}
    assert list(checks) == ["program", "listeners", "database", "disk", "open files", "clock", "lock"]
    assert f"HTTP 127.0.0.1:{hub.port}, MQTT 127.0.0.1:{hub.mqtt_port}" in checks["listeners"]
    assert "private" in checks["database"] and "GiB free" in checks["disk"] and "simulated" in checks["lock"]


def test_plain_http_for_other_machines_is_warned_of(new_hub):
    hub = new_hub(HOST="0.0.0.0").start()
    assert any("WARN" in line and "TRUSTED_PROXIES" in line for line in lines(hub))


def test_the_health_check_is_an_exit_code(new_hub):
    hub = new_hub()
    assert hub.run("healthcheck", check=False).returncode == 1, "nobody is there"
    hub.start()
    assert json.loads(hub.run("healthcheck").stdout)["status"] == "up"
    assert json.loads(hub.run("healthcheck", "--live", HOST="0.0.0.0").stdout)["status"] == "ok"
    for pid in hub.postgres():
        os.kill(pid, signal.SIGSTOP)
    try:
        assert hub.run("healthcheck", check=False).returncode == 1, "PostgreSQL does not answer"
        assert hub.run("healthcheck", "--live").returncode == 0
    finally:
        for pid in hub.postgres():
            os.kill(pid, signal.SIGCONT)


FORGED = "\nERROR forged\r\x1b[2J\x1b]0;title\x07\x85\u2028\u202eforged\u2066"
"""What nothing of may stand in the log as it is."""


@pytest.mark.parametrize("form", ["text", "json"])
def test_others_words_forge_no_line(new_hub, paho, form):
    hub = new_hub(LOG_FORMAT=form, CAMERA_TIMEOUT="1", RUST_LOG="debug").start()
    hub.user("olga", "OPERATOR", SECRET)
    since = len(hub.log.read_bytes())
    panel = paho(hub, hub.device("panel", "controller"))
    panel.publish("lock/command", json.dumps({"action": "open" + FORGED}), qos=0)
    camera = hub.post("/api/cameras", {"name": "Yard" + FORGED}, token=hub.token("olga", SECRET))["id"]
    # It has shown that it reports empty pictures, and is silent from then on: an alert names it.
    hub.post("/api/events", {"cameraId": camera, "personCount": 0}, expect=200)
    with socket.create_connection(("127.0.0.1", hub.port), timeout=10) as raw:
        raw.sendall("GET /a\u202eb\u2028c HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        while raw.recv(4096):
            pass
    requests.post(f"{hub.url}/auth/login", json={"username": "x" + FORGED, "password": "y"}, timeout=10)
    told = lambda words: any(words in line for line in lines(hub, since))
    until(lambda: told("Yard") and told("refused a lock command"), "the camera is lost, and the command is refused")
    # Whole lines: the last may be half written.
    written = hub.log.read_bytes()[since:].rpartition(b"\n")[0].decode()
    for letter in set(FORGED) - set("ERROR forged[2J]0;title\n"):
        assert letter not in written, repr(letter)
    for line in written.split("\n"):
        assert not line.startswith(("ERROR forged", "forged")), line
        if form == "json" and "forged" in line:
            json.loads(line)


def test_strangers_leave_short_lines_and_few(new_hub):
    hub = new_hub().start()
    since, began, before = hub.log.stat().st_size, time.monotonic(), hub.metrics()["http_requests_not_logged_total"]
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", hub.port), timeout=30) as raw:
            raw.settimeout(30)
            request = b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
            for _ in range(50):
                raw.sendall(request)
                answer = b""
                while b"Cannot GET" not in answer or not answer.endswith(b"}"):
                    part = raw.recv(1 << 16)
                    assert part, answer[:300]
                    answer += part
    hub.get("/api/events/stats")
    until(lambda: any("/api/events/stats" in line for line in lines(hub)), "who is known is logged as ever")
    assert max(map(len, lines(hub, since))) < 600
    logged = sum("/aaaa" in line for line in lines(hub, since))
    assert logged <= 200 + 5 * (time.monotonic() - began) + 1
    assert logged + hub.metrics()["http_requests_not_logged_total"] - before >= 1000, "each is counted"
    requests.get(f"{hub.url}/healthz", timeout=10)
    until(lambda: any("held_back=" in line for line in lines(hub, since)), "a later line says how many had none")
