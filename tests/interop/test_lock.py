"""The door: opened from a dashboard, closed by itself; and its lock worker as a process of its own."""

import os
import signal
import socket
import subprocess
import time
from types import SimpleNamespace

import pytest
import requests

from clients import PahoDevice
from hub import free_port
from lock_agent import LockAgent
from waiting import until


def is_open(open_):
    wanted = "OPEN" if open_ else "CLOSED"
    return lambda status: getattr(status, "payload", status)["status"] == wanted


def lock(hub, verb):
    """Works the lock by REST. The tests ask more often than the ten times in ten seconds that a sender may."""

    def taken():
        answer = hub.call("POST", f"/api/lock/{verb}")
        # By the hub, or by the worker, to which they came closer together.
        return None if answer.status_code == 429 or "Too many commands" in answer.text else (answer,)

    (answer,) = until(taken, "commands are taken again")
    assert answer.status_code == 200, answer.text
    return answer.json()


def door_is_closed(hub):
    until(lambda: hub.get("/api/lock/status")["status"] == "CLOSED", "the door is closed")


def newest_id(hub):
    newest = hub.get("/api/events?limit=1")
    return newest[0]["id"] if newest else 0


def door_events(hub, since):
    """The kinds of door events stored since then, oldest first."""
    listed = [event for event in hub.get("/api/events?limit=100") if event["id"] > since]
    return [event for event in reversed(listed) if event["eventType"].startswith("DOOR_")]


def test_opened_by_rest_it_is_told_and_closes_by_itself(hub, devices, python_dashboard, node_dashboard, device):
    door_is_closed(hub)
    since = newest_id(hub)
    dashboards = [make(hub.url, hub.token()) for make in (python_dashboard, node_dashboard)]
    controller = device(hub, devices.controller)
    assert controller.subscribe("lock/status") == 1
    retained = controller.wait("lock/status")
    assert retained.retain and retained.payload["status"] == "CLOSED" and retained.payload["online"] is True
    for client in dashboards:
        client.wait("lock:status", is_open(False))
        client.clear()
    controller.clear()

    answer = lock(hub, "open")
    assert answer["status"] == "SUCCESS" and answer["pin"] == 17 and answer["message"]
    for client in dashboards:
        opened = client.wait("lock:status", is_open(True))
        assert opened["metadata"]["online"] is True and opened["metadata"]["requestedBy"] == "user:1"
    assert controller.wait("lock/status", is_open(True)).payload["commandId"]

    for client in dashboards:
        client.wait("lock:status", is_open(False))
    controller.wait("lock/status", is_open(False))
    opened, closed = until(lambda: events if len(events := door_events(hub, since)) >= 2 else None, "both are stored")
    assert [opened["eventType"], closed["eventType"]] == ["DOOR_OPENED", "DOOR_CLOSED"]
    assert opened["isResolved"] is True
    assert opened["cameraId"] is None and opened["camera"] == {"id": None, "name": "Portcullis", "location": None}


def test_a_late_subscriber_gets_the_status(hub, devices, device):
    lock(hub, "open")
    door_is_closed(hub)
    late = device(hub, devices.controller)
    late.subscribe("lock/status")
    message = late.wait("lock/status")
    assert message.retain and message.payload["status"] == "CLOSED"


def test_closed_and_toggled_by_rest(hub):
    door_is_closed(hub)
    toggled = lock(hub, "toggle")
    assert (toggled["previousStatus"], toggled["currentStatus"]) == ("CLOSED", "OPEN")
    assert lock(hub, "close")["status"] == "SUCCESS"
    assert hub.get("/api/lock/status")["status"] == "CLOSED"


