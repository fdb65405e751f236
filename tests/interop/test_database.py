"""Databases of others': over TLS with a CA of its own, through PgBouncer (Debian's pgbouncer), with little room, with the
wrong encoding, or with rights missing. What cannot work is refused at once, in words that say what to do."""

import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import urllib.parse

import pytest
import requests

from hub import free_port, short_temporary_folder
from postgres import as_owner
from test_private_postgres import ask_at_once, cameras_locked
from waiting import until

REFUSED = 60
"""A hub that refuses ends long before."""


def refused(hub, *commands):
    """What each command says when it ends with 1; serve among them."""
    said = []
    for command in commands or (["serve"], ["migrate"]):
        done = hub.run(*command, check=False)
        assert done.returncode == 1, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "panicked" not in done.stderr, done.stderr
        said.append(done.stderr)
    return said


@pytest.fixture
def server(new_postgres):
    """A server, and a role of the hub's that may do nothing yet."""
    server = new_postgres().start()
    server.psql("CREATE ROLE hub LOGIN")
    return server


def url(server, database, role="hub", **query):
    return f"postgres://{role}@127.0.0.1:{server.port}/{database}" + (f"?{urllib.parse.urlencode(query)}" if query else "")


def own_database(server, name, options=""):
    server.psql(f'CREATE DATABASE "{name}" OWNER hub {options}')
    return url(server, name)


# Encodings


