"""Who is before a camera: in REST, on Socket.io and, retained, on MQTT."""

import time
import uuid

import pytest

from clients import PahoDevice, PythonDashboard
from waiting import until


@pytest.fixture(scope="module")
def present_hub(make_hub):
    hub = make_hub(CAMERA_TIMEOUT="3600", OCCUPANCY_SECONDS="3600").start()
    hub.engine = hub.device("eyes", "ai-engine")
    hub.watcher = hub.device("watcher", "controller")
    return hub


@pytest.fixture
def camera(present_hub):
    return present_hub.post("/api/cameras", {"name": f"camera {uuid.uuid4()}"})["id"]


@pytest.fixture
def watcher(present_hub, closing, camera):
    session = closing(PahoDevice(present_hub, present_hub.watcher))
    assert session.subscribe(f"camera/{camera}/occupancy") == 1
    session.wait(f"camera/{camera}/occupancy", lambda message: message.payload["occupied"] is False)
    return session


@pytest.fixture
def socket(present_hub, closing, camera):
    client = closing(PythonDashboard(present_hub.url, present_hub.token()))
    client.wait("camera:status", lambda status: status["cameraId"] == camera)
    client.clear()
    return client


def report(hub, camera, persons, **more):
    body = {"cameraId": camera, "personCount": persons, "detectionId": str(uuid.uuid4()), **more}
    answer = hub.call("POST", "/api/events", body, token=hub.engine["token"])
    assert answer.status_code in (200, 201), answer.text
    return answer


def shown(hub, camera):
    """What REST says, the same alone and in the list."""
    alone = hub.get(f"/api/cameras/{camera}")
    return {key: alone[key] for key in ("online", "lastSeen", "occupied", "personCount", "source")}


def of(camera, **expected):
    return lambda status: status["cameraId"] == camera and all(status[key] == value for key, value in expected.items())


def test_somebody_comes_and_goes(present_hub, camera, watcher, socket):
    hub, topic = present_hub, f"camera/{camera}/occupancy"
    assert shown(hub, camera) == {
        "online": False, "lastSeen": None, "occupied": False, "personCount": 0, "source": None,
    }  # fmt: skip
    report(hub, camera, 2)
    told = watcher.wait(topic, lambda message: message.payload["personCount"] == 2)
    assert told.payload.keys() == {"occupied", "personCount", "lastPerson"} and told.payload["occupied"] is True
    assert told.payload["lastPerson"] and told.qos == 1
    status = socket.wait("camera:status", of(camera, personCount=2))
    assert status.keys() == {"cameraId", "online", "lastSeen", "occupied", "personCount"}
    assert status["online"] is True and status["occupied"] is True and status["lastSeen"]
    now = shown(hub, camera)
    assert (now["online"], now["occupied"], now["personCount"]) == (True, True, 2) and now["lastSeen"]
    listed = {one["id"]: one for one in hub.get("/api/cameras")}
    assert listed[camera]["personCount"] == 2
    # One of them goes, then the other.
    report(hub, camera, 1)
    watcher.wait(topic, lambda message: message.payload["personCount"] == 1)
    report(hub, camera, 0)
    gone = watcher.wait(topic, lambda message: message.payload["occupied"] is False and message.payload["lastPerson"])
    assert gone.payload["personCount"] == 0
    socket.wait("camera:status", of(camera, occupied=False, personCount=0, online=True))
    until(lambda: shown(hub, camera)["occupied"] is False, "nobody is there")


def test_who_subscribes_or_connects_later_is_told_how_it_is(present_hub, camera, watcher, closing):
    hub, topic = present_hub, f"camera/{camera}/occupancy"
    report(hub, camera, 3)
    watcher.wait(topic, lambda message: message.payload["personCount"] == 3)
    later = closing(PahoDevice(hub, hub.watcher))
    assert later.subscribe(topic) == 1
    told = later.wait(topic)
    assert told.retain and told.payload["personCount"] == 3
    client = closing(PythonDashboard(hub.url, hub.token()))
    client.wait("camera:status", of(camera, occupied=True, personCount=3))
    names = [event for event, _ in client.heard if not event.startswith("(")]
    assert names.index("lock:status") < names.index("camera:status")


def test_only_those_with_events_read_hear_of_it_and_nobody_else_says_it(present_hub, camera, watcher, closing):
    hub, topic = present_hub, f"camera/{camera}/occupancy"
    station = closing(PahoDevice(hub, hub.device(f"station-{camera}", "sensor")))
    assert station.subscribe(topic) == 0x87
    engine = closing(PahoDevice(hub, hub.engine))
    assert engine.subscribe(topic) == 1
    assert engine.publish(topic, {"occupied": True}, retain=True) == 0x87
    watcher.clear()
    report(hub, camera, 1)
    assert watcher.wait(topic).payload["personCount"] == 1


def test_a_detection_that_is_sent_again_brings_nobody_back(present_hub, camera, watcher):
    hub, topic = present_hub, f"camera/{camera}/occupancy"
    id = str(uuid.uuid4())
    report(hub, camera, 1, detectionId=id)
    watcher.wait(topic, lambda message: message.payload["occupied"])
    report(hub, camera, 0)
    watcher.wait(topic, lambda message: message.payload["occupied"] is False and message.payload["lastPerson"])
    watcher.clear()
    assert report(hub, camera, 1, detectionId=id).status_code == 200
    # Something that is told after it would have been.
    report(hub, camera, 2)
    watcher.wait(topic, lambda message: message.payload["personCount"] == 2)
    assert [message.payload["personCount"] for message in watcher.all(topic)] == [2]


