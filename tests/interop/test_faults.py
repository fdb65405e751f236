"""Nothing acknowledged is lost: publishers note each acknowledgement while the hub or its PostgreSQL is killed, and
afterwards each noted detection is in the table exactly once. PORTCULLIS_LONG=1 makes 20 rounds of two."""

import collections
import json
import os
import queue
import signal
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
PER_ROUND = 200
"""Acknowledgements that are waited for before each kill."""


class MqttPublisher:
    """Publishes without end, at QoS 1; a lost connection is made anew and what was not acknowledged is sent again."""

    def __init__(self, hub, credentials):
        self.acknowledged, self.under_way, self.stopped = set(), {}, threading.Event()
        # paho calls back with its own locks held, so the callback only passes on.
        self.heard = queue.SimpleQueue()
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=f"publisher-{uuid.uuid4()}", clean_session=False, protocol=mqtt.MQTTv311
        )
        self.client.username_pw_set(credentials["username"], credentials["password"])
        self.client.reconnect_delay_set(min_delay=0.1, max_delay=0.5)
        self.client.on_publish = lambda *heard: self.heard.put(heard[2])
        self.client.connect("127.0.0.1", hub.mqtt_port, keepalive=10)
        self.client.loop_start()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while self.under_way or not self.stopped.is_set():
            if len(self.under_way) < WINDOW and not self.stopped.is_set():
                detection = str(uuid.uuid4())
                body = json.dumps({"personCount": 1, "detectionId": detection})
                self.under_way[self.client.publish("camera/1/detections", body, qos=1).mid] = detection
                continue
            try:
                self.acknowledged.add(self.under_way.pop(self.heard.get(timeout=0.1)))
            except queue.Empty:
                pass

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
def test_what_is_acknowledged_is_stored_once(new_hub, kill):
    hub = new_hub().start()
    hub.token()
    engines = [hub.device(name, "ai-engine") for name in ("engine-1", "engine-2")]
    publishers = [MqttPublisher(hub, engines[0]), MqttPublisher(hub, engines[1]), HttpPublisher(hub, engines[0])]
    try:
        for _ in range(ROUNDS):
            before = [len(publisher.acknowledged) for publisher in publishers]
            until(
                lambda: all(len(p.acknowledged) >= b + PER_ROUND // 10 for p, b in zip(publishers, before))
                and sum(len(p.acknowledged) for p in publishers) >= sum(before) + PER_ROUND,
                "each publisher is acknowledged",
                60,
            )
            kill(hub)
    finally:
        for publisher in publishers:
            publisher.finish()
    acknowledged = set().union(*(publisher.acknowledged for publisher in publishers))
    counts = stored(hub)
    assert len(acknowledged) > ROUNDS * PER_ROUND
    assert not acknowledged - counts.keys(), "acknowledged and lost"
    assert not {detection: count for detection, count in counts.items() if count != 1}, "stored twice"


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
