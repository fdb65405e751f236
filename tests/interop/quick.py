"""MQTT clients that say what they have to say and are gone, over TCP and over WebSocket: no library leaves so quickly."""

import base64
import contextlib
import os
import socket
import struct

SECONDS = 15


def text(value):
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack(">H", len(raw)) + raw


def packet(first, body):
    length, left = bytearray(), len(body)
    while True:
        left, low = divmod(left, 128)
        length.append(low | (0x80 if left else 0))
        if not left:
            return bytes([first]) + bytes(length) + body


def connect(credentials, client_id, will=None, clean=True):
    """CONNECT of MQTT 3.1.1; `will` is a topic and a payload."""
    flags = 0xC0 | (0x02 if clean else 0) | (0x0C if will else 0)
    body = text("MQTT") + bytes([4, flags, 0, 60]) + text(client_id)
    for part in will or ():
        body += text(part)
    return packet(0x10, body + text(credentials["username"]) + text(credentials["password"]))


def publish(topic, payload, qos=0, id=1):
    return packet(0x30 | qos << 1, text(topic) + (struct.pack(">H", id) if qos else b"") + payload.encode())


DISCONNECT = packet(0xE0, b"")


class Tcp:
    def __init__(self, hub):
        self.socket = socket.create_connection(("127.0.0.1", hub.mqtt_port), SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data):
        self.socket.sendall(data)

    def receive(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            assert more, "the hub closed the connection"
            data += more
        return data


class WebSocket(Tcp):
    """A WebSocket by hand, that closes without a word."""

    def __init__(self, hub):
        self.socket = socket.create_connection(("127.0.0.1", hub.port), SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        super().send(
            f"GET /mqtt HTTP/1.1\r\nHost: 127.0.0.1:{hub.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += super().receive(1)
        assert b" 101 " in head.splitlines()[0], head
        self.read = b""

    def send(self, data):
        mask = os.urandom(4)
        length = bytes([0x80 | len(data)]) if len(data) < 126 else bytes([0x80 | 126]) + struct.pack(">H", len(data))
        super().send(b"\x82" + length + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(data)))

    def receive(self, count):
        while len(self.read) < count:
            _, length = super().receive(2)
            self.read += super().receive(length)
        data, self.read = self.read[:count], self.read[count:]
        return data


def round(make, hub, hello, *then):
    """Connects, is let in, sends this and closes at once. Says whether there was a session."""
    line = make(hub)
    with contextlib.closing(line.socket):
        line.send(hello)
        connack = line.receive(4)
        assert connack[0] == 0x20 and connack[3] == 0, connack
        for data in then:
            line.send(data)
        return connack[2] == 1
