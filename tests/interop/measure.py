#!/usr/bin/env python3
"""Measures a hub of its own, and prints what it found: from the start to ready, idle memory, and the time from
publishing a detection by MQTT to `event:detected` at a dashboard.

    cargo build --release
    PORTCULLIS_BIN=target/release/portcullis target/interop-venv/bin/python tests/interop/measure.py [RATE [SECONDS]]
"""

import json
import statistics
import sys
import time
import uuid

from clients import PahoDevice, PythonDashboard
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


def main():
    rate, seconds = (int(given) for given in (sys.argv[1:] + ["100", "20"][len(sys.argv) - 1 :])[:2])
    hub = Hub()
    try:
        print(f"{BINARY}")
        print(f"start to ready: {started(hub):.2f} s the first time (makes the database)")
        hub.stop()
        print(f"start to ready: {started(hub):.2f} s afterwards")
        print(f"idle memory: {resident_mib(hub):.1f} MiB")
        found = sorted(latencies(hub, rate, seconds))
        p99 = found[int(len(found) * 0.99)]
        print(
            f"publish to event:detected at {rate}/s: median {statistics.median(found):.1f} ms, 99 % within {p99:.1f} ms"
        )
        print(f"memory after {len(found)} detections: {resident_mib(hub):.1f} MiB")
        begin = time.monotonic()
        hub.stop()
        print(f"Ctrl-C to the end: {time.monotonic() - begin:.2f} s")
    finally:
        hub.remove()


if __name__ == "__main__":
    main()
