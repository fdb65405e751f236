"""A detection's way: from an AI engine by MQTT or HTTP to REST, MQTT and Socket.io, once each."""

import base64
import threading
import uuid

import pytest
import requests

from waiting import until

EVENT_KEYS = {
    "id", "cameraId", "eventType", "personCount", "confidence", "snapshotPath", "description", "isResolved",
    "createdAt", "resolvedAt", "camera", "detectionId", "detectedAt", "kind", "subjectCameraId", "requestedBy", "commandId",
}  # fmt: skip


def stored(hub, detection_id, camera=1):
    """The events in REST that bear that detectionId."""
    listed = hub.get(f"/api/events/camera/{camera}?limit=200")
    return [event for event in listed if event["detectionId"] == detection_id]


def is_of(detection):
    return lambda event: getattr(event, "payload", event)["detectionId"] == detection["detectionId"]


def by_http(hub, credentials, detection, camera=1, expect=201):
    answer = hub.call("POST", "/api/events", {"cameraId": camera, **detection}, token=credentials["token"])
    assert answer.status_code == expect, answer.text
    return answer.json()


@pytest.fixture
def audience(hub, devices, python_dashboard, node_dashboard, paho, mqtt_js):
    """Everybody who hears of camera 1's events: dashboards of both kinds, in the camera's room and not, by both
    transports, and controllers by MQTT with both clients."""
    dashboards = []
    for make in (python_dashboard, node_dashboard):
        dashboards.append(make(hub.url, hub.token(), transports=["websocket"]))
        member = make(hub.url, hub.token(), transports=["polling"])
        member.emit("subscribe:camera", {"cameraId": 1})
        assert member.wait("subscription:confirmed")["room"] == "camera:1"
        dashboards.append(member)
    subscribers = [paho(hub, devices.controller), mqtt_js(hub, devices.controller)]
    for subscriber in subscribers:
        assert subscriber.subscribe("camera/1/events") == 1
    return dashboards, subscribers


def heard_once(audience, detection, fence):
    """Each has heard the detection's event exactly once, when the later event `fence` has come to all of them."""
    dashboards, subscribers = audience
    events = []
    for client, name in [(d, "event:detected") for d in dashboards] + [(s, "camera/1/events") for s in subscribers]:
        client.wait(name, is_of(fence))
        heard = client.all(name, is_of(detection))
        assert len(heard) == 1, f"{client} heard {heard}"
        events.append(heard[0])
    return events


def test_by_mqtt_everybody_hears_of_it_once(hub, devices, device, detection, audience):
    sent, fence = detection(1, confidence=0.75, detectedAt="2026-01-02T03:04:05.678Z"), detection(1)
    session = device(hub, devices.camera1)
    assert session.publish("camera/1/detections", sent) == 0
    (event,) = stored(hub, sent["detectionId"])
    assert set(event) >= EVENT_KEYS
    assert event["eventType"] == "PERSON_DETECTED"
    assert event["confidence"] == 0.75
    assert event["detectedAt"] == "2026-01-02T03:04:05.678Z"
    assert event["camera"]["id"] == 1 and event["cameraId"] == 1
    assert event["isResolved"] is False and event["resolvedAt"] is None
    session.publish("camera/1/detections", fence)
    for heard in heard_once(audience, sent, fence):
        message = getattr(heard, "payload", heard)
        assert {key: message[key] for key in EVENT_KEYS} == {key: event[key] for key in EVENT_KEYS}
        if heard is message:
            assert "broadcastedAt" in heard
        else:
            assert not heard.retain


@pytest.mark.parametrize("who", ["camera1", "engine"])
def test_by_http_everybody_hears_of_it_once(hub, devices, detection, audience, who):
    sent, fence = detection(2), detection(1)
    event = by_http(hub, getattr(devices, who), sent)
    assert event["eventType"] == "MULTIPLE_PERSONS"
    assert stored(hub, sent["detectionId"]) == [event]
    by_http(hub, getattr(devices, who), fence)
    heard_once(audience, sent, fence)


