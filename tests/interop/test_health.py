"""What the hub says of its own parts: /readyz, and the alerts when one is lost or has returned."""

import datetime
import subprocess
import time

import pytest
import requests

from test_faults import MqttPublisher, check, under_load
from waiting import until

PARTS = ["database", "broker", "recorder", "lock worker", "disk"]


def parts(hub, token=None):
    """What an ADMIN, or whoever `token` is of, is told of each part; checked against the status."""
    answer = hub.call("GET", "/readyz", token=token)
    body = answer.json()
    is_up = all(part["up"] for part in body["parts"])
    assert (answer.status_code, body["status"]) == ((200, "up") if is_up else (503, "down")), body
    return {part["name"]: part for part in body["parts"]}


def alerts(hub, begin):
    """The alerts that begin so, oldest first."""
    listed = hub.get("/api/events?limit=500&eventType=SYSTEM_ALERT")
    return [event for event in reversed(listed) if event["description"].startswith(begin)]


def alert(hub, begin, seconds=30):
    return until(lambda: alerts(hub, begin), f"an alert: {begin}", seconds)[-1]


def at(event, key="detectedAt"):
    return datetime.datetime.fromisoformat(event[key])


def now():
    return datetime.datetime.now(datetime.UTC)


def test_an_admin_is_told_the_state_of_each_part_and_others_whether_it_is_up(hub):
    found = parts(hub)
    assert list(found) == PARTS
    for part in found.values():
        assert set(part) == {"name", "up", "state", "since", "detail"} and part["detail"], part
        assert part["state"] in ("up", "degraded") and at(part, "since") <= now()
    assert "router answered in" in found["broker"]["detail"]
    assert f"free in {hub.data}" in found["disk"]["detail"]
    hub.user("onlooker", "OPERATOR", "looks-at-things")
    for token in (False, hub.token("onlooker", "looks-at-things"), "nonsense"):
        assert [set(part) for part in parts(hub, token).values()] == [{"name", "up"}] * len(PARTS)


def test_a_lost_and_a_returned_database_are_told_with_the_time_at_which_it_was(new_hub, new_postgres, detection):
    postgres = new_postgres().start()
    hub = new_hub(DATABASE_URL=postgres.url).start()
    token = hub.token()
    before = parts(hub)["database"]
    lost = now()
    postgres.stop()
    # Long enough to be no hiccup. An ADMIN is told why meanwhile, and since when.
    away = until(lambda: found if not (found := parts(hub)["database"])["up"] else None, "it is noticed")
    assert away["state"] == "down" and away["detail"], away
    assert at(before, "since") <= lost <= at(away, "since") <= now()
    until(lambda: "The database is lost" in hub.log.read_text(), "it is told in the log")
    assert parts(hub, False)["database"] == {"name": "database", "up": False}
    back = now()
    postgres.start()
    until(lambda: parts(hub)["database"]["up"], "the hub goes on by itself", 30)
    told = alert(hub, "The database is lost: ")
    # When it happened, and when that was stored.
    assert lost <= at(told) <= back <= at(told, "createdAt"), told
    returned = alert(hub, "The database has returned after ")
    assert back <= at(returned) <= at(returned, "createdAt"), returned
    assert hub.token() == token and parts(hub)["database"]["up"]
    assert [told["isResolved"], returned["isResolved"]] == [False, False]
    # The recorder's own alert would say the same once more.
    assert not alerts(hub, "Detections cannot be stored")


def test_an_admin_whom_nobody_has_asked_about_is_told_why_the_database_is_away(new_hub, new_postgres):
    """A hub that was started while its database was away knows nobody but by the tokens that it has signed."""
    postgres = new_postgres().start()
    hub = new_hub(DATABASE_URL=postgres.url, JWT_SECRET="0f8a6c1e9b7d5324a1b2c3d4e5f60718").start()
    hub.user("onlooker", "OPERATOR", "looks-at-things")
    admin, onlooker = hub.token(), hub.token("onlooker", "looks-at-things")
    hub.stop()
    postgres.stop()
    hub.start(ready="/healthz")
    assert parts(hub, admin)["database"]["detail"]
    assert set(parts(hub, onlooker)["database"]) == {"name", "up"}
    assert hub.call("GET", "/api/users", token=admin).status_code == 503, "for nothing else is it enough"


@pytest.fixture
def small_disk(new_hub):
    """A hub whose DATA_DIR, and PostgreSQL in it, is on a file system of its own: so many MiB in memory."""
    mounted = []

    def make(mebibytes, **settings):
        hub = new_hub(**settings)
        hub.data.mkdir(mode=0o755)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=755", "tmpfs", str(hub.data)]
        done = subprocess.run(mount, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"needs the right to mount a file system: {done.stderr.strip()}")
        mounted.append(hub)
        return hub

    yield make
    for hub in mounted:
        # Here already, so that nothing of it is in use any more.
        hub.remove()
        subprocess.run(["umount", "--lazy", str(hub.data)], check=True)


def fill(hub):
    """Leaves no room at all."""
    with (hub.data / "filler").open("ab", buffering=0) as filler:
        size = 1 << 20
        while size:
            try:
                filler.write(bytes(size))
            except OSError:
                size //= 2


def test_a_full_disk_loses_nothing(small_disk, figures):
    hub = small_disk(400).start()
    engine = hub.device("engine", "ai-engine")
    assert parts(hub)["disk"]["state"] == "degraded", "400 MiB are not much"
    alert(hub, "The disk is nearly full: ")
    publishers = [MqttPublisher(hub, engine, description="full " * 190) for _ in range(2)]
    try:
        under_load(publishers)
        fill(hub)
        # What PostgreSQL has of room goes on for a while; then nothing is acknowledged any more.
        # The disk is asked once a second, and may have been while it was being filled: down, with a few MiB.
        is_down = lambda found: not found["recorder"]["up"] and found["disk"]["detail"].startswith("0 MiB of ")
        found = until(
            lambda: found if is_down(found := parts(hub)) else None, "detections wait, and the disk is full", 120
        )
        assert (found["disk"]["up"], found["disk"]["state"]) == (False, "down"), found
        at_most = [len(publisher.acknowledged) for publisher in publishers]
        over = time.monotonic() + 5
        while time.monotonic() < over:
            assert requests.get(f"{hub.url}/healthz", timeout=5).status_code == 200
            assert not parts(hub, False)["recorder"]["up"]
        assert [len(publisher.acknowledged) for publisher in publishers] == at_most, "nothing is acknowledged meanwhile"
        assert hub.process.poll() is None
        (hub.data / "filler").unlink()
        under_load(publishers)
    finally:
        # Else what is under way would never be acknowledged.
        (hub.data / "filler").unlink(missing_ok=True)
        for publisher in publishers:
            publisher.finish()
    until(lambda: all(part["up"] for part in parts(hub).values()), "all goes on by itself", 60)
    for told in ("The disk is full: ", "The disk is nearly full: "):
        assert at(alert(hub, told)) <= now()
    hub.accounts_balance()
    check(hub, publishers, 1, "disk full", figures)
