"""Backups: of a hub that is at work, into an empty folder, and forward from the first schema; and what is refused."""

import hashlib
import io
import json
import subprocess
import tarfile
import threading

import pytest

from hub import ROOT
from test_settings import private_environment, psql, server_url
from waiting import until

KEY = 0x706F_7274_6375_6C6C
"""Of the advisory lock that a hub holds on its database."""


def rows(hub, token=None):
    return {event["id"]: event for event in hub.get("/api/events?limit=500", token)}


def verify(hub):
    return hub.run("lock", "audit", "verify", check=False)


def opened_and_closed(hub):
    hub.post("/api/lock/open", expect=200)
    hub.post("/api/lock/close", expect=200)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A hub at work, and two backups that were made meanwhile: with and without secrets."""
    from hub import Hub

    hub = Hub()
    folder = tmp_path_factory.mktemp("backups")
    whole, bare = folder / "whole", folder / "bare"
    try:
        hub.start()
        engine = hub.device("engine", "ai-engine")
        hub.user("olga", "OPERATOR", "a good password")
        opened_and_closed(hub)
        until(lambda: len(rows(hub)) >= 2, "both moves of the door")
        reported, stop = [], threading.Event()

        def report():
            while not stop.is_set():
                body = {"cameraId": 1, "personCount": 1, "description": f"number {len(reported)}"}
                reported.append(hub.post("/api/events", body, token=engine["token"])["id"])

        reporter = threading.Thread(target=report)
        reporter.start()
        until(lambda: len(reported) > 20, "a busy hub")
        before = len(reported)
        hub.run("backup", "--with-secrets", str(whole))
        hub.run("backup", str(bare))
        assert len(reported) > before, "it went on meanwhile"
        stop.set()
        reporter.join()
        opened_and_closed(hub)
        yield hub, whole, bare, reported[:before]
    finally:
        hub.remove()


def test_a_busy_hub_comes_back_in_an_empty_folder(saved, new_hub):
    hub, whole, _, acknowledged = saved
    assert whole.stat().st_mode & 0o777 == 0o600
    there = rows(hub)
    other = new_hub()
    said = other.run("restore", str(whole)).stdout
    assert "came with its key" in said
    other.start()
    back = rows(other)
    own = {number: event for number, event in back.items() if number in there and number <= max(there)}
    assert set(acknowledged) <= set(own), "what was acknowledged before the backup is in it"
    assert all(there[number] == event for number, event in own.items())
    numbers = sorted(number for number in own if number >= min(acknowledged))
    assert numbers == list(range(numbers[0], numbers[-1] + 1)), "one moment: no gap in it"
    assert other.get("/api/events/stats")["total"] == len(back)
    # The same passwords and devices; whoever was signed in is not.
    assert other.token("olga", "a good password")
    assert other.token("admin", hub.admin_password())
    assert other.call("GET", "/api/cameras", token=hub.token()).status_code == 401
    assert [device["name"] for device in other.get("/api/devices")] == ["engine"]
    history = {row["id"]: row for row in hub.get("/api/lock/history?limit=500")}
    for row in other.get("/api/lock/history?limit=500"):
        assert history[row["id"]] == row
    # The chain goes on, and verifies.
    opened_and_closed(other)
    done = verify(other)
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_secrets_it_says_what_that_means(saved, new_hub):
    _, _, bare, _ = saved
    with tarfile.open(bare) as archive:
        assert archive.getnames() == ["manifest.json", "database.dump"]
    other = new_hub()
    assert "cannot be verified" in other.run("restore", str(bare)).stdout
    other.start()
    assert other.token("olga", "a good password")
    done = verify(other)
    assert done.returncode == 1, done.stdout


def test_what_is_refused(saved, new_hub, tmp_path):
    hub, whole, bare, _ = saved
    done = hub.run("backup", str(bare), check=False)
    assert done.returncode == 1 and "is there already" in done.stderr
    done = hub.run("restore", str(bare), check=False)
    assert done.returncode == 1 and "another hub runs" in done.stderr, done.stderr
    done = new_hub(DATABASE_URL=server_url(hub, "portcullis")).run("restore", "--replace", str(bare), check=False)
    assert done.returncode == 1 and "another hub uses this database" in done.stderr, done.stderr

    def changed(**more):
        """The same backup, with another manifest."""
        path = tmp_path / "changed"
        with tarfile.open(bare) as old, tarfile.open(path, "w") as new:
            for entry in old.getmembers():
                content = old.extractfile(entry).read()
                if entry.name == "manifest.json":
                    manifest = json.loads(content)
                    content = json.dumps({**manifest, **{k: v(manifest[k]) for k, v in more.items()}}).encode()
                entry.size = len(content)
                new.addfile(entry, io.BytesIO(content))
        return str(path)

    other = new_hub()
    done = other.run("restore", changed(migrations=lambda all: [*all, 29991231000000]), check=False)
    assert done.returncode == 1 and "schema is newer" in done.stderr, done.stderr
    assert not other.data.exists(), "nothing was begun"
    done = other.run("restore", changed(dumpSha256=lambda sum: sum[::-1]), check=False)
    assert done.returncode == 1 and "damaged" in done.stderr, done.stderr
    (tmp_path / "other").write_text("no backup")
    done = other.run("restore", str(tmp_path / "other"), check=False)
    assert done.returncode == 1 and "no backup" in done.stderr, done.stderr

    # One that has data is replaced only when told, and then wholly.
    other.start()
    opened_and_closed(other)
    password = other.admin_password()
    assert other.stop() == 0
    done = other.run("restore", str(whole), check=False)
    assert done.returncode == 1 and "not empty" in done.stderr, done.stderr
    other.run("restore", "--replace", str(whole))
    other.tokens.clear()
    assert (other.data / "admin-password.replaced").read_text().strip() == password
    other.start()
    assert other.token("olga", "a good password")
    assert verify(other).returncode == 0
    # What was restored can be saved and restored again.
    again = tmp_path / "again"
    other.run("backup", "--with-secrets", str(again))
    third = new_hub()
    third.run("restore", str(again))
    third.start()
    assert rows(third).keys() >= rows(other).keys()


def first_schema(hub, database):
    """A database as the first version left it, with data in every table."""
    psql(hub, f"CREATE DATABASE {database}", "postgres")
    first = sorted((ROOT / "migrations").glob("*.sql"))[0]
    version, _, name = first.stem.partition("_")
    checksum = hashlib.sha384(first.read_bytes()).hexdigest()
    script = f"""
{first.read_text()}
CREATE TABLE _sqlx_migrations (version bigint PRIMARY KEY, description text NOT NULL,
    installed_on timestamptz NOT NULL DEFAULT now(), success boolean NOT NULL, checksum bytea NOT NULL,
    execution_time bigint NOT NULL);