def test_repeated_by_mqtt_it_is_acknowledged_and_stored_once(hub, devices, device, detection, audience):
    sent, fence = detection(1), detection(1)
    session = device(hub, devices.engine)
    for _ in range(3):
        assert session.publish("camera/1/detections", sent) == 0
    session.publish("camera/1/detections", fence)
    heard_once(audience, sent, fence)
    assert len(stored(hub, sent["detectionId"])) == 1


def test_repeated_by_http_it_answers_200_with_the_first(hub, devices, detection, audience):
    sent, fence = detection(1), detection(1)
    first = by_http(hub, devices.engine, sent)
    assert by_http(hub, devices.engine, {**sent, "personCount": 5}, expect=200) == first
    by_http(hub, devices.engine, fence)
    heard_once(audience, sent, fence)


def test_sent_by_both_ways_at_once_it_is_stored_once(hub, devices, paho, detection):
    session = paho(hub, devices.engine)
    for _ in range(5):
        sent = detection(1)
        answers = []
        poster = threading.Thread(
            target=lambda: answers.append(
                hub.call("POST", "/api/events", {"cameraId": 1, **sent}, token=devices.engine["token"]).status_code
            )
        )
        poster.start()
        assert session.publish("camera/1/detections", sent) == 0
        poster.join(15)
        assert answers[0] in (200, 201)
        assert len(stored(hub, sent["detectionId"])) == 1


def test_the_same_id_for_another_camera_is_another_detection(hub, devices, detection):
    sent = detection(1)
    first, second = by_http(hub, devices.engine, sent, camera=1), by_http(hub, devices.engine, sent, camera=2)
    assert first["id"] != second["id"]


@pytest.mark.parametrize(("count", "kind"), [(1, "PERSON_DETECTED"), (2, "MULTIPLE_PERSONS"), (17, "MULTIPLE_PERSONS")])
def test_it_is_classified_by_the_number_of_people(hub, devices, detection, count, kind):
    event = by_http(hub, devices.engine, detection(count))
    assert (event["eventType"], event["personCount"]) == (kind, count)


def test_nobody_seen_is_acknowledged_and_not_stored(hub, devices, device, detection):
    sent, also = detection(0), detection(0)
    assert device(hub, devices.camera2).publish("camera/2/detections", sent) == 0
    assert by_http(hub, devices.camera2, also, camera=2, expect=200) == {"ignored": "no person"}
    assert stored(hub, sent["detectionId"], camera=2) == stored(hub, also["detectionId"], camera=2) == []


def test_an_unknown_camera_is_404_by_http(hub, devices, detection):
    answer = hub.call("POST", "/api/events", {"cameraId": 9999, **detection(1)}, token=devices.engine["token"])
    assert answer.status_code == 404
    assert answer.json()["message"] == "Camera with ID 9999 not found"


def test_faults_are_told_each_by_http(hub, devices):
    body = {"cameraId": 1, "personCount": -1, "confidence": 2}
    answer = hub.call("POST", "/api/events", body, token=devices.engine["token"])
    assert answer.status_code == 400
    message = answer.json()["message"]
    assert "personCount must not be less than 0" in message
    assert any("confidence" in fault for fault in message)


def test_a_wrong_key_is_told_by_http(hub, devices):
    body = {"cameraId": 1, "personCount": 1, "foo": 1}
    answer = hub.call("POST", "/api/events", body, token=devices.engine["token"])
    assert answer.status_code == 400
    assert "property foo should not exist" in answer.json()["message"]


def test_http_knows_whose_camera_it_is(hub, devices, detection):
    for credentials in (devices.camera2, devices.sensor, devices.controller):
        body = {"cameraId": 1, **detection(1)}
        assert hub.call("POST", "/api/events", body, token=credentials["token"]).status_code == 403
    assert hub.call("POST", "/api/events", body, token=False).status_code == 401


