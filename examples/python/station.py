#!/usr/bin/env python3
"""A weather station with little room, beside `neap run`: nothing but sqlite3, and `neap status --json` to ask.

Readings go into a ring of SLOTS rows, over and over. A slot is overwritten only when the server has committed what
stands in it; until then the station waits. How often it reads is a row of table settings, which the server may change.
"""

import argparse
import json
import sqlite3
import subprocess
import sys
import time

SLOTS = 4
SCHEMA = """
    CREATE TABLE IF NOT EXISTS slots(slot INTEGER PRIMARY KEY, reading INTEGER, at_ms INTEGER, celsius REAL);
    CREATE TABLE IF NOT EXISTS settings(name TEXT PRIMARY KEY, value INTEGER);
"""


def pending_rows(neap, path, table):
    """How many rows of the table were written here and are not yet committed by the server."""
    done = subprocess.run([neap, "status", path, "--json"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"station: {done.stderr.strip()}")
    for t in json.loads(done.stdout)["tables"]:
        if t["name"] == table and t["capture"] == "ok":
            return t["pending_rows"]
    sys.exit(f"station: changes of table {table} are not seen; run `{neap} track {path} {table}`")


def interval_s(db):
    row = db.execute("SELECT value FROM settings WHERE name = 'interval_ms'").fetchone()
    return min(max(row[0], 10), 3600000) / 1000 if row and isinstance(row[0], int) else 1


class Ring:
    """The slots that may be written. When the table has nothing pending all of them may; each write takes one."""

    def __init__(self, db, neap, path):
        self.db, self.neap, self.path = db, neap, path
        self.free = 0
        self.last = db.execute("SELECT coalesce(max(reading), 0) FROM slots").fetchone()[0]

    def may_write(self):
        if self.free == 0 and (pending := pending_rows(self.neap, self.path, "slots")) > 0:
            print(f"waiting: {pending} rows pending", flush=True)
            return False
        self.free = self.free or SLOTS
        return True

    def write(self, celsius):
        reading = self.last + 1
        self.db.execute(
            "INSERT INTO slots VALUES(:slot, :reading, :at_ms, :celsius)"
            " ON CONFLICT(slot) DO UPDATE SET reading = :reading, at_ms = :at_ms, celsius = :celsius",
            {"slot": reading % SLOTS, "reading": reading, "at_ms": time.time_ns() // 1000000, "celsius": celsius},
        )
        self.last = reading
        self.free -= 1
        print(f"reading {reading}", flush=True)


def main():
    options = argparse.ArgumentParser(description="Writes COUNT readings; 0 only makes the tables.")
    options.add_argument("db")
    options.add_argument("count", type=int)
    options.add_argument("--neap", default="neap", help="the neap command (default: %(default)s)")
    args = options.parse_args()

    # Every statement its own transaction; the agent writes this file as well, never for long.
    db = sqlite3.connect(args.db, timeout=10, isolation_level=None)
    db.executescript(SCHEMA)
    ring = Ring(db, args.neap, args.db)
    end = ring.last + args.count
    while ring.last < end:
        if ring.may_write():
            ring.write(20 + ring.last % 10 / 10)
        if ring.last < end:
            time.sleep(interval_s(db))


if __name__ == "__main__":
    main()
