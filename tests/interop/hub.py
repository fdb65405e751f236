"""A hub of the suite's own: the built binary in a temporary DATA_DIR, on free ports, with nothing else set up."""

import contextlib
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import socket
import subprocess
import tempfile

import requests
from prometheus_client.parser import text_string_to_metric_families

from waiting import until

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("PORTCULLIS_BIN", ROOT / "target" / "debug" / "portcullis")).resolve()
READY_SECONDS = 60.0
"""The first start makes a PostgreSQL cluster, which takes a small machine a while."""


def free_port():
    """Below those that the system gives to outgoing connections, so that none of them takes it before the hub does."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def short_temporary_folder():
    """One that PostgreSQL's user can reach (a hub started by root runs PostgreSQL as another), with a short path,
    because a Unix socket's has at most 107 bytes."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pc-", dir="/tmp"))
    folder.chmod(0o755)
    return folder


class Hub:
    """A hub's process, its folder and its addresses."""

    WORKER = {"GPIO_SIMULATED": "true", "LOCK_OPEN_SECONDS": "1"}

    def __init__(self, **settings):
        self.folder = short_temporary_folder()
        self.data = self.folder / "data"
        self.port, self.mqtt_port = free_port(), free_port()
        while self.mqtt_port == self.port:
            self.mqtt_port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.mqtt_url = f"mqtt://127.0.0.1:{self.mqtt_port}"
        self.settings = settings
        self.log = self.folder / "log"
        self.process = None
        self.tokens = {}
        self.files = None  # how many it may have open, if not as many as the test

    def environment(self, **more):
        """Nothing of the caller's own settings reaches the hub."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "USER", "LANG", "TMPDIR") if name in os.environ}
        # A hub without a lock worker of its own refuses the worker's settings.
        worker = {} if {**self.settings, **more}.get("LOCK_AGENT") == "remote" else self.WORKER
        return {
            **kept,
            "DATA_DIR": str(self.data),
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "MQTT_PORT": str(self.mqtt_port),
            "RUST_LOG": "info",
            **worker,
            **self.settings,
            **more,
        }

    def start_without_worker(self):
        """Starts the hub and waits until all is up but the lock worker, which it waits for itself."""
        self.start("/healthz")

        def only_the_worker_is_missing():
            parts = requests.get(f"{self.url}/readyz", timeout=5).json()["parts"]
            return all(part["up"] for part in parts if part["name"] != "lock worker")

        until(only_the_worker_is_missing, "all is up but the lock worker", READY_SECONDS)
        return self

    def start(self, ready="/readyz", stdin=subprocess.DEVNULL):
        """Starts the hub and waits until it says that it is ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [BINARY, "serve"],
                cwd=self.folder,
                env=self.environment(),
                stdin=stdin,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=self.limit_files if self.files else None,
            )

        def answers():
            if self.process.poll() is not None:
                raise AssertionError(f"the hub ended with {self.process.returncode}:\n{self.tail()}")
            answer = requests.get(self.url + ready, timeout=5)
            said.append(answer.text)
            return answer.status_code == 200

        said = []
        try:
            until(answers, f"{ready} answers 200", READY_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{said[-1:]}\n{self.tail()}") from None
        return self

    def limit_files(self):
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.files, self.files))

    def tail(self):
        """The end of the log, without the lines that asking whether it is ready makes."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(line for line in lines if "/readyz" not in line and "/healthz" not in line)[-4000:]

    def stop(self, number=signal.SIGINT, group=False, seconds=30):
        """Ends the hub by a signal; its exit code."""
        if group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        return self.process.wait(seconds)

    def remove(self):
        """Ends whatever is left and removes the folder."""
        if self.process is not None and self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid in self.postgres():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def postgres(self):
        """The PostgreSQL processes of this hub's folder. All of them work in the cluster's folder."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and "postgres" in (entry / "comm").read_text():
                    folder = os.readlink(entry / "cwd")
                    if folder.startswith(str(self.folder)):
                        found.append(int(entry.name))
            except OSError:
                continue
        return found

    def run(self, *arguments, check=True, stdin=None, **settings):
        """Runs another subcommand of the binary on the same DATA_DIR."""
        done = subprocess.run(
            [BINARY, *arguments],
            cwd=self.folder,
            env=self.environment(**settings),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if check:
            assert done.returncode == 0, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def device(self, name, role, camera=None):
        """Makes a device by the command line; its credentials."""
        of_camera = [] if camera is None else ["--camera", str(camera)]
        return json.loads(self.run("device", "add", name, "--role", role, *of_camera, "--json").stdout)

    def user(self, name, role, password):
        """Makes a user by the command line."""
        email = f"{name}@example.org"
        self.run("user", "add", name, "--email", email, "--role", role, stdin=password + "\n")
        self.tokens.pop(name, None)

    def sql(self, text):
        """Runs SQL in the hub's private PostgreSQL."""
        password = (self.data / "postgres-password").read_text().strip()
        where = {"PGHOST": str(self.data / "postgres"), "PGUSER": "portcullis", "PGDATABASE": "portcullis"}
        environment = {**os.environ, **where, "PGPASSWORD": password}
        command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", text]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr

    def admin_password(self):
        return (self.data / "admin-password").read_text().strip()

    def token(self, username="admin", password=None):
        """A user's access token."""
        if username not in self.tokens:
            body = {"username": username, "password": password or self.admin_password()}
            answer = requests.post(f"{self.url}/auth/login", json=body, timeout=10)
            assert answer.status_code == 200, answer.text
            self.tokens[username] = answer.json()["access_token"]
        return self.tokens[username]

    def call(self, method, path, body=None, token=None):
        """A REST call as the admin, or as whoever `token` is of; False is nobody."""
        headers = {} if token is False else {"Authorization": f"Bearer {token or self.token()}"}
        return requests.request(method, self.url + path, json=body, headers=headers, timeout=15)

    def get(self, path, token=None):
        answer = self.call("GET", path, token=token)
        assert answer.status_code == 200, f"GET {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def post(self, path, body=None, expect=201, token=None):
        answer = self.call("POST", path, body, token)
        assert answer.status_code == expect, f"POST {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def metrics(self):
        """The values at one scrape: name and labels, as in `detections_total{outcome="stored",source="mqtt"}`, with
        labels in alphabetical order and without the hub's name."""
        answer = requests.get(self.url + "/metrics", timeout=10)
        assert answer.status_code == 200, answer.text
        values = {}
        for family in text_string_to_metric_families(answer.text):
            for sample in family.samples:
                labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
                name = sample.name.removeprefix("portcullis_") + (f"{{{labels}}}" if labels else "")
                assert name not in values, f"{name} is there twice"
                values[name] = sample.value
        return values

    def balances(self):
        """The accounts of detections at one scrape, by source; checked, since they hold at every moment."""
        values, found = self.metrics(), {}
        for source in ("mqtt", "http"):
            label = f'source="{source}"'
            found[source] = balance = {
                "received": values[f"detections_received_total{{{label}}}"],
                "in flight": values[f"detections_in_flight{{{label}}}"],
                "turned away": values[f"detections_turned_away_total{{{label}}}"],
            }
            for outcome in ("stored", "duplicate", "rejected", "ignored"):
                balance[outcome] = values[f'detections_total{{outcome="{outcome}",{label}}}']
            sum_of_all = sum(balance[name] for name in ("stored", "duplicate", "rejected", "ignored", "in flight"))
            assert balance["received"] == sum_of_all, f"the accounts of {source} do not balance: {balance}"
        return found

    def accounts_balance(self, seconds=60):
        """Waits until nothing is in flight any more, and answers the accounts; for after a fault that the process
        survived, when the publishers are done."""

        def settled():
            found = self.balances()
            return found if not any(balance["in flight"] for balance in found.values()) else None

        return until(settled, "nothing is in flight", seconds)
