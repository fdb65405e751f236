"""Nothing acknowledged is lost: publishers note each acknowledgement while the hub or its PostgreSQL is killed, and
afterwards each noted detection is in the table exactly once. The same for a PostgreSQL that is stopped or hangs, a network
that is cut, messages that are sent twice, and malformed ones between them. PORTCULLIS_LONG=1 makes 20 rounds of two, and
60 s of an outage."""

import collections
import json
import os
import queue
import random
import signal
import socket
import struct
import threading
import time
import uuid

import paho.mqtt.client as mqtt
import pytest
import requests
from paho.mqtt.enums import CallbackAPIVersion

from waiting import until

ROUNDS = 20 if os.environ.get("PORTCULLIS_LONG") else 2
WINDOW = 20
"""Detections that a publisher has under way at once."""
OUTAGE = 60 if os.environ.get("PORTCULLIS_LONG") else 6
"""How long PostgreSQL is away where it is stopped, in seconds."""
PER_ROUND = 200
"""Acknowledgements that are waited for before each kill."""


class MqttPublisher:
    """Publishes without end, at QoS 1; a lost connection is made anew and what was not acknowledged is sent again.
    `copies`: how often each is published. `malformed`: the share of messages that are no detections."""

    def __init__(self, hub, credentials, port=None, copies=1, malformed=0.0, description=None):
        self.acknowledged, self.refused, self.under_way = set(), set(), {}
        self.stopped, self.copies, self.malformed, self.description = threading.Event(), copies, malformed, description
        # paho calls back with its own locks held, so the callback only passes on.
        self.heard = queue.SimpleQueue()
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=f"publisher-{uuid.uuid4()}", clean_session=False, protocol=mqtt.MQTTv311
        )
        self.client.username_pw_set(credentials["username"], credentials["password"])
        self.client.reconnect_delay_set(min_delay=0.1, max_delay=0.5)
        self.client.on_publish = lambda *heard: self.heard.put(heard[2])
        self.client.connect("127.0.0.1", port or hub.mqtt_port, keepalive=10)
        self.client.loop_start()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while self.under_way or not self.stopped.is_set():
            if len(self.under_way) < WINDOW and not self.stopped.is_set():
                self.send()
                continue
            try:
                known, detection = self.under_way.pop(self.heard.get(timeout=0.1))
                known.add(detection)
            except queue.Empty:
                pass

    def send(self):
        detection = str(uuid.uuid4())
        is_malformed = random.random() < self.malformed
        count = "nobody knows" if is_malformed else 1
        body = json.dumps({"personCount": count, "detectionId": detection, "description": self.description})
        for _ in range(self.copies):
            sent = self.client.publish("camera/1/detections", body, qos=1)
            self.under_way[sent.mid] = (self.refused if is_malformed else self.acknowledged, detection)

    def finish(self):
        """Sends nothing new, and waits for what is under way."""
        self.stopped.set()
        self.thread.join(60)
        assert not self.thread.is_alive(), f"{len(self.under_way)} detections were never acknowledged"
        self.client.disconnect()
        self.client.loop_stop()


class HttpPublisher:
    """Posts one detection after the other; one without an answer is posted again."""

    def __init__(self, hub, credentials):
        self.acknowledged, self.stopped = set(), threading.Event()
        self.url, self.headers = f"{hub.url}/api/events", {"Authorization": f"Bearer {credentials['token']}"}
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopped.is_set():
            body = {"cameraId": 1, "personCount": 1, "detectionId": str(uuid.uuid4())}
            while not self.post(body) and not self.stopped.is_set():
                time.sleep(0.05)

    def post(self, body):
        try:
            answer = requests.post(self.url, json=body, headers=self.headers, timeout=15)
        except OSError:
            return False
        if answer.status_code in (200, 201):
            self.acknowledged.add(body["detectionId"])
            return True
        assert answer.status_code == 503, f"{answer.status_code} {answer.text}"
        return False

    def finish(self):
        self.stopped.set()
        self.thread.join(60)


def stored(hub):
    """How often each detection is in the table, by paging through all events."""
    counts, before = collections.Counter(), ""
    while True:
        page = hub.get(f"/api/events?limit=500{before}")
        if not page:
            return counts
        counts.update(event["detectionId"] for event in page if event["detectionId"])
        before = f"&before={page[-1]['id']}"


def check(hub, publishers, rounds, fault, figures):
    """Each acknowledged detection is in the table exactly once, and each refused message is kept."""
    acknowledged = set().union(*(publisher.acknowledged for publisher in publishers))
    refused = set().union(*(getattr(publisher, "refused", ()) for publisher in publishers))
    counts = stored(hub)
    lost, twice = acknowledged - counts.keys(), [detection for detection, count in counts.items() if count != 1]
    kept = refused & kept_payloads(hub) if refused else set()
    figures.append(
        f"{fault}: rounds={rounds} acknowledged={len(acknowledged)} stored={len(counts)} duplicates={len(twice)} "
        f"lost={len(lost)} malformed={len(refused)} kept={len(kept)}"
    )
    assert not lost, "acknowledged and lost"
    assert not twice, "stored twice"
    assert kept == refused, "malformed, acknowledged and not kept"


