"""A camera that is there no more: `camera/<id>/status` says offline and is then cleared, whoever deleted it."""

import pytest

from clients import PahoDevice
from waiting import until


@pytest.fixture(scope="module")
def cameras_hub(make_hub):
    return make_hub(CAMERA_TIMEOUT="3600").start()


def by_rest(hub, camera):
    answer = hub.call("DELETE", f"/api/cameras/{camera}")
    assert answer.status_code in (200, 204), answer.text


def by_sql(hub, camera):
    hub.sql(f"DELETE FROM cameras WHERE id = {camera}")


def by_switching_it_off(hub, camera):
    hub.sql(f"UPDATE cameras SET is_active = false WHERE id = {camera}")


def by_sql_that_tells_nobody(hub, camera):
    """With the triggers at rest, as TRUNCATE has none: the hub finds out by comparing."""
    switch = "ALTER TABLE cameras {} TRIGGER cameras_changed"
    hub.sql(f"{switch.format('DISABLE')}; DELETE FROM cameras WHERE id = {camera}; {switch.format('ENABLE')}")


@pytest.mark.parametrize("delete", [by_rest, by_sql, by_switching_it_off, by_sql_that_tells_nobody])
@pytest.mark.parametrize("online", [False, True])
def test_nothing_of_a_deleted_camera_stays(cameras_hub, closing, delete, online):
    hub = cameras_hub
    name = f"{delete.__name__}-{online}".replace("_", "-")
    camera = hub.post("/api/cameras", {"name": name, "location": "attic"})["id"]
    topic = f"camera/{camera}/status"
    watcher = closing(PahoDevice(hub, hub.device(f"w-{name}", "controller")))
    assert watcher.subscribe("camera/+/status") == 1
    watcher.wait(topic, lambda message: message.payload["online"] is False)
    if online:
        closing(PahoDevice(hub, hub.device(f"c-{name}", "camera", camera=camera)))
        watcher.wait(topic, lambda message: message.payload["online"] is True)
        # A camera with a device is not deleted. What it was last said to be stays.
        hub.run("device", "remove", f"c-{name}")
    watcher.clear()
    delete(hub, camera)
    watcher.wait(topic, lambda message: message.payload == "", 60)
    heard = [message.payload for message in watcher.all(topic)]
    assert [payload if payload == "" else payload["online"] for payload in heard][-2:] == [False, ""], heard
    later = closing(PahoDevice(hub, hub.device(f"l-{name}", "controller")))
    assert later.subscribe("camera/+/status") == 1
    # The example cameras' are still there.
    later.wait("camera/1/status")
    later.wait("camera/2/status")
    assert later.all(topic) == []


def test_a_camera_that_was_deleted_is_not_there_after_a_restart(new_hub, closing):
    hub = new_hub(CAMERA_TIMEOUT="3600").start()
    controller = hub.device("controller", "controller")
    watcher = closing(PahoDevice(hub, controller))
    assert watcher.subscribe("camera/+/status") == 1
    watcher.wait("camera/2/status")
    hub.sql("DELETE FROM cameras WHERE id = 2")
    hub.stop()
    hub.start()
    later = closing(PahoDevice(hub, controller))
    assert later.subscribe("camera/+/status") == 1
    until(lambda: later.all("camera/1/status"), "the other camera is told of")
    assert later.all("camera/2/status") == []
