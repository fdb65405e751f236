"""/metrics: what Prometheus is told adds up, for whoever may read it."""

import json
import pathlib
import threading
import uuid

import paho.mqtt.client as mqtt
import requests
from paho.mqtt.enums import CallbackAPIVersion

from hub import free_port
from waiting import until

KINDS = ("counter", "gauge", "histogram")
MANY = 2_000
"""Detections of each publisher."""


class Publisher:
    """Sends what it is given by one MQTT session at QoS 1, with many under way, and counts what is acknowledged."""

    def __init__(self, hub, credentials, messages):
        self.messages, self.acknowledged, self.done = messages, 0, threading.Event()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
        self.client.username_pw_set(credentials["username"], credentials["password"])
        self.client.max_inflight_messages_set(50)
        self.client.on_publish = self.on_publish
        self.client.connect("127.0.0.1", hub.mqtt_port, keepalive=30)
        self.client.loop_start()

    def on_publish(self, *_):
        self.acknowledged += 1
        if self.acknowledged == len(self.messages):
            self.done.set()

    def send(self):
        for topic, payload in self.messages:
            self.client.publish(topic, payload, qos=1)

    def finish(self):
        assert self.done.wait(120), f"{self.acknowledged} of {len(self.messages)} acknowledged"
        self.client.disconnect()
        self.client.loop_stop()


def mixture(count):
    """Detections of every kind with what has to become of each, and no other."""
    kinds, twice = [], str(uuid.uuid4())
    for number in range(count):
        fresh = str(uuid.uuid4())
        kinds.append(
            [
                ("stored", "camera/1/detections", json.dumps({"personCount": 1, "detectionId": fresh})),
                ("stored", "camera/2/detections", json.dumps({"personCount": 2})),
                ("ignored", "camera/1/detections", json.dumps({"personCount": 0})),
                ("duplicate", "camera/1/detections", json.dumps({"personCount": 1, "detectionId": twice})),
                ("rejected", "camera/1/detections", "not JSON\0" + "x" * 9_000),
                ("rejected", "camera/1/detections", json.dumps({"personCount": -1, "unknown": number})),
                ("rejected", "camera/987654/detections", json.dumps({"personCount": 1})),
            ][number % 7]
        )
    return twice, kinds


def test_the_accounts_of_mqtt_balance_under_load(new_hub):
    """Also at every scrape meanwhile; and afterwards each kind is as many as were sent of it."""
    hub = new_hub().start()
    engine, camera = hub.device("engine", "ai-engine"), hub.device("camera-2", "camera", camera=2)
    twice, kinds = mixture(MANY)
    first = Publisher(hub, engine, [("camera/1/detections", json.dumps({"personCount": 1, "detectionId": twice}))])
    first.send()
    first.finish()
    before = hub.accounts_balance()["mqtt"]
    assert before["received"] == before["stored"] == 1
    load = [Publisher(hub, engine, [(topic, payload) for _, topic, payload in kinds])]
    # Without the right to report this camera.
    load.append(Publisher(hub, camera, [("camera/1/detections", json.dumps({"personCount": 1}))] * 100))
    threads = [threading.Thread(target=publisher.send) for publisher in load]
    for thread in threads:
        thread.start()
    scrapes = 0
    while not all(publisher.done.is_set() for publisher in load) and scrapes < 2_000:
        hub.balances()
        scrapes += 1
    for thread, publisher in zip(threads, load):
        thread.join()
        publisher.finish()
    assert scrapes > 3, "it was looked at under load"
    after = hub.accounts_balance()["mqtt"]
    sent = {outcome: sum(1 for kind in kinds if kind[0] == outcome) for outcome in ("stored", "duplicate", "rejected", "ignored")}
    sent["rejected"] += 100
    assert {outcome: after[outcome] - before[outcome] for outcome in sent} == sent
    assert after["received"] == 1 + MANY + 100
    assert hub.get("/api/events/stats")["total"] == after["stored"], "the table has what the account says"
    assert len(rejected(hub)) == after["rejected"]


def rejected(hub):
    """All that is kept of refused messages."""
    messages, before = [], ""
    while page := hub.get(f"/api/events/rejected?limit=500{before}"):
        messages += page
        before = f"&before={page[-1]['id']}"
    # What is no UTF-8 is shown with longer replacements; this was ASCII.
    assert all(len(message["payload"].encode()) <= 4_096 for message in messages)
    return messages


def test_the_accounts_of_http_balance(new_hub):
    hub = new_hub().start()
    engine, camera = hub.device("engine", "ai-engine"), hub.device("camera-2", "camera", camera=2)
    hub.user("uma", "USER", "correct horse")
    detection = {"cameraId": 1, "personCount": 1, "detectionId": str(uuid.uuid4())}
    asked = [
        (engine["token"], detection, 201, "stored"),
        (engine["token"], detection, 200, "duplicate"),
        (engine["token"], {"cameraId": 1, "personCount": 0}, 200, "ignored"),
        (engine["token"], {"cameraId": 1, "personCount": "two"}, 400, "rejected"),
        (engine["token"], {"cameraId": 987654, "personCount": 1}, 404, "rejected"),
        (engine["token"], {"cameraId": 1, "personCount": 1, "description": "x" * 100_000}, 413, "rejected"),
        (camera["token"], {"cameraId": 1, "personCount": 1}, 403, "rejected"),
        (hub.token("uma", "correct horse"), {"cameraId": 1, "personCount": 1}, 403, "rejected"),
        (False, {"cameraId": 1, "personCount": 1}, 401, None),
        ("nonsense", {"cameraId": 1, "personCount": 1}, 401, None),
    ]
    expected = {"stored": 0, "duplicate": 0, "ignored": 0, "rejected": 0}
    for token, body, status, outcome in asked:
        answer = hub.call("POST", "/api/events", body, token)
        assert answer.status_code == status, f"{body!s:.100}: {answer.status_code} {answer.text}"
        if outcome:
            expected[outcome] += 1
        found = hub.accounts_balance()["http"]
        assert {name: found[name] for name in expected} == expected
    assert found["received"] == sum(expected.values()) and found["turned away"] == 0


