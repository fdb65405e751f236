"""A flood of strangers: holds that many connections from many loopback addresses, and opens one anew for each that is closed.
A program of its own, so that the test's files and interpreter stay the test's.

    strangers.py PORT COUNT WHAT [RENEWALS_PER_SECOND]

WHAT is what each says: silent; half (the beginning of an HTTP request); idle (a whole one, and nothing after it); body (a
head, and nothing of its body); connect (the beginning of a CONNECT). It prints `held N renewed M` each half second, and ends with its standard input."""

import errno
import itertools
import resource
import selectors
import socket
import sys
import time

WORDS = {
    "silent": b"",
    "half": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    "idle": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "body": b"POST /auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
    "connect": b"\x10\xff\x01\x00\x04MQTT",
}


def main(port, count, what, per_second=1000):
    words = WORDS[what]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    assert hard == resource.RLIM_INFINITY or hard > count + 50, f"{count} connections need more open files than {hard}"
    waiting, numbers = selectors.EpollSelector(), itertools.count(256)
    waiting.register(sys.stdin, selectors.EVENT_READ)
    open_now, opened, told, began = 0, 0, 0.0, time.monotonic()
    while True:
        allowed = count + per_second * (time.monotonic() - began)
        for _ in range(200):
            if open_now >= count or opened >= allowed:
                break
            number = next(numbers) % (250 * 250 * 250)
            stranger = socket.socket()
            stranger.setblocking(False)
            # Each address has few of them.
            stranger.bind((f"127.{number // 62500 % 250 + 2}.{number // 250 % 250}.{number % 250 + 1}", 0))
            if stranger.connect_ex(("127.0.0.1", port)) not in (0, errno.EINPROGRESS):
                stranger.close()
                break
            waiting.register(stranger, selectors.EVENT_READ | (selectors.EVENT_WRITE if words else 0))
            open_now, opened = open_now + 1, opened + 1
        for key, events in waiting.select(0.002):
            if key.fileobj is sys.stdin:
                return
            try:
                if events & selectors.EVENT_WRITE:
                    key.fileobj.send(words)
                    waiting.modify(key.fileobj, selectors.EVENT_READ)
                if not events & selectors.EVENT_READ or key.fileobj.recv(65536):
                    continue
            except BlockingIOError:
                continue
            except OSError:
                pass
            waiting.unregister(key.fileobj)
            key.fileobj.close()
            open_now -= 1
        if time.monotonic() - told > 0.5:
            told = time.monotonic()
            print(f"held {open_now} renewed {opened - open_now}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:]))
