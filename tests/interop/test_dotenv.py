"""One reading of `.env`: what the hub makes of a file, systemd's own reader makes of it (libsystemd-shared, of Debian's
systemd), or the hub refuses it and says how to write it."""

import ctypes
import json
import os
import pathlib
import subprocess

import pytest

from hub import BINARY, ROOT

# Each stands for a setting whose value is a text; the name is put in for it.
TAKEN = [
    "X=correct$horse-battery#9",
    'X="correct$horse-battery#9"',
    "X='correct$horse-battery#9'",
    "X=${HOME}/$(id)/$$",
    'X="a\\$b\\"c\\\\d\\`e"',
    'X="a\\nb"',
    "X='a\\nb'",
    "X=two words and more",
    "X = spaced  \t",
    "  X=indented",
    "X=#9",
    "X=it's",
    'X=a"b"c',
    "X='a'b",
    "X='a'\"b\"'c'",
    "X=x=y=z",
    "X=crlf\r\nLOG_FORMAT=json\r\n",
    "X='two\nlines'",
    'X="one \\\nline"',
    "X=first\nX=last",
    "# a comment\n; another\n\nX=1",
    "X=päss→wörd",
    "X=~/*!%&|;<>()",
    "\n\n\nX=after blank lines\n\n",
]
REFUSED = [
    ("X=secret # a comment", "quotes"),
    ("X= # a comment", "quotes"),
    ("X='secret' # a comment", "closing quote"),
    ("X=sec\\ret", "quotes"),
    ("X='secret", "no end"),
    ('X="secret\nLOG_FORMAT=json', "no end"),
    ("export X=secret", "export"),
    ("\ufeffX=secret", "byte order mark"),
    ("# a comment \\\nX=secret", "backslash"),
    ("secret", "NAME=value"),
    ("X-Y=secret", "no name"),
]


def systemd(path):
    """What systemd reads from a file, as pairs; the last of a name counts."""
    found = [str(path) for place in ("/usr/lib", "/lib") for path in pathlib.Path(place).glob("**/systemd/libsystemd-shared-*.so")]
    reader, pairs = ctypes.CDLL(found[0]), ctypes.POINTER(ctypes.c_char_p)()
    assert reader.load_env_file(None, str(path).encode(), ctypes.byref(pairs)) >= 0
    lines = []
    while pairs and (line := pairs[len(lines)]) is not None:
        lines.append(line.decode())
    return dict(line.split("=", 1) for line in lines)


def configured(folder):
    done = subprocess.run([BINARY, "config", "--json"], cwd=folder, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
    return done, {setting["name"]: setting["value"] for setting in json.loads(done.stdout)["settings"]}


@pytest.mark.parametrize("text", TAKEN)
def test_a_value_is_what_systemd_reads(tmp_path, text):
    file = tmp_path / ".env"
    file.write_bytes(text.replace("X", "DATA_DIR").encode())
    done, settings = configured(tmp_path)
    assert done.returncode == 0, done.stdout
    for name, value in systemd(file).items():
        assert settings[name] == value, name


@pytest.mark.parametrize(("text", "words"), REFUSED)
def test_what_is_refused_says_how_to_write_it_and_shows_no_secret(tmp_path, text, words):
    (tmp_path / ".env").write_bytes(text.replace("X", "ADMIN_PASSWORD").encode())
    for command in (["config"], ["serve"], ["device", "list"]):
        done = subprocess.run([BINARY, *command], cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=60)
        said = done.stdout + done.stderr
        assert done.returncode == 2 and words in said, said
        assert "secret" not in said.replace("JWT_SECRET", "").replace("secrets", "").replace("jwt-secret", ""), said


def test_the_admin_s_password_is_the_one_in_the_file(new_hub):
    hub = new_hub()
    (hub.folder / ".env").write_text("ADMIN_PASSWORD=correct$horse-battery#9\n")
    assert systemd(hub.folder / ".env") == {"ADMIN_PASSWORD": "correct$horse-battery#9"}
    hub.start()
    assert hub.token("admin", "correct$horse-battery#9")


@pytest.mark.parametrize("name", [".env.example", "deploy/portcullis.env", "deploy/lock-agent.env"])
def test_the_files_that_are_shipped_can_be_read(tmp_path, name):
    text = (ROOT / name).read_text()
    (tmp_path / ".env").write_text(text)
    pairs = systemd(tmp_path / ".env")
    done, settings = configured(tmp_path)
    assert not [fault for fault in json.loads(done.stdout).get("faults", []) if "line" in str(fault)], done.stdout
    for setting, value in pairs.items():
        assert settings.get(setting, value) == value
