"""What a dashboard may ask by Socket.io, with both clients; once as an event, once by an acknowledgement."""

import re

import pytest

from waiting import SECONDS, until

ANSWERS = {
    "subscribe:camera": "subscription:confirmed",
    "unsubscribe:camera": "unsubscription:confirmed",
    "request:latest-events": "latest:events",
    "request:events-since": "events:since",
    "request:unresolved-events": "unresolved:events",
    "ping": "pong",
}


@pytest.fixture
def client(hub, dashboard):
    client = dashboard(hub.url, hub.token())
    client.wait("connection")
    return client


@pytest.fixture(params=["event", "acknowledgement"])
def ask(request, client):
    """Asks and gives the answer."""

    def by_event(event, *args):
        client.clear()
        client.emit(event, *args)
        return client.wait(ANSWERS[event])

    return client.ask if request.param == "acknowledgement" else by_event


@pytest.fixture
def events(hub, devices, detection):
    """Three events, oldest first."""
    body = [{"cameraId": 1, **detection(count)} for count in (1, 2, 1)]
    return [hub.post("/api/events", one, token=devices.engine["token"]) for one in body]


def test_subscribing_to_a_camera(ask):
    joined = ask("subscribe:camera", {"cameraId": 1})
    assert joined["room"] == "camera:1" and joined["message"]
    left = ask("unsubscribe:camera", {"cameraId": 1})
    assert left["room"] == "camera:1" and left["message"]


def test_who_has_left_the_room_still_hears_each_event_once(hub, devices, client, detection):
    for event in ("subscribe:camera", "unsubscribe:camera", "subscribe:camera", "subscribe:camera"):
        client.ask(event, {"cameraId": 1})
    stored = [
        hub.post("/api/events", {"cameraId": camera, **detection(1)}, token=devices.engine["token"])["id"]
        for camera in (1, 2, 1)
    ]
    client.wait("event:detected", lambda event: event["id"] == stored[-1])
    assert [event["id"] for event in client.all("event:detected") if event["id"] in stored] == stored


def test_the_latest_events(ask, events):
    answer = ask("request:latest-events", {"limit": 2})
    assert [event["id"] for event in answer["events"]] == [events[2]["id"], events[1]["id"]]
    assert answer["count"] == 2 and answer["timestamp"]


def test_the_latest_events_without_a_limit(ask, events):
    answer = ask("request:latest-events", {})
    assert answer["count"] == len(answer["events"]) <= 10
    assert answer["events"][0] == events[2]


def test_the_latest_events_without_any_argument(ask, events):
    assert ask("request:latest-events")["events"][0] == events[2]


def test_events_since_close_a_gap_oldest_first(ask, events):
    answer = ask("request:events-since", {"eventId": events[0]["id"]})
    assert [event["id"] for event in answer["events"]] == [events[1]["id"], events[2]["id"]]
    assert answer["more"] is False and answer["count"] == 2
    cut = ask("request:events-since", {"eventId": events[0]["id"], "limit": 1})
    assert [event["id"] for event in cut["events"]] == [events[1]["id"]]
    assert cut["more"] is True


def test_unresolved_events(hub, ask, events):
    hub.call("PATCH", f"/api/events/{events[1]['id']}/resolve")
    ids = [event["id"] for event in ask("request:unresolved-events")["events"]]
    assert ids[:2] == [events[2]["id"], events[0]["id"]]
    assert len(ids) <= 50


def test_ping(ask):
    assert set(ask("ping")) == {"timestamp"}


@pytest.mark.parametrize(
    ("event", "arguments"),
    [
        ("subscribe:camera", [{}]),
        ("subscribe:camera", []),
        ("subscribe:camera", [{"cameraId": "x"}]),
        ("subscribe:camera", ["front door"]),
        ("unsubscribe:camera", [{"cameraId": None}]),
        ("request:latest-events", [{"limit": 0}]),
        ("request:latest-events", [{"limit": "many"}]),
        ("request:events-since", [{}]),
        ("request:events-since", [{"eventId": "first"}]),
    ],
)
def test_bad_arguments_get_an_exception_and_the_socket_stays(client, event, arguments):
    client.emit(event, *arguments)
    answer = client.wait("exception")
    assert answer["status"] == "error" and answer["message"]
    assert client.ask("ping")["timestamp"]


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_both_transports_carry_it_all(hub, devices, dashboard, detection, transport):
    client = dashboard(hub.url, hub.token(), transports=[transport])
    assert client.ask("subscribe:camera", {"cameraId": 1})["room"] == "camera:1"
    sent = detection(1)
    hub.post("/api/events", {"cameraId": 1, **sent}, token=devices.engine["token"])
    client.wait("event:detected", lambda event: event["detectionId"] == sent["detectionId"])
    assert client.transport() == transport


# The contract's words, line by line: written here by hand. "<time>" and "<text>" stand for what cannot be known.

EVENT = {
    "id": 0, "cameraId": 1, "eventType": "MULTIPLE_PERSONS", "personCount": 2, "confidence": None, "snapshotPath": None,
    "description": "<text>", "isResolved": False, "createdAt": "<time>", "resolvedAt": None,
    "camera": {"id": 1, "name": "Front door", "location": "Entrance"}, "detectionId": "<text>", "detectedAt": None,
    "kind": None, "subjectCameraId": None, "requestedBy": None, "commandId": None,
}  # fmt: skip


