#!/usr/bin/env python3
"""Measures hubs of its own, and prints what it found. What to measure is the first argument:

start     from the start to ready, idle memory, and from a detection by MQTT to `event:detected` at a dashboard
requests  requests/s and latency of GET /api/events?limit=50 and POST /api/events, with 16 connections
fanout    event:detected to 1,000 dashboards at 30 events/s, beside a minimal Node server of Socket.io
analytics GET /api/events/analytics over a year, and /stats, with the kept sums of ten million events
all       all of these (the default)

    cargo build --release
    PORTCULLIS_BIN=target/release/portcullis target/interop-venv/bin/python tests/interop/measure.py [WHAT] [--help]
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import time
import uuid

from clients import HERE, PahoDevice, PythonDashboard
from hub import BINARY, Hub
from waiting import until


def started(hub):
    begin = time.monotonic()
    hub.start()
    return time.monotonic() - begin


def resident_mib(hub):
    """Of the hub alone; PostgreSQL's processes are others."""
    status = open(f"/proc/{hub.process.pid}/status", encoding="ascii").read()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def latencies(hub, rate, seconds):
    """Milliseconds from publish to the dashboard, for each detection."""
    credentials = hub.device("engine", "ai-engine")
    dashboard = PythonDashboard(hub.url, hub.token())
    dashboard.wait("connection")
    heard = {}
    dashboard.client.on("event:detected", lambda event: heard.setdefault(event["detectionId"], time.monotonic()))
    session, sent = PahoDevice(hub, credentials), {}
    begin = time.monotonic()
    for number in range(rate * seconds):
        # The load's own clock: a detection every 1/rate s, whatever became of the last.
        time.sleep(max(0.0, begin + number / rate - time.monotonic()))
        name = str(uuid.uuid4())
        sent[name] = time.monotonic()
        session.client.publish("camera/1/detections", json.dumps({"personCount": 1, "detectionId": name}), qos=1)
    until(lambda: len(heard) == len(sent), "each detection is heard")
    session.close()
    dashboard.close()
    return [(heard[name] - at) * 1000 for name, at in sent.items()]