def test_a_burst_is_told_twice_a_second_at_most_and_ends_as_it_ended(present_hub, camera, watcher, closing):
    hub, topic = present_hub, f"camera/{camera}/occupancy"
    engine = closing(PahoDevice(hub, hub.engine))
    begun = time.monotonic()
    for number in range(400):
        sent = engine.client.publish(f"camera/{camera}/detections", f'{{"personCount": {1 + number % 3}}}', qos=1)
    engine.wait(f"(puback {sent.mid})")
    assert engine.publish(f"camera/{camera}/detections", {"personCount": 7}) == 0
    watcher.wait(topic, lambda message: message.payload["personCount"] == 7)
    told, took = len(watcher.all(topic)), time.monotonic() - begun
    # The one from before, the first at once, and then one in half a second.
    assert told <= 3 + took / 0.5, f"{told} in {took:.1f} s"


def test_who_is_deleted_or_switched_off_shows_nobody_and_leaves_nothing(present_hub, camera, watcher, socket, closing):
    hub, topic = present_hub, f"camera/{camera}/occupancy"
    report(hub, camera, 1)
    watcher.wait(topic, lambda message: message.payload["occupied"])
    hub.call("PUT", f"/api/cameras/{camera}", {"isActive": False})
    watcher.wait(topic, lambda message: message.payload == "")
    heard = [message.payload for message in watcher.all(topic)]
    assert heard[-1] == "" and heard[-2]["occupied"] is False
    changed = socket.wait("camera:changed", lambda told: told["camera"]["id"] == camera and not told["camera"]["isActive"])
    assert (changed["camera"]["occupied"], changed["camera"]["online"]) == (False, False)
    socket.wait("camera:status", of(camera, online=False, occupied=False))
    assert shown(hub, camera)["occupied"] is False
    # Detections of one that is switched off are stored, and show nobody.
    report(hub, camera, 4)
    assert shown(hub, camera)["occupied"] is False
    watcher.clear()
    hub.call("PUT", f"/api/cameras/{camera}", {"isActive": True})
    watcher.wait(topic, lambda message: message.payload != "" and message.payload["personCount"] == 4)

    other = hub.post("/api/cameras", {"name": "of a moment", "streamUrl": "rtsp://admin:secret@cam/1"})["id"]
    socket.wait("camera:changed", lambda told: told["camera"]["id"] == other)
    assert watcher.subscribe(f"camera/{other}/occupancy") == 1
    watcher.wait(f"camera/{other}/occupancy")
    hub.call("DELETE", f"/api/cameras/{other}")
    removed = socket.wait("camera:removed", lambda told: told["camera"]["id"] == other)
    assert removed["camera"]["name"] == "of a moment"
    watcher.wait(f"camera/{other}/occupancy", lambda message: message.payload == "")
    later = closing(PahoDevice(hub, hub.watcher))
    assert later.subscribe(f"camera/{other}/occupancy") == 1
    assert later.subscribe(topic) == 1
    later.wait(topic)
    assert later.all(f"camera/{other}/occupancy") == []


def test_after_a_restart_it_is_as_it_was(new_hub, closing):
    hub = new_hub(CAMERA_TIMEOUT="3600", OCCUPANCY_SECONDS="600").start()
    hub.engine = hub.device("eyes", "ai-engine")
    watcher = hub.device("watcher", "controller")
    report(hub, 2, 2)
    opened = hub.call("POST", "/api/lock/open")
    assert opened.status_code == 200
    # The movement is stored after the answer.
    until(lambda: hub.get("/api/events?eventType=DOOR_OPENED"), "the opening is stored")
    last = hub.get("/api/events/camera/2?limit=1")[0]
    hub.stop()
    hub.start()
    session = closing(PahoDevice(hub, watcher))
    assert session.subscribe("camera/+/occupancy") == 1
    there = session.wait("camera/2/occupancy").payload
    assert there == {"occupied": True, "personCount": 2, "lastPerson": last["createdAt"]}
    assert session.wait("camera/1/occupancy").payload == {"occupied": False, "personCount": 0, "lastPerson": None}
    until(lambda: shown(hub, 2)["personCount"] == 2, "REST says so too")
    until(lambda: hub.get("/api/lock/status")["openedBy"] == "user:1", "who opened the door last is known")


def test_a_lost_camera_shows_nobody_and_its_alert_says_which(new_hub, closing):
    hub = new_hub(CAMERA_TIMEOUT="2", OCCUPANCY_SECONDS="3600").start()
    hub.engine = hub.device("eyes", "ai-engine")
    client = closing(PythonDashboard(hub.url, hub.token()))
    report(hub, 1, 0)
    report(hub, 1, 2)
    client.wait("camera:status", of(1, occupied=True, personCount=2))
    client.wait("camera:status", of(1, occupied=False, personCount=0, online=False), 30)
    lost = until(lambda: hub.get("/api/events?kind=CAMERA_LOST&subjectCameraId=1"), "the alert")[-1]
    assert (lost["kind"], lost["subjectCameraId"], lost["cameraId"]) == ("CAMERA_LOST", 1, None)
    assert hub.get("/api/events?kind=CAMERA_LOST&subjectCameraId=2") == []
    report(hub, 1, 1)
    client.wait("camera:status", of(1, occupied=True, personCount=1, online=True))
    until(lambda: hub.get("/api/events?kind=CAMERA_RETURNED"), "the alert of its return")
    answer = hub.call("GET", "/api/events?kind=PARTY")
    assert answer.status_code == 400 and "kind must be one of the following values" in str(answer.json()["message"])
