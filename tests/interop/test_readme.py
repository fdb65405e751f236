"""The README's tour, word for word but for the ports, the built program and what would install packages."""

import json
import os
import re
import subprocess
import threading

import pytest

from hub import BINARY, ROOT
from waiting import Inbox, until

WATCHERS = ("node tour/dashboard.mjs", "mosquitto_sub")
"""What the README leaves running in other terminals."""


def tour():
    """The tour's pieces, in order: lines for the shell."""
    text = (ROOT / "README.md").read_text()
    section = text.split("## A tour")[1].split("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


class Terminal(Inbox):
    """A shell that is left running: each line that it prints is `first word`, `rest`."""

    def __init__(self, script, folder):
        super().__init__()
        self.process = subprocess.Popen(
            ["bash", "-euc", script], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        )  # fmt: skip
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            name, _, rest = line.strip().partition(" ")
            try:
                self.put(name, json.loads(rest))
            except ValueError:
                self.put(name, rest)

    def close(self):
        os.killpg(self.process.pid, 15)
        self.process.wait(15)


@pytest.fixture
def folder(hub, tmp_path):
    """A folder like a clone in which the hub was built and started."""
    (tmp_path / "target" / "release").mkdir(parents=True)
    (tmp_path / "target" / "release" / "portcullis").symlink_to(BINARY)
    (tmp_path / "data").symlink_to(hub.data)
    (tmp_path / "tour").mkdir()
    (tmp_path / "tour" / "node_modules").symlink_to(ROOT / "tests" / "interop" / "node_modules")
    return tmp_path


def test_the_tour_works_as_it_stands(hub, folder, closing, monkeypatch):
    for name, value in hub.environment().items():
        monkeypatch.setenv(name, value)
    terminals, said = [], ""
    for piece in tour():
        script = "\n".join(line for line in piece.splitlines() if not re.match(r"sudo apt-get |npm install ", line))
        script = script.replace(":3000", f":{hub.port}")
        script = re.sub(r"mosquitto_(pub|sub)", rf"mosquitto_\1 -p {hub.mqtt_port}", script)
        if "tour/venv" in script:
            # Installing OpenCV again would show nothing; test_ai_engine.py runs the engine.
            continue
        if any(watcher in piece for watcher in WATCHERS):
            terminals.append(closing(Terminal(script, folder)))
            terminals[-1].wait({0: "subscription:confirmed", 1: "lock/status"}[len(terminals) - 1])
            continue
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=folder, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        said += done.stdout
    dashboard, device = terminals
    for count in (1, 2):
        dashboard.wait("event:detected", lambda event: event["personCount"] == count)
        device.wait("camera/1/events", lambda event: event["personCount"] == count)
    for status in ("OPEN", "CLOSED"):
        dashboard.wait("lock:status", lambda lock: lock["status"] == status)
        device.wait("lock/status", lambda lock: lock["status"] == status)
    assert '"status": "SUCCESS"' in said and '"eventType": "MULTIPLE_PERSONS"' in said
    until(lambda: hub.get("/api/lock/status")["status"] == "CLOSED", "the door has closed")
