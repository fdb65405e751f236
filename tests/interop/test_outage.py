"""Postgres is away: not there yet, stopped, hanging, or full. The hub stays up, says so, and goes on by itself."""

import datetime
import time
import uuid

import pytest
import requests

from clients import Refused
from lock_agent import LockAgent
from test_lock import door_events, is_open, lock, online
from waiting import until

SOON = 2.5
"""Well below the time that waiting for a connection, or for a server that hangs, would take."""


@pytest.fixture
def away(new_hub, new_postgres):
    """A hub on a PostgreSQL that is not there yet."""
    postgres = new_postgres()
    hub = new_hub(DATABASE_URL=postgres.url)
    return hub.start(ready="/healthz"), postgres


def is_ready(hub):
    return requests.get(f"{hub.url}/readyz", timeout=5).status_code == 200


def expect_away(answer, seconds=SOON):
    """503 with the error body, soon, and when to come back."""
    assert answer.status_code == 503, answer.text
    assert answer.json()["statusCode"] == 503 and answer.json()["error"] == "Service Unavailable"
    assert answer.headers["Retry-After"]
    assert answer.elapsed.total_seconds() < seconds


def refusal(paho, hub, version):
    with pytest.raises(Refused) as refused:
        paho(hub, {"username": "front-door", "password": "secret"}, version=version)
    return refused.value.reason


def test_it_starts_before_its_database(away, paho, detection):
    hub, postgres = away
    assert not is_ready(hub)
    expect_away(requests.post(f"{hub.url}/auth/login", json={"username": "admin", "password": "x" * 12}, timeout=30))
    assert refusal(paho, hub, 5) == 0x88
    assert refusal(paho, hub, 4) in (3, 0x88), "paho shows code 3 of 3.1.1 as MQTT 5's"
    postgres.start()
    until(lambda: is_ready(hub), "the hub goes on by itself", 30)
    assert len(hub.get("/api/cameras")) == 2
    engine = paho(hub, hub.device("engine", "ai-engine"))
    assert engine.publish("camera/1/detections", detection()) == 0
    assert "Sign in as admin" in hub.log.read_text()


def test_a_second_hub_on_the_database_is_refused(away, new_hub):
    hub, postgres = away
    postgres.start()
    until(lambda: is_ready(hub), "the first is ready", 30)
    other = new_hub(DATABASE_URL=postgres.url)
    with pytest.raises(AssertionError, match="ended with 1(.|\n)*another hub uses this database"):
        other.start()
    assert hub.get("/api/cameras"), "the first goes on"


def test_a_wrong_database_is_told_at_once(new_hub, new_postgres):
    postgres = new_postgres().start()
    hub = new_hub(DATABASE_URL=postgres.url + "-of-another-name")
    with pytest.raises(AssertionError, match='ended with 1(.|\n)*database "portcullis-of-another-name" does not exist'):
        hub.start()


@pytest.mark.parametrize("how", ["stopped", "hanging"])
def test_while_it_is_away(away, paho, detection, how):
    hub, postgres = away
    postgres.start()
    until(lambda: is_ready(hub), "the hub is ready", 30)
    credentials = hub.device("engine", "ai-engine")
    engine = paho(hub, credentials, version=4)
    engine.publish("camera/1/detections", detection())
    token = hub.token()
    postgres.stop() if how == "stopped" else postgres.hang()
    # Nobody has noticed yet, and still no answer takes long.
    first = requests.get(f"{hub.url}/api/events", headers={"Authorization": f"Bearer {token}"}, timeout=30)
    expect_away(first, 8)
    until(lambda: not is_ready(hub), "it is noticed", 15)
    for path in ["/api/events", "/api/cameras", "/api/users/me", "/api/lock/status"]:
        expect_away(hub.call("GET", path))
    expect_away(hub.call("POST", "/api/lock/open"))
    expect_away(hub.call("POST", "/api/events", {"cameraId": 1, **detection()}, credentials["token"]), 8)
    expect_away(requests.post(f"{hub.url}/auth/login", json={"username": "admin", "password": "x" * 12}, timeout=30))
    assert refusal(paho, hub, 5) == 0x88
    assert requests.get(f"{hub.url}/healthz", timeout=5).status_code == 200
    waiting = detection()
    sent = engine.client.publish("camera/1/detections", str(waiting).replace("'", '"'), qos=1)
    postgres.start() if how == "stopped" else postgres.go_on()
    until(lambda: is_ready(hub), "the hub goes on by itself", 30)
    engine.wait(f"(puback {sent.mid})")
    assert not engine.all("(disconnect)")
    ids = [event["detectionId"] for event in hub.get("/api/events")]
    assert ids.count(waiting["detectionId"]) == 1
    assert hub.process.poll() is None