INSERT INTO _sqlx_migrations VALUES ({version}, '{name.replace("_", " ")}', now(), true, '\\x{checksum}', 1);
INSERT INTO users (username, email, password_hash, role) VALUES
    ('ada', 'ada@example.org', (SELECT hash FROM given), 'ADMIN'), ('uma', 'Uma@example.org', 'x', 'USER');
INSERT INTO cameras (name, location) VALUES ('Gate', 'South'), ('Yard', NULL);
INSERT INTO events (camera_id, event_type, person_count, confidence, is_resolved, resolved_at, detection_id, created_at)
    SELECT 1 + number % 2, CASE WHEN number % 5 = 0 THEN 'MULTIPLE_PERSONS' ELSE 'PERSON_DETECTED' END::event_type,
           1 + (number % 5 = 0)::int, 0.5, number % 3 = 0, CASE WHEN number % 3 = 0 THEN now() END, gen_random_uuid(),
           date_trunc('milliseconds', now() - number * interval '1 hour')
    FROM generate_series(1, 300) AS number;
INSERT INTO events (event_type, person_count, is_resolved, created_at) VALUES ('DOOR_OPENED', 0, true, now());
INSERT INTO devices (name, role, camera_id, secret_hash) VALUES ('gate-camera', 'camera', 1, '\\x00'), ('engine', 'ai-engine', NULL, '\\x01');
INSERT INTO rejected_messages (topic, payload, reason, source) VALUES ('camera/9/detections', '{{}}', 'no such camera', 'device:engine');
"""
    hashed = psql(hub, "SELECT password_hash FROM users WHERE username = 'olga'")
    script = f"CREATE TEMP TABLE given AS SELECT '{hashed}'::text AS hash;\n" + script
    command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, "-f", "-"]
    environment = {"PATH": "/usr/bin:/bin", **private_environment(hub)}
    subprocess.run(command, env=environment, input=script, text=True, check=True, capture_output=True)


def check_first_data(hub, server, database):
    """All of it is there and served."""
    token = hub.token("ada", "a good password")
    assert {user["username"] for user in hub.get("/api/users", token)} == {"ada", "uma"}
    assert {camera["name"] for camera in hub.get("/api/cameras", token)} == {"Gate", "Yard"}
    stats = hub.get("/api/events/stats", token)
    # The hub adds an event of its own: the door, at its start.
    assert stats["total"] in (301, 302) and stats["unresolved"] == 200
    counts = hub.get("/api/events/analytics?bucket=day&from=2000-01-01T00:00:00Z", token)
    assert sum(bucket["count"] for bucket in counts) in (301, 302)
    assert len([number for number in rows(hub, token=token) if number <= 301]) == 301
    assert {device["name"] for device in hub.get("/api/devices", token)} == {"gate-camera", "engine"}
    assert hub.get("/api/events/rejected", token)[0]["reason"] == "no such camera"
    newest = sorted((ROOT / "migrations").glob("*.sql"))[-1].stem.split("_")[0]
    assert psql(server, "SELECT max(version) FROM _sqlx_migrations", database) == newest


def test_the_first_schema_with_data_is_brought_forward(saved, new_hub):
    server = saved[0]
    first_schema(server, "upgraded")
    hub = new_hub(DATABASE_URL=server_url(server, "upgraded")).start()
    check_first_data(hub, server, "upgraded")
    # And goes on from there.
    event = hub.post("/api/events", {"cameraId": 1, "personCount": 1}, token=hub.token("ada"))
    assert event["id"] > 301


def test_a_backup_of_the_first_schema_is_brought_forward(saved, new_hub, tmp_path):
    server = saved[0]
    first_schema(server, "old")
    psql(server, "CREATE DATABASE young", "postgres")
    file = tmp_path / "old"
    new_hub(DATABASE_URL=server_url(server, "old")).run("backup", str(file))
    applied = psql(server, "SELECT count(*) FROM _sqlx_migrations", "old")
    assert applied == "1", "a backup changes nothing"
    hub = new_hub(DATABASE_URL=server_url(server, "young"))
    hub.run("restore", str(file))
    hub.start()
    check_first_data(hub, server, "young")


HOLDER = f"""SELECT pid FROM pg_locks JOIN pg_database ON pg_database.oid = database
    WHERE locktype = 'advisory' AND objsubid = 1 AND ((classid::bigint << 32) | objid::bigint) = {KEY}
    AND datname = current_database()"""


def test_one_hub_for_one_database_also_when_its_connection_is_lost(saved, new_hub):
    server = saved[0]
    psql(server, "CREATE DATABASE claimed", "postgres")
    hub = new_hub(DATABASE_URL=server_url(server, "claimed")).start()
    done = new_hub(DATABASE_URL=server_url(server, "claimed")).run("serve", check=False)
    assert done.returncode == 1 and "another hub uses this database" in done.stderr, done.stderr
    hub.token()  # while the database is there: later, a login may meet the moment without the claim

    holder = psql(server, HOLDER, "claimed")
    psql(server, f"SELECT pg_terminate_backend({holder})", "claimed")
    until(lambda: psql(server, HOLDER, "claimed") not in ("", holder), "the claim is taken anew")
    until(lambda: hub.call("GET", "/api/cameras").status_code == 200, "it goes on")

    # Somebody else was faster: this one must stop.
    command = ["psql", "-X", "-d", "claimed"]
    environment = {"PATH": "/usr/bin:/bin", **private_environment(server)}
    rival = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    rival.stdin.write(f"SELECT pg_terminate_backend(pid) FROM ({HOLDER}) AS held;\nSELECT pg_advisory_lock({KEY});\n")
    rival.stdin.flush()
    try:
        assert hub.process.wait(30) == 1, hub.tail()
        assert "another hub uses this database" in hub.tail()
    finally:
        rival.stdin.close()
        rival.wait(10)
