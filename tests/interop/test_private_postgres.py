"""The hub's own PostgreSQL: after power cuts, with a large pool, and in a folder where its user has laid traps.

The power cuts happen in a process namespace of the test's own, with a hub that is not root's: there the numbers of processes
are small, and PostgreSQL can send signals to the hub's threads. `unshare` is Debian's util-linux."""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import threading

import pytest
import requests

from hub import BINARY, READY_SECONDS, free_port
from waiting import until

AS_ROOT = os.getuid() == 0


class Namespace:
    """A hub in a process namespace: 1 is a shell, 2 a process that has nothing to do with it, 3 the hub, then its threads."""

    SCRIPT = 'sleep 100000 & "$@" & wait $!'
    PARENT, STRANGER, HUB, THREADS = 1, 2, 3, (4, 5, 6)

    def __init__(self, hub):
        self.hub, self.process = hub, None
        if AS_ROOT:
            shutil.chown(hub.folder, "nobody", "nogroup")

    def start(self):
        enter = ["unshare", "--pid", "--fork", "--mount-proc"]
        if AS_ROOT:
            enter += ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        else:
            enter[1:1] = ["--user", "--map-current-user"]
        with self.hub.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*enter, "/bin/sh", "-c", self.SCRIPT, "sh", BINARY, "serve"],
                cwd=self.hub.folder, env=self.hub.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )

        def ready():
            assert self.process.poll() is None, self.hub.tail()
            return requests.get(self.hub.url + "/readyz", timeout=5).status_code == 200

        until(ready, "the hub is ready", READY_SECONDS)

    def cut_the_power(self):
        """Everything in it is gone at once: it ends with its first process."""
        server = self.process.pid
        for first in pathlib.Path(f"/proc/{server}/task/{server}/children").read_text().split():
            os.kill(int(first), signal.SIGKILL)
        self.process.wait(60)
        until(lambda: not self.hub.postgres(), "nothing of it is left")


@pytest.fixture
def namespace(new_hub):
    made = Namespace(new_hub())
    yield made
    if made.process is not None and made.process.poll() is None:
        made.cut_the_power()


def stale(hub):
    """The two files in which the number of the server is."""
    return hub.data / "postgres" / "cluster" / "postmaster.pid", hub.data / "postgres" / ".s.PGSQL.5432.lock"


def leave(hub, content):
    """Puts what a power cut may have left into both."""
    for path in stale(hub):
        if isinstance(content, int):
            lines = path.read_text().splitlines(keepends=True)
            path.write_text("".join([f"{content}\n", *lines[1:]]))
        else:
            path.write_bytes(content)


def test_it_starts_whosever_number_is_in_its_pid_file(namespace):
    hub = namespace.hub
    namespace.start()
    event = hub.post("/api/events", {"cameraId": 1, "personCount": 1})
    namespace.cut_the_power()
    assert all(path.exists() for path in stale(hub))
    for number in (Namespace.PARENT, Namespace.STRANGER, Namespace.HUB, *Namespace.THREADS):
        leave(hub, number)
        namespace.start()
        assert hub.get(f"/api/events/{event['id']}") == event, number
        namespace.cut_the_power()


@pytest.mark.parametrize("content", [b"", b"\n", b"\0" * 90, b"-2\n", b"no number\n", b"99999999999\n"])
def test_it_starts_with_a_pid_file_that_is_damaged(namespace, content):
    hub = namespace.hub
    namespace.start()
    namespace.cut_the_power()
    leave(hub, content)
    namespace.start()
    assert hub.get("/api/cameras")


def test_it_starts_after_many_cuts_as_they_come(namespace):
    for _ in range(12 if os.environ.get("PORTCULLIS_LONG") else 3):
        namespace.start()
        namespace.cut_the_power()


