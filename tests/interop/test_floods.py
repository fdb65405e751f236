"""Floods by whoever has least, with the limits as they are by default: the lock agent comes back, the door opens, an ADMIN
signs in and listens, and the hub's memory stays bounded."""

import asyncio
import contextlib
import json
import resource
import struct

import pytest

from flood import packet, text
from lock_agent import LockAgent
from waiting import until

MEMORY_MAX_MIB = 150
PASSWORD = "correct horse battery"
PARKED = 5100
"""Sessions that are away: more than two users may have. Each costs some 12 kB by itself, which no bound on bytes counts."""


def peak_mib(hub):
    """The most that the hub's process ever held."""
    status = open(f"/proc/{hub.process.pid}/status", encoding="ascii").read()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


class Client:
    """A connection by MQTT 3.1.1, packets written by hand."""

    def __init__(self, reader, writer):
        self.reader, self.writer, self.code = reader, writer, None

    @classmethod
    async def open(cls, hub, client_id, credentials, clean=True, will=None):
        """Connects; `code` is the CONNACK's, or None where there was none."""
        client = cls(*await asyncio.open_connection("127.0.0.1", hub.mqtt_port))
        flags, body = 0xC0 | (2 if clean else 0), text(client_id)
        if will:
            flags, body = flags | 0x0C, body + text(will[0]) + struct.pack(">H", len(will[1])) + will[1]
        body += text(credentials["username"]) + text(credentials["password"])
        client.writer.write(packet(0x10, text("MQTT") + bytes([4, flags]) + struct.pack(">H", 0) + body))
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            client.code = (await asyncio.wait_for(client.reader.readexactly(4), 60))[3]
        return client

    async def answer(self):
        """The next packet's first byte and body."""
        first, length, shift = (await self.reader.readexactly(1))[0], 0, 0
        while True:
            byte = (await self.reader.readexactly(1))[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return first, await self.reader.readexactly(length)

    def ask(self, first, filters, number=1):
        qos = b"\x01" if first == 0x82 else b""
        self.writer.write(packet(first, struct.pack(">H", number) + b"".join(text(one) + qos for one in filters)))

    async def subscribe(self, filters):
        """The SUBACK's codes."""
        self.ask(0x82, filters)
        while True:
            first, body = await asyncio.wait_for(self.answer(), 60)
            if first == 0x90:
                return list(body[2:])

    def close(self):
        self.writer.close()


async def in_turns(count, make, at_once=40):
    """Results of `make(number)`, some at a time."""
    made = []
    for begin in range(0, count, at_once):
        made += await asyncio.gather(*(make(number) for number in range(begin, min(count, begin + at_once))))
    return made


@pytest.fixture
def hub(new_hub):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    hub = new_hub(LOCK_AGENT="remote", RUST_LOG="warn").start_without_worker()
    yield hub
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def agent(hub):
    """A lock agent that comes while the flood holds what it has."""
    worker = LockAgent(hub, hub.device("lock-agent", "lock-agent"))
    try:
        yield
    finally:
        worker.stop()


async def the_door_is_worked(hub, figures, what):
    """A lock agent starts now and the door opens; an ADMIN signs in and listens by MQTT; memory is bounded."""

    def work():
        with agent(hub):
            until(lambda: hub.call("POST", "/api/lock/open").status_code == 200, "the door opens", 60)
            hub.tokens.pop("admin")
            assert hub.token()

    await asyncio.get_running_loop().run_in_executor(None, work)
    admin = await Client.open(hub, "admin", {"username": "admin", "password": hub.token()})
    assert admin.code == 0
    assert await admin.subscribe(["camera/1/events", "lock/status"]) == [1, 1]
    admin.close()
    peak = peak_mib(hub)
    figures.append(f"{what}: at most {peak:.0f} MiB")
    assert peak < MEMORY_MAX_MIB, f"{what}\n{hub.tail()}"


def user(hub, name):
    hub.user(name, "USER", PASSWORD)
    return {"username": name, "password": hub.token(name, PASSWORD)}


def test_connections_with_long_wills_of_one_camera(hub, figures):
    camera = hub.device("camera", "camera", camera=1)

    async def run():
        will = ("camera/1/detections", b"w" * 64_000)
        clients = await in_turns(1051, lambda number: Client.open(hub, f"c{number}", camera, will=will))
        codes = [client.code for client in clients]
        assert 0 in codes and 3 in codes, "some are let in, and not all"
        await the_door_is_worked(hub, figures, "1,051 connections with wills")
        for client in clients:
            client.close()

    asyncio.run(run())


def test_sessions_that_two_users_park(hub, figures):
    users = [user(hub, name) for name in ("alice", "bobby")]
    reader = hub.device("engine", "ai-engine")
    report = {"personCount": 1, "description": "😀" * 2000}

    async def run():
        async def park(number):
            client = await Client.open(hub, f"p{number}", users[number % 2], clean=False)
            codes = await client.subscribe(["camera/+/events"]) if client.code == 0 else []
            client.close()
            return codes == [1]

        parked = await in_turns(PARKED, park)
        assert sum(parked) == 2 * 2500, "each has its part"
        other = await Client.open(hub, "reads", reader)
        assert await other.subscribe(["camera/+/events"]) == [1]
        for _ in range(5):
            hub.post("/api/events", {"cameraId": 1, **report})
        heard = [await asyncio.wait_for(other.answer(), 60) for _ in range(5)]
        assert all(json.loads(body[body.index(b"{"):])["description"] == report["description"] for _, body in heard)
        await the_door_is_worked(hub, figures, f"{sum(parked)} parked sessions")
        other.close()

    asyncio.run(run())


def test_filters_that_come_and_go(hub, figures):
    alice, bobby = user(hub, "alice"), user(hub, "bobby")

    async def run():
        client = await Client.open(hub, "many", alice)
        for begin in range(1, 20_001, 50):
            filters = [f"camera/{number}/events" for number in range(begin, begin + 50)]
            assert set(await client.subscribe(filters)) == {1}
            client.ask(0xA2, filters, 2)
        # Then as many at once as there may be.
        clients = await in_turns(100, lambda number: Client.open(hub, f"h{number}", alice))
        held = 0
        for number, client in enumerate(clients):
            codes = await client.subscribe([f"camera/{number * 100 + index}/+" for index in range(1, 101)])
            held += codes.count(1)
        assert held < 10_000, "one user has a part"
        other = await Client.open(hub, "other", bobby)
        assert await other.subscribe(["camera/77777/events"]) == [1], "somebody else has another"
        await the_door_is_worked(hub, figures, f"20,000 filters in turn, {held} at once")
        for client in [*clients, other]:
            client.close()

    asyncio.run(run())


def test_groups_of_shared_subscriptions(hub, figures):
    alice, bobby = user(hub, "alice"), user(hub, "bobby")

    async def run():
        clients = await in_turns(10, lambda number: Client.open(hub, f"g{number}", alice))
        held = 0
        for number, client in enumerate(clients):
            codes = await client.subscribe([f"$share/{number}-{index}/camera/1/events" for index in range(60)])
            held += codes.count(1)
        assert 0 < held < 512
        other = await Client.open(hub, "other", bobby)
        assert await other.subscribe(["$share/mine/camera/1/events"]) == [1]
        await the_door_is_worked(hub, figures, f"{held} groups")
        for client in [*clients, other]:
            client.close()

    asyncio.run(run())


def test_user_names_that_nobody_has(hub, figures):
    async def run():
        async def knock(number):
            name = f"{number}-" + "n" * 60_000
            client = await Client.open(hub, "c", {"username": name, "password": "wrong"})
            client.close()
            return client.code

        codes = await in_turns(2000, knock)
        assert 0 not in codes
        await the_door_is_worked(hub, figures, "2,000 sign-ins with long names")

    asyncio.run(run())
