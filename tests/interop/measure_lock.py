#!/usr/bin/env python3
"""Measures how long POST /api/lock/open takes until the relay's level is read back, on a hub of its own with a simulated
relay: the answer comes after the read-back, so its time is an upper bound. First with the worker in the hub's process,
then with `portcullis lock-agent` beside it, over TCP.

    cargo build --release
    PORTCULLIS_BIN=target/release/portcullis target/interop-venv/bin/python tests/interop/measure_lock.py [OPENINGS]

A sender may give ten commands in ten seconds, so the openings are given by as many operators as it takes. After each
one, another command closes the door, so that each opening moves the relay.
"""

import statistics
import sys
import time

import requests

from hub import BINARY, Hub
from lock_agent import LockAgent
from waiting import until

COMMANDS = 8
"""How many commands each operator gives; ten would be the limit."""


def operators(hub, count):
    """Their sessions, each signed in."""
    sessions = []
    for number in range(count):
        name, password = f"operator{number}", "opens-many-doors"
        hub.post("/api/users", {"username": name, "email": f"{name}@example.org", "password": password, "role": "OPERATOR"})
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {hub.token(name, password)}"
        sessions.append(session)
    return sessions


def openings(hub, count):
    """Milliseconds from the request to its answer, for each opening."""
    found = []
    for session in operators(hub, -(-2 * count // COMMANDS)):
        for _ in range(min(COMMANDS // 2, count - len(found))):
            begin = time.perf_counter()
            answer = session.post(f"{hub.url}/api/lock/open", timeout=10)
            found.append((time.perf_counter() - begin) * 1000)
            assert answer.status_code == 200, answer.text
            assert session.post(f"{hub.url}/api/lock/close", timeout=10).status_code == 200
    return found


def measure(what, count, with_worker):
    hub = Hub(**({"LOCK_AGENT": "remote"} if with_worker else {}))
    agent = None
    try:
        hub.start_without_worker()
        if with_worker:
            agent = LockAgent(hub, hub.device("door", "lock-agent"))
        until(lambda: hub.get("/api/lock/status")["online"], "the lock worker is there")
        found = sorted(openings(hub, count))
        # The value that 99 of 100 do not exceed.
        p99 = found[-(-len(found) * 99 // 100) - 1]
        print(f"{what}: median {statistics.median(found):.2f} ms, p99 {p99:.2f} ms, of {len(found)}")
    finally:
        if agent is not None:
            agent.stop()
        hub.remove()


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print(f"{BINARY}: POST /api/lock/open to the relay's read-back, simulated")
    measure("worker in the hub's process", count, False)
    measure("worker as a process of its own", count, True)


if __name__ == "__main__":
    main()
