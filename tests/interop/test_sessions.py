"""MQTT over WebSocket, and sessions that end when what they rest on ends."""

from types import SimpleNamespace

import pytest

from clients import Refused


def over_websocket(hub):
    return SimpleNamespace(mqtt_url=f"ws://127.0.0.1:{hub.port}/mqtt")


@pytest.mark.parametrize("version", [4, 5])
def test_mqtt_over_websocket(hub, devices, mqtt_js, detection, version):
    listener = mqtt_js(over_websocket(hub), devices.controller, version=version)
    assert listener.subscribe("camera/1/events") in (0, 1)
    reporter = mqtt_js(over_websocket(hub), devices.engine, version=version)
    sent = detection(1)
    reporter.publish("camera/1/detections", sent)
    listener.wait("camera/1/events", lambda message: message.payload["detectionId"] == sent["detectionId"])


def test_mqtt_over_websocket_asks_for_credentials_too(hub, mqtt_js):
    with pytest.raises(Refused):
        mqtt_js(over_websocket(hub), {"username": "engine", "password": "wrong"})


@pytest.mark.parametrize("verb", ["remove", "rotate"])
def test_a_device_that_is_removed_or_rotated_by_the_command_line_is_out(hub, paho, verb):
    name = f"short-lived-{verb}"
    credentials = hub.device(name, "controller")
    session = paho(hub, credentials)
    hub.run("device", verb, name)
    session.wait("(disconnect)", seconds=2)
    with pytest.raises(Refused):
        paho(hub, credentials)


def test_a_users_session_ends_with_a_new_password(hub, paho):
    hub.user("watcher", "USER", "first-password")
    session = paho(hub, {"username": "watcher", "password": hub.token("watcher", "first-password")})
    assert session.subscribe("camera/+/events") in (0, 1)
    hub.run("user", "set-password", "watcher", stdin="second-password\n")
    session.wait("(disconnect)", seconds=2)