def kept_payloads(hub):
    """All rejected payloads' detection ids."""
    ids, before = set(), ""
    while page := hub.get(f"/api/events/rejected?limit=500{before}"):
        ids |= {json.loads(message["payload"])["detectionId"] for message in page}
        before = f"&before={page[-1]['id']}"
    return ids


def under_load(publishers):
    """Waits until each publisher has been acknowledged a while longer."""
    before = [len(publisher.acknowledged) for publisher in publishers]
    until(
        lambda: all(len(p.acknowledged) >= b + PER_ROUND // 10 for p, b in zip(publishers, before))
        and sum(len(p.acknowledged) for p in publishers) >= sum(before) + PER_ROUND,
        "each publisher is acknowledged",
        60,
    )


RECORDERS = b"force_generic_plan"
"""What the hub's recorder alone asks of PostgreSQL, on a connection that becomes its own."""


class Proxy:
    """Before the hub, or before its PostgreSQL: it can swallow what is answered, cut every connection, and lose some
    without a word, as a router does that has forgotten them: both ends stand, and nothing comes through any more."""

    def __init__(self, port):
        self.port, self.swallows, self.swallowed, self.pairs = port, False, 0, set()
        # Those of the recorder; and what loses one of them that says it, once.
        self.recorders, self.lost, self.loses_at = set(), set(), None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.own_port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
                hub = socket.create_connection(("127.0.0.1", self.port), timeout=10)
            except OSError:
                return
            hub.settimeout(None)
            pair = (client, hub)
            self.pairs.add(pair)
            threading.Thread(target=self.carry, args=(pair, client, hub, False), daemon=True).start()
            threading.Thread(target=self.carry, args=(pair, hub, client, True), daemon=True).start()

    def carry(self, pair, source, sink, is_answer):
        try:
            while received := source.recv(65536):
                if not is_answer:
                    if RECORDERS in received:
                        self.recorders.add(pair)
                    if self.loses_at and self.loses_at in received and pair in self.recorders:
                        self.loses_at = None
                        self.lost.add(pair)
                if pair in self.lost:
                    continue
                if is_answer and self.swallows:
                    self.swallowed += len(received)
                else:
                    sink.sendall(received)
        except OSError:
            pass
        if pair in self.lost:
            return
        for end in (source, sink):
            end.close()

    def cut(self):
        """Acknowledgements get lost for a moment, then all connections break without a farewell."""
        self.swallows, before = True, self.swallowed
        until(lambda: self.swallowed > before, "an answer is lost")
        self.break_all()
        self.swallows = False

    def lose(self, recorders_only):
        """Loses the connections that stand now; how many."""
        lost = (self.pairs & self.recorders if recorders_only else set(self.pairs)) - self.lost
        self.lost |= lost
        return len(lost)

    def break_all(self):
        pairs, self.pairs = self.pairs, set()
        for pair in pairs:
            for end in pair:
                try:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        self.listener.close()
        self.break_all()


def kill_hub(hub):
    hub.stop(signal.SIGKILL)
    hub.start()


def kill_postgres(hub):
    pid = int((hub.data / "postgres" / "cluster" / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    until(lambda: hub.call("GET", "/api/events?limit=1").status_code == 200, "PostgreSQL is back", 60)


def kill_both(hub):
    pid = int((hub.data / "postgres" / "cluster" / "postmaster.pid").read_text().split()[0])
    hub.process.kill()
    os.kill(pid, signal.SIGKILL)
    hub.process.wait()
    hub.start()


@pytest.mark.parametrize("kill", [kill_hub, kill_postgres, kill_both])
def test_what_is_acknowledged_is_stored_once(new_hub, figures, kill):
    hub = new_hub().start()
    hub.token()
    engines = [hub.device(name, "ai-engine") for name in ("engine-1", "engine-2")]
    publishers = [MqttPublisher(hub, engines[0]), MqttPublisher(hub, engines[1]), HttpPublisher(hub, engines[0])]
    try:
        for _ in range(ROUNDS):
            under_load(publishers)
            kill(hub)
    finally:
        for publisher in publishers:
            publisher.finish()
    if kill is kill_postgres:
        hub.accounts_balance()
    check(hub, publishers, ROUNDS, kill.__name__, figures)
    assert len(set().union(*(publisher.acknowledged for publisher in publishers))) > ROUNDS * PER_ROUND


def test_while_postgresql_is_away_nothing_is_acknowledged(new_hub, paho):
    """It is stopped, not killed, so that nobody starts it again: the acknowledgement waits and PINGs are answered."""
    hub = new_hub().start()
    hub.token()
    session = paho(hub, hub.device("engine", "ai-engine"), version=4)
    session.publish("camera/1/detections", {"personCount": 1})
    postgres = hub.postgres()
    for pid in postgres:
        os.kill(pid, signal.SIGSTOP)
    detection = str(uuid.uuid4())
    try:
        waiting = session.client.publish("camera/1/detections", json.dumps({"personCount": 1, "detectionId": detection}), qos=1)
        assert requests.get(f"{hub.url}/healthz", timeout=5).status_code == 200
        assert not session.all(f"(puback {waiting.mid})")
    finally:
        for pid in postgres:
            os.kill(pid, signal.SIGCONT)
    session.wait(f"(puback {waiting.mid})", seconds=60)
    assert stored(hub)[detection] == 1
    assert not session.all("(disconnect)")


@pytest.mark.parametrize("how", ["stopped", "hanging"])
def test_an_outage_of_postgresql_loses_nothing(new_hub, new_postgres, figures, how):
    postgres = new_postgres().start()
    hub = new_hub(DATABASE_URL=postgres.url).start()
    engine = hub.device("engine", "ai-engine")
    publishers = [MqttPublisher(hub, engine), MqttPublisher(hub, engine), HttpPublisher(hub, engine)]
    try:
        under_load(publishers)
        postgres.stop() if how == "stopped" else postgres.hang()
        over = time.monotonic() + OUTAGE
        until(lambda: requests.get(f"{hub.url}/readyz", timeout=5).status_code == 503, "it is noticed", 15)
        at_most = [len(publisher.acknowledged) for publisher in publishers]
        while time.monotonic() < over:
            assert requests.get(f"{hub.url}/healthz", timeout=5).status_code == 200
            threading.Event().wait(0.5)
        assert [len(publisher.acknowledged) for publisher in publishers] == at_most, "nothing is acknowledged meanwhile"
        postgres.start() if how == "stopped" else postgres.go_on()
        under_load(publishers)
    finally:
        for publisher in publishers:
            publisher.finish()
    hub.accounts_balance()
    check(hub, publishers, 1, f"PostgreSQL {how} for {OUTAGE} s", figures)


def test_a_network_that_is_cut_loses_nothing(new_hub, figures):
    hub = new_hub().start()
    engine = hub.device("engine", "ai-engine")
    proxy = Proxy(hub.mqtt_port)
    publishers = [MqttPublisher(hub, engine, port=proxy.own_port) for _ in range(3)]
    try:
        for _ in range(ROUNDS):
            under_load(publishers)
            proxy.cut()
        under_load(publishers)
    finally:
        for publisher in publishers:
            publisher.finish()
        proxy.close()
    hub.accounts_balance()
    check(hub, publishers, ROUNDS, "network cut", figures)


@pytest.mark.parametrize("when", ["idle, like all others", "idle", "with a group on its way", "before its commit"])
def test_a_connection_to_postgresql_that_is_lost_without_a_word(new_hub, new_postgres, paho, detection, when):
    """The recorder's. Neither end hears of it, so no answer ever comes: the hub gives the try up and makes it anew."""
    postgres = new_postgres().start()
    proxy = Proxy(postgres.port)
    hub = new_hub(DATABASE_URL=postgres.url.replace(str(postgres.port), str(proxy.own_port))).start()
    hub.token()
    session = paho(hub, hub.device("engine", "ai-engine"), version=4)
    session.publish("camera/1/detections", detection())
    # Only a message that is kept as malformed needs a transaction. It is open on the server when the connection is lost,
    # and holds the key that the next try stores as well.
    is_kept = when == "before its commit"
    waiting = detection("nobody knows" if is_kept else 1)
    if when == "with a group on its way":
        proxy.loses_at = waiting["description"].encode()
    elif is_kept:
        proxy.loses_at = b"COMMIT"
    else:
        assert proxy.lose(recorders_only=when == "idle") >= 1
    sent = session.client.publish("camera/1/detections", json.dumps(waiting), qos=1)
    session.wait(f"(puback {sent.mid})", seconds=90)
    assert proxy.loses_at is None and proxy.lost, "one was lost"
    if when == "idle, like all others":
        # The recorder is quicker than whoever watches over the database.
        until(lambda: "the database is away" in hub.log.read_text(), "the loss is noticed")
    for path in ("/readyz", "/api/events"):
        until(lambda: hub.call("GET", path).status_code == 200, f"{path} is well", 30)
    if is_kept:
        payloads = [message["payload"] for message in hub.get("/api/events/rejected?limit=500")]
        assert len([payload for payload in payloads if waiting["detectionId"] in payload]) == 1
    else:
        assert stored(hub)[waiting["detectionId"]] == 1
    assert not session.all("(disconnect)")
    hub.stop()
    proxy.close()


def test_twice_sent_and_malformed_messages(new_hub, figures):
    hub = new_hub().start()
    engine = hub.device("engine", "ai-engine")
    publishers = [MqttPublisher(hub, engine, copies=2), MqttPublisher(hub, engine, malformed=0.05)]
    try:
        for _ in range(ROUNDS):
            under_load(publishers)
        until(lambda: publishers[1].refused, "a malformed one is acknowledged")
    finally:
        for publisher in publishers:
            publisher.finish()
    account = hub.accounts_balance()["mqtt"]
    assert account["duplicate"] == len(publishers[0].acknowledged)
    assert account["rejected"] == len(publishers[1].refused)
    check(hub, publishers, ROUNDS, "sent twice, 5 % malformed", figures)
