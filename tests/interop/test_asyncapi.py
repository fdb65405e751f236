"""docs/asyncapi.yaml is a valid AsyncAPI document, and says what the hub does: every topic and event that the hub sends
stands in it and has the shape it states, and what it says the hub hears is heard."""

import datetime
import json
import re
import threading
import uuid

import jsonschema_rs
import pytest
import yaml

from clients import HERE
from hub import ROOT
from waiting import until

DOCUMENT = yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text())
MQTT = {name: channel for name, channel in DOCUMENT["channels"].items() if name != "dashboard"}
EXAMPLES = {
    name: [example["payload"] for example in message.get("examples", [])]
    for name, message in DOCUMENT["components"]["messages"].items()
}


def resolved(value):
    """The value with everything it refers to put in."""
    if isinstance(value, list):
        return [resolved(element) for element in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        target = DOCUMENT
        for part in value["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return resolved(target)
    return {key: resolved(element) for key, element in value.items()}


def closed(schema):
    """The schema without place for keys that it does not name, and with every key that it names: readers may ignore
    keys that are new, but here they are to be written down."""
    if isinstance(schema, list):
        return [closed(element) for element in schema]
    if not isinstance(schema, dict):
        return schema
    if "allOf" in schema:
        parts = schema["allOf"]
        properties = {name: rules for part in parts for name, rules in part["properties"].items()}
        return closed({"type": "object", "properties": properties, "required": sum((p["required"] for p in parts), [])})
    schema = {key: closed(value) for key, value in schema.items()}
    if "properties" in schema:
        schema["additionalProperties"] = False
    return schema


def validate(schema, payload):
    validator = jsonschema_rs.Draft7Validator(closed(resolved(schema)), validate_formats=True)
    faults = [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(payload)]
    assert not faults, f"{payload}\n{faults}"


def messages(operation):
    """The messages of an operation: its own, or all of its channel."""
    return [resolved(message) for message in operation.get("messages") or resolved(operation["channel"])["messages"].values()]


def operations(action, of_dashboards):
    dashboard = {"$ref": "#/channels/dashboard"}
    found = DOCUMENT["operations"].values()
    return [one for one in found if one["action"] == action and (one["channel"] == dashboard) == of_dashboards]


def channel_of(topic):
    """The name of the channel that a topic belongs to."""
    for name, channel in MQTT.items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", channel["address"]), topic):
            return name
    raise AssertionError(f"{topic} is in no channel of the document")


def test_it_is_a_valid_asyncapi_document():
    # `without-$id`: in the other one, each part has an address on the web, where nobody asks.
    schema = json.loads((HERE / "node_modules/@asyncapi/specs/schemas/3.0.0-without-$id.json").read_text())
    validator = jsonschema_rs.Draft7Validator(schema)
    faults = [f"{error.instance_path}: {error.message:.500}" for error in validator.iter_errors(DOCUMENT)]
    assert not faults, "\n".join(faults)
    # Every reference leads somewhere, every message is of a channel, and every channel has an operation.
    resolved(DOCUMENT)
    used = {id for channel in DOCUMENT["channels"].values() for id in channel["messages"]}
    assert used == set(DOCUMENT["components"]["messages"])
    served = {operation["channel"]["$ref"].rsplit("/", 1)[1] for operation in DOCUMENT["operations"].values()}
    assert served == set(DOCUMENT["channels"])


def test_every_example_is_as_its_schema_says():
    for name, message in DOCUMENT["components"]["messages"].items():
        for example in message.get("examples", []):
            validate(message["payload"], example["payload"])
    heard = {message["name"] for operation in operations("receive", True) for message in messages(operation)}
    shown = {message["name"] for message in DOCUMENT["components"]["messages"].values() if message.get("examples")}
    assert heard <= shown


COMPARED = {"type", "properties", "required", "enum", "format", "minimum", "maximum", "maxLength", "pattern", "items"}


def essence(schema, schemas=None):
    """What a schema demands, without its descriptions, in an order of its own."""
    if "$ref" in schema:
        return essence(schemas[schema["$ref"].rsplit("/", 1)[1]], schemas)
    kept = {key: value for key, value in schema.items() if key in COMPARED}
    if kept.get("format") in ("int32", "int64", "double"):
        del kept["format"]
    for key in ("type", "required", "enum"):
        if isinstance(kept.get(key), list):
            kept[key] = sorted(kept[key])
    if "properties" in kept:
        kept["properties"] = {name: essence(rules, schemas) for name, rules in kept["properties"].items()}
    return kept


def test_detections_and_events_are_those_of_rest(hub):
    schemas = hub.call("GET", "/openapi.json", token=False).json()["components"]["schemas"]
    ours = DOCUMENT["components"]["schemas"]
    body = essence(schemas["DetectionBody"], schemas)
    del body["properties"]["cameraId"]
    body["required"].remove("cameraId")
    assert essence(ours["Detection"]) == body
    assert essence(ours["Event"]) == essence(schemas["EventJson"], schemas)
    assert essence(ours["Kind"]) == essence(schemas["Kind"], schemas)
    assert essence(ours["Camera"]) == essence(schemas["CameraJson"], schemas)


@pytest.fixture(scope="module")
def remote(make_hub):
    """A hub whose lock worker is the test."""
    return make_hub(LOCK_AGENT="remote", LOCK_HOLD_OPEN="true", CAMERA_TIMEOUT="3600").start_without_worker()


@pytest.fixture
def worker(remote, paho):
    """A session that plays the lock worker: it says what the document's examples say of one."""
    if not hasattr(remote, "agent"):
        remote.agent = remote.device("agent", "lock-agent")
    session = paho(remote, remote.agent)
    session.subscribe("lock/command")
    status = EXAMPLES["lockStatus"][0]
    session.publish("lock/status", status, retain=True)
    until(lambda: remote.get("/api/lock/status")["online"], "the worker is known")

    def confirm(command, now):
        id = {"commandId": command["commandId"]}
        session.publish("lock/status", {**status, **id, "status": now}, retain=True)
        session.publish("lock/response", {**EXAMPLES["lockResponse"][0], **id})

    session.confirm = confirm
    return session


def command_the_lock(hub, worker, verb, body=None, now="OPEN"):
    """Asks over HTTP; the worker confirms the command, which is returned."""
    answers = []
    worker.clear()
    asking = threading.Thread(target=lambda: answers.append(hub.call("POST", f"/api/lock/{verb}", body)))
    asking.start()
    command = worker.wait("lock/command").payload
    worker.confirm(command, now)
    asking.join(10)
    assert answers[0].status_code == 200, answers[0].text
    return command


def test_what_the_hub_says_by_mqtt_is_as_described(remote, worker, paho):
    """Each channel of the document is heard once at least, and what is heard has its shape."""
    watcher = paho(remote, {"username": "admin", "password": remote.token()})
    engine = paho(remote, remote.device("engine", "ai-engine"))
    for filter in ("camera/+/events", "camera/+/status", "camera/+/occupancy", "lock/status", "lock/response", "hub/events", "hub/status"):
        for session in (watcher, engine):
            session.subscribe(filter)
    held = paho(remote, remote.device("camera", "camera", camera=1))
    assert held.publish("camera/1/detections", {"personCount": 1}) == 0
    commands = [command_the_lock(remote, worker, "open")]
    command_the_lock(remote, worker, "close", now="CLOSED")
    soon = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=5)).isoformat()
    commands.append(command_the_lock(remote, worker, "hold", {"until": soon, "reason": "moving in"}))
    for command in commands:
        validate(DOCUMENT["components"]["schemas"]["LockCommand"], command)
    assert set(commands[1]) == set(DOCUMENT["components"]["schemas"]["LockCommand"]["properties"])
    watcher.wait("hub/events")
    watcher.wait("camera/1/events")
    watcher.wait("camera/1/status")
    watcher.wait("camera/1/occupancy")
    said = {"lockCommand"}
    for session in (watcher, engine):
        for topic, message in list(session.heard):
            if topic.startswith("("):
                continue
            name = channel_of(topic)
            said.add(name)
            (described,) = MQTT[name]["messages"].values()
            validate(resolved(described)["payload"], message.payload)
    sent = {operation["channel"]["$ref"].rsplit("/", 1)[1] for operation in operations("send", False)}
    assert said == sent | {"lockResponse"}


