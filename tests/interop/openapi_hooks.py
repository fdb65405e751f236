"""What schemathesis loads (SCHEMATHESIS_HOOKS) to ask a hub as one role: test data in place of chance, so that ids exist,
sign-ins succeed and nobody ends the account that asks. `test_openapi.py` says who asks, in OPENAPI_CAST."""

import atexit
import collections
import datetime
import itertools
import json
import os
import threading

import schemathesis

CAST = json.loads(os.environ["OPENAPI_CAST"])
"""`ids`: for each part of a path that holds an id, the ids to be asked for, and those to be deleted; `sign_in`: a name
and its password; `new`: how names begin that nobody has; `answers`: the file for what was answered."""

SENDERS = itertools.count(1)
ANSWERED = collections.Counter()
LOCK = threading.Lock()


def is_id(value):
    return str(value).isdecimal() and int(value) > 0


def existing(case):
    """Puts an id that exists in the place of each that was made up; by remainder, so that the same input stays itself."""
    subject = case.path.split("/")[2] if case.path.startswith("/api/") else None
    for name, value in (case.path_parameters or {}).items():
        if is_id(value):
            kind = "cameras" if name == "cameraId" else subject
            ids = CAST["ids"]["deleted" if case.method == "DELETE" else "asked"][kind]
            if int(value) not in ids:
                case.path_parameters[name] = ids[int(value) % len(ids)]


def sensible(case, number):
    """Of bodies that are as described, every second one also means something."""
    body = case.body
    if not isinstance(body, dict):
        return
    if isinstance(body.get("username"), str) and len(body["username"]) % 2:
        if case.path == "/auth/login":
            case.body = dict(CAST["sign_in"])
        else:
            name = f"{CAST['new']}-{number}"
            case.body = {**body, "username": name, "email": f"{name}@example.org"}
    elif case.path == "/api/users/{id}" and len(body) % 2 == 0:
        # Nobody but an ADMIN may change more, or without the current password.
        case.body = {name: text for name, text in body.items() if name in ("firstName", "lastName")}
    elif case.path == "/api/lock/hold" and isinstance(body.get("until"), str) and isinstance(body.get("reason"), str):
        soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=5)
        case.body = {**body, "until": soon.isoformat()} if len(body["reason"]) % 2 else body
    elif is_id(body.get("cameraId")):
        ids = CAST["ids"]["asked"]["cameras"]
        case.body = {**body, "cameraId": ids[int(body["cameraId"]) % len(ids)]}


def was_described(case):
    mode = case.meta.generation.mode if case.meta else None
    return mode is None or mode.value == "positive"


@schemathesis.hook
def before_call(context, case, kwargs):
    # Each from another address: what is limited for each address never ends the run.
    number = next(SENDERS)
    case.headers["X-Forwarded-For"] = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    existing(case)
    if was_described(case):
        sensible(case, number)


@schemathesis.hook
def after_call(context, case, response):
    # Not where another method was tried on the operation's path.
    if case.method != case.operation.method.upper():
        return
    with LOCK:
        ANSWERED[case.operation.definition.raw["operationId"], response.status_code] += 1


@atexit.register
def write():
    with open(CAST["answers"], "w", encoding="utf-8") as file:
        json.dump([[operation, status, count] for (operation, status), count in sorted(ANSWERED.items())], file)
