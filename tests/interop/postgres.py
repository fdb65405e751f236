"""A PostgreSQL of a test's own, on a TCP port, that the test starts, ends and hangs as it likes."""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess

from hub import free_port, short_temporary_folder
from waiting import until


def binaries():
    """The folder of the newest server that is installed."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    found += [pathlib.Path(path) for path in [shutil.which("postgres")] if path]
    assert found, "no PostgreSQL server is installed"
    return found[-1].parent


def as_owner(*command):
    """PostgreSQL refuses to run as root."""
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *command] if os.getuid() == 0 else command


class Postgres:
    """A cluster in `folder`; nothing runs yet."""

    def __init__(self, folder=None):
        self.folder = folder or short_temporary_folder()
        self.port = free_port()
        self.url = f"postgres://portcullis@127.0.0.1:{self.port}/portcullis"
        self.cluster = self.folder / "cluster"
        self.process = None
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        made = subprocess.run(
            as_owner(binaries() / "initdb", "-D", self.cluster, "-U", "portcullis", "--auth=trust", "--no-sync", "-E", "UTF8"),
            cwd="/", capture_output=True, text=True,
        )
        assert made.returncode == 0, made.stderr

    def start(self, **settings):
        """Starts it and waits until it takes connections."""
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", **settings}
        chosen = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                as_owner(binaries() / "postgres", "-D", self.cluster, *chosen),
                cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        until(lambda: self.psql("SELECT 1", database="postgres"), "PostgreSQL answers", 60)
        if not self.psql("SELECT 1 FROM pg_database WHERE datname = 'portcullis'", database="postgres"):
            self.psql("CREATE DATABASE portcullis", database="postgres")
        return self

    def psql(self, statement, database="portcullis"):
        """What a statement answers, unaligned; nothing when the server is away."""
        url = self.url.removesuffix("portcullis") + database
        done = subprocess.run(["psql", "-qAtX", url, "-c", statement], capture_output=True, text=True)
        if done.returncode == 2 or "starting up" in done.stderr:
            return ""
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def pids(self):
        """The server and all that it has forked."""
        server = str(self.process.pid)
        forked = subprocess.run(["pgrep", "-P", server], capture_output=True, text=True).stdout.split()
        return [int(pid) for pid in [server, *forked]]

    def hang(self):
        """It answers nothing any more, though its connections stay."""
        for pid in self.pids():
            os.kill(pid, signal.SIGSTOP)

    def go_on(self):
        for pid in self.pids():
            # One whose session has just ended needs nothing.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def stop(self, number=signal.SIGINT):
        """Ends it: SIGINT cuts the sessions and stores everything, SIGKILL does nothing of the kind."""
        self.process.send_signal(number)
        self.process.wait(60)
        # What it has forked goes by itself, a moment later.
        until(lambda: not self.is_listening(), "the port is free")

    def is_listening(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def remove(self):
        if self.process is not None and self.process.poll() is None:
            self.go_on()
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)