def test_the_number_of_another_cluster_s_server_is_no_hindrance(new_hub, new_postgres):
    """Which is of the same user as this one, where the tests are root's."""
    other = new_postgres().start()
    hub = new_hub().start()
    hub.stop(signal.SIGKILL)
    server = int(stale(hub)[0].read_text().split()[0])
    os.kill(server, signal.SIGKILL)
    until(lambda: not hub.postgres(), "nothing of it is left")
    leave(hub, other.process.pid)
    hub.start()
    assert other.psql("SELECT 1") == "1", "the other one goes on"
    assert int(stale(hub)[0].read_text().split()[0]) != other.process.pid


@pytest.mark.parametrize("content", [b"", b"1\n"])
def test_no_second_server_on_a_cluster_whose_server_lives(new_hub, content):
    """Also when that one hangs, and its file does not name it."""
    hub = new_hub().start()
    hub.stop(signal.SIGKILL)
    server = int(stale(hub)[0].read_text().split()[0])
    before = stale(hub)[0].read_bytes()
    os.kill(server, signal.SIGSTOP)
    try:
        stale(hub)[0].write_bytes(content)
        hub.start("/healthz")
        # The hub has asked it and got no answer, so it has decided by now.
        until(lambda: "private PostgreSQL" in requests.get(hub.url + "/readyz", timeout=5).text or asked(hub), "it is asked")
        servers = [pid for pid in hub.postgres() if parent(pid) not in hub.postgres()]
        assert servers == [server]
    finally:
        stale(hub)[0].write_bytes(before)
        os.kill(server, signal.SIGCONT)
    until(lambda: requests.get(hub.url + "/readyz", timeout=5).status_code == 200, "it goes on with it", READY_SECONDS)
    assert int(stale(hub)[0].read_text().split()[0]) == server


def parent(pid):
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def asked(hub):
    """Whether a connection waits at the server's socket: a stopped server takes none."""
    path = str(hub.data / "postgres" / ".s.PGSQL.5432")
    table = pathlib.Path("/proc/net/unix").read_text().splitlines()
    return sum(line.endswith(path) for line in table) > 1


def test_its_last_words_are_of_this_start(new_hub):
    hub = new_hub().start()
    assert hub.stop() == 0
    wal = hub.data / "postgres" / "cluster" / "pg_wal"
    wal.rename(wal.with_name("pg_wal.away"))
    hub.start("/healthz")
    mark = "PostgreSQL ended at its start"
    until(lambda: mark in hub.log.read_text(), "it gives up for now", 60)
    said = hub.log.read_text().partition(mark)[2]
    assert "pg_wal" in said, said
    assert "ready to accept connections" not in said, "that was said by the start before"
    wal.with_name("pg_wal.away").rename(wal)
    until(lambda: requests.get(hub.url + "/readyz", timeout=5).status_code == 200, "it goes on by itself", READY_SECONDS)


# A large pool


def connections(hub):
    """How many connections of the hub the server has."""
    password = (hub.data / "postgres-password").read_text().strip()
    where = {"PGHOST": str(hub.data / "postgres"), "PGUSER": "portcullis", "PGDATABASE": "portcullis", "PGPASSWORD": password}
    question = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'portcullis%'"
    command = ["psql", "-qAtX", "-c", question]
    done = subprocess.run(command, env={**os.environ, **where}, capture_output=True, text=True, check=True)
    return int(done.stdout)


@contextlib.contextmanager
def cameras_locked(command, environment):
    """As long as this lasts nobody can read cameras: who asks keeps a connection."""
    holder = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    holder.stdin.write("BEGIN; LOCK TABLE cameras IN ACCESS EXCLUSIVE MODE; SELECT 'locked';\n")
    holder.stdin.flush()
    assert holder.stdout.readline().strip() == "locked"
    try:
        yield
    finally:
        holder.stdin.write("ROLLBACK;\n")
        holder.stdin.close()
        holder.wait(30)


