"""Floods: many MQTT connections from one thread, packets written by hand, since a client library for each of 200
connections would be the first to give in."""

import asyncio
import contextlib
import struct


def text(string):
    encoded = string.encode()
    return struct.pack(">H", len(encoded)) + encoded


def packet(first, body):
    length, head = len(body), bytearray([first])
    while True:
        length, byte = length >> 7, length & 0x7F
        head.append(byte | (0x80 if length else 0))
        if not length:
            return bytes(head) + body


def publish(topic, payload, number, retain=False):
    return packet(0x33 if retain else 0x32, text(topic) + struct.pack(">H", number) + payload)


class Connection:
    """A session of MQTT 3.1.1, open."""

    def __init__(self, reader, writer):
        self.reader, self.writer, self.sent, self.acknowledged = reader, writer, 0, 0

    @classmethod
    async def open(cls, port, client_id, credentials, keep_alive=0):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        login = text(client_id) + text(credentials["username"]) + text(credentials["password"])
        writer.write(packet(0x10, text("MQTT") + bytes([4, 0xC2]) + struct.pack(">H", keep_alive) + login))
        answer = await asyncio.wait_for(reader.readexactly(4), 30)
        assert answer == b"\x20\x02\x00\x00", answer
        return cls(reader, writer)

    async def subscribe(self, topic):
        self.writer.write(packet(0x82, b"\x00\x01" + text(topic) + b"\x01"))
        answer = await asyncio.wait_for(self.reader.readexactly(5), 30)
        assert answer == b"\x90\x03\x00\x01\x01", answer

    async def flood(self, topic, payload, stop, window=100, most=None, retain=False):
        """Publishes `payload(number)` to `topic(number)` until `stop` is set or `most` are sent, then waits for every
        PUBACK. Where the hub does not read, writing waits."""
        acks = asyncio.create_task(self.take_acks())
        try:
            while not stop.is_set() and (most is None or self.sent < most):
                if self.sent - self.acknowledged >= window or acks.done():
                    if acks.done():
                        acks.result()
                    await asyncio.sleep(0.002)
                    continue
                self.writer.write(publish(topic(self.sent), payload(self.sent), self.sent % 0xFFFF + 1, retain))
                self.sent += 1
                await self.writer.drain()
            while self.acknowledged < self.sent:
                if acks.done():
                    acks.result()
                await asyncio.sleep(0.01)
        finally:
            acks.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await acks

    async def take_acks(self):
        rest = b""
        while True:
            rest += await self.reader.read(4096) or self.lost()
            assert rest[:1] in (b"", b"\x40"), rest[:16]
            self.acknowledged += len(rest) // 4
            rest = rest[len(rest) // 4 * 4 :]

    def lost(self):
        raise ConnectionError("the hub closed a connection")

    def close(self):
        self.writer.close()


async def open_all(port, names, credentials):
    """Opened some at a time, as the hub accepts them."""
    opened = []
    for begin in range(0, len(names), 20):
        part = names[begin : begin + 20]
        opened += await asyncio.gather(*(Connection.open(port, name, credentials) for name in part))
    return opened
