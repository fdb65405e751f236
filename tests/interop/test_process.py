"""The hub's life as a process: it stops whole, comes back with its data, and is the only one on its folder."""

import signal
import socket
import time

import pytest

from waiting import until

STOP_SECONDS = 5.0
"""From the signal to the end of everything."""


def report(hub, detection, credentials):
    return hub.post("/api/events", {"cameraId": 1, **detection(1)}, token=credentials["token"])


def test_killed_it_comes_back_with_its_data(new_hub, detection):
    hub = new_hub().start()
    engine = hub.device("engine", "ai-engine")
    event = report(hub, detection, engine)
    assert hub.postgres(), "PostgreSQL is the hub's own"
    hub.stop(signal.SIGKILL)
    hub.start()
    assert hub.get(f"/api/events/{event['id']}") == event
    again = report(hub, detection, engine)
    assert again["id"] > event["id"]
    assert hub.stop() == 0
    until(lambda: not hub.postgres(), "no PostgreSQL is left", STOP_SECONDS)


def test_a_second_start_keeps_the_data(new_hub, detection):
    hub = new_hub().start()
    event = report(hub, detection, hub.device("engine", "ai-engine"))
    password = hub.admin_password()
    assert hub.stop() == 0
    hub.start()
    assert hub.get(f"/api/events/{event['id']}") == event
    assert hub.admin_password() == password
    assert len(hub.get("/api/cameras")) == 2, "the example cameras are made once"


@pytest.mark.parametrize(("number", "group"), [(signal.SIGINT, False), (signal.SIGINT, True), (signal.SIGTERM, False)])
def test_a_signal_stops_all_of_it_soon(new_hub, python_dashboard, paho, number, group):
    """Also with an open long poll and an MQTT session; Ctrl-C reaches the whole process group."""
    hub = new_hub().start()
    python_dashboard(hub.url, hub.token(), transports=["polling"]).wait("connection")
    session = paho(hub, hub.device("controller", "controller"))
    session.subscribe("camera/+/events")
    assert hub.postgres()
    started = time.monotonic()
    assert hub.stop(number, group) == 0, hub.tail()
    until(lambda: not hub.postgres(), "no PostgreSQL is left", STOP_SECONDS)
    assert time.monotonic() - started < STOP_SECONDS
    session.wait("(disconnect)")


def test_a_second_hub_on_the_same_data_is_refused(new_hub):
    hub = new_hub().start()
    other = new_hub()
    done = hub.run("serve", check=False, PORT=str(other.port), MQTT_PORT=str(other.mqtt_port))
    assert done.returncode == 1, done.stderr
    assert hub.get("/api/cameras"), "the first one goes on"


def test_a_chosen_admin_password(new_hub):
    hub = new_hub(ADMIN_PASSWORD="chosen-by-the-owner").start()
    assert hub.token("admin", "chosen-by-the-owner")
    assert not (hub.data / "admin-password").exists()


def test_a_dashboard_closes_its_gap_after_a_restart(new_hub, node_dashboard, detection):
    """socket.io-client comes back by itself, and asks for what it missed."""
    hub = new_hub().start()
    engine = hub.device("engine", "ai-engine")
    client = node_dashboard(hub.url, hub.token())
    first = report(hub, detection, engine)
    client.wait("event:detected", lambda event: event["id"] == first["id"])
    hub.stop(signal.SIGKILL)
    client.wait("(disconnect)")
    client.clear()
    hub.start()
    missed = report(hub, detection, engine)
    client.wait("(connect)")
    since = client.ask("request:events-since", {"eventId": first["id"]})
    assert missed["id"] in [event["id"] for event in since["events"]]


def test_usage_errors_and_help(hub):
    assert hub.run("--help").stdout
    assert hub.run("serve", "--help").stdout
    assert hub.run("device", "add", check=False).returncode == 2
    assert hub.run("device", "add", "camera-x", "--role", "nothing", check=False).returncode == 2


def test_it_tells_the_service_manager_what_systemd_wants_to_know(new_hub):
    hub = new_hub()
    place = hub.folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(place))
        manager.settimeout(30)
        hub.settings.update(NOTIFY_SOCKET=str(place), WATCHDOG_USEC="300000")
        hub.start()
        assert manager.recv(100) == b"READY=1"
        assert [manager.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3, "for as long as it runs"
        assert hub.stop(signal.SIGTERM) == 0
        said = b""
        while said != b"STOPPING=1":
            said = manager.recv(100)
        # PostgreSQL gets none of it: what it said would be taken for the hub's words.
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                assert manager.recv(100) == b"WATCHDOG=1"
