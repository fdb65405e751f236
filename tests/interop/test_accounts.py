"""Accounts: tokens that do not outlive them, names that read alike, and who may sign in while others try to."""

import subprocess
import threading

import pytest
import requests

from clients import Refused
from waiting import until

PASSWORD = "a good password"


def statuses(hub, token):
    """What REST says to a token: of looking, of the door, and of what is an ADMIN's."""
    calls = [("GET", "/auth/profile"), ("GET", "/api/users"), ("POST", "/api/lock/open"), ("GET", "/api/cameras")]
    return [hub.call(method, path, token=token).status_code for method, path in calls]


def is_void_everywhere(hub, token, names, dashboard, device):
    """REST, Socket.io and MQTT let nobody in by this token."""
    assert statuses(hub, token) == [401] * 4
    with pytest.raises(Refused):
        dashboard(hub.url, token)
    for name in names:
        with pytest.raises(Refused):
            device(hub, {"username": name, "password": token})


def make(hub, name, role="ADMIN"):
    """Makes a user as the admin; the id."""
    body = {"username": name, "email": f"{name}@example.org", "password": PASSWORD, "role": role}
    return hub.post("/api/users", body)["id"]


def test_after_a_restore_nobody_has_a_token(new_hub, python_dashboard, paho, tmp_path):
    hub = new_hub().start()
    backup = str(tmp_path / "backup")
    hub.run("backup", "--with-secrets", backup)
    assert make(hub, "mallory", "USER") == 2
    mallory, admin = hub.token("mallory", PASSWORD), hub.token()
    assert statuses(hub, mallory) == [200, 403, 403, 200]
    python_dashboard(hub.url, mallory).wait("connection")
    paho(hub, {"username": "mallory", "password": mallory})
    assert hub.stop() == 0
    hub.run("restore", "--replace", backup)
    hub.start()
    # Before anybody has her id, and when an ADMIN has.
    is_void_everywhere(hub, mallory, ["mallory"], python_dashboard, paho)
    hub.tokens.clear()
    assert make(hub, "boss") == 2
    is_void_everywhere(hub, mallory, ["mallory", "boss"], python_dashboard, paho)
    assert statuses(hub, admin) == [401] * 4, "a restore ends those of accounts that are in it as well"
    # The same name and the same id are another account all the same.
    assert hub.stop() == 0
    hub.run("restore", "--replace", backup)
    hub.start()
    hub.tokens.clear()
    assert make(hub, "mallory") == 2
    is_void_everywhere(hub, mallory, ["mallory"], python_dashboard, paho)
    # Nor is what was given out meanwhile good after one more.
    mallory = hub.token("mallory", PASSWORD)
    assert statuses(hub, mallory)[0] == 200


def test_another_database_beside_the_same_folder_knows_nobodys_token(new_hub, new_postgres, python_dashboard, paho):
    postgres = new_postgres().start()
    hub = new_hub(DATABASE_URL=postgres.url, ADMIN_PASSWORD=PASSWORD).start()
    hub.token(password=PASSWORD)
    assert make(hub, "mallory") == 2
    mallory, admin = hub.token("mallory", PASSWORD), hub.token()
    socket = python_dashboard(hub.url, mallory)
    socket.wait("connection")
    session = paho(hub, {"username": "mallory", "password": mallory})
    # Emptied while the hub runs: it makes it anew, and nobody's session goes on.
    postgres.psql("DROP DATABASE portcullis WITH (FORCE)", "postgres")
    postgres.psql("CREATE DATABASE portcullis", "postgres")
    session.wait("(disconnect)", seconds=60)
    socket.wait("auth:expired", seconds=60)

    def is_open():
        return requests.get(f"{hub.url}/readyz", timeout=5).status_code == 200

    until(is_open, "the new database is open", 60)
    is_void_everywhere(hub, mallory, ["mallory"], python_dashboard, paho)
    assert statuses(hub, admin) == [401] * 4
    hub.tokens.clear()
    hub.token(password=PASSWORD)
    assert make(hub, "boss") == 2
    is_void_everywhere(hub, mallory, ["mallory", "boss"], python_dashboard, paho)
    # Another one beside the same folder, whose accounts have the same ids and names.
    boss = hub.token("boss", PASSWORD)
    assert statuses(hub, boss)[0] == 200
    assert hub.stop() == 0
    postgres.psql("CREATE DATABASE other", "postgres")
    hub.settings["DATABASE_URL"] = postgres.url.removesuffix("portcullis") + "other"
    hub.start()
    hub.tokens.clear()
    hub.token(password=PASSWORD)
    assert make(hub, "boss") == 2
    is_void_everywhere(hub, boss, ["boss"], python_dashboard, paho)


def test_an_account_that_is_made_again_is_another_one(hub, python_dashboard, paho):
    number = make(hub, "comeback")
    first = hub.token("comeback", PASSWORD)
    socket = python_dashboard(hub.url, first)
    socket.wait("connection")
    session = paho(hub, {"username": "comeback", "password": first})
    assert hub.call("DELETE", f"/api/users/{number}").status_code == 200
    session.wait("(disconnect)", seconds=5)
    socket.wait("auth:expired", seconds=5)
    hub.tokens.pop("comeback")
    make(hub, "comeback")
    is_void_everywhere(hub, first, ["comeback"], python_dashboard, paho)
    paho(hub, {"username": "comeback", "password": hub.token("comeback", PASSWORD)})


