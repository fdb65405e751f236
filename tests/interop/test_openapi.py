"""The hub does what /openapi.json says: schemathesis asks every operation as each role, with what is described and with
what is not."""

import json
import os
import re
import subprocess
import sys

import pytest

from clients import HERE
from waiting import until

OPEN = {"auth_login", "auth_register", "health_alive", "health_ready"}
SIGNED_IN = OPEN | {
    "auth_profile",
    "cameras_list",
    "cameras_one",
    "cameras_stats",
    "events_analytics",
    "events_list",
    "events_of_camera",
    "events_one",
    "events_stats",
    "events_unresolved",
    "hub_about",
    "lock_status",
    "users_me",
    "users_one",
    "users_update",
}
OPERATOR = SIGNED_IN | {
    "cameras_create",
    "cameras_delete",
    "cameras_update",
    "events_create",
    "events_resolve",
    "lock_close",
    "lock_history",
    "lock_open",
    "lock_toggle",
}
SUCCEEDS = {"nobody": OPEN, "camera": OPEN | {"events_create"}, "USER": SIGNED_IN, "OPERATOR": OPERATOR, "ADMIN": None}
"""The operations that succeed for each; for an ADMIN all of them."""

PASSWORD = "only-for-the-tests"
SPARE = 12
"""How many users, cameras and devices there are to be deleted."""


@pytest.fixture(scope="module")
def stage(make_hub):
    """A hub with a cast of each role, and with rows that nobody in the cast needs."""
    hub = make_hub(REGISTRATION="open", LOCK_HOLD_OPEN="true", TRUSTED_PROXIES="127.0.0.0/8", CAMERA_TIMEOUT="3600").start()
    for role in ("USER", "OPERATOR", "ADMIN"):
        hub.user(f"the-{role.lower()}", role, PASSWORD)
    tokens = {role: hub.token(f"the-{role.lower()}", PASSWORD) for role in ("USER", "OPERATOR", "ADMIN")}
    own = {role: hub.get("/api/users/me", tokens[role])["id"] for role in ("USER", "OPERATOR")}
    tokens["camera"] = hub.device("the-camera", "camera", camera=1)["token"]
    return hub, tokens, own


def rows(hub, role):
    """Rows that nobody in the cast needs: the ids that are asked for, and those to be deleted."""
    names = [f"spare-{role.lower()}-{number}" for number in range(SPARE)]
    users = [{"username": name, "email": f"{name}@example.org", "password": PASSWORD} for name in names]
    spare = {
        "users": [hub.post("/api/users", user)["id"] for user in users],
        "cameras": [hub.post("/api/cameras", {"name": name})["id"] for name in names],
        "devices": [hub.post("/api/devices", {"name": f"{name}-device", "role": "sensor"})["id"] for name in names],
        "events": [hub.post("/api/events", {"cameraId": 1, "personCount": 1})["id"] for _ in names],
    }
    asked = {kind: ids[: SPARE // 2] for kind, ids in spare.items()}
    deleted = {kind: ids[SPARE // 2 :] for kind, ids in spare.items()}
    # Camera 1 has events: some are asked for by it, and it cannot be deleted.
    asked["cameras"].append(1)
    deleted["cameras"].append(1)
    return asked, deleted


@pytest.mark.parametrize("role", SUCCEEDS)
def test_every_operation_is_as_described(stage, tmp_path, role):
    hub, tokens, own = stage
    asked, deleted = rows(hub, role)
    if role in own:
        # Oneself as often as others. An ADMIN could end that, and is never asked about.
        asked["users"] = [id for spare in asked["users"] for id in (spare, own[role])]
    if role == "camera":
        asked["cameras"] = [1]
    cast = {
        "ids": {"asked": asked, "deleted": deleted},
        "sign_in": {"username": "the-user", "password": PASSWORD},
        "new": f"new-{role.lower()}",
        "answers": str(tmp_path / "answers"),
    }
    command = [f"{sys.prefix}/bin/schemathesis", "--config-file", HERE / "schemathesis.toml", "run", f"{hub.url}/openapi.json"]
    if role in tokens:
        command += ["--header", f"Authorization: Bearer {tokens[role]}"]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": str(HERE / "openapi_hooks.py"), "OPENAPI_CAST": json.dumps(cast)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    said = "\n".join(line[:300] for line in done.stdout.splitlines())
    assert done.returncode == 0, said[-12_000:] + done.stderr
    # Whether it was worth anything: every operation was asked, and those that may succeed did.
    answered = json.loads((tmp_path / "answers").read_text())
    document = hub.call("GET", "/openapi.json", token=False).json()
    operations = {operation["operationId"] for path in document["paths"].values() for operation in path.values()}
    assert {operation for operation, *_ in answered} == operations
    succeeded = {operation for operation, status, _ in answered if status < 300}
    expected = SUCCEEDS[role] or operations
    # A lock command may have been one too many each time: it is given once more.
    for verb in ("open", "close", "toggle"):
        if f"lock_{verb}" in expected - succeeded:
            until(lambda: hub.call("POST", f"/api/lock/{verb}", token=tokens[role]).status_code == 200, verb, 30)
            succeeded.add(f"lock_{verb}")
    assert succeeded == expected, [one for one in answered if one[0] in succeeded ^ expected]


def test_every_operation_names_its_errors(hub):
    document = hub.call("GET", "/openapi.json", token=False).json()
    error = {"$ref": "#/components/schemas/ErrorBody"}
    names = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            names.append(operation["operationId"])
            where, answers = f"{method} {path}", operation["responses"]
            assert "default" not in answers, where
            assert all(answer["description"] for answer in answers.values()), where
            for status in filter(re.compile("[45]").match, answers):
                if (path, status) != ("/readyz", "503"):
                    assert answers[status]["content"]["application/json"]["schema"] == error, (where, status)
            signed_in = operation.get("security", [{}])
            assert {} in signed_in or {"401", "403"} <= answers.keys(), where
            assert "requestBody" not in operation or {"400", "413", "415"} <= answers.keys(), where
            for parameter in operation.get("parameters", []):
                assert "400" in answers, where
                schema = parameter["schema"]
                bounded = {"minimum", "maximum"} <= schema.keys() if schema.get("type") == "integer" else (
                    "maxLength" in schema or "format" in schema or "enum" in schema or "$ref" in schema or schema.get("type") == "boolean"
                )
                assert bounded, (where, parameter)
    assert len(set(names)) == len(names)


def test_every_text_that_is_read_has_a_limit(hub):
    schemas = hub.call("GET", "/openapi.json", token=False).json()["components"]["schemas"]
    read = {name: schema for name, schema in schemas.items() if schema.get("additionalProperties") is False}
    assert {"CreateCamera", "DetectionBody", "Login", "Register", "CreateUser", "UpdateUser", "AddDevice", "Hold"} <= read.keys()
    for name, schema in read.items():
        for field, rules in schema["properties"].items():
            if "string" in (rules["type"] if isinstance(rules.get("type"), list) else [rules.get("type")]):
                assert "maxLength" in rules or rules.get("format") in ("date-time", "uuid"), (name, field)
