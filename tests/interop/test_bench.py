"""`portcullis bench`, as short as it gets: it measures every way, beside a PostgreSQL that promises what it should, and
leaves nothing behind. Rates are not judged here; the machine may be doing anything."""

import json
import os
import pathlib
import signal
import subprocess

import pytest

from hub import BINARY
from waiting import until


def start(*arguments):
    environment = {"PATH": os.environ["PATH"], "RUST_LOG": "warn"}
    return subprocess.Popen(
        [BINARY, "bench", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def folder(process):
    return pathlib.Path(f"/tmp/portcullis-bench-{process.pid}")


def working_in(folder):
    """The processes that work in a folder or below it."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "cwd").startswith(str(folder)):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.fixture
def bench():
    """Starts one, and ends what is left of it."""
    started = []

    def make(*arguments):
        started.append(start(*arguments))
        return started[-1]

    yield make
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()
        for pid in working_in(folder(process)):
            os.kill(pid, signal.SIGKILL)


def test_every_way_is_measured(bench):
    process = bench("--quick", "--json")
    out, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    report = json.loads(out)
    promises = report["postgres"]
    assert [promises[name] for name in ("fsync", "synchronous_commit", "full_page_writes")] == ["on"] * 3
    assert promises["unlogged tables"] == "0"
    measured = {(result["way"], result["rate"]): result for result in report["results"]}
    expected = [("copy", None)] + [(way, rate) for way in ("mqtt", "http") for rate in (None, 500, 5000)]
    assert sorted(measured, key=str) == sorted(expected, key=str)
    for (way, _), result in measured.items():
        assert result["acknowledged"] > 0 and result["perSecond"] > 0, result
        assert result["cpuSecondsPer100k"]["postgres"] >= 0
        if way != "copy":
            acknowledged, shown = result["acknowledgement"], result["eventDetected"]
            for latency in (acknowledged, shown):
                assert 0 < latency["p50Ms"] <= latency["p99Ms"] <= latency["longestMs"], result
    slow = measured["mqtt", 500]
    assert slow["heard"] == slow["acknowledged"] <= 500, "a dashboard hears of each at a rate that it can take"
    memory = report["memory"]
    assert 0 < memory["idleKib"] <= memory["peakKib"] and memory["afterwardsKib"] <= memory["peakKib"]
    assert not folder(process).exists() and not working_in(folder(process))


def test_the_table_is_for_people(bench):
    process = bench("--seconds", "1", "--only", "copy,mqtt", "--publishers", "2")
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "fsync on" in out and "| binary COPY, full speed |" in out and "| MQTT QoS 1, 5000/s |" in out
    assert "HTTP," not in out and "MiB idle" in out


def test_interrupted_it_leaves_nothing(bench):
    process = bench("--seconds", "60")
    until(lambda: len(working_in(folder(process))) > 3, "PostgreSQL and a hub are running", 60)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 1
    until(lambda: not working_in(folder(process)), "no process is left", 15)
    assert not folder(process).exists()