def measure_start(given):
    hub = Hub()
    try:
        print(f"start to ready: {started(hub):.2f} s the first time (makes the database)")
        hub.stop()
        print(f"start to ready: {started(hub):.2f} s afterwards")
        print(f"idle memory: {resident_mib(hub):.1f} MiB")
        found = sorted(latencies(hub, given.rate, given.seconds))
        p99 = found[int(len(found) * 0.99)]
        print(
            f"publish to event:detected at {given.rate}/s: median {statistics.median(found):.1f} ms, 99 % within {p99:.1f} ms"
        )
        print(f"memory after {len(found)} detections: {resident_mib(hub):.1f} MiB")
        begin = time.monotonic()
        hub.stop()
        print(f"Ctrl-C to the end: {time.monotonic() - begin:.2f} s")
    finally:
        hub.remove()


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat", encoding="ascii").read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Load:
    """The load program, at one task."""

    def __init__(self, task, **given):
        self.process = subprocess.Popen(
            ["node", HERE / "load.mjs", json.dumps({"task": task, **given})],
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def go(self):
        """Waits until it is ready and lets it begin."""
        assert self.process.stdout.readline() == "joined\n"
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def found(self):
        out, _ = self.process.communicate()
        assert self.process.returncode == 0, out
        return json.loads(out)


def milliseconds(found):
    return f"median {found['median']:.2f} ms, 99 % within {found['p99']:.2f} ms, longest {found['longest']:.1f} ms"


def measure_requests(given):
    hub = Hub(RUST_LOG="warn")
    try:
        hub.start()
        engine = hub.device("engine", "ai-engine")
        asked = {"port": hub.port, "connections": given.connections, "seconds": given.seconds}
        post = {"method": "POST", "path": "/api/events", "token": engine["token"], "first": 0, "wanted": 201}
        get = {"method": "GET", "path": "/api/events?limit=50", "token": hub.token(), "first": 0, "wanted": 200}
        for name, one in (("POST /api/events", post), ("GET /api/events?limit=50", get)):
            before, of_postgres = cpu_seconds(hub.process.pid), sum(map(cpu_seconds, hub.postgres()))
            found = Load("requests", **asked, **one).found()
            assert not found["others"], found["others"]
            used = cpu_seconds(hub.process.pid) - before
            of_postgres = sum(map(cpu_seconds, hub.postgres())) - of_postgres
            print(f"{name}, {given.connections} connections: {found['rate']:.0f} requests/s, {milliseconds(found)}")
            print(f"    CPU: hub {used / given.seconds:.0%}, PostgreSQL {of_postgres / given.seconds:.0%} of one core")
    finally:
        hub.remove()


def fan_out(name, given, pid, **where):
    load = Load("fanout", sockets=given.sockets, rate=given.events, seconds=given.seconds, first=0, **where)
    load.go()
    before, begun = cpu_seconds(pid), time.monotonic()
    found = load.found()
    used, took = cpu_seconds(pid) - before, time.monotonic() - begun
    assert found["heard"] == found["wanted"], f"{found['wanted']} to be heard, {found['heard']} were"
    print(f"{name}: {milliseconds(found)}; CPU {used / took:.0%} of one core, {used / found['heard'] * 1e6:.1f} µs a message")


def measure_fanout(given):
    print(f"event:detected to {given.sockets} dashboards at {given.events} events/s, from POST to each dashboard:")
    hub = Hub(RUST_LOG="warn")
    try:
        hub.start()
        engine = hub.device("engine", "ai-engine")
        where = {"port": hub.port, "token": hub.token(), "reporter": engine["token"]}
        fan_out("  hub (stores each first)", given, hub.process.pid, **where)
        print(f"  hub's memory afterwards: {resident_mib(hub):.1f} MiB")
    finally:
        hub.remove()
    node = subprocess.Popen(
        ["node", HERE / "fanout_server.mjs"], cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        port = int(node.stdout.readline())
        fan_out("  Node, socket.io (stores nothing)", given, node.pid, port=port, token="", reporter="")
    finally:
        node.stdin.close()
        node.wait()


def kept_sums():
    """SQL that keeps the sums of ten million events of a year: every quarter of an hour, ten cameras, two kinds."""
    return """
        INSERT INTO event_buckets (camera_id, start, event_type, count)
        SELECT camera, quarter, kind::event_type, CASE camera WHEN 0 THEN 140 ELSE 14 END
        FROM generate_series(0, 10) AS camera,
             generate_series(quarter_of(now() - interval '365 days'), quarter_of(now()), '15 minutes') AS quarter,
             unnest(ARRAY['PERSON_DETECTED', 'MULTIPLE_PERSONS']) AS kind
        ON CONFLICT DO NOTHING;
        INSERT INTO event_totals SELECT camera, 0, 0 FROM generate_series(1, 10) AS camera ON CONFLICT DO NOTHING;
        SELECT pack_event_buckets(camera_id, (now() - interval '1 day')::date) FROM event_totals;
        UPDATE event_totals SET total = 10000000, unresolved = 5000000 WHERE camera_id = 0;
    """


def measure_analytics(given):
    hub = Hub(RUST_LOG="warn")
    try:
        hub.start()
        hub.sql(kept_sums())
        # As it does by itself after a minute: a year of sums was packed at once here.
        hub.sql("VACUUM ANALYZE")
        year = "from=" + time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 364 * 86400))
        asked = {"port": hub.port, "connections": 1, "seconds": max(3, given.seconds // 4), "first": 0, "wanted": 200}
        for path in (
            f"/api/events/analytics?bucket=day&{year}",
            f"/api/events/analytics?bucket=hour&{year}",
            f"/api/events/analytics?bucket=day&cameraId=3&{year}",
            "/api/events/analytics",
            "/api/events/stats",
        ):
            lines = hub.get(path)
            found = Load("requests", **asked, method="GET", path=path, token=hub.token()).found()
            assert not found["others"], found["others"]
            print(f"GET {path}, {len(lines)} lines: {milliseconds(found)}")
    finally:
        hub.remove()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"start": measure_start, "requests": measure_requests, "fanout": measure_fanout, "analytics": measure_analytics}
    parser.add_argument("what", nargs="?", default="all", choices=[*parts, "all"])
    parser.add_argument("--rate", type=int, default=100, help="detections/s by MQTT (start)")
    parser.add_argument("--events", type=int, default=30, help="events/s (fanout)")
    parser.add_argument("--sockets", type=int, default=1000, help="dashboards (fanout)")
    parser.add_argument("--connections", type=int, default=16, help="HTTP connections (requests, analytics)")
    parser.add_argument("--seconds", type=int, default=20)
    given = parser.parse_args()
    # A connection each, in the load program and in the server.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    load = os.getloadavg()[0]
    print(f"{BINARY}; {os.cpu_count()} cores, load before {load:.1f}")
    for name, part in parts.items():
        if given.what in (name, "all"):
            part(given)


if __name__ == "__main__":
    main()