COMMANDS = [
    ["serve"],
    ["migrate"],
    ["device", "list"],
    ["user", "add", "olga", "--email", "olga@example.org", "--role", "USER"],
    ["lock", "audit", "verify"],
]


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "EUC_JP", "WIN1250"])
def test_an_encoding_that_loses_letters_is_refused(server, new_hub, encoding, tmp_path):
    given = own_database(server, "door", f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    hub = new_hub(DATABASE_URL=given)
    good = new_hub()
    good.run("migrate")
    good.run("backup", str(tmp_path / "backup"))
    for said in refused(hub, *COMMANDS, ["backup", str(tmp_path / "other")], ["restore", str(tmp_path / "backup")]):
        assert encoding in said and "UTF8" in said, said
    assert server.psql("SELECT count(*) FROM pg_class WHERE relname = 'users'", "door") == "0", "nothing was made"
    # The command that it names makes one that works.
    command = re.search(r"CREATE DATABASE .* TEMPLATE template0", said)[0]
    server.psql(command)
    hub.settings["DATABASE_URL"] = url(server, re.search(r'DATABASE "(\w+)"', command)[1])
    hub.start()
    camera = hub.post("/api/cameras", {"name": "Łukasz 扉", "location": "Hof"})
    assert hub.get(f"/api/cameras/{camera['id']}")["name"] == "Łukasz 扉"


def test_whatever_encoding_the_terminal_has(server, new_hub, tmp_path):
    """Roles and variables that ask for another encoding change nothing, neither for the hub nor for a backup."""
    given = own_database(server, "door")
    server.psql("ALTER ROLE hub SET client_encoding = 'LATIN1'")
    hub = new_hub(DATABASE_URL=given, PGCLIENTENCODING="LATIN1").start()
    name = hub.post("/api/cameras", {"name": "Łukasz 扉"})["name"]
    assert name == "Łukasz 扉"
    hub.run("backup", str(tmp_path / "backup"))
    other = new_hub(DATABASE_URL=own_database(server, "other"), PGCLIENTENCODING="LATIN1")
    other.run("restore", str(tmp_path / "backup"))
    assert server.psql("SELECT name FROM cameras ORDER BY id DESC LIMIT 1", "other") == "Łukasz 扉"


# Rights


def test_a_schema_in_which_it_may_make_nothing_is_told_with_the_grant(server, new_hub):
    server.psql("CREATE DATABASE x")
    hub = new_hub(DATABASE_URL=url(server, "x"))
    for said in refused(hub):
        assert "GRANT" in said, said
        lines = [line for line in said.splitlines() if line.startswith("portcullis: ")]
        assert len(lines) == 1 and lines[0].count("may not make tables") == 1, said
        grant = re.search(r'GRANT .* ON SCHEMA public TO "hub"', said)[0]
    server.psql(grant, "x")
    hub.start()
    assert hub.get("/api/cameras")


def test_what_else_it_may_not(server, new_hub):
    server.psql("CREATE ROLE other LOGIN; ALTER ROLE other SET default_transaction_read_only = on")
    given = own_database(server, "door")
    hub = new_hub(DATABASE_URL=given)
    hub.run("migrate")
    server.psql("ALTER DATABASE door OWNER TO other")
    hub.settings["DATABASE_URL"] = url(server, "door", "other")
    for said in refused(hub):
        assert "takes no changes" in said, said
    server.psql("ALTER ROLE other SET default_transaction_read_only = off")
    for said in refused(hub):
        assert "REASSIGN OWNED" in said, said
    server.psql(re.search(r'REASSIGN OWNED BY "hub" TO "other"', said)[0], "door")
    hub.start()
    hub.stop()
    server.psql("REVOKE USAGE ON SCHEMA public FROM public; DROP SCHEMA public CASCADE", "door")
    for said in refused(hub):
        assert "GRANT" in said, said


# Room


def test_a_pool_that_is_too_large_is_said_and_made_smaller(new_postgres, new_hub):
    server = new_postgres().start(max_connections="40")
    server.psql("CREATE ROLE hub LOGIN CONNECTION LIMIT 25")
    hub = new_hub(DATABASE_URL=own_database(server, "door"), DATABASE_POOL="200").start()
    said = hub.log.read_text()
    assert "DATABASE_POOL=200" in said and 'ALTER ROLE "hub" CONNECTION LIMIT 208' in said, said
    with cameras_locked(["psql", "-qAtX", server.url.removesuffix("portcullis") + "door"], os.environ):
        threads, _ = ask_at_once(hub, 60)
        held = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'hub' AND wait_event_type = 'Lock'"
        until(lambda: int(server.psql(held, "door")) >= 15, "the pool is full", 60)
    for thread in threads:
        thread.join()
    hub.post("/api/lock/open", expect=200)
    hub.post("/api/events", {"cameraId": 1, "personCount": 1})
    assert hub.get("/api/events")
    assert "too many" not in (server.folder / "log").read_text(), "nothing was tried in vain"


@pytest.mark.parametrize(
    ("change", "back", "words"),
    [
        ("ALTER ROLE hub CONNECTION LIMIT 8", "ALTER ROLE hub CONNECTION LIMIT -1", 'ALTER ROLE "hub"'),
        ("ALTER DATABASE door CONNECTION LIMIT 8", "ALTER DATABASE door CONNECTION LIMIT -1", 'ALTER DATABASE "door"'),
    ],
)
def test_too_little_room_is_said_and_waited_for(server, new_hub, change, back, words):
    given = own_database(server, "door")
    server.psql(change)
    hub = new_hub(DATABASE_URL=given).start("/healthz")
    until(lambda: words in hub.log.read_text(), "it says what to do")
    assert requests.get(f"{hub.url}/readyz", timeout=5).status_code == 503
    server.psql(back)
    until(lambda: requests.get(f"{hub.url}/readyz", timeout=5).status_code == 200, "it goes on by itself", 30)


# PgBouncer


class PgBouncer:
    """One of the test's own before a server."""

    def __init__(self, server):
        self.server, self.port, self.process = server, free_port(), None
        self.folder = short_temporary_folder()
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")

    def start(self, mode, **settings):
        settings = {
            "listen_addr": "127.0.0.1", "listen_port": self.port, "unix_socket_dir": "", "auth_type": "any",
            "pool_mode": mode, "default_pool_size": 40, **settings,
        }
        lines = [f"{name} = {value}" for name, value in settings.items()]
        target = f"door = host=127.0.0.1 port={self.server.port} dbname=door user=hub"
        (self.folder / "ini").write_text("\n".join(["[databases]", target, "[pgbouncer]", *lines, ""]))
        with (self.folder / "log").open("ab") as log:
            command = as_owner(shutil.which("pgbouncer") or "/usr/sbin/pgbouncer", str(self.folder / "ini"))
            self.process = subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(lambda: self.asked("SELECT 1") == "1", "PgBouncer answers")
        return f"postgres://hub@127.0.0.1:{self.port}/door"

    def asked(self, question):
        command = ["psql", "-qAtX", f"postgres://hub@127.0.0.1:{self.port}/door", "-c", question]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    def remove(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def pgbouncer(server):
    own_database(server, "door")
    made = PgBouncer(server)
    yield made
    made.remove()


def test_session_pooling_works(pgbouncer, new_hub, detection, paho):
    hub = new_hub(DATABASE_URL=pgbouncer.start("session")).start()
    engine = hub.device("engine", "ai-engine")
    session = paho(hub, engine)
    assert session.publish("camera/1/detections", detection()) == 0
    hub.post("/api/lock/open", expect=200)
    assert hub.get("/api/events")
    # Notices come through: the session of a device that is removed ends.
    hub.run("device", "remove", "engine")
    session.wait("(disconnect)")
    assert hub.stop() == 0
    # The next one is not refused for the sake of the last one's claim.
    hub.start()


@pytest.mark.parametrize("settings", [{}, {"server_round_robin": "1"}, {"default_pool_size": "1"}])
@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_other_pooling_is_refused_and_leaves_no_claim(pgbouncer, server, new_hub, mode, settings):
    given = pgbouncer.start(mode, ignore_startup_parameters="extra_float_digits", **settings)
    # Connections that others have used and left.
    for _ in range(3):
        assert pgbouncer.asked("SELECT 1") == "1"
    hub = new_hub(DATABASE_URL=given)
    for said in refused(hub):
        assert "pool_mode = session" in said, said
    held = server.psql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", "door")
    assert held == "0", "nothing was claimed"
    # The right connection works at once.
    hub.settings["DATABASE_URL"] = url(server, "door")
    hub.start()
    assert "waiting" not in hub.log.read_text()


def test_what_pgbouncer_does_not_let_through_is_told(pgbouncer, new_hub):
    given = pgbouncer.start("session") + "?options=-c%20work_mem%3D8MB"
    for said in refused(new_hub(DATABASE_URL=given)):
        assert "ignore_startup_parameters = options" in said, said


# TLS


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A CA of its own, a server's certificate for 127.0.0.1 and localhost, a client's for the role hub; in a folder with a
    blank, a plus and a colon in its name, and with a key that others may read."""
    folder = tmp_path_factory.mktemp("certificates") / "my certs+keys: all"
    folder.mkdir()
    key = ["-newkey", "rsa:2048", "-nodes"]
    openssl(folder, "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=a CA", "-days", "2",
            "-addext", "basicConstraints=critical,CA:TRUE")
    openssl(folder, "req", "-x509", *key, "-keyout", "no.key", "-out", "no-ca.pem", "-subj", "/CN=no CA", "-days", "2")
    for name, subject, extension in [
        ("server", "/CN=db", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
        ("client", "/CN=hub", "extendedKeyUsage=clientAuth"),
    ]:
        (folder / f"{name}.ext").write_text(extension + "\n")
        openssl(folder, "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject)
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", f"{name}.pem", "-days", "2", "-extfile", f"{name}.ext")
    (folder / "client.key").chmod(0o644)
    return folder


@pytest.fixture
def encrypted(new_postgres, certificates):
    """A server that lets in by TLS alone: the role hub by a certificate or, as the role word, by its password."""
    server = new_postgres()
    for name in ("ca.pem", "server.pem", "server.key"):
        copy = server.folder / name
        shutil.copyfile(certificates / name, copy)
        copy.chmod(0o600)
        if os.getuid() == 0:
            shutil.chown(copy, "postgres", "postgres")
    rules = """
local all all trust
hostssl all hub 127.0.0.1/32 cert
hostssl all word 127.0.0.1/32 scram-sha-256
hostssl all portcullis 127.0.0.1/32 trust
"""
    (server.cluster / "pg_hba.conf").write_text(rules)
    server.start(
        ssl="on", ssl_cert_file=server.folder / "server.pem", ssl_key_file=server.folder / "server.key",
        ssl_ca_file=server.folder / "ca.pem", unix_socket_directories=server.folder,
    )
    server.psql("CREATE ROLE hub LOGIN; CREATE ROLE word LOGIN PASSWORD 'a+b c%d'")
    server.psql("CREATE DATABASE door OWNER hub")
    server.psql("CREATE DATABASE worded OWNER word")
    return server


def round_trip(hub, server, tmp_path, database, role):
    """serve, backup and restore, by the same settings."""
    hub.start()
    camera = hub.post("/api/cameras", {"name": "Seen over TLS"})
    file = tmp_path / "backup"
    hub.run("backup", "--with-secrets", str(file))
    assert hub.stop() == 0
    hub.run("restore", "--replace", str(file))
    assert server.psql(f"SELECT name FROM cameras WHERE id = {camera['id']}", database) == "Seen over TLS"
    assert server.psql(f"SELECT count(*) FROM pg_class WHERE relname = 'users' AND relowner = '{role}'::regrole", database) == "1"


WAYS = ["in the URL", "under other names", "in the environment", "in the .env", "themselves in the environment", "required only", "by default"]


@pytest.mark.parametrize("way", WAYS)
def test_backup_and_restore_reach_by_certificate_what_serve_reaches(encrypted, certificates, new_hub, tmp_path, way):
    files = {"sslrootcert": "ca.pem", "sslcert": "client.pem", "sslkey": "client.key"}
    paths = {name: str(certificates / file) for name, file in files.items()}
    variables = {"PGSSLMODE": "verify-full", **{f"PG{name.upper()}": path for name, path in paths.items()}}
    hub = new_hub()
    query = {}
    match way:
        case "in the URL":
            query = {"sslmode": "verify-full", **paths}
        case "under other names":
            query = {"ssl-mode": "verify-ca", "ssl-ca": paths["sslrootcert"], "ssl-cert": paths["sslcert"], "ssl-key": paths["sslkey"]}
        case "in the environment":
            hub.settings.update(variables)
        case "in the .env":
            lines = [f"{name}='{value}'\n" for name, value in variables.items()]
            (hub.folder / ".env").write_text("".join(lines))
        case "themselves in the environment":
            texts = {f"PG{name.upper()}": pathlib.Path(path).read_text().strip() for name, path in paths.items()}
            hub.settings.update(PGSSLMODE="verify-full", **texts)
        case "required only":
            # A CA that did not sign it is not asked then.
            query = {"sslmode": "require", **paths, "sslrootcert": str(certificates / "no-ca.pem")}
        case "by default":
            query = {name: paths[name] for name in ("sslcert", "sslkey")}
    hub.settings["DATABASE_URL"] = url(encrypted, "door", **query)
    round_trip(hub, encrypted, tmp_path, "door", "hub")


@pytest.mark.parametrize("variables", [{}, {"PGSERVICE": "elsewhere", "PGREQUIREPEER": "nobody", "PGSSLMINPROTOCOLVERSION": "TLSv1.3",
                                            "PGCHANNELBINDING": "require", "PGTARGETSESSIONATTRS": "standby", "PGHOSTADDR": "192.0.2.1"}])
def test_by_password_and_whatever_else_the_environment_says(encrypted, certificates, new_hub, tmp_path, variables):
    given = f"postgres://word:a%2Bb%20c%25d@localhost:{encrypted.port}/worded?"
    given += urllib.parse.urlencode({
        "sslmode": "verify-full", "sslrootcert": certificates / "ca.pem", "options": "-c work_mem=8MB -c geqo=off",
        "options[lock_timeout]": "10s", "application_name": "a door",
    })
    if "PGHOSTADDR" in variables:
        given = given.replace("localhost", "127.0.0.1")
    hub = new_hub(DATABASE_URL=given, **variables)
    round_trip(hub, encrypted, tmp_path, "worded", "word")


@pytest.mark.parametrize("way", ["host", "in front", "variable"])
def test_by_a_socket(encrypted, new_hub, tmp_path, way):
    folder = str(encrypted.folder)
    hub = new_hub()
    match way:
        case "host":
            hub.settings["DATABASE_URL"] = f"postgres://hub@localhost:{encrypted.port}/door?host={urllib.parse.quote(folder, safe='')}"
        case "in front":
            hub.settings["DATABASE_URL"] = f"postgres://hub@{urllib.parse.quote(folder, safe='')}:{encrypted.port}/door"
        case "variable":
            hub.settings["DATABASE_URL"] = "postgres:///door"
            hub.settings.update(PGHOST=folder, PGPORT=str(encrypted.port), PGUSER="hub")
    round_trip(hub, encrypted, tmp_path, "door", "hub")


def test_a_ca_that_did_not_sign_is_refused_by_all(encrypted, certificates, new_hub, tmp_path):
    paths = {"sslcert": certificates / "client.pem", "sslkey": certificates / "client.key"}
    given = url(encrypted, "door", sslmode="verify-full", sslrootcert=certificates / "no-ca.pem", **paths)
    hub = new_hub(DATABASE_URL=given)
    for command in (["migrate"], ["backup", str(tmp_path / "backup")]):
        done = hub.run(*command, check=False)
        assert done.returncode == 1 and "certificate" in done.stderr, done.stderr
        assert done.stderr.count("invalid peer certificate") <= 1, "said once"


def test_a_parameter_that_is_not_known_is_named_without_its_value(encrypted, new_hub):
    hub = new_hub(DATABASE_URL=url(encrypted, "door", "portcullis", sslpassword="hush", channel_binding="prefer"))
    done = hub.run("migrate")
    assert "sslpassword" in done.stderr and "hush" not in done.stderr, done.stderr


# Files that a power cut has emptied


@pytest.mark.parametrize("name", ["jwt-secret", "lock-audit-key", "lock-audit-head"])
@pytest.mark.parametrize("content", ["", "\n", "\0\0\0\0", "half"])
def test_an_emptied_secret_is_named_with_its_cure(make_hub, kept_hub, name, content):
    file = kept_hub.data / name
    good = file.read_text()
    file.write_text(good[: len(good) // 2] if content == "half" else content)
    done = kept_hub.run("serve", check=False)
    assert done.returncode == 1 and str(file) in done.stderr and "remove it" in done.stderr, done.stderr
    assert "panicked" not in done.stderr
    file.write_text(good)


@pytest.fixture(scope="module")
def kept_hub(make_hub):
    hub = make_hub().start()
    assert hub.stop() == 0
    with contextlib.suppress(FileNotFoundError):
        hub.log.unlink()
    return hub
