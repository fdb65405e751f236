"""A bridge of the house's own Mosquitto, configured as docs/mqtt.md says: it connects, says so, and carries messages both
ways."""

import re
import subprocess
from types import SimpleNamespace

import pytest

from clients import PahoDevice
from hub import ROOT, free_port
from waiting import until

PAGE = (ROOT / "docs" / "mqtt.md").read_text()


def example(kind, start):
    """The page's block of this language that begins so."""
    found = re.search(rf"```{kind}\n({re.escape(start)}.*?)```", PAGE, re.DOTALL)
    assert found, f"docs/mqtt.md has no {kind} that begins with {start!r}"
    return found.group(1)


@pytest.fixture
def house(new_hub, closing):
    """A hub with the rights of the page, and a Mosquitto with its bridge, which may be changed before."""
    running = []

    def kill():
        running[-1].kill()

    def start(version, change=lambda text: text):
        hub = new_hub(CAMERA_TIMEOUT="3600")
        hub.folder.joinpath("broker.toml").write_text(example("toml", '[[rights]]\nwho = "device:house"'))
        hub.start()
        credentials = hub.device("house", "controller")
        broker = SimpleNamespace(mqtt_port=free_port())
        bridge = example("conf", "connection hub").replace("hub.example:8883", f"127.0.0.1:{hub.mqtt_port}")
        bridge = bridge.replace("THE-SECRET", credentials["password"])
        # This hub has no TLS; the page's has.
        bridge = re.sub(r"^bridge_cafile .*\n", "", bridge, flags=re.MULTILINE)
        settings = f"listener {broker.mqtt_port} 127.0.0.1\nallow_anonymous true\n{change(bridge)}\n"
        settings += f"bridge_protocol_version {version}\nrestart_timeout 1\n"
        path = hub.folder / "mosquitto.conf"
        path.write_text(settings)
        log = (hub.folder / "mosquitto.log").open("wb")
        running.append(subprocess.Popen(["/usr/sbin/mosquitto", "-v", "-c", str(path)], stdout=log, stderr=log))

        def listens():
            return closing(PahoDevice(broker, None))

        local = until(listens, "Mosquitto listens")
        return hub, local

    start.kill = kill
    yield start
    for process in running:
        process.terminate()
        process.wait(15)


@pytest.mark.parametrize("version", ["mqttv311", "mqttv50"])
def test_a_bridge_as_the_page_has_it_connects_and_carries(house, closing, detection, version):
    hub, local = house(version)
    assert local.subscribe("#") in (0, 1)
    hub.user("resident", "USER", "first-password")
    viewer = closing(PahoDevice(hub, {"username": "resident", "password": hub.token("resident", "first-password")}))
    assert viewer.subscribe("$SYS/broker/connection/#") in (0, 1)
    assert viewer.subscribe("sensors/#") in (0, 1)
    # It says that it is there, and its word is kept.
    state = viewer.wait("$SYS/broker/connection/house/state", lambda message: message.payload == 1)
    assert state.payload == 1

    engine = closing(PahoDevice(hub, hub.device("engine", "ai-engine")))

    def arrives():
        # Its subscriptions may be on their way still.
        sent = detection(1)
        engine.publish("camera/1/detections", sent)
        try:
            return local.wait("camera/1/events", lambda event: event.payload["detectionId"] == sent["detectionId"], 2)
        except AssertionError:
            return None

    until(arrives, "an event reaches the house", 30)
    local.publish("sensors/heat", "21")
    assert viewer.wait("sensors/heat").payload == 21


def test_a_bridge_with_mosquittos_own_defaults_connects_too(house, closing):
    """`try_private` at its default: the first CONNECT has a version of Mosquitto's own, which is refused, the next not."""
    hub, _ = house("mqttv311", lambda text: re.sub(r"^try_private .*\n", "", text, flags=re.MULTILINE))
    hub.user("resident", "USER", "first-password")
    viewer = closing(PahoDevice(hub, {"username": "resident", "password": hub.token("resident", "first-password")}))
    assert viewer.subscribe("$SYS/broker/connection/#") in (0, 1)
    viewer.wait("$SYS/broker/connection/house/state", lambda message: message.payload == 1, 30)
    # And when it goes without a word, its will says so.
    house.kill()
    viewer.wait("$SYS/broker/connection/house/state", lambda message: message.payload == 0)
