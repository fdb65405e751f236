"""Every documented setting has an effect. Each test says by `exercises` which ones it sees; the last one finds those
that nobody sees."""

import base64
import contextlib
import datetime
import hashlib
import hmac
import json
import os
import pathlib
import socket
import ssl
import subprocess
import threading
import urllib.parse

import pytest
import requests

from clients import PahoDevice
from hub import BINARY, ROOT, free_port
from test_lock import LockAgent, online
from test_strangers import closes
from waiting import until

EXERCISED = set()


def exercises(*names):
    EXERCISED.update(names)
    return lambda test: test


def claims(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def signed_by(token, key):
    content, _, signature = token.rpartition(".")
    expected = hmac.new(key.encode(), content.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(expected).rstrip(b"=").decode() == signature


def private_environment(hub):
    """How psql reaches the hub's private PostgreSQL."""
    password = (hub.data / "postgres-password").read_text().strip()
    return {"PGHOST": str(hub.data / "postgres"), "PGUSER": "portcullis", "PGPASSWORD": password}


def psql(hub, query, database="portcullis"):
    command = ["psql", "-X", "-A", "-t", "-d", database, "-c", query]
    done = subprocess.run(command, env={**os.environ, **private_environment(hub)}, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def server_url(hub, database):
    """As DATABASE_URL: another database of the hub's private server."""
    password = (hub.data / "postgres-password").read_text().strip()
    folder = urllib.parse.quote(str(hub.data / "postgres"), safe="")
    return f"postgres://portcullis:{password}@localhost/{database}?host={folder}"


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A CA, a server's certificate for 127.0.0.1, and one of a device called `engine`."""
    folder = tmp_path_factory.mktemp("certificates")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl(folder, "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test CA", "-days", "2",
            "-addext", "basicConstraints=critical,CA:TRUE")
    for name, subject, extension in [
        ("hub", "/CN=hub", "subjectAltName=IP:127.0.0.1"),
        ("device", "/CN=engine", "extendedKeyUsage=clientAuth"),
    ]:
        (folder / f"{name}.ext").write_text(extension + "\n")
        openssl(folder, "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject)
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", f"{name}.pem", "-days", "2", "-extfile", f"{name}.ext")
    return folder


@pytest.fixture(scope="module")
def set_hub(tmp_path_factory):
    """A hub with much set, by the environment and by .env."""
    from hub import Hub

    hub = Hub(
        CORS_ORIGIN="https://door.example",
        TRUSTED_PROXIES="127.0.0.0/8",
        DATABASE_POOL="2",
        JWT_SECRET="a-key-of-more-than-thirty-two-bytes",
        JWT_EXPIRATION="30m",
        ADMIN_PASSWORD="chosen-by-the-owner",
        REGISTRATION="open",
        GPIO_RELAY_PIN="22",
        LOCK_OPEN_SECONDS="2",
        LOCK_MAX_OPEN_SECONDS="3",
        LOCK_HOLD_OPEN="true",
        LOCK_ON_DETECTION="close",
        PERSON_DETECTION_THRESHOLD="0.9",
        CAMERA_TIMEOUT="1",
        OCCUPANCY_SECONDS="3",
        RUST_LOG="debug",
    )
    broker = hub.folder / "rights.toml"
    broker.write_text('[[rights]]\nwho = "sensor"\naction = "publish"\nfilter = "weather/%n"\nallow = true\n')
    (hub.folder / ".env").write_text(f"LOG_FORMAT=json\nTIMEZONE=Asia/Kathmandu\nBROKER_CONFIG={broker}\nPORT=1\n")
    try:
        hub.start()
        hub.token("admin", "chosen-by-the-owner")
        yield hub
    finally:
        hub.remove()


@exercises("DATA_DIR", "PORT", "HOST", "MQTT_PORT")
def test_where_it_is(set_hub, closing):
    assert (set_hub.data / "postgres" / "cluster").is_dir()
    assert set_hub.get("/api/cameras")
    closing(PahoDevice(set_hub, set_hub.device("where", "ai-engine")))
    # On that address only.
    with socket.socket() as other:
        assert other.connect_ex(("127.0.0.2", set_hub.port)) != 0


@exercises("CORS_ORIGIN", "TRUSTED_PROXIES")
def test_browsers_and_proxies(set_hub):
    for origin, welcome in [("https://door.example", True), ("http://localhost:3000", False)]:
        answer = requests.get(f"{set_hub.url}/healthz", headers={"Origin": origin}, timeout=5)
        assert ("access-control-allow-origin" in answer.headers) is welcome, origin
    headers = {"Authorization": f"Bearer {set_hub.token()}", "X-Forwarded-For": "203.0.113.9"}
    assert requests.post(f"{set_hub.url}/api/lock/close", headers=headers, timeout=10).status_code == 200
    assert set_hub.get("/api/lock/history?limit=1")[0]["address"] == "203.0.113.9"


@exercises("HOST_NAMES")
def test_names(set_hub):
    # What a trusted proxy brings has any name: test_origin.py has the rest.
    assert requests.get(f"{set_hub.url}/healthz", headers={"Host": "evil.example"}, timeout=5).ok


@exercises("HTTP_HEADER_SECONDS", "HTTP_BODY_SECONDS", "HTTP_IDLE_SECONDS")
def test_no_connection_is_silent_for_ever(new_hub):
    hub = new_hub(HTTP_HEADER_SECONDS="1", HTTP_BODY_SECONDS="2", HTTP_IDLE_SECONDS="3").start()
    head = b"POST /auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
    for words in [b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"]:
        connection = socket.create_connection(("127.0.0.1", hub.port))
        connection.sendall(words)
        assert closes(connection, 30), words
    # Bytes one at a time make no head longer.
    slow = socket.create_connection(("127.0.0.1", hub.port))

    def trickle():
        with contextlib.suppress(OSError):
            for byte in b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * 1000:
                slow.sendall(bytes([byte]))
                if stop.wait(0.1):
                    return

    stop = threading.Event()
    threading.Thread(target=trickle, daemon=True).start()
    assert closes(slow, 30)
    stop.set()
    late = socket.create_connection(("127.0.0.1", hub.port))
    late.sendall(head)
    late.settimeout(30)
    answer = b""
    while part := late.recv(4096):
        answer += part
    assert answer.startswith(b"HTTP/1.1 408") and b"did not arrive in time" in answer
    # A socket that lives on signs of life is no silent connection, nor is one that is used again and again.
    with requests.Session() as session:
        for _ in range(5):
            assert session.get(f"{hub.url}/healthz", timeout=10).ok


@exercises("HTTP_CONNECTIONS", "HTTP_CONNECTIONS_PER_ADDRESS")
def test_connections_have_bounds(new_hub):
    hub = new_hub(HTTP_CONNECTIONS="16", HTTP_CONNECTIONS_PER_ADDRESS="4").start()
    silent = [socket.create_connection(("127.0.0.1", hub.port)) for _ in range(12)]
    assert closes(silent[0], 20), "the oldest of the address goes"
    assert hub.call("GET", "/healthz", token=False).status_code == 200
    others = [socket.create_connection(("127.0.0.1", hub.port), source_address=(f"127.0.1.{n}", 0)) for n in range(1, 41)]
    assert closes(others[0], 20), "the oldest of all goes"
    assert hub.metrics()["http_connections"] <= 16


@exercises("DATABASE_POOL")
def test_the_pool_is_no_larger(set_hub):
    most, stop = [0], threading.Event()

    def ask():
        while not stop.is_set():
            set_hub.get("/api/events/stats")

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'portcullis' AND query ILIKE '%event%'"
    for _ in range(20):
        most[0] = max(most[0], int(psql(set_hub, query)))
    stop.set()
    for thread in threads:
        thread.join()
    # The pool's two, and the recorder's own.
    assert 1 <= most[0] <= 3, most


@exercises("JWT_SECRET", "JWT_EXPIRATION", "ADMIN_PASSWORD", "REGISTRATION")
def test_accounts(set_hub):
    token = set_hub.token("admin", "chosen-by-the-owner")
    assert signed_by(token, "a-key-of-more-than-thirty-two-bytes")
    assert claims(token)["exp"] - claims(token)["iat"] == 1800
    body = {"username": "ann", "email": "ann@example.org", "password": "long enough"}
    assert set_hub.call("POST", "/auth/register", body, token=False).status_code == 201


@exercises("GPIO_RELAY_PIN", "LOCK_HOLD_OPEN")
def test_the_relay_and_who_holds_it(set_hub):
    status = set_hub.get("/api/lock/status")
    assert status["simulated"] is True and status["pin"] == 22
    until_then = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)).isoformat()
    set_hub.post("/api/lock/hold", {"until": until_then, "reason": "moving in"}, expect=200)
    until(lambda: set_hub.get("/api/lock/status")["status"] == "CLOSED", "the hold ends")


def door_times(hub):
    """How long the door was open the last time, in seconds."""
    events = [event for event in hub.get("/api/events?limit=100") if event["eventType"].startswith("DOOR_")]
    at = [datetime.datetime.fromisoformat(event["createdAt"]) for event in events[:2]]
    assert [event["eventType"] for event in events[:2]] == ["DOOR_CLOSED", "DOOR_OPENED"]
    return (at[0] - at[1]).total_seconds()


def closed(hub):
    until(lambda: hub.get("/api/lock/status")["status"] == "CLOSED", "the door closes")
    until(lambda: [event["eventType"] for event in hub.get("/api/events?limit=100")
                   if event["eventType"].startswith("DOOR_")][0] == "DOOR_CLOSED", "the event of it")


@exercises("LOCK_OPEN_SECONDS", "LOCK_MAX_OPEN_SECONDS")
def test_how_long_it_stays_open(set_hub):
    set_hub.post("/api/lock/open", expect=200)
    closed(set_hub)
    assert 1.5 < door_times(set_hub) < 2.9
    # Commands in a row, each of which asks for two seconds more.
    set_hub.post("/api/lock/open", expect=200)
    opened = datetime.datetime.now(datetime.UTC)
    until(lambda: (datetime.datetime.now(datetime.UTC) - opened).total_seconds() > 1.6, "a while")
    set_hub.call("POST", "/api/lock/open")
    closed(set_hub)
    assert 2.5 < door_times(set_hub) < 3.6


@exercises("LOCK_ON_DETECTION", "PERSON_DETECTION_THRESHOLD")
def test_a_person_closes_the_door(set_hub, detection):
    engine = set_hub.device("sure", "ai-engine")
    set_hub.post("/api/lock/open", expect=200)
    for confidence in (0.8, 0.95):
        set_hub.post("/api/events", {"cameraId": 1, **detection(1, confidence=confidence)}, token=engine["token"])
    closed(set_hub)
    assert door_times(set_hub) < 1.8
    history = [row for row in set_hub.get("/api/lock/history?limit=10") if row["requestedBy"] == "rule:close-on-detection"]
    assert len(history) == 1, "only the surer one"


@exercises("CAMERA_TIMEOUT")
def test_a_silent_camera_is_lost(set_hub, detection):
    engine = set_hub.device("silent", "ai-engine")
    set_hub.post("/api/events", {"cameraId": 2, **detection(0)}, expect=200, token=engine["token"])

    def alert():
        alerts = set_hub.get("/api/events?limit=50&eventType=SYSTEM_ALERT")
        return [event for event in alerts if event["description"] == "Camera 2 (Back yard) is lost"]

    until(alert, "an alert of camera 2")


@exercises("OCCUPANCY_SECONDS")
def test_somebody_is_there_for_so_long(set_hub, detection):
    engine = set_hub.device("glimpse", "ai-engine")
    camera = set_hub.post("/api/cameras", {"name": "of glimpses"})["id"]

    def occupied():
        return set_hub.get(f"/api/cameras/{camera}")["occupied"]

    set_hub.post("/api/events", {"cameraId": camera, **detection(1)}, token=engine["token"])
    until(occupied, "somebody is there")
    until(lambda: not occupied(), "nobody is there any more", 20)


@exercises("TIMEZONE", "RUST_LOG", "LOG_FORMAT", "BROKER_CONFIG")
def test_what_the_dot_env_says(set_hub, detection):
    engine = set_hub.device("zone", "ai-engine")
    set_hub.post("/api/events", {"cameraId": 1, **detection(1)}, token=engine["token"])
    buckets = set_hub.get("/api/events/analytics?bucket=day")
    midnight = datetime.datetime.fromisoformat(buckets[0]["bucket"]).astimezone(datetime.UTC)
    assert (midnight.hour, midnight.minute) == (18, 15), "midnight in Kathmandu"
    lines = [json.loads(line) for line in set_hub.log.read_text().splitlines() if line.startswith("{")]
    assert any(line["level"] == "DEBUG" for line in lines)
    set_hub.device("station", "sensor")
    said = set_hub.run("device", "explain", "station", "publish", "weather/station").stdout
    assert said.startswith("allowed"), said


@exercises("MQTT_HOST")
def test_mqtt_on_an_address_of_its_own(new_hub):
    hub = new_hub(MQTT_HOST="127.0.0.2").start()
    with socket.create_connection(("127.0.0.2", hub.mqtt_port), timeout=5):
        pass
    with socket.socket() as other:
        assert other.connect_ex(("127.0.0.1", hub.mqtt_port)) != 0


@exercises("MQTT_TLS_HOST")
def test_other_machines_get_in_by_tls_alone(new_hub, certificates):
    port = free_port()
    hub = new_hub(
        MQTT_TLS_HOST="127.0.0.2",
        MQTT_TLS_PORT=str(port),
        MQTT_TLS_CERT=str(certificates / "hub.pem"),
        MQTT_TLS_KEY=str(certificates / "hub.key"),
    ).start()
    context = ssl.create_default_context(cafile=certificates / "ca.pem")
    context.check_hostname = False
    with socket.create_connection(("127.0.0.2", port), timeout=5) as plain, context.wrap_socket(plain) as session:
        assert session.version() in ("TLSv1.2", "TLSv1.3")
    for host, closed in [("127.0.0.2", hub.mqtt_port), ("127.0.0.1", port)]:
        with socket.socket() as other:
            assert other.connect_ex((host, closed)) != 0, host
    with socket.create_connection(("127.0.0.1", hub.mqtt_port), timeout=5):
        pass


@exercises(
    "MQTT_TLS_PORT", "MQTT_TLS_CERT", "MQTT_TLS_KEY", "MQTT_TLS_CLIENT_CA", "JWT_SECRET_FILE", "ADMIN_PASSWORD_FILE",
    "LOCK_AGENT", "MQTT_URL", "MQTT_USERNAME", "MQTT_PASSWORD", "MQTT_PASSWORD_FILE", "MQTT_CA",
)  # fmt: skip
def test_tls_files_and_a_lock_worker_of_its_own(new_hub, certificates, tmp_path):
    port = free_port()
    key, password = tmp_path / "key", tmp_path / "password"
    key.write_text("another-key-of-more-than-32-bytes\n")
    password.write_text("from the file\n")
    hub = new_hub(
        LOCK_AGENT="remote",
        MQTT_TLS_PORT=str(port),
        MQTT_TLS_CERT=str(certificates / "hub.pem"),
        MQTT_TLS_KEY=str(certificates / "hub.key"),
        MQTT_TLS_CLIENT_CA=str(certificates / "ca.pem"),
        JWT_SECRET_FILE=str(key),
        ADMIN_PASSWORD_FILE=str(password),
    ).start_without_worker()
    assert signed_by(hub.token("admin", "from the file"), "another-key-of-more-than-32-bytes")
    assert hub.get("/api/lock/status")["status"] == "UNKNOWN"

    # A certificate instead of a name and a secret.
    hub.device("engine", "ai-engine")
    context = ssl.create_default_context(cafile=certificates / "ca.pem")
    context.load_cert_chain(certificates / "device.pem", certificates / "device.key")
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as session:
            session.sendall(bytes([0x10, 12, 0, 4]) + b"MQTT" + bytes([4, 2, 0, 60, 0, 0]))
            assert session.recv(4) == bytes([0x20, 2, 0, 0]), "CONNACK"

    # One that knows the password, in the clear on this machine; then one that has it in a file, by TLS.
    worker = hub.device("door", "lock-agent")
    agent = LockAgent(hub, worker)
    online(hub, True)
    assert agent.stop() == 0
    online(hub, False)
    secret = tmp_path / "secret"
    secret.write_text(worker["password"])
    kept = hub.environment()
    settings = {
        **{name: kept[name] for name in ("PATH", "HOME", "TMPDIR") if name in kept},
        "MQTT_URL": f"mqtts://127.0.0.1:{port}",
        "MQTT_USERNAME": "door",
        "MQTT_PASSWORD_FILE": str(secret),
        "MQTT_CA": str(certificates / "ca.pem"),
        "GPIO_SIMULATED": "true",
    }
    with (hub.folder / "tls-agent.log").open("ab") as log:
        process = subprocess.Popen([BINARY, "lock-agent"], cwd=tmp_path, env=settings, stdout=log, stderr=log)
    try:
        online(hub, True)
    finally:
        process.terminate()
        assert process.wait(15) == 0


@exercises("PLAIN_LOCK")
def test_a_lock_worker_without_tls_goes_to_another_machine_only_where_it_is_allowed(new_hub):
    hub, credentials = new_hub(), {"username": "door", "password": "x"}
    refused = LockAgent(hub, credentials, MQTT_URL="mqtt://192.0.2.1:1883")
    assert refused.ended() == 1 and "PLAIN_LOCK" in refused.path.read_text()
    agent = LockAgent(hub, credentials, MQTT_URL="mqtt://192.0.2.1:1883", PLAIN_LOCK="true")
    until(lambda: "in the clear" in agent.path.read_text(), "it tries, and says what that means")
    assert agent.stop() == 0


@exercises("DATABASE_URL", "DATABASE_URL_FILE")
def test_a_database_of_ones_own(new_hub, set_hub, tmp_path):
    psql(set_hub, "CREATE DATABASE given", "postgres")
    psql(set_hub, "CREATE DATABASE filed", "postgres")
    hub = new_hub(DATABASE_URL=server_url(set_hub, "given")).start()
    assert not hub.postgres() and len(hub.get("/api/cameras")) == 2
    assert psql(set_hub, "SELECT count(*) FROM cameras", "given") == "2"
    file = tmp_path / "url"
    file.write_text(server_url(set_hub, "filed") + "\n")
    new_hub(DATABASE_URL_FILE=str(file)).run("migrate")
    assert psql(set_hub, "SELECT count(*) FROM cameras", "filed") == "0"


@exercises("GPIO_CHIP", "GPIO_SIMULATED")
def test_a_chip_that_is_not_there_ends_the_hub(new_hub):
    hub = new_hub(GPIO_CHIP="/dev/no-such-chip")
    done = hub.run("serve", check=False, GPIO_SIMULATED="false")
    assert done.returncode == 1 and "no-such-chip" in done.stderr, done.stderr


@exercises("GPIO_ACTIVE_LOW", "GPIO_CONTACT_PIN", "LOCK_FAIL_MODE")
def test_what_only_a_real_chip_shows_is_seen_in_the_virtual_machine():
    cases = "".join(path.read_text() for path in (ROOT / "tests" / "gpio").glob("*.sh"))
    for name in ("GPIO_ACTIVE_LOW", "GPIO_CONTACT_PIN", "LOCK_FAIL_MODE"):
        assert f"{name}=" in cases, name


@exercises("METRICS_ADDR")
def test_metrics_on_an_address_of_their_own(new_hub):
    port = free_port()
    hub = new_hub(METRICS_ADDR=f"127.0.0.1:{port}").start()
    metrics = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5)
    assert metrics.status_code == 200 and "portcullis_build_info" in metrics.text
    assert requests.get(f"{hub.url}/metrics", timeout=5).status_code == 404
    with socket.socket() as other:
        assert other.connect_ex(("127.0.0.2", port)) != 0


@exercises("RETENTION_DAYS")
def test_months_are_dropped_after_their_days_and_not_before(new_hub, set_hub):
    psql(set_hub, "CREATE DATABASE kept", "postgres")
    url = server_url(set_hub, "kept")
    new_hub(DATABASE_URL=url).run("migrate")
    # A month that ended more than 30 days ago, and one that did not.
    psql(set_hub, """
        SELECT make_event_month(now() - interval '3 months'), make_event_month(now());
        INSERT INTO events (event_type, person_count, is_resolved, created_at)
        SELECT 'SYSTEM_ALERT', 0, true, at FROM unnest(ARRAY[now() - interval '3 months', now()]) AS at""", "kept")
    hub = new_hub(DATABASE_URL=url)
    for days, events in [("", 2), ("10000", 2), ("30", 1)]:
        hub.settings["RETENTION_DAYS"] = days
        hub.start()
        # It looks when the database is open, beside answering.
        until(lambda: len(hub.get("/api/events")) == events, f"after {days or 'no'} days")
        hub.stop()


def shown(folder, *arguments, **environment):
    environment = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run([BINARY, "config", *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def test_flag_environment_dot_env_default(tmp_path):
    (tmp_path / ".env").write_text("PORT=1\nMQTT_PORT=2\nLOG_FORMAT=json\nJWT_EXPIRATION=1h\n")
    done = shown(tmp_path, "--json", "serve", "--port", "4", PORT="3", MQTT_PORT="5", JWT_EXPIRATION="")
    assert done.returncode == 0, done.stdout
    settings = {setting["name"]: (setting["value"], setting["origin"]) for setting in json.loads(done.stdout)["settings"]}
    assert settings["PORT"] == ("4", "flag")
    assert settings["MQTT_PORT"] == ("5", "environment")
    assert settings["LOG_FORMAT"] == ("json", ".env")
    assert settings["JWT_EXPIRATION"] == ("24h", "default"), "set to nothing"
    assert settings["HOST"] == ("0.0.0.0", "default")


def test_secrets_are_masked(tmp_path):
    secrets = {"JWT_SECRET": "hush" * 10, "ADMIN_PASSWORD": "hush-hush", "DATABASE_URL": "postgres://u:hush@h/d"}
    for arguments in ([], ["--json"]):
        done = shown(tmp_path, *arguments, **secrets)
        assert done.returncode == 0 and "hush" not in done.stdout + done.stderr, done.stdout
    done = shown(tmp_path, "lock-agent", MQTT_USERNAME="door", MQTT_PASSWORD="hush")
    assert done.returncode == 0 and "hush" not in done.stdout, done.stdout
    # Also one that is not taken.
    done = shown(tmp_path, JWT_SECRET="hush", DATABASE_URL="hush://hush", ADMIN_PASSWORD="hush")
    assert done.returncode == 2 and "hush" not in done.stdout + done.stderr, done.stdout


WRONG = {
    "PORT": "70000",
    "HOST": "localhost",
    "CORS_ORIGIN": "door.example",
    "HOST_NAMES": "https://door.example",
    "HTTP_CONNECTIONS": "2",
    "HTTP_HEADER_SECONDS": "0",
    "TRUSTED_PROXIES": "10.0.0.0/40",
    "MQTT_TLS_CERT": "/no/cert.pem",
    "JWT_SECRET": "short",
    "JWT_EXPIRATION": "soon",
    "GPIO_SIMULATED": "ture",
    "LOCK_OPEN_SECONDS": "400",
    "LOCK_FAIL_MODE": "fail-open",
    "PERSON_DETECTION_THRESHOLD": "2",
    "TIMEZONE": "Mars/Olympus",
    "RUST_LOG": "=loud=",
    "BROKER_CONFIG": "/no/broker.toml",
    "DATABSE_URL": "postgres://h/d",
    "MQTT_USERNAME": "door",
    "ADMIN_PASSWORD_FILE": "/no/such/file",
}


@pytest.mark.parametrize("command", ["config", "serve"])
def test_everything_wrong_is_told_at_once(tmp_path, command):
    (tmp_path / ".env").write_text("LOCK_OPEN_SECS=2\nSOMETHING_ELSE=1\n")
    environment = {"PATH": os.environ["PATH"], "MQTT_TLS_KEY": "/no/key.pem", **WRONG}
    done = subprocess.run([BINARY, command], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    said = done.stdout + done.stderr
    for name in [*WRONG, "LOCK_OPEN_SECS", "SOMETHING_ELSE", "MQTT_TLS_PORT"]:
        assert f"  {name}: " in said, f"{name} in\n{said}"
    assert "is LOCK_OPEN_SECONDS meant?" in said and "is DATABASE_URL meant?" in said
    assert not (tmp_path / "data").exists(), "nothing was begun"


CONTRADICTIONS = [
    ("serve", {"JWT_SECRET": "x" * 32, "JWT_SECRET_FILE": "/etc/hostname"}, "JWT_SECRET"),
    ("serve", {"MQTT_TLS_CLIENT_CA": "/etc/hostname"}, "MQTT_TLS_PORT"),
    ("serve", {"PORT": "1883"}, "MQTT_PORT"),
    ("serve", {"LOCK_OPEN_SECONDS": "301"}, "LOCK_OPEN_SECONDS"),
    ("serve", {"GPIO_SIMULATED": "true", "GPIO_CHIP": "/dev/gpiochip0"}, "GPIO_CHIP"),
    ("serve", {"GPIO_CONTACT_PIN": "17"}, "GPIO_CONTACT_PIN"),
    ("serve", {"LOCK_AGENT": "remote", "LOCK_OPEN_SECONDS": "2"}, "LOCK_OPEN_SECONDS"),
    ("serve", {"MQTT_URL": "mqtt://elsewhere"}, "MQTT_URL"),
    ("lock-agent", {}, "MQTT_USERNAME"),
    ("lock-agent", {"MQTT_USERNAME": "a", "MQTT_PASSWORD": "b", "MQTT_CA": "/etc/hostname"}, "MQTT_CA"),
]


@pytest.mark.parametrize(("command", "environment", "name"), CONTRADICTIONS)
def test_contradictions(tmp_path, command, environment, name):
    done = shown(tmp_path, "--json", command, **environment)
    assert done.returncode == 2
    assert name in [fault["name"] for fault in json.loads(done.stdout)["faults"]]


def test_every_rule_of_the_documentation_has_a_contradiction_here():
    page = (ROOT / "docs" / "configuration.md").read_text()
    rules = page.split("## What contradicts itself")[1].split("## broker.toml")[0]
    assert len([line for line in rules.splitlines() if line.startswith("- ")]) == len(CONTRADICTIONS)


def test_every_documented_setting_is_exercised(tmp_path):
    names = set()
    for command in ("serve", "lock-agent"):
        settings = json.loads(shown(tmp_path, "--json", command).stdout)["settings"]
        names |= {setting["name"] for setting in settings}
    example = pathlib.Path(ROOT / ".env.example").read_text()
    names |= {line[2:].split("=")[0] for line in example.splitlines() if line.startswith("# ") and "=" in line.split(" ")[1]
              and line[2:].split("=")[0].isupper()}
    assert names - EXERCISED == set()
    assert EXERCISED - names == set(), "no such settings any more"