OPEN_SECONDS = 8
"""Longer than it takes to notice that PostgreSQL is away."""


@pytest.fixture(params=["in the hub", "of its own"])
def door(request, new_hub, new_postgres):
    """A hub with a lock worker in its process, or in one of its own, on a PostgreSQL of the test's."""
    postgres = new_postgres().start()
    worker = {"LOCK_OPEN_SECONDS": str(OPEN_SECONDS)}
    if request.param == "in the hub":
        yield new_hub(DATABASE_URL=postgres.url, **worker).start(), postgres
        return
    hub = new_hub(DATABASE_URL=postgres.url, LOCK_AGENT="remote").start_without_worker()
    agent = LockAgent(hub, hub.device("door", "lock-agent"), **worker)
    online(hub, True)
    yield hub, postgres
    assert agent.stop() == 0


def test_the_door_while_it_is_away(door, paho):
    """The relay stays as it is, an opening ends by itself, and no command is given that cannot be recorded. Who asked by
    MQTT meanwhile, and what the door did, is recorded on the return, with the times of then."""
    hub, postgres = door
    controller = paho(hub, hub.device("controller", "controller"))
    for topic in ("lock/status", "lock/response"):
        controller.subscribe(topic)
    controller.wait("lock/status", is_open(False))
    controller.clear()

    opened = time.monotonic()
    lock(hub, "open")
    controller.wait("lock/status", is_open(True))
    controller.wait("lock/response")
    postgres.stop()
    until(lambda: not is_ready(hub), "it is noticed", 15)
    said = [message.payload["status"] for message in controller.all("lock/status")]
    if time.monotonic() - opened < OPEN_SECONDS:
        assert set(said) == {"OPEN"}, "the outage moves nothing"
    controller.wait("lock/status", is_open(False), seconds=OPEN_SECONDS + 15)
    assert time.monotonic() - opened >= OPEN_SECONDS - 0.5, "not before its time"
    controller.clear()

    asked = datetime.datetime.now(datetime.UTC)
    end = asked + datetime.timedelta(seconds=8)
    command = {"action": "open", "commandId": str(uuid.uuid4()), "issuedAt": asked.isoformat(), "expiresAt": end.isoformat()}
    assert controller.publish("lock/command", command) == 0x87
    controller.publish("lock/command", "OPEN", qos=0)
    expect_away(hub.call("POST", "/api/lock/open"))
    # Commands are taken in order: the refusal of this one says that the others came to nothing.
    assert controller.publish("lock/command", {**command, "action": "close", "commandId": str(uuid.uuid4())}) == 0x87
    assert not controller.all("lock/status", is_open(True)) and not controller.all("lock/response")

    back = datetime.datetime.now(datetime.UTC)
    postgres.start()
    until(lambda: is_ready(hub), "the hub goes on by itself", 30)

    def recorded():
        rows = [row for row in hub.get("/api/lock/history?limit=50") if row["requestedBy"] == "device:controller"]
        return rows if len(rows) == 3 else None

    rows = until(recorded, "who asked meanwhile is recorded")
    assert sorted(row["action"] for row in rows) == ["close", "open", "open"]
    for row in rows:
        assert (row["channel"], row["outcome"], row["address"]) == ("mqtt", "not-given", "127.0.0.1"), row
        assert asked - datetime.timedelta(seconds=1) <= datetime.datetime.fromisoformat(row["requestedAt"]) <= back, row
    assert command["commandId"] in [row["commandId"] for row in rows]
    given = [row for row in hub.get("/api/lock/history?limit=50") if row["requestedBy"] == "user:1"]
    assert [(row["action"], row["outcome"]) for row in given] == [("open", "done")]
    events = until(lambda: events if len(events := door_events(hub, 0)) >= 2 else None, "both movements are stored")
    assert [event["eventType"] for event in events] == ["DOOR_OPENED", "DOOR_CLOSED"]
    closed = [datetime.datetime.fromisoformat(events[1][key]) for key in ("detectedAt", "createdAt")]
    assert closed[0] <= asked and back <= closed[1], "when it closed, and when that was stored"
    assert hub.run("lock", "audit", "verify").returncode == 0
    assert lock(hub, "open")["status"] == "SUCCESS"