def test_a_user_who_only_looks_cannot_open(hub):
    hub.user("visitor", "USER", "looks-at-things")
    token = hub.token("visitor", "looks-at-things")
    assert hub.call("POST", "/api/lock/open", token=token).status_code == 403
    attempt = hub.get("/api/lock/history?limit=1")[0]
    assert attempt["requestedBy"].startswith("user:"), attempt
    assert (attempt["action"], attempt["channel"], attempt["outcome"]) == ("open", "http", "refused"), attempt
    assert hub.call("POST", "/api/lock/open", token=False).status_code == 401
    assert hub.get("/api/lock/status", token=token)["status"] in ("OPEN", "CLOSED")


def test_a_controller_opens_by_mqtt(hub, devices, device):
    door_is_closed(hub)
    controller = device(hub, devices.controller)
    controller.subscribe("lock/status")
    controller.subscribe("lock/response")
    controller.wait("lock/status", is_open(False))
    controller.publish("lock/command", "OPEN", qos=0)
    opened = controller.wait("lock/status", is_open(True)).payload
    assert opened["requestedBy"] == "device:controller", "put in by the hub"
    assert controller.wait("lock/response")
    door_is_closed(hub)


@pytest.mark.parametrize("who", ["camera1", "engine", "sensor"])
def test_no_other_device_works_the_lock(hub, devices, device, who):
    door_is_closed(hub)
    since = newest_id(hub)
    session = device(hub, getattr(devices, who))
    code = session.publish("lock/command", {"action": "open"})
    assert code == (0x87 if session.version == 5 else 0)
    # The hub carries out commands in order: had the first one opened, its event would come before this one's.
    lock(hub, "close")
    assert [event for event in door_events(hub, since) if event["eventType"] == "DOOR_OPENED"] == []


# The lock worker as a process of its own -------------------------------------------------------------------------


def online(hub, is_online):
    until(lambda: hub.get("/api/lock/status")["online"] is is_online, f"the lock worker's online is {is_online}")


