"""Waiting for a condition with a deadline: a test never sleeps for a time that it hopes is long enough."""

import threading
import time

SECONDS = 15.0
"""Long enough for a slow machine; a test that passes does not wait for it."""


def until(condition, what, seconds=SECONDS):
    """Waits until `condition()` is true and returns its value. What raises an OSError is not true yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            value = condition()
        except OSError as error:
            value, last = None, error
        else:
            last = value
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {seconds} s: {what} (last: {last!r})")
        time.sleep(0.02)


class Inbox:
    """What a client has heard, in the order it came: pairs of a name (an event or a topic) and its content."""

    def __init__(self):
        self.changed = threading.Condition()
        self.heard = []

    def put(self, name, content):
        with self.changed:
            self.heard.append((name, content))
            self.changed.notify_all()

    def all(self, name, matches=lambda content: True):
        """Everything heard under that name so far."""
        with self.changed:
            return [content for heard, content in self.heard if heard == name and matches(content)]

    def wait(self, name, matches=lambda content: True, seconds=SECONDS):
        """The first thing heard under that name, waited for."""
        with self.changed:
            found = self.changed.wait_for(lambda: self.all(name, matches), timeout=seconds)
            if not found:
                raise AssertionError(f"heard no {name} that fits within {seconds} s; heard: {self.heard!r:.2000}")
            return found[0]

    def clear(self):
        with self.changed:
            self.heard.clear()
