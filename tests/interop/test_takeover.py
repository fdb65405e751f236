"""Clients that are back before the hub has read their old connection: their goodbye counts, and what they had sent."""

import os

import pytest

from clients import PahoDevice
from quick import DISCONNECT, Tcp, WebSocket, connect, publish, round

ROUNDS = 10_000 if os.environ.get("PORTCULLIS_LONG") else 300
RIGHTS = "".join(
    f'[[rights]]\nwho = "sensor"\naction = "{action}"\nfilter = "test/#"\nallow = true\n'
    for action in ("publish", "subscribe")
)


@pytest.fixture(scope="module")
def quick_hub(make_hub):
    hub = make_hub(CAMERA_TIMEOUT="3600")
    hub.folder.joinpath("broker.toml").write_text(RIGHTS)
    return hub.start()


@pytest.fixture(scope="module")
def sensors(quick_hub):
    return quick_hub.device("quick", "sensor"), quick_hub.device("watcher", "sensor")


@pytest.mark.parametrize("make", [Tcp, WebSocket])
def test_a_goodbye_counts_and_so_does_what_was_said_before_it(quick_hub, sensors, closing, make):
    quick, watching = sensors
    watcher = closing(PahoDevice(quick_hub, watching))
    assert watcher.subscribe("test/#") == 1
    for clean in (True, False):
        hello = connect(quick, f"quick-{make.__name__}-{clean}", will=("test/will", "lost"), clean=clean)
        for number in range(ROUNDS):
            qos = number % 3
            words = publish("test/number", str(number), qos, number % 60_000 + 1)
            present = round(make, quick_hub, hello, words, DISCONNECT)
            assert present == (not clean and number > 0)
        last = str(ROUNDS - 1)
        watcher.wait("test/number", lambda message: str(message.payload) == last)
        numbers = [int(message.payload) for message in watcher.all("test/number")]
        assert numbers == list(range(ROUNDS)), f"{ROUNDS - len(numbers)} of {ROUNDS} are lost"
        assert watcher.all("test/will") == []
        watcher.clear()


def test_a_lock_worker_that_restarts_raises_no_alert(new_hub):
    hub = new_hub(LOCK_AGENT="remote", CAMERA_TIMEOUT="3600").start_without_worker()
    worker = hub.device("front-door", "lock-agent")
    lost = ("lock/status", '{"status":"UNKNOWN","online":false,"pin":17,"simulated":true,"message":"lost"}')
    hello = connect(worker, "front-door", will=lost)
    for _ in range(100):
        round(Tcp, hub, hello, DISCONNECT)
    # Committed after all that was before.
    hub.post("/api/events", {"cameraId": 1, "personCount": 1})
    events = hub.get("/api/events?limit=100")
    assert [event["eventType"] for event in events] == ["PERSON_DETECTED"], events