@pytest.fixture
def certificates(tmp_path):
    """Makes an authority, and a certificate of its for 127.0.0.1: the hub's settings, and the worker's."""

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=tmp_path, check=True, capture_output=True)

    def path(name):
        return str(tmp_path / name)

    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    for authority in ("ca", "other"):
        openssl("req", "-x509", *new, "-subj", f"/CN={authority}", "-keyout", f"{authority}.key", "-out", f"{authority}.pem")
    openssl("req", *new, "-subj", "/CN=hub", "-keyout", "hub.key", "-out", "hub.csr")
    (tmp_path / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names"]
    openssl("x509", "-req", "-in", "hub.csr", *signed, "-out", "hub.pem")
    port = str(free_port())
    return SimpleNamespace(
        hub={"MQTT_TLS_PORT": port, "MQTT_TLS_CERT": path("hub.pem"), "MQTT_TLS_KEY": path("hub.key")},
        worker={"MQTT_URL": f"mqtts://127.0.0.1:{port}", "MQTT_CA": path("ca.pem")},
        stranger={"MQTT_URL": f"mqtts://127.0.0.1:{port}", "MQTT_CA": path("other.pem")},
    )


def test_a_lock_worker_of_its_own_over_tls(new_hub, python_dashboard, certificates):
    hub = new_hub(LOCK_AGENT="remote", **certificates.hub).start_without_worker()
    assert hub.get("/api/lock/status")["status"] == "UNKNOWN"
    assert hub.call("POST", "/api/lock/open").status_code == 503
    assert requests.get(f"{hub.url}/readyz", timeout=5).status_code == 503

    credentials = hub.device("door", "lock-agent")
    dashboard = python_dashboard(hub.url, hub.token())
    # A hub that somebody else vouches for is no hub.
    agent = LockAgent(hub, credentials, **certificates.stranger)
    until(lambda: "certificate" in agent.path.read_text(), "the worker trusts nobody else's hub")
    assert hub.get("/api/lock/status")["online"] is False
    assert agent.stop() == 0
    agent = LockAgent(hub, credentials, **certificates.worker)
    online(hub, True)
    dashboard.wait("lock:status", lambda status: status["metadata"]["online"] is True)
    assert requests.get(f"{hub.url}/readyz", timeout=5).status_code == 200
    assert lock(hub, "open")["status"] == "SUCCESS"
    dashboard.wait("lock:status", is_open(True))
    dashboard.clear()
    dashboard.wait("lock:status", is_open(False))

    # Killed, its last will says that it is gone.
    agent.stop(signal.SIGKILL)
    online(hub, False)
    assert hub.call("POST", "/api/lock/open").status_code == 503
    agent = LockAgent(hub, credentials, **certificates.worker)
    online(hub, True)
    lock(hub, "open")

    # The hub away and back again: the worker connects by itself.
    os.kill(hub.process.pid, signal.SIGTERM)
    hub.process.wait(15)
    hub.start()
    assert lock(hub, "open")["status"] == "SUCCESS"
    assert agent.stop() == 0


def test_a_lock_worker_with_wrong_credentials_ends_or_stays_out(new_hub):
    hub = new_hub(LOCK_AGENT="remote").start_without_worker()
    camera = hub.device("camera", "camera", camera=1)
    agent = LockAgent(hub, camera)
    try:
        # Refused or waiting, but never the lock worker: a fence through REST and back.
        assert hub.call("POST", "/api/lock/open").status_code == 503
        assert hub.get("/api/lock/status")["online"] is False
    finally:
        if agent.process.poll() is None:
            agent.stop()


def test_a_lock_worker_without_a_will_is_gone_with_its_session(new_hub, python_dashboard):
    hub = new_hub(LOCK_AGENT="remote").start_without_worker()
    session = PahoDevice(hub, hub.device("door", "lock-agent"))
    status = {"status": "OPEN", "online": True, "pin": 17, "simulated": True, "reason": None, "commandId": None}
    times = {"requestedBy": None, "timestamp": "2026-11-22T12:00:00Z"}

    def seen():
        # Again each time: the news of its own making may have ended the first session.
        session.publish("lock/status", {**status, **times}, retain=True)
        return hub.get("/api/lock/status")["online"]

    until(seen, "the worker is there")
    dashboard = python_dashboard(hub.url, hub.token())
    dashboard.wait("lock:status", lambda status: status["metadata"]["online"] is True)
    session.close()
    dashboard.wait("lock:status", lambda status: status["status"] == "UNKNOWN" and not status["metadata"]["online"])
    assert hub.get("/api/lock/status")["status"] == "UNKNOWN"
    controller = PahoDevice(hub, hub.device("controller", "controller"))
    controller.subscribe("lock/status")
    assert controller.wait("lock/status", lambda message: message.retain).payload["online"] is False
    controller.close()
    lost = lambda: [event for event in hub.get("/api/events?eventType=SYSTEM_ALERT") if "is lost" in event["description"]]
    until(lost, "the loss is stored")


def test_a_lock_worker_is_a_service_with_a_watchdog(new_hub):
    """No hub: the worker is ready once the door is locked, and its loop turns without one."""
    hub = new_hub()
    path = hub.folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(15)
        agent = LockAgent(hub, {"username": "door", "password": "x"}, NOTIFY_SOCKET=str(path))
        try:
            assert manager.recv(100) == b"READY=1"
            begin, fed = time.monotonic(), 0
            while fed < 4:
                assert manager.recv(100) == b"WATCHDOG=1"
                fed += 1
            assert time.monotonic() - begin < 10, "WatchdogSec= of the unit"
        finally:
            code = agent.stop()
    assert code == 0


def test_a_lock_worker_does_not_send_its_secret_in_the_clear(new_hub):
    hub = new_hub()
    agent = LockAgent(hub, {"username": "door", "password": "x"}, MQTT_URL="mqtt://192.0.2.1:1883")
    assert agent.ended() == 1
    assert "without TLS" in agent.path.read_text()
