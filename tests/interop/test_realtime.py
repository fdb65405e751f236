"""What a dashboard may ask by Socket.io, with both clients; once as an event, once by an acknowledgement."""

import pytest

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