def test_failures_by_mqtt_count_with_those_by_http(new_hub, paho):
    hub = new_hub().start()
    make(hub, "uma", "USER")
    for _ in range(10):
        with pytest.raises(Refused):
            paho(hub, {"username": "uma", "password": "wrong"}, version=4)
    answer = requests.post(f"{hub.url}/auth/login", json={"username": "uma", "password": PASSWORD}, timeout=10)
    assert answer.status_code == 429, answer.text
    with pytest.raises(Refused):
        paho(hub, {"username": "uma", "password": "wrong"})
    # Whoever cannot be guessed is not kept out by it.
    engine = hub.device("engine", "ai-engine")
    for _ in range(10):
        with pytest.raises(Refused):
            paho(hub, {"username": "engine", "password": "wrong"}, version=4)
    paho(hub, engine)


def test_eighty_threads_with_one_users_password_keep_no_admin_out(new_hub):
    hub = new_hub().start()
    make(hub, "uma", "USER")
    stop, answers = threading.Event(), []

    def hammer():
        with requests.Session() as session:
            while not stop.is_set():
                body = {"username": "uma", "password": PASSWORD}
                answers.append(session.post(f"{hub.url}/auth/login", json=body, timeout=60).status_code)

    threads = [threading.Thread(target=hammer) for _ in range(80)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: len(answers) > 80, "the crowd is there", 60)
        body = {"username": "admin", "password": hub.admin_password()}
        with requests.Session() as session:
            elsewhere = requests.adapters.HTTPAdapter()
            elsewhere.init_poolmanager(1, 1, source_address=("127.0.0.2", 0))
            session.mount("http://", elsewhere)
            given = [session.post(f"{hub.url}/auth/login", json=body, timeout=60).status_code for _ in range(25)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert given == [200] * 25
    assert set(answers) <= {200, 429, 503}


def test_names_and_faults_on_the_command_line(hub):
    def add(kind, *arguments):
        stdin = PASSWORD + "\n" if kind == "user" else None
        return hub.run(kind, "add", *arguments, check=False, stdin=stdin)

    def user(name, email=None):
        return add("user", name, "--email", email or f"{name.encode().hex()}@example.org", "--role", "USER")

    assert user("Carla").returncode == 0
    assert add("device", "Gate-1", "--role", "sensor").returncode == 0
    for name, words in [
        ("carla", "Carla reads like carla"),
        ("Carla", "already exists"),
        ("carla ", "must not begin or end with a blank"),
        ("car\x1b[31mla", "must not contain control or invisible characters"),
        ("саrla", "must not mix alphabets"),
        ("ab", "username must be longer than or equal to 3 characters"),
        ("gate-1", "a device is called Gate-1"),
    ]:
        done = user(name)
        assert done.returncode == 1 and words in done.stderr, (name, done.stderr)
        assert "\x1b" not in done.stderr
    done = user("dora", email="nobody")
    assert done.returncode == 1 and "email must be an email" in done.stderr
    for name, words in [("gate-1", "there is a device Gate-1 already"), ("CARLA", "a user is called Carla")]:
        done = add("device", name, "--role", "sensor")
        assert done.returncode == 1 and words in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--role", "camera"], "a device of role camera needs --camera ID"),
        (["--role=camera", "--json"], "a device of role camera needs --camera ID"),
        (["--role", "sensor", "--camera", "1"], "only a device of role camera takes --camera"),
        (["--camera", "1"], "--role"),
        (["--role", "camera", "--camera", "front"], "a camera's id"),
    ],
)
def test_a_device_that_cannot_be_is_a_fault_of_usage(new_hub, arguments, words):
    hub = new_hub()
    done = hub.run("device", "add", "cam-x", *arguments, check=False)
    assert done.returncode == 2 and words in done.stderr, done.stderr
    assert not hub.data.exists(), "nothing was begun"


def test_a_device_that_was_just_added_keeps_its_session(new_hub, new_postgres, paho):
    """However late the hub hears of it: here it is held up while it compares the accounts."""
    postgres = new_postgres().start()
    hub = new_hub(DATABASE_URL=postgres.url).start()
    other = paho(hub, hub.device("other", "controller"))
    held_up = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%this_database%'"
    holder = subprocess.Popen(["psql", "-qX", postgres.url], stdin=subprocess.PIPE, text=True)
    try:
        print("BEGIN; LOCK TABLE this_database IN ACCESS EXCLUSIVE MODE;", file=holder.stdin, flush=True)
        until(lambda: postgres.psql(held_up) == "1", "the hub is held up", 60)
        added = paho(hub, hub.device("added", "controller"))
    finally:
        holder.communicate("COMMIT;", timeout=30)
    # It hears of one thing after the other.
    hub.run("device", "remove", "other")
    other.wait("(disconnect)", seconds=30)
    assert not [heard for heard in added.heard if heard[0] == "(disconnect)"]
    added.subscribe("lock/status")
    # What is changed of it ends the session as ever.
    hub.run("device", "rotate", "added")
    added.wait("(disconnect)", seconds=30)