def test_what_is_described_for_mqtt_is_heard(remote, worker, paho, mqtt_js):
    engine = paho(remote, remote.device("reporter", "ai-engine"))
    for example in EXAMPLES["detection"]:
        assert engine.publish("camera/2/detections", example) == 0
    assert remote.get("/api/events/rejected") == []
    assert engine.publish("camera/2/detections", {"personCount": 1, "unknown": True}) == 0x99
    controller = paho(remote, remote.device("controller", "controller"))
    example = EXAMPLES["lockCommand"][0]
    now = datetime.datetime.now(datetime.UTC)
    fresh = {
        **example,
        "commandId": str(uuid.uuid4()),
        "issuedAt": now.isoformat(),
        "expiresAt": (now + datetime.timedelta(seconds=2)).isoformat(),
    }
    worker.clear()
    controller.publish("lock/command", fresh)
    given = worker.wait("lock/command").payload
    assert given["commandId"] == fresh["commandId"] and given["requestedBy"] == "device:controller"
    worker.confirm(given, "OPEN")
    worker.clear()
    controller.client.publish("lock/command", EXAMPLES["lockWord"][0], qos=0)
    given = worker.wait("lock/command").payload
    validate(DOCUMENT["components"]["schemas"]["LockCommand"], given)
    assert given["action"] == "close"
    worker.confirm(given, "CLOSED")