def ask_at_once(hub, count, held=None):
    """That many clients, each of which asks until it is answered, since a busy machine makes no hundred connections in the time
    that a request waits for one. They are joined by the caller."""
    headers, answers = {"Authorization": f"Bearer {hub.token()}"}, []

    def ask():
        def answered():
            answer = requests.get(f"{hub.url}/api/cameras", headers=headers, timeout=60).status_code
            return answer if answer != 503 else None

        answers.append(until(answered, "an answer", 120))

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for number, thread in enumerate(threads, 1):
        thread.start()
        # A hundred passwords are checked one after the other; a client waits for 3 s.
        if held and number % 10 == 0:
            until(lambda: held() >= number, f"{number} have a connection", 60)
    return threads, answers


def test_a_burst_of_clients_leaves_lock_and_events_at_work(new_hub):
    hub = new_hub(DATABASE_POOL="200").start()
    password = (hub.data / "postgres-password").read_text().strip()
    where = {"PGHOST": str(hub.data / "postgres"), "PGUSER": "portcullis", "PGDATABASE": "portcullis", "PGPASSWORD": password}
    hub.token()
    with cameras_locked(["psql", "-qAtX"], {**os.environ, **where}):
        threads, answers = ask_at_once(hub, 120, held=lambda: connections(hub))
        assert hub.call("GET", "/api/users/me").status_code == 200
    for thread in threads:
        thread.join()
    assert set(answers) == {200}
    hub.post("/api/lock/open", expect=200)
    hub.post("/api/events", {"cameraId": 1, "personCount": 1})
    assert "too many" not in hub.log.read_text()
    until(lambda: connections(hub) <= 10, "the idle ones are let go", 60)


def test_a_server_with_less_room_is_started_anew(new_hub):
    """One that a killed hub has left, whose pool was smaller."""
    hub = new_hub(DATABASE_POOL="10").start()
    hub.stop(signal.SIGKILL)
    assert hub.postgres(), "it has outlived the hub"
    hub.settings["DATABASE_POOL"] = "300"
    hub.start()

    def has_room():
        try:
            hub.sql("DO $$ BEGIN ASSERT current_setting('max_connections')::int > 310; END $$")
        except AssertionError:
            # The old one may be on its way out.
            return False
        return True

    until(has_room, "the server is started anew", 60)
    until(lambda: hub.call("GET", "/api/cameras").status_code == 200, "the hub goes on with it", 60)


# Traps: what its user, or whoever has become that, puts where the hub writes


NAMES = ["start.log", "making.lock", "making.making", "making.password", "making", ".reach", "start.log.new", "restore.dump"]
IN_CLUSTER = ["postmaster.pid"]
OF_SOCKET = [".s.PGSQL.5432.lock", ".s.PGSQL.5432"]


def lay(trap, kind, victim):
    if trap.is_dir() and not trap.is_symlink():
        shutil.rmtree(trap)
    trap.unlink(missing_ok=True)
    match kind:
        case "link":
            trap.symlink_to(victim)
        case "dangling link":
            trap.symlink_to(victim.with_name("nothing"))
        case "hard link":
            os.link(victim, trap)
        case "pipe":
            os.mkfifo(trap)
            shutil.chown(trap, "postgres", "postgres")
        case "folder":
            trap.mkdir()
            shutil.chown(trap, "postgres", "postgres")


@pytest.mark.skipif(not AS_ROOT, reason="a hub that is not root's has no folder of somebody else's")
@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "pipe", "folder"])
@pytest.mark.parametrize("when", ["before the first start", "later"])
def test_what_root_writes_goes_through_no_link(new_hub, kind, when):
    hub = new_hub()
    folder = hub.data / "postgres"
    names = [*NAMES, *OF_SOCKET]
    if when == "later":
        hub.start()
        assert hub.stop() == 0
        names += [f"cluster/{name}" for name in IN_CLUSTER]
    else:
        hub.data.mkdir(mode=0o711)
        folder.mkdir(mode=0o700)
        shutil.chown(folder, "postgres", "postgres")
    (hub.folder / "roots").mkdir()
    victims = {name: hub.folder / "roots" / name.replace("/", "-") for name in names}
    for name, victim in victims.items():
        victim.write_text("precious")
        victim.chmod(0o600)
        lay(folder / name, kind, victim)
    hub.start()
    assert hub.get("/api/cameras")
    for name, victim in victims.items():
        found = victim.lstat()
        assert victim.read_text() == "precious", name
        assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o600), name
    assert not (hub.folder / "roots" / "nothing").exists()
    assert hub.stop() == 0


