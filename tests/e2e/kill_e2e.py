#!/usr/bin/env python3
"""
kill -9 of agents, neapd and broker at random moments, and broker or neapd frozen for a while, as apps write; the broker
forgets everything each time.
At the end both devices and the server agree, and every telemetry row is on the server exactly once.

usage: kill_e2e.py [--seed N] [--seconds N]
"""

import argparse
import os
import random
import signal
import sqlite3
import threading
import time

from harness import Stack, wait_for

SCHEMA = """
CREATE TABLE readings (id INTEGER PRIMARY KEY, at_ms INTEGER, value REAL, note TEXT);
CREATE TABLE settings (name TEXT PRIMARY KEY, a TEXT, b TEXT);
"""


class Writer(threading.Thread):
    """An app: telemetry and settings with plain SQL, through everything."""

    def __init__(self, device, seed):
        super().__init__(daemon=True)
        self.device, self.random = device, random.Random(seed)
        self.stopping = threading.Event()
        self.rows = self.changes = 0
        self.error = None

    def run(self):
        try:
            db = sqlite3.connect(self.device.db, timeout=20, isolation_level=None)
            while not self.stopping.wait(self.random.uniform(0, 0.02)):
                self.write(db)
            db.close()
        except Exception as error:  # reported by the main thread
            self.error = error

    def write(self, db):
        r = self.random
        if r.random() < 0.6:
            n = r.randrange(1, 20)
            values = [(r.randrange(10**12), r.random(), r.choice(("ok", "", "é"))) for _ in range(n)]
            db.execute("BEGIN")
            db.executemany("INSERT INTO readings (at_ms, value, note) VALUES (?, ?, ?)", values)
            db.execute("COMMIT")
            self.rows += n
        elif r.random() < 0.7:
            column = r.choice("ab")
            db.execute(
                f"INSERT INTO settings (name, {column}) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET {column} = excluded.{column}",
                (f"s{r.randrange(30)}", f"{self.device.name}-{r.randrange(10**6)}"),
            )
            self.changes += 1
        else:
            db.execute("DELETE FROM settings WHERE name = ?", (f"s{r.randrange(30)}",))
            self.changes += 1


def operate(stack, r):
    """An operator's statement now and then; the table may not be there yet."""
    try:
        stack.sql("UPDATE settings SET b = ? WHERE user_id = 'u' AND name = ?", f"operator-{r.randrange(10**6)}", f"s{r.randrange(30)}")
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise


def havoc(stack, devices, r, seconds):
    done = {"agent": 0, "backend": 0, "broker": 0, "frozen": 0, "operator": 0}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(r.uniform(0.05, 0.8))  # the moment of the next blow is what is being randomised
        what = r.choice(("agent", "agent", "backend", "broker", "frozen", "operator"))
        if what == "agent":
            d = r.choice(devices)
            d.kill()
            d.start()
        elif what == "backend":
            stack.restart_backend()
        elif what == "broker":
            stack.restart_broker()
        elif what == "frozen":
            pid = stack.pid(r.choice(("BROKER_PID", "NEAPD_PID")))
            os.kill(pid, signal.SIGSTOP)
            time.sleep(r.uniform(0.1, 1.5))
            os.kill(pid, signal.SIGCONT)
        else:
            operate(stack, r)
        done[what] += 1
    return done


def settings_of(device):
    return device.sql("SELECT name, a, b FROM settings ORDER BY name")


def settled(stack, devices):
    server = stack.sql("SELECT name, a, b FROM settings WHERE user_id = 'u' ORDER BY name")
    return all(settings_of(d) == server for d in devices)


def check(stack, devices, writers):
    for d in devices:
        wait_for(f"{d.name} pending 0", lambda: d.status()["pending_rows"] == 0, 60, 0.2)
        d.sync(60)
    wait_for("settings equal on both devices and the server", lambda: settled(stack, devices), 30, 0.1)
    for d, w in zip(devices, writers):
        here = d.sql("SELECT id, at_ms, value, note FROM readings ORDER BY id")
        there = stack.sql("SELECT id, at_ms, value, note FROM readings WHERE user_id = 'u' AND device_id = ? ORDER BY id", d.name)
        assert len(here) == w.rows, f"{d.name}: {len(here)} rows here, {w.rows} written"
        assert here == there, f"{d.name}: {len(here)} rows here, {len(there)} on the server, or they differ"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20)
    args = parser.parse_args()
    r = random.Random(args.seed)
    print(f"seed {args.seed}")
    with Stack() as stack:
        stack.add_user("u")
        devices = [stack.device("u", name) for name in ("d1", "d2")]
        for d in devices:
            for sql in SCHEMA.strip().split(";\n"):
                d.sql(sql)
            d.init()
            d.neap("track", "readings", "--append")
            d.neap("track", "settings")
            d.start()
        writers = [Writer(d, args.seed * 100 + i) for i, d in enumerate(devices)]
        for w in writers:
            w.start()
        done = havoc(stack, devices, r, args.seconds)
        for w in writers:
            w.stopping.set()
            w.join(30)
            if w.error or w.is_alive():
                raise AssertionError(f"the app on {w.device.name} could not write: {w.error or 'stuck'}")
        stack.restart_broker()
        began = time.monotonic()
        check(stack, devices, writers)
        print(f"killed: {done}; rows {sum(w.rows for w in writers)}, settings changed {sum(w.changes for w in writers)} times")
        print(f"kill_e2e: ok, all equal {time.monotonic() - began:.1f} s after the last blow")


if __name__ == "__main__":
    main()