def test_what_the_hub_says_by_socket_io_is_as_described(hub, devices, detection, dashboard):
    """Each message that the document has the hub send is heard, and nothing else."""
    password = "only-for-this-test"
    name = f"dashboard-{uuid.uuid4()}"
    hub.user(name, "OPERATOR", password)
    id = hub.get("/api/users/me", hub.token(name, password))["id"]
    client = dashboard(hub.url, hub.token(name))
    client.wait("lock:status")
    admin = dashboard(hub.url, hub.token())
    admin.wait("system:health")
    camera = hub.post("/api/cameras", {"name": "of a moment"})["id"]
    for session in (client, admin):
        session.wait("camera:status")
        session.wait("camera:changed", lambda told: told["camera"]["id"] == camera)
    # One that comes and goes before the hub has looked is told of to nobody.
    hub.call("DELETE", f"/api/cameras/{camera}")
    for session in (client, admin):
        session.wait("camera:removed", lambda told: told["camera"]["id"] == camera)
    sent = detection(1)
    hub.post("/api/events", {"cameraId": 1, **sent}, token=devices.engine["token"])
    client.wait("event:detected", lambda event: event["detectionId"] == sent["detectionId"])
    for operation in operations("receive", True):
        (asked,) = messages(operation)
        (answer,) = [resolved(message) for message in operation["reply"]["messages"]]
        for example in asked["examples"]:
            validate(answer["payload"], client.ask(asked["name"], example["payload"]))
            client.emit(asked["name"], example["payload"])
    client.emit("subscribe:camera", {"cameraId": "no number"})
    client.wait("exception")
    hub.call("PUT", f"/api/users/{id}", {"isActive": False})
    client.wait("(disconnect)")
    described = {message["name"]: message for operation in operations("send", True) for message in messages(operation)}
    for operation in operations("receive", True):
        answers = [resolved(message) for message in operation["reply"]["messages"]]
        described |= {message["name"]: message for message in answers}
    heard = [(event, content) for event, content in [*client.heard, *admin.heard] if not event.startswith("(")]
    for event, content in heard:
        validate(described[event]["payload"], content)
    assert {event for event, _ in heard} == set(described)


def test_the_code_names_no_event_or_topic_that_is_not_described():
    """By its sources: what a client may ask, and what is emitted."""
    source = "\n".join(path.read_text() for path in (ROOT / "src" / "bridge").rglob("realtime*/*.rs")) + (
        ROOT / "src" / "bridge" / "realtime.rs"
    ).read_text()
    names = set(re.findall(r'"([a-z]+:[a-z-]+)"', source)) | set(re.findall(r'socket\.on\(\s*"([^"]+)"', source))
    described = {message["name"] for message in resolved(DOCUMENT["channels"]["dashboard"])["messages"].values()}
    assert names <= described
    topics = (ROOT / "src" / "domain" / "topic.rs").read_text()
    addresses = set(re.findall(r"^    /// `([a-z]+/[^`]+)`", topics, re.M))
    assert {re.sub(r"\{\w+\}", "<id>", channel["address"]) for channel in MQTT.values()} == addresses