@pytest.mark.parametrize("payload", ["{", "[]", '{"personCount": "two"}', '{"personCount": -1}', "\ufeff{}"])
def test_a_malformed_detection_is_kept_and_the_connection_stays(hub, devices, device, detection, payload):
    session = device(hub, devices.camera1)
    mark = payload + " " * (uuid.uuid4().int % 1000)
    code = session.publish("camera/1/detections", mark)
    assert code == (0x99 if session.version == 5 else 0)
    after = detection(1)
    assert session.publish("camera/1/detections", after) == 0, "the connection stays"
    assert len(stored(hub, after["detectionId"])) == 1

    def kept():
        for rejected in hub.get("/api/events/rejected?limit=50"):
            if text_of(rejected["payload"]) == mark:
                return rejected
        return None

    rejected = until(kept, "it is among the rejected")
    assert rejected["topic"] == "camera/1/detections"
    assert rejected["reason"]
    assert "camera-1" in rejected["source"]


def text_of(payload):
    """A rejected payload as text; what is no UTF-8 comes as base64."""
    try:
        return base64.b64decode(payload, validate=True).decode()
    except ValueError:
        return payload


def test_the_rejected_are_the_admins_alone(hub):
    hub.user("looker", "USER", "looks-at-things")
    assert hub.call("GET", "/api/events/rejected", token=hub.token("looker", "looks-at-things")).status_code == 403


def test_a_camera_cannot_report_for_another(hub, devices, device, detection):
    sent, own = detection(1), detection(1)
    session = device(hub, devices.camera2)
    assert session.publish("camera/1/detections", sent) == (0x87 if session.version == 5 else 0)
    assert session.publish("camera/2/detections", own) == 0, "the connection stays"
    assert stored(hub, sent["detectionId"]) == []
    assert len(stored(hub, own["detectionId"], camera=2)) == 1


def test_a_camera_hears_no_events(hub, devices, device):
    assert device(hub, devices.camera1).subscribe("camera/1/events") not in (0, 1, 2)


def test_times_and_paging(hub, devices, detection):
    events = [by_http(hub, devices.engine, detection(1)) for _ in range(3)]
    ids = [event["id"] for event in events]
    listed = hub.get("/api/events?limit=2")
    assert [event["id"] for event in listed] == ids[:0:-1]
    assert [event["id"] for event in hub.get(f"/api/events?limit=1&before={ids[2]}")] == [ids[1]]
    assert events[0]["createdAt"].endswith("Z") and len(events[0]["createdAt"]) == 24
    assert hub.get(f"/api/events/{ids[0]}") == events[0]


def test_resolving(hub, devices, detection):
    event = by_http(hub, devices.engine, detection(1))
    assert event["id"] in [one["id"] for one in hub.get("/api/events/unresolved")]
    first = hub.call("PATCH", f"/api/events/{event['id']}/resolve")
    assert first.status_code == 200
    assert first.json()["isResolved"] is True and first.json()["resolvedAt"]
    assert hub.call("PATCH", f"/api/events/{event['id']}/resolve").json() == first.json()
    assert event["id"] not in [one["id"] for one in hub.get("/api/events/unresolved")]


def test_a_burst_is_acknowledged_and_heard_whole(hub, devices, mqtt_js, python_dashboard, detection):
    """200 detections pipelined by one engine: each acknowledged, stored and broadcast once. In MQTT 3.1.1, which has no
    word for how many may be on their way; mqtt.js does not keep to the one of MQTT 5."""
    dashboard = python_dashboard(hub.url, hub.token())
    dashboard.wait("connection")
    session = mqtt_js(hub, devices.engine, version=4)
    sent = [detection(1) for _ in range(200)]
    for one in sent:
        session.node.tell(session.number, op="publish", topic="camera/1/detections", payload=json_of(one), qos=1,
                          retain=False, ack=one["detectionId"])  # fmt: skip
    for one in sent:
        assert session.wait(f"(ack {one['detectionId']})")["code"] == 0
    for one in sent:
        dashboard.wait("event:detected", is_of(one))
    wanted = {one["detectionId"] for one in sent}
    heard = [event["detectionId"] for event in dashboard.all("event:detected") if event["detectionId"] in wanted]
    assert len(heard) == 200
    listed = hub.get("/api/events/camera/1?limit=500")
    assert sorted(event["detectionId"] for event in listed if event["detectionId"] in wanted) == sorted(wanted)


def json_of(body):
    return requests.compat.json.dumps(body)
