"""Overload: whatever 200 clients do with a valid login, the hub's memory stays bounded, what it acknowledged is stored,
and whoever does read still hears what is new."""

import asyncio
import contextlib
import datetime
import json
import os
import signal
import subprocess
import threading
import time
import uuid

import pytest
import requests

from flood import Connection, open_all
from waiting import until

CLIENTS = 200
MEMORY_MAX_MIB = 150
RIGHTS = """
[[rights]]
who = "sensor"
action = "publish"
filter = "flood/#"
allow = true
[[rights]]
who = "sensor"
action = "subscribe"
filter = "flood/#"
allow = true
"""


def peak_mib(hub):
    """The most that the hub's process ever held."""
    status = open(f"/proc/{hub.process.pid}/status", encoding="ascii").read()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


@pytest.fixture
def busy_hub(new_hub):
    hub = new_hub(RUST_LOG="warn")
    hub.folder.joinpath("broker.toml").write_text(RIGHTS)
    yield hub.start()
    assert peak_mib(hub) < MEMORY_MAX_MIB, f"{peak_mib(hub):.0f} MiB\n{hub.tail()}"


@contextlib.contextmanager
def postgres_paused(hub):
    """Every process of it stands still, as on a machine whose disk hangs."""
    processes = hub.postgres()
    assert processes
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def events_locked(hub):
    """Nothing can be stored, and everything can be read."""
    environment = {**os.environ, "PGPASSWORD": (hub.data / "postgres-password").read_text().strip()}
    psql = ["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-h", str(hub.data / "postgres"), "-U", "portcullis", "portcullis"]
    # The lock goes with the session, which ends with its input.
    with subprocess.Popen(psql, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        holder.stdin.write("BEGIN; LOCK TABLE events IN EXCLUSIVE MODE;\n\\echo locked\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == "locked\n"
        yield
        holder.stdin.close()


def stored(hub):
    """How many detections; what the hub noticed by itself meanwhile is stored beside them."""
    alerts = hub.get("/api/events?eventType=SYSTEM_ALERT&limit=500")
    return hub.get("/api/events/stats")["total"] - len(alerts)


def detection(number, padding=0):
    body = json.dumps({"personCount": 1, "detectionId": str(uuid.uuid4()), "description": "x" * 200})
    return body.encode() + b" " * padding


async def standing_still(numbers):
    """Waits until nothing more moves: everybody has written what there is room for."""
    last, since = None, time.monotonic()
    while time.monotonic() - since < 2.0:
        now = numbers()
        if now != last:
            last, since = now, time.monotonic()
        await asyncio.sleep(0.05)
    return last


@pytest.mark.parametrize("padding", [0, 60_000], ids=["small", "large"])
def test_while_postgres_stands_still_publishers_wait_for_their_acknowledgements(busy_hub, padding):
    hub = busy_hub
    engine = hub.device("engine", "ai-engine")

    async def run():
        clients = await open_all(hub.mqtt_port, [f"c{number}" for number in range(CLIENTS)], engine)
        stop = asyncio.Event()
        floods = [
            asyncio.create_task(
                client.flood(lambda _: "camera/1/detections", lambda number: detection(number, padding), stop)
            )
            for client in clients
        ]
        acknowledged = lambda: sum(client.acknowledged for client in clients)
        while acknowledged() < 500:
            await asyncio.sleep(0.05)
        with postgres_paused(hub):
            waiting = await standing_still(acknowledged)
            assert waiting < sum(client.sent for client in clients), "some wait for their PUBACK"
            stop.set()
        await asyncio.wait_for(asyncio.gather(*floods), 120)
        for client in clients:
            client.close()
        return acknowledged()

    acknowledged = asyncio.run(run())
    assert stored(hub) == acknowledged


@pytest.mark.parametrize("length", [60_000, 200_000])
def test_payloads_that_are_no_detections_do_not_pile_up(busy_hub, length):
    hub = busy_hub
    engine = hub.device("engine", "ai-engine")

    async def run():
        clients = await open_all(hub.mqtt_port, [f"c{number}" for number in range(CLIENTS)], engine)
        stop = asyncio.Event()
        floods = [
            asyncio.create_task(client.flood(lambda _: "camera/1/detections", lambda _: b"x" * length, stop))
            for client in clients
        ]
        with postgres_paused(hub):
            await standing_still(lambda: sum(client.sent for client in clients))
            stop.set()
        await asyncio.wait_for(asyncio.gather(*floods), 120)
        return sum(client.sent for client in clients)

    sent = asyncio.run(run())
    rejected = hub.get("/api/events/rejected?limit=1")
    assert sent >= CLIENTS and len(rejected[0]["payload"]) == 4096


def test_clients_that_come_and_go_leave_no_detections_behind(busy_hub):
    """While Postgres stores nothing and still answers, nothing is acknowledged; what finds no room with the recorder goes
    with its session."""
    hub = busy_hub
    engine = hub.device("engine", "ai-engine")

    async def round_of(number):
        clients = await open_all(hub.mqtt_port, [f"r{number}-{index}" for index in range(50)], engine)
        stop = asyncio.Event()
        floods = [
            asyncio.create_task(client.flood(lambda _: "camera/1/detections", lambda n: detection(n, 40_000), stop))
            for client in clients
        ]
        await asyncio.sleep(0)
        await standing_still(lambda: sum(client.sent for client in clients))
        for flood in floods:
            flood.cancel()
        await asyncio.gather(*floods, return_exceptions=True)
        for client in clients:
            client.writer.transport.abort()

    async def run():
        for number in range(4):
            await round_of(number)

    with events_locked(hub):
        asyncio.run(run())
    body = {"cameraId": 1, "personCount": 1}
    until(lambda: hub.call("POST", "/api/events", body, engine["token"]).status_code == 201, "it goes on", 60)


def test_subscribers_that_read_nothing_lose_the_oldest(busy_hub):
    hub = busy_hub
    sensor = hub.device("sensor", "sensor")

    async def run():
        slow = await open_all(hub.mqtt_port, [f"slow{number}" for number in range(CLIENTS - 10)], sensor)
        for client in slow:
            await client.subscribe("flood/#")
            client.reader._transport.pause_reading()
        senders = await open_all(hub.mqtt_port, [f"sender{number}" for number in range(9)], sensor)
        stop = asyncio.Event()
        payload = os.urandom(50_000)
        await asyncio.wait_for(
            asyncio.gather(
                *(sender.flood(lambda n: f"flood/{n % 50}", lambda _: payload, stop, window=20, most=60) for sender in senders)
            ),
            240,
        )

    asyncio.run(run())


def test_a_full_store_of_retained_messages_leaves_the_hubs_own_fresh(busy_hub, paho):
    hub = busy_hub
    sensor, controller = hub.device("sensor", "sensor"), hub.device("controller", "controller")

    async def run():
        senders = await open_all(hub.mqtt_port, [f"sender{number}" for number in range(20)], sensor)
        stop = asyncio.Event()
        floods = (
            sender.flood(
                lambda n, index=index: f"flood/{index}/{n}", lambda _: b"r" * 1000, stop, most=1500, retain=True
            )
            for index, sender in enumerate(senders)
        )
        await asyncio.wait_for(asyncio.gather(*floods), 240)

    asyncio.run(run())
    before = datetime.datetime.now(datetime.UTC).isoformat()
    hub.post("/api/lock/open", expect=200)
    watcher = paho(hub, controller)
    watcher.subscribe("lock/status")
    watcher.wait("lock/status", lambda message: message.payload["timestamp"] > before)


class DeafDashboard:
    """A Socket.io client over a WebSocket that says hello and then reads nothing."""

    def __init__(self, hub):
        import socket

        self.socket = socket.create_connection(("127.0.0.1", hub.port))
        self.socket.settimeout(15)
        self.socket.sendall(
            (
                "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade\r\n"
                f"Upgrade: websocket\r\nAuthorization: Bearer {hub.token()}\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            ).encode()
        )
        heard = b""
        while b"0{" not in heard:
            heard += self.socket.recv(4096)
        self.socket.sendall(b"\x81\x82\0\0\0\0" + b"40")
        while b"lock:status" not in heard:
            heard += self.socket.recv(4096)


def test_dashboards_that_read_nothing_take_nothing_from_those_that_do(busy_hub, python_dashboard):
    hub = busy_hub
    engine = hub.device("engine", "ai-engine")
    deaf = [DeafDashboard(hub) for _ in range(50)]
    reading = python_dashboard(hub.url, hub.token())
    reading.wait("connection")

    async def run():
        # No faster than one dashboard in Python reads: who can't follow is dropped, and told so by its session's end.
        clients = await open_all(hub.mqtt_port, [f"c{number}" for number in range(4)], engine)
        stop = asyncio.Event()
        await asyncio.wait_for(
            asyncio.gather(
                *(client.flood(lambda _: "camera/1/detections", detection, stop, window=1, most=3000) for client in clients)
            ),
            240,
        )

    asyncio.run(run())
    last = str(uuid.uuid4())
    hub.post("/api/events", {"cameraId": 1, "personCount": 1, "detectionId": last}, token=engine["token"])
    reading.wait("event:detected", lambda event: event["detectionId"] == last, seconds=60)
    for dashboard in deaf:
        dashboard.socket.close()


def test_http_is_told_at_once_that_the_recorders_queue_is_full(busy_hub):
    """MQTT's clients fill it and wait; who reports by HTTP is turned away without waiting."""
    hub = busy_hub
    engine = hub.device("engine", "ai-engine")
    body = {"cameraId": 1, "personCount": 1}

    async def run():
        clients = await open_all(hub.mqtt_port, [f"c{number}" for number in range(60)], engine)
        stop = asyncio.Event()
        with events_locked(hub):
            floods = [
                asyncio.create_task(client.flood(lambda _: "camera/1/detections", detection, stop)) for client in clients
            ]
            await asyncio.sleep(0)
            await standing_still(lambda: sum(client.sent for client in clients))
            stop.set()
            answer = await asyncio.to_thread(hub.call, "POST", "/api/events", body, engine["token"])
        await asyncio.wait_for(asyncio.gather(*floods), 120)
        return answer, sum(client.acknowledged for client in clients)

    answer, acknowledged = asyncio.run(run())
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1, answer.text
    assert stored(hub) == acknowledged
    balances = hub.accounts_balance()
    # Whatever waits for its commit until its patience ends has been received.
    assert (balances["http"]["received"], balances["http"]["turned away"]) == (0, 1)
    assert balances["mqtt"]["stored"] == acknowledged


def test_http_is_told_to_come_back(busy_hub):
    """With room in the recorder's queue it is its patience that ends."""
    hub = busy_hub
    token = hub.device("engine", "ai-engine")["token"]
    body = {"cameraId": 1, "personCount": 1}
    hub.post("/api/events", body, token=token)
    answers = []

    def report():
        headers = {"Authorization": f"Bearer {token}"}
        answers.append(requests.post(f"{hub.url}/api/events", json=body, headers=headers, timeout=30))

    with postgres_paused(hub):
        senders = [threading.Thread(target=report) for _ in range(40)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(40)
    assert len(answers) == 40
    for answer in answers:
        assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1, answer.text