def is_as(expected, actual):
    if expected == "<time>":
        return bool(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", actual))
    if expected == "<text>":
        return isinstance(actual, str) and actual != ""
    if isinstance(expected, dict):
        return isinstance(actual, dict) and expected.keys() == actual.keys() and all(
            is_as(expected[name], actual[name]) for name in expected
        )
    if isinstance(expected, list):
        return isinstance(actual, list) and len(expected) == len(actual) and all(map(is_as, expected, actual))
    return expected == actual and type(expected) is type(actual)


def error(message):
    return {"status": "error", "message": message}


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_every_answer_is_as_the_contract_has_it(hub, devices, dashboard, detection, transport):
    client = dashboard(hub.url, hub.token(), transports=[transport])
    assert is_as({"message": "<text>", "timestamp": "<time>"}, client.wait("connection"))
    lock = client.wait("lock:status")
    assert lock.keys() == {"status", "metadata", "timestamp"} and lock["status"] in ("OPEN", "CLOSED", "UNKNOWN")
    assert lock["metadata"].keys() == {
        "reason", "requestedBy", "commandId", "pin", "simulated", "online", "opensUntil", "held", "door", "alarm", "alarmSince",
        "changedAt", "openedBy",
    }
    assert is_as("<time>", lock["timestamp"])
    event = hub.post("/api/events", {"cameraId": 1, **detection(2)}, token=devices.engine["token"])
    shown = {**EVENT, "id": event["id"]}
    told = client.wait("event:detected", lambda told: told["id"] == event["id"])
    assert is_as({**shown, "broadcastedAt": "<time>"}, told), told
    page = {"events": [shown], "count": 1, "timestamp": "<time>"}
    limits = {"x": "limit must be an integer number", 0: "limit must not be less than 1", 501: "limit must not be greater than 500"}
    cases = [
        ("subscribe:camera", {"cameraId": 1}, {"room": "camera:1", "message": "<text>"}),
        ("unsubscribe:camera", {"cameraId": 1}, {"room": "camera:1", "message": "<text>"}),
        # A room that it is not in is left without a word.
        ("unsubscribe:camera", {"cameraId": 2}, {"room": "camera:2", "message": "<text>"}),
        ("request:latest-events", {"limit": 1}, page),
        ("request:events-since", {"eventId": event["id"] - 1}, {**page, "more": False}),
        ("request:events-since", {"eventId": event["id"]}, {"events": [], "count": 0, "more": False, "timestamp": "<time>"}),
        ("ping", None, {"timestamp": "<time>"}),
        ("subscribe:camera", {"cameraId": 987}, error("Camera with ID 987 not found")),
        ("subscribe:camera", {"cameraId": 10**12}, error("Camera with ID 1000000000000 not found")),
        ("subscribe:camera", {"cameraId": "one"}, error("cameraId must be an integer number")),
        ("subscribe:camera", {}, error("cameraId must be an integer number")),
        ("unsubscribe:camera", {"cameraId": 1.5}, error("cameraId must be an integer number")),
        ("request:events-since", {}, error("eventId must be an integer number")),
        ("request:events-since", {"eventId": "one"}, error("eventId must be an integer number")),
        *(("request:latest-events", {"limit": limit}, error(words)) for limit, words in limits.items()),
        *(("request:events-since", {"eventId": 1, "limit": limit}, error(words)) for limit, words in limits.items()),
    ]
    for name, argument, expected in cases:
        arguments = [] if argument is None else [argument]
        assert is_as(expected, client.ask(name, *arguments)), (name, argument, expected)
        client.clear()
        client.emit(name, *arguments)
        answer = client.wait("exception" if "status" in expected else ANSWERS[name])
        assert is_as(expected, answer), (name, argument, answer)
    # What the contract does not know is left alone, and the socket stays.
    client.emit("request:everything", {"limit": 1})
    assert is_as({"timestamp": "<time>"}, client.ask("ping"))


def test_the_newest_of_many_events_by_the_limits_that_nobody_gives(hub, devices, client, detection):
    stored = [
        hub.post("/api/events", {"cameraId": 2, **detection(1)}, token=devices.engine["token"])["id"] for _ in range(60)
    ]
    answer = client.ask("request:latest-events", {})
    assert [event["id"] for event in answer["events"]] == stored[:-11:-1] and answer["count"] == 10
    answer = client.ask("request:unresolved-events")
    assert [event["id"] for event in answer["events"]] == stored[:-51:-1] and answer["count"] == 50
    assert answer.keys() == {"events", "count", "timestamp"}
    answer = client.ask("request:events-since", {"eventId": stored[0], "limit": 500})
    assert [event["id"] for event in answer["events"]] == stored[1:] and answer["more"] is False


def test_a_movement_of_the_lock_is_told_to_all(hub, client):
    client.clear()
    hub.post("/api/lock/open", expect=200)
    opened = client.wait("lock:status", lambda status: status["status"] == "OPEN")
    assert opened["metadata"]["requestedBy"] == "user:1" and opened["metadata"]["online"] is True
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", opened["metadata"]["commandId"])
    event = client.wait("event:detected", lambda event: event["eventType"] == "DOOR_OPENED")
    assert (event["cameraId"], event["personCount"], event["isResolved"]) == (None, 0, True)
    assert event["camera"] == {"id": None, "name": "Portcullis", "location": None}
    assert (event["requestedBy"], event["commandId"]) == ("user:1", opened["metadata"]["commandId"])
    assert opened["metadata"]["openedBy"] == "user:1" and opened["metadata"]["changedAt"]
    assert hub.get("/api/lock/status")["openedBy"] == "user:1"
    # By itself, a second later.
    client.wait("lock:status", lambda status: status["status"] == "CLOSED", seconds=SECONDS)
    until(lambda: hub.get("/api/lock/status")["status"] == "CLOSED", "the door is closed")
