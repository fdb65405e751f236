"""What the tests share: one hub for all that leave it running, devices of each role, and clients that are closed
again. A test that ends or restarts a hub starts its own."""

import itertools
import uuid
from types import SimpleNamespace

import pytest

from clients import MqttJsDevice, NodeClients, NodeDashboard, PahoDevice, PythonDashboard
from hub import BINARY, Hub


def pytest_configure(config):
    if not BINARY.is_file():
        raise pytest.UsageError(f"{BINARY} is not there: cargo build, or set PORTCULLIS_BIN")


def pytest_runtest_logreport(report):
    # What the hub logged says more than the assertion.
    if report.failed and (hub := SHARED.get("hub")):
        report.sections.append(("the shared hub's log", hub.tail()))


SHARED = {}


@pytest.fixture(scope="session")
def hub():
    """The hub that most tests share. It has the two example cameras, 1 and 2, and loses none of them in between."""
    hub = Hub(CAMERA_TIMEOUT="3600")
    try:
        SHARED["hub"] = hub.start()
        yield hub
    finally:
        hub.remove()


def making_hubs():
    """Makes hubs, not started yet, and removes them in the end."""
    hubs = []

    def make(**settings):
        hubs.append(Hub(**settings))
        return hubs[-1]

    yield make
    for hub in hubs:
        hub.remove()


@pytest.fixture
def new_hub():
    """Makes hubs for a test's own use; not started yet."""
    yield from making_hubs()


@pytest.fixture(scope="module")
def make_hub():
    """Makes hubs that the tests of one file share; not started yet."""
    yield from making_hubs()


@pytest.fixture(scope="session")
def node():
    clients = NodeClients()
    yield clients
    clients.close()


@pytest.fixture(scope="session")
def devices(hub):
    """Credentials of a device of each role."""
    made = SimpleNamespace(
        camera1=hub.device("camera-1", "camera", camera=1),
        camera2=hub.device("camera-2", "camera", camera=2),
        engine=hub.device("engine", "ai-engine"),
        controller=hub.device("controller", "controller"),
        sensor=hub.device("sensor", "sensor"),
    )
    # A camera whose last session is gone for a while is lost, which makes an event that no test expects.
    held = [PahoDevice(hub, credentials) for credentials in (made.camera1, made.camera2)]
    yield made
    for session in held:
        session.close()


@pytest.fixture
def closing():
    """Remembers clients and closes them after the test."""
    opened = []

    def remember(client):
        opened.append(client)
        return client

    yield remember
    for client in reversed(opened):
        client.close()


@pytest.fixture
def python_dashboard(closing):
    return lambda url, *args, **more: closing(PythonDashboard(url, *args, **more))


@pytest.fixture
def node_dashboard(node, closing):
    return lambda url, *args, **more: closing(NodeDashboard(node, url, *args, **more))


@pytest.fixture(params=["python-socketio", "socket.io-client"])
def dashboard(request):
    """Opens a dashboard; the test runs with each client."""
    name = "python_dashboard" if request.param == "python-socketio" else "node_dashboard"
    return request.getfixturevalue(name)


@pytest.fixture
def paho(closing):
    return lambda hub, credentials, **more: closing(PahoDevice(hub, credentials, **more))


@pytest.fixture
def mqtt_js(node, closing):
    return lambda hub, credentials, **more: closing(MqttJsDevice(node, hub, credentials, **more))


@pytest.fixture(params=["paho-mqtt 5", "paho-mqtt 3.1.1", "mqtt.js 5", "mqtt.js 3.1.1"])
def device(request):
    """Opens a device's session; the test runs with each client and each version of MQTT."""
    library, version = request.param.split()
    make = request.getfixturevalue("paho" if library == "paho-mqtt" else "mqtt_js")
    number = 5 if version == "5" else 4
    return lambda hub, credentials, **more: make(hub, credentials, version=number, **more)


@pytest.fixture
def detection():
    """Makes detections that no other test makes."""
    counter = itertools.count(1)

    def make(count=1, **more):
        return {"personCount": count, "detectionId": str(uuid.uuid4()), "description": f"test {next(counter)}", **more}

    return make
