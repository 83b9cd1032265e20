#!/usr/bin/env python3
"""How long another user waits while one floods (T27), by hand: it prints figures, and judges nothing.

flood.py [SECONDS] [PROCESSES]: times a quiet user's sets of one row on a real stack, first alone, then while processes of one
user, each a device, send all they can: new sets of 2,000 rows, pulls of whole tables, frames in parts that never end, verifies."""

import itertools
import multiprocessing
import os
import statistics
import sys
import time
from pathlib import Path

from secure import Secure, client

PART, VERIFY, ROWS, LONG = 3, 6, 2000, bytes(3900)


def log_shape():
    return client.Shape("log", 1, 1, 1, [["n", 3, 0]], [["v", 3]])


def notes_shape():
    return client.Shape("notes", 0, 0, 0, [["id", 3, 0]], [["x", 3]])


def device(server, ca, user, name, password):
    c = client.Client(client.login(server, ca, user, password, name))
    c.connect()
    c.hello([log_shape(), notes_shape()])
    return c


def messages(c):
    """Frames of all kinds, without end: each set is the first of a site of its own, so that none waits for another."""
    log, notes = log_shape(), notes_shape()
    rows = client.append_rows(log, [(0, k, [7]) for k in range(1, ROWS + 1)])
    for i in itertools.count(1):
        yield [client.SET, client.random_id(), 1, client.random_id(), rows]
        yield [client.PULL, client.random_id(), c.pulls + i, [*c.position[:2], 0, 0, 1, c.position[2]], b"", 32768]
        yield [PART, client.random_id(), i % 900, 1000, 4_000_000, bytes(32), LONG]
        yield [VERIFY, client.random_id(), c.position, notes.id, 0, b"", b"", b""]


def flood(server, ca, name, password, until, count):
    c = device(server, ca, "flood", name, password)
    for frame in messages(c):
        sent = c.mqtt.publish(c.topic(name + "/up"), c.seal(client.cbor(frame)), 0)
        count.value += 1
        if count.value % 100 == 0:
            sent.wait_for_publish(20)
        if time.time() > until:
            os._exit(0)


def acks(c, seconds):
    shape, found, until = log_shape(), [], time.time() + seconds
    while time.time() < until:
        began = time.perf_counter()
        c.send_set([client.append_rows(shape, [(0, c.number + 1, [1])])])
        found.append(1000 * (time.perf_counter() - began))
        time.sleep(0.01)
    return found


def tell(what, ms, stack):
    ms.sort()
    rss = int(Path(f"/proc/{stack.pid('NEAPD_PID')}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") >> 20
    print(f"{what:10} {len(ms)} sets, ack median {statistics.median(ms):.1f} ms, p99 {ms[int(len(ms) * 0.99)]:.1f} ms, max {ms[-1]:.1f} ms; neapd {rss} MiB")


def main(seconds=10, processes=1):
    with Secure() as stack:
        for user in ("flood", "quiet"):
            stack.add_user(user)
        server, ca = stack.env["NEAP_SERVER"], stack.env["NEAP_CA"]
        password = stack.password_file.read_text().strip()
        quiet = device(server, ca, "quiet", "d1", password)
        acks(quiet, 1)
        tell("alone", acks(quiet, seconds), stack)
        count, until = multiprocessing.Value("Q", 0, lock=False), time.time() + seconds + 6
        floods = [multiprocessing.Process(target=flood, args=(server, ca, f"d{i}", password, until, count)) for i in range(processes)]
        for p in floods:
            p.start()
        while not count.value:
            time.sleep(0.05)
        tell("beside", acks(quiet, seconds), stack)
        status = stack.status()
        print(f"flood: {count.value} messages;", {k: status["messages"][k] for k in ("received", "shed")}, {k: status["ingest"][k] for k in ("sets", "rows", "pages", "slowed", "malformed", "refused")})
        for p in floods:
            p.join()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