@pytest.mark.skipif(not AS_ROOT, reason="only root can be led astray so")
def test_root_works_in_no_folder_of_another_user(new_hub):
    hub = new_hub()
    hub.data.mkdir(mode=0o700)
    shutil.chown(hub.data, "nobody", "nogroup")
    for command in (["serve"], ["migrate"], ["device", "list"]):
        done = hub.run(*command, check=False)
        assert done.returncode == 1 and "belongs to" in done.stderr and "sudo -u" in done.stderr, done.stderr
    shutil.chown(hub.data, "root", "root")
    hub.data.chmod(0o777)
    done = hub.run("serve", check=False)
    assert done.returncode == 1 and "written by others" in done.stderr, done.stderr
    assert not list(hub.data.iterdir()), "nothing was written"


@pytest.mark.skipif(not AS_ROOT, reason="only root can be led astray so")
def test_root_follows_no_link_of_another_user_to_its_data_or_a_backup(new_hub):
    hub = new_hub().start()
    theirs, roots = hub.folder / "theirs", hub.folder / "roots"
    for folder in (theirs, roots):
        folder.mkdir(mode=0o755)
    shutil.chown(theirs, "nobody", "nogroup")
    link = theirs / "link"
    link.symlink_to(roots)
    os.chown(link, 65534, 65534, follow_symlinks=False)
    for command, data in [(["serve"], link), (["migrate"], link / "data"), (["backup", str(link / "file")], hub.data)]:
        ports = {"PORT": str(free_port()), "MQTT_PORT": str(free_port())}
        done = hub.run(*command, check=False, DATA_DIR=str(data), **ports)
        assert done.returncode == 1 and "does not follow the link" in done.stderr, done.stderr
    assert not list(roots.iterdir()), "nothing was written"
    # What lies in wait for a backup in a folder of theirs.
    for name in ("file", "file.dump", "file.making"):
        (theirs / name).symlink_to(roots / name)
    done = hub.run("backup", str(theirs / "file"), check=False)
    assert done.returncode == 1, done.stdout
    (theirs / "file").unlink()
    hub.run("backup", str(theirs / "file"))
    assert not list(roots.iterdir()), "nothing was written"
    assert [path.name for path in theirs.iterdir() if not path.is_symlink()] == ["file"]


# Its password


@pytest.mark.parametrize("content", ["", "\n", " \t\n", None])
def test_a_lost_password_is_told_with_its_cure(new_hub, content):
    hub = new_hub().start()
    assert hub.stop() == 0
    file = hub.data / "postgres-password"
    good = file.read_text()
    file.unlink()
    if content is not None:
        file.write_text(content)
    for command in ("serve", "migrate"):
        done = hub.run(command, check=False)
        assert done.returncode == 1 and str(file) in done.stderr and "from a copy" in done.stderr, done.stderr
    file.write_text(good)
    hub.start()


def test_a_password_of_which_a_part_is_lost_is_told_with_its_cure(new_hub):
    hub = new_hub().start()
    assert hub.stop() == 0
    file = hub.data / "postgres-password"
    good = file.read_text()
    file.write_text(good[:20])
    done = hub.run("migrate", check=False)
    assert done.returncode == 1 and "postgres-password" in done.stderr and "from a copy" in done.stderr, done.stderr
    hub.start("/healthz")
    until(lambda: "from a copy" in hub.log.read_text(), "the hub says it as well")
    file.write_text(good)
    hub.stop()
    hub.start()


def test_a_first_start_warns_of_nothing(new_hub):
    hub = new_hub().start()
    warnings = [line for line in hub.log.read_text().splitlines() if " WARN " in line or " ERROR " in line]
    assert not warnings, "\n".join(warnings)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", hub.port)) == 0
