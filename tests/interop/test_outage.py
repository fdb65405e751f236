"""Postgres is away: not there yet, stopped, hanging, or full. The hub stays up, says so, and goes on by itself."""

import signal
import time
import uuid

import paho.mqtt.client as mqtt
import pytest
import requests

from clients import Refused
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
