"""Dashboards and devices in two languages each, with one interface, so that a test runs with both."""

import itertools
import json
import pathlib
import subprocess
import threading
from collections import namedtuple

import paho.mqtt.client as mqtt
import requests
import socketio
from paho.mqtt.enums import CallbackAPIVersion

from waiting import SECONDS, Inbox

HERE = pathlib.Path(__file__).resolve().parent

Message = namedtuple("Message", "payload qos retain")
"""A message as it was delivered; `payload` is read from its JSON where it is JSON."""


class Refused(Exception):
    """The connection was refused; `reason` is what the client was told."""

    def __init__(self, reason):
        super().__init__(reason)
        self.reason = reason


def read(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


# Dashboards ------------------------------------------------------------------------------------------------------


class PythonDashboard(Inbox):
    """A dashboard with python-socketio; `ca` is the certificate that it trusts, for https."""

    def __init__(self, url, token=None, transports=("websocket",), headers=None, ca=None):
        super().__init__()
        session = requests.Session()
        if ca:
            session.verify = str(ca)
            # REQUESTS_CA_BUNDLE would come before it.
            session.trust_env = False
        self.client = socketio.Client(reconnection=False, http_session=session)
        self.client.on("*", lambda event, *content: self.put(event, content[0] if content else None))
        self.client.on("disconnect", lambda reason=None: self.put("(disconnect)", reason))
        refusal = []
        self.client.on("connect_error", refusal.append)
        try:
            self.client.connect(
                url,
                auth={"token": token} if token else None,
                headers=headers or {},
                transports=list(transports),
                wait_timeout=SECONDS,
            )
        except socketio.exceptions.ConnectionError as error:
            raise Refused(refusal[0]["message"] if refusal and isinstance(refusal[0], dict) else str(error)) from error

    def transport(self):
        return self.client.transport()

    def emit(self, event, *args):
        self.client.emit(event, *args)

    def ask(self, event, *args):
        """The answer to an acknowledgement callback."""
        return self.client.call(event, *args, timeout=SECONDS)

    def close(self):
        self.client.disconnect()


class NodeClients:
    """The Node program that the JavaScript clients live in."""

    def __init__(self):
        self.process = subprocess.Popen(
            ["node", HERE / "clients.mjs"], cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.inboxes, self.ids, self.lock = {}, itertools.count(1), threading.Lock()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            said = json.loads(line)
            self.inboxes[said["id"]].put(said["name"], said["content"])

    def open(self, inbox, command):
        number = next(self.ids)
        self.inboxes[number] = inbox
        self.tell(number, **command)
        return number

    def tell(self, number, **command):
        with self.lock:
            self.process.stdin.write(json.dumps({"id": number, **command}) + "\n")
            self.process.stdin.flush()

    def close(self):
        self.process.stdin.close()
        self.process.wait(SECONDS)


class NodeInbox(Inbox):
    """A client that lives in the Node program."""

    def __init__(self, node, command):
        super().__init__()
        self.node, self.acks = node, itertools.count(1)
        self.number = node.open(self, command)
        with self.changed:
            names = ("(connect)", "(connect_error)")
            assert self.changed.wait_for(lambda: any(self.all(name) for name in names), SECONDS), "no connection"
        refused = self.all("(connect_error)")
        if refused:
            self.close()
            raise Refused(refused[0].get("code") or refused[0]["message"])

    def ask_node(self, op, **command):
        ack = next(self.acks)
        self.node.tell(self.number, op=op, ack=ack, **command)
        return self.wait(f"(ack {ack})")

    def close(self):
        self.node.tell(self.number, op="close")


class NodeDashboard(NodeInbox):
    """A dashboard with socket.io-client."""

    def __init__(self, node, url, token=None, transports=("websocket",), headers=None):
        auth = {"token": token} if token else None
        command = {"op": "dashboard", "url": url, "auth": auth, "headers": headers, "transports": list(transports)}
        super().__init__(node, command)

    def transport(self):
        return self.wait("(connect)")["transport"]

    def emit(self, event, *args):
        self.node.tell(self.number, op="emit", event=event, args=list(args), ack=None)

    def ask(self, event, *args):
        return self.ask_node("emit", event=event, args=list(args))


# Devices ---------------------------------------------------------------------------------------------------------


class PahoDevice(Inbox):
    """A device with paho-mqtt; with `ca`, the certificate that it trusts, by TLS, and with `path` over a WebSocket."""

    def __init__(self, hub, credentials, version=5, client_id="", port=None, path=None, ca=None):
        super().__init__()
        self.version = version
        protocol = mqtt.MQTTv5 if version == 5 else mqtt.MQTTv311
        transport = "websockets" if path else "tcp"
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=protocol, transport=transport
        )
        if path:
            self.client.ws_set_options(path=path)
        if ca:
            self.client.tls_set(str(ca))
        if credentials:
            self.client.username_pw_set(credentials["username"], credentials["password"])
        self.client.on_connect = lambda *heard: self.put("(connect)", heard[3])
        self.client.on_disconnect = lambda *heard: self.put("(disconnect)", heard[3])
        self.client.on_publish = lambda *heard: self.put(f"(puback {heard[2]})", heard[3])
        self.client.on_subscribe = lambda *heard: self.put(f"(suback {heard[2]})", heard[3])
        self.client.on_message = self.on_message
        self.client.connect("localhost" if ca else "127.0.0.1", port or hub.mqtt_port, keepalive=30)
        self.client.loop_start()
        reason = self.wait("(connect)")
        if reason.is_failure:
            self.close()
            raise Refused(reason.value)

    def on_message(self, _client, _userdata, message):
        self.put(message.topic, Message(read(message.payload.decode()), message.qos, message.retain))

    def publish(self, topic, payload, qos=1, retain=False):
        """Publishes and waits for the acknowledgement; its reason code (0 where MQTT 3.1.1 has none)."""
        text = payload if isinstance(payload, (str, bytes)) else json.dumps(payload)
        sent = self.client.publish(topic, text, qos=qos, retain=retain)
        return self.wait(f"(puback {sent.mid})").value

    def subscribe(self, filter):
        """The granted QoS, or the code of the refusal."""
        _, mid = self.client.subscribe(filter, qos=1)
        return self.wait(f"(suback {mid})")[0].value

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


class MqttJsDevice(NodeInbox):
    """A device with mqtt.js."""

    def __init__(self, node, hub, credentials, version=5, client_id=None):
        self.version = version
        options = {"protocolVersion": version}
        if credentials:
            options |= {"username": credentials["username"], "password": credentials["password"]}
        if client_id:
            options["clientId"] = client_id
        super().__init__(node, {"op": "device", "url": hub.mqtt_url, "options": options})

    def put(self, name, content):
        if not name.startswith("("):
            content = Message(read(content["text"]), content["qos"], content["retain"])
        super().put(name, content)

    def publish(self, topic, payload, qos=1, retain=False):
        text = payload if isinstance(payload, str) else json.dumps(payload)
        return self.ask_node("publish", topic=topic, payload=text, qos=qos, retain=retain)["code"]

    def subscribe(self, filter):
        answer = self.ask_node("subscribe", filter=filter)
        return answer["granted"][0] if answer["granted"] else answer["error"]