def test_metrics_are_for_this_machine_and_for_an_admin(hub):
    hub.user("olga", "OPERATOR", "correct horse")
    assert hub.call("GET", "/metrics", token=False).status_code == 200
    # Through a proxy that nobody trusts everybody seems to be local.
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"):
        headers = {header: "127.0.0.1"}
        assert requests.get(hub.url + "/metrics", headers=headers, timeout=5).status_code == 401, header
    for name, password, status in [("olga", "correct horse", 403), ("admin", None, 200)]:
        headers = {"X-Forwarded-For": "192.0.2.1", "Authorization": f"Bearer {hub.token(name, password)}"}
        assert requests.get(hub.url + "/metrics", headers=headers, timeout=5).status_code == status, name


def test_a_trusted_proxy_says_who_asks(new_hub):
    hub = new_hub(TRUSTED_PROXIES="127.0.0.1").start()
    for client in ["127.0.0.1", "192.0.2.1", "127.0.0.1, 192.0.2.1"]:
        answer = requests.get(hub.url + "/metrics", headers={"X-Forwarded-For": client}, timeout=5)
        assert answer.status_code == 401, f"{client}: what a proxy brings is not of this machine"
    assert requests.get(hub.url + "/metrics", timeout=5).status_code == 401, "nor what it brings without a word"


def test_metrics_on_a_listener_of_their_own(new_hub):
    address = f"127.0.0.1:{free_port()}"
    hub = new_hub(METRICS_ADDR=address).start()
    answer = requests.get(f"http://{address}/metrics", timeout=5)
    assert answer.status_code == 200 and "portcullis_build_info" in answer.text
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert requests.get(f"http://{address}/readyz", timeout=5).status_code == 404
    missing = hub.call("GET", "/metrics")
    assert (missing.status_code, missing.json()["message"]) == (404, "Cannot GET /metrics")


def test_what_happens_is_counted(new_hub, python_dashboard, paho, detection):
    hub = new_hub().start()
    engine = hub.device("engine", "ai-engine")
    dashboard = python_dashboard(hub.url, hub.token())
    dashboard.wait("connection")
    session = paho(hub, engine)
    session.publish("camera/1/detections", detection(1))
    hub.post("/api/events", {"cameraId": 1, **detection(2)}, token=engine["token"])
    hub.post("/api/lock/open", expect=200)
    assert session.publish("hub/status", "x") == 0x87
    hub.call("GET", f"/{uuid.uuid4()}")
    assert requests.request("BREW", hub.url + "/api/events", timeout=5).status_code == 405
    until(lambda: hub.metrics()['detection_screen_seconds_count{source="http"}'] == 1, "it is on the screens")
    values = hub.metrics()
    expected = {
        'detection_screen_seconds_count{source="mqtt"}': 1,
        'detection_commit_seconds_count{source="mqtt"}': 1,
        'detection_commit_seconds_count{source="http"}': 1,
        'events_stored_total{type="PERSON_DETECTED"}': 1,
        'events_stored_total{type="MULTIPLE_PERSONS"}': 1,
        'lock_commands_total{action="open",outcome="done"}': 1,
        'http_requests_total{method="POST",route="/api/events",status="201"}': 1,
        'http_requests_total{method="GET",route="none",status="404"}': 1,
        'http_requests_total{method="other",route="/api/events",status="405"}': 1,
        'http_request_duration_seconds_count{method="POST",route="/api/lock/open"}': 1,
        'mqtt_refusals_total{what="publish"}': 1,
        "sockets": 1,
        "lock_worker_online": 1,
        "queue_length": 0,
    }
    assert {name: values.get(name) for name in expected} == expected
    assert sum(value for name, value in values.items() if name.startswith("lock_state{")) == 1
    assert values["group_size_count"] >= 2 and values["commit_duration_seconds_count"] == values["group_size_count"]
    assert values["mqtt_sessions"] >= 1 and values["process_resident_memory_bytes"] > 1_000_000
    assert sum(value for name, value in values.items() if name.startswith("database_connections{")) >= 1


def test_no_client_makes_the_list_grow(hub):
    def ask(numbers):
        for number in numbers:
            hub.call("GET", f"/no/such/{number}", token=False)
            hub.call("GET", f"/api/cameras/{900_000 + number}")
            hub.call(f"M{number}", "/", token=False)
        return len(hub.metrics())

    # What is asked for the first time, /metrics itself among it, makes a series once.
    ask(range(2))
    assert ask(range(2, 20)) == ask(range(20, 40))


def test_every_metric_is_documented(hub, python_dashboard):
    """docs/metrics.md names each metric that there is, and no other."""
    python_dashboard(hub.url, hub.token()).wait("connection")
    hub.post("/api/lock/close", expect=200)
    hub.call("GET", "/api/cameras")
    text = requests.get(hub.url + "/metrics", timeout=10).text
    there = dict(line.split()[2:4] for line in text.splitlines() if line.startswith("# TYPE "))
    page = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text()
    rows = [line.split("|")[1:3] for line in page.splitlines() if line.startswith("| `")]
    written = {name.strip(" `").split("{")[0]: kind.strip() for name, kind in rows if kind.strip() in KINDS}
    assert written == there
