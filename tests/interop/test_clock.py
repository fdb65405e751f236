"""A machine's clock that is wrong: ahead or behind, at the start or set while the hub runs. libfaketime shows the hub
another time than there is; its private PostgreSQL, and one beside it, go by the machine's."""

import datetime
import pathlib
import uuid

import pytest
import requests

from waiting import until

NEAR = datetime.timedelta(minutes=2)
"""Far more than a slow machine needs between two lines here, and far less than any clock is wrong by."""


def library():
    found = sorted(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    assert found, "libfaketime is not installed (Debian: apt-get install libfaketime)"
    return found[0]


class Clock:
    """The clock of one hub, which is set by writing how far it is from the machine's."""

    def __init__(self, hub):
        self.hub = hub
        self.file = hub.folder / "clock"
        hub.settings.update(
            LD_PRELOAD=str(library()), FAKETIME_TIMESTAMP_FILE=str(self.file), FAKETIME_NO_CACHE="1",
            FAKETIME_DONT_FAKE_MONOTONIC="1",
        )
        self.set("+0")

    def set(self, offset):
        new = self.file.with_suffix(".new")
        new.write_text(f"{offset}\n")
        new.chmod(0o644)
        new.replace(self.file)
        # Who signed in by another time may have to do it again.
        self.hub.tokens.clear()


@pytest.fixture(params=["private", "elsewhere"])
def clocked(request, new_hub, new_postgres):
    """A hub whose clock can be set, with its own PostgreSQL and with one that it does not start."""
    place = {} if request.param == "private" else {"DATABASE_URL": new_postgres().start().url}
    hub = new_hub(**place)
    return hub, Clock(hub)


def now(**more):
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(**more)


def text(time):
    return time.isoformat().replace("+00:00", "Z")


def time_of(event, key="createdAt"):
    return datetime.datetime.fromisoformat(event[key])


def post(hub, **more):
    return hub.post("/api/events", {"cameraId": 1, "personCount": 1, "detectionId": str(uuid.uuid4()), **more})


def ids(hub, **query):
    query = "&".join(f"{name}={value}" for name, value in {"eventType": "PERSON_DETECTED", "limit": 500, **query}.items())
    return [event["id"] for event in hub.get(f"/api/events?{query}")]


def alerts(hub, words):
    return [event for event in hub.get("/api/events?eventType=SYSTEM_ALERT&limit=500") if words in event["description"]]


def alert(hub, words, count=1):
    """The alerts with these words, waited for."""
    return until(lambda: len(found := alerts(hub, words)) >= count and found, f"{count} alerts {words!r}", 30)


def restart(hub, clock, offset):
    if hub.process and hub.process.poll() is None:
        hub.stop()
    clock.set(offset)
    hub.start()


@pytest.mark.parametrize("offset", ["+10y", "+400d", "+5y"])
def test_a_clock_that_is_ahead_at_the_start_drops_nothing(clocked, offset):
    hub, clock = clocked
    hub.settings["RETENTION_DAYS"] = "100" if offset == "+400d" else "365"
    hub.start()
    stored = [post(hub)["id"] for _ in range(3)]
    for start in range(3):
        restart(hub, clock, offset)
        doubt = alert(hub, "The clock is in doubt")
        assert "ahead of" in doubt[0]["description"] and "portcullis clock confirm" in doubt[0]["description"]
        assert len(doubt) == 1, "one doubt, through all starts"
        until(lambda: hub.log.read_text().count("nothing is dropped for its age") > start, "the keeper has looked", 30)
        # What a wrong clock stores does not speak for it.
        stored.append(post(hub)["id"])
        assert ids(hub) == stored[::-1]
    refused = hub.run("retention", check=False)
    assert refused.returncode == 1 and "the clock is in doubt: the clock says" in refused.stderr, refused.stderr
    assert "in doubt" in hub.run("clock", "show").stdout
    planned = hub.run("retention", "--dry-run")
    assert "events would be dropped" in planned.stdout and "in doubt" in planned.stderr
    # Set right while the hub runs, it is believed without a word of anybody's.
    clock.set("+0")
    alert(hub, "The clock is believed again")
    alert(hub, "The clock was set back by")
    hub.run("retention")
    assert ids(hub) == stored[::-1]


def test_who_was_away_for_years_says_so_and_then_old_events_go(clocked):
    hub, clock = clocked
    hub.settings["RETENTION_DAYS"] = "365"
    hub.start()
    for _ in range(3):
        post(hub)
    restart(hub, clock, "+2y")
    alert(hub, "The clock is in doubt")
    kept = post(hub)["id"]
    assert len(ids(hub)) == 4
    assert "takes note" in hub.run("clock", "confirm").stdout
    alert(hub, "The clock is believed again")
    until(lambda: ids(hub) == [kept], "the old month goes", 30)
    # It stays believed.
    restart(hub, clock, "+2y")
    hub.run("retention")
    assert len(alerts(hub, "The clock is in doubt")) == 1
    assert "The clock is believed." in hub.run("clock", "show").stdout


def test_a_clock_that_was_never_set_costs_no_event(clocked):
    hub, clock = clocked
    hub.settings["RETENTION_DAYS"] = "30"
    clock.set("-20y")
    hub.start()
    doubt = alert(hub, "The clock is in doubt")
    assert "which cannot be" in doubt[0]["description"]
    refused = hub.run("clock", "confirm", check=False)
    assert refused.returncode == 1 and "set this machine's clock first" in refused.stderr
    early = post(hub)
    restart(hub, clock, "-20y")
    also = post(hub)
    clock.set("+0")
    alert(hub, "The clock is believed again")
    late = post(hub)
    assert abs(time_of(late) - now()) < NEAR
    # Twenty years old by what they say, and minutes by what is known.
    dropped = hub.run("retention").stdout.splitlines()
    # Months that were made ahead, twenty years ago, may go: nothing is in them.
    assert all(line.endswith(": 0 events dropped") or line.startswith("Nothing is old enough") for line in dropped), dropped
    assert ids(hub) == [late["id"], also["id"], early["id"]]
    assert ids(hub, to=text(now(days=-365))) == [also["id"], early["id"]]


def test_a_clock_that_is_behind_is_in_doubt_until_it_is_right(clocked):
    hub, clock = clocked
    hub.settings["RETENTION_DAYS"] = "1"
    hub.start()
    first = post(hub)
    restart(hub, clock, "-40d")
    alert(hub, "The clock is in doubt")
    alert(hub, "The clock was set back by 40 d")
    second = post(hub)
    assert abs(time_of(second) - now(days=-40)) < NEAR
    restart(hub, clock, "+0")
    alert(hub, "The clock is believed again")
    hub.run("retention")
    assert ids(hub) == [second["id"], first["id"]], "the second is minutes old, whatever it says"


@pytest.mark.parametrize("how", ["running", "restarted"])
@pytest.mark.parametrize("days, hours", [(0, 2), (400, 0)])
def test_a_clock_that_was_ahead_once_is_believed_again(clocked, how, days, hours):
    hub, clock = clocked
    hub.start()

    def turn(offset):
        if how == "restarted":
            restart(hub, clock, offset)
        else:
            clock.set(offset)

    ahead = datetime.timedelta(days=days, hours=hours)
    stored = [post(hub), post(hub)]
    turn(f"+{days * 24 + hours}h")
    alert(hub, "The clock was set ahead by")
    stored += [post(hub), post(hub)]
    turn("+0")
    alert(hub, "The clock was set back by")
    stored += [post(hub), post(hub)]
    for event, expected in zip(stored, [now()] * 2 + [now() + ahead] * 2 + [now()] * 2):
        assert abs(time_of(event) - expected) < NEAR, (event, expected)
    all_ids = [event["id"] for event in stored]
    assert all_ids == sorted(all_ids)
    first, wrong, right = all_ids[:2], all_ids[2:4], all_ids[4:]
    # Pages: all by id, and each by its time.
    assert ids(hub) == all_ids[::-1]
    assert ids(hub, before=right[0]) == (first + wrong)[::-1]
    about_now = {"from": text(now() - NEAR * 5), "to": text(now() + NEAR)}
    assert ids(hub, **about_now) == (first + right)[::-1]
    assert ids(hub, **about_now, limit=3) == (first + right)[:0:-1]
    assert ids(hub, **about_now, offset=1) == (first + right)[-2::-1]
    assert ids(hub, **about_now, cameraId=1, isResolved="false") == (first + right)[::-1]
    assert ids(hub, **{"from": text(now() + ahead - NEAR * 5), "to": text(now() + ahead + NEAR)}) == wrong[::-1]
    assert ids(hub, **{"from": text(time_of(stored[4]))})[:2] == right[::-1]
    assert ids(hub, to=stored[1]["createdAt"]) == first[::-1]
    for event in stored:
        assert hub.get(f"/api/events/{event['id']}") == event
    # Sums, by the same times.
    counts = hub.get(f"/api/events/analytics?bucket=hour&cameraId=1&from={text(now(hours=-1))}&to={text(now(hours=1))}")
    assert sum(line["count"] for line in counts if line["eventType"] == "PERSON_DETECTED") == 4
    today = hub.get("/api/events/stats")
    assert today["total"] >= 6
    if days:
        everything = hub.get("/api/events?limit=500")
        assert today["todayEvents"] == sum(time_of(event).date() == now().date() for event in everything)


def test_a_page_of_a_jumbled_month_is_what_a_look_at_each_event_says(clocked):
    hub, clock = clocked
    hub.start()
    stored = []
    for offset in ["+0", "-3h", "+5h", "-1h", "+40d", "+2h", "-3h", "+0"]:
        clock.set(offset)
        stored += [post(hub) for _ in range(3)]
    times = sorted(time_of(event) for event in stored)
    for begin in times[::4]:
        for end in times[::5]:
            expected = [event["id"] for event in stored if begin <= time_of(event) <= end][::-1]
            between = {"from": text(begin), "to": text(end)}
            assert ids(hub, **between) == expected
            assert ids(hub, **between, limit=2) == expected[:2]
            assert ids(hub, **between, before=stored[11]["id"]) == [one for one in expected if one < stored[11]["id"]]


def opened(hub):
    """The command is asked for until the lock's worker takes it: it goes by the same clock, which was just set."""
    def ask():
        return hub.call("POST", "/api/lock/open").status_code == 200

    until(ask, "the door opens", 30)
    return hub.get("/api/lock/history")[0]


def test_the_lock_names_who_stood_there_whatever_the_clock_says(clocked):
    hub, clock = clocked
    hub.start()
    post(hub)
    clock.set("+2h")
    second = post(hub)
    clock.set("+0")
    third = post(hub)
    assert opened(hub)["eventId"] == third["id"]
    # Seconds ago, and two hours by the clock.
    clock.set("+2h")
    asked = opened(hub)
    assert asked["eventId"] == third["id"] != second["id"]
    assert abs(time_of(asked, "requestedAt") - now(hours=2)) < NEAR
    assert hub.run("lock", "audit", "verify").returncode == 0


def test_alerts_that_wait_at_the_stop_are_stored_once_after_the_next_start(new_hub, new_postgres):
    postgres = new_postgres().start()
    hub = new_hub(DATABASE_URL=postgres.url).start()
    kept = hub.data / "alerts-waiting"
    assert hub.metrics()["alerts_waiting"] == 0
    postgres.stop()
    until(lambda: hub.metrics()["alerts_waiting"] > 0, "the alert waits", 30)
    began = now()
    hub.stop()
    assert kept.stat().st_mode & 0o777 == 0o600
    # Once more without its database: nothing of it is lost, and nothing doubled.
    hub.start(ready="/healthz")
    until(lambda: hub.metrics()["alerts_waiting"] > 0, "the alert waits again", 30)
    hub.stop()
    postgres.start()
    hub.start()
    lost = alert(hub, "The database is lost")
    assert len(lost) == 1 and time_of(lost[0], "detectedAt") <= began
    until(lambda: not kept.exists(), "nothing waits")
    hub.stop()
    hub.start()
    assert len(alerts(hub, "The database is lost")) == 1
    assert requests.get(f"{hub.url}/healthz", timeout=5).status_code == 200
