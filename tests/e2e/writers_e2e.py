#!/usr/bin/env python3
"""What other programs do to the file beside an agent: other journal modes, a write lock held for long."""

import argparse
import os
import sqlite3
import subprocess
import sys
import time
import unittest

from harness import Stack, wait_for

ITEMS = "CREATE TABLE items (id INTEGER PRIMARY KEY, writer TEXT, n INTEGER)"
ALL = "SELECT id, writer, n FROM items ORDER BY id"
HELD_SECONDS = 15

# An app in a process of its own, with nothing but sqlite3: transactions of several statements, some rolled back.
WRITER = """
import random, sqlite3, sys
path, mode, first, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
db = sqlite3.connect(path, timeout=30, isolation_level=None)
got = db.execute(f"PRAGMA journal_mode = {mode}").fetchone()[0]
r = random.Random(first)
for i in range(rounds):
    db.execute("BEGIN IMMEDIATE")
    for k in range(r.randrange(1, 20)):
        key = first + r.randrange(200)
        what = r.randrange(4)
        if what < 2:
            db.execute("INSERT INTO items VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = excluded.n", (key, mode, i))
        elif what == 2:
            db.execute("UPDATE items SET n = n + 1 WHERE id = ?", (key,))
        else:
            db.execute("DELETE FROM items WHERE id = ?", (key,))
    db.execute("ROLLBACK" if r.randrange(5) == 0 else "COMMIT")
print(got)
"""


def writer(d, mode, first, rounds=120):
    return subprocess.Popen([sys.executable, "-c", WRITER, d.db, mode, str(first), str(rounds)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


class Writers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        cls.enterClassContext(cls.stack)

    def on_server(self, user):
        return self.stack.sql("SELECT id, writer, n FROM items WHERE user_id = ? ORDER BY id", user)

    def ended(self, process, got):
        said, _ = process.communicate(timeout=60)
        self.assertEqual((process.returncode, said.strip()), (0, got))

    def agents(self, user):
        d1, d2 = self.stack.pair(user, ITEMS, "INSERT INTO items VALUES (1, 'first', 0)")
        for d in (d1, d2):
            d.start()
            self.addCleanup(d.kill)
            wait_for("the agent", lambda: os.path.exists(d.db + ".neap-sock"))
        return d1, d2

    def same_everywhere(self, user, *devices):
        for d in devices:
            d.sync(60)
        for d in devices:
            d.sync(60)
        want = self.on_server(user)
        for d in devices:
            self.assertEqual(d.sql(ALL), want)
            self.assertEqual(d.sql("PRAGMA integrity_check"), [("ok",)])
            self.assertEqual([t["state"] for t in d.status()["troubles"]], [])
        return want

    def check_mode(self, mode, got):
        user = mode.lower()
        d1, d2 = self.agents(user)
        w = writer(d1, mode, 1000)
        # What others write is applied in between, by the agent's own connection and mode.
        for i in range(20):
            self.stack.sql("UPDATE items SET n = ? WHERE user_id = ? AND id = 1", i + 1, user)
            d2.sql("INSERT OR REPLACE INTO items VALUES (?, 'd2', ?)", 2000 + i, i)
            time.sleep(0.02)
        self.ended(w, got)
        rows = self.same_everywhere(user, d1, d2)
        self.assertIn((1, "first", 20), rows)
        self.assertEqual(sum(r[1] == "d2" for r in rows), 20)
        self.assertGreater(sum(r[1] == mode for r in rows), 50)

    def test_delete(self):
        self.check_mode("DELETE", "delete")

    def test_truncate(self):
        self.check_mode("TRUNCATE", "truncate")

    def test_persist(self):
        self.check_mode("PERSIST", "persist")

    def test_memory(self):
        self.check_mode("MEMORY", "memory")

    def test_several_writers_of_different_modes_at_once(self):
        d1, d2 = self.agents("several")
        modes = ("DELETE", "MEMORY", "TRUNCATE")
        running = [writer(d1, mode, 1000 * (i + 1), 60) for i, mode in enumerate(modes)] + [writer(d2, "PERSIST", 9000, 60)]
        for w, mode in zip(running, modes + ("PERSIST",)):
            self.ended(w, mode.lower())
        rows = self.same_everywhere("several", d1, d2)
        for mode in modes + ("PERSIST",):
            self.assertGreater(sum(r[1] == mode for r in rows), 30)

    def test_the_file_changes_to_wal_and_back_beside_the_agent(self):
        d1, d2 = self.agents("wal")
        self.ended(writer(d1, "WAL", 1000, 60), "wal")
        self.same_everywhere("wal", d1, d2)
        # SQLite leaves WAL only when nobody else has the file open; until then the mode stays, and so does the data.
        db = sqlite3.connect(d1.db, timeout=1, isolation_level=None)
        with self.assertRaisesRegex(sqlite3.OperationalError, "locked"):
            db.execute("PRAGMA journal_mode = DELETE")
        db.execute("INSERT INTO items VALUES (5000, 'still wal', 1)")
        db.close()
        self.same_everywhere("wal", d1, d2)
        d1.kill()
        self.ended(writer(d1, "DELETE", 2000, 60), "delete")
        d1.start()
        wait_for("the agent", lambda: os.path.exists(d1.db + ".neap-sock"))
        self.ended(writer(d1, "DELETE", 3000, 60), "delete")
        self.assertGreater(len(self.same_everywhere("wal", d1, d2)), 150)


class HeldLock(unittest.TestCase):
    """An app holds BEGIN IMMEDIATE for HELD_SECONDS, beside an agent that has things to do."""

    def test_nothing_is_lost_and_all_goes_on_once_it_ends(self):
        for journal in ("DELETE", "WAL"):
            with self.subTest(journal), Stack() as stack:
                self.check(stack, journal)

    def check(self, stack, journal):
        d1, d2 = stack.pair("held", ITEMS, "INSERT INTO items VALUES (1, 'first', 0)")
        d1.sql(f"PRAGMA journal_mode = {journal}")
        d1.start()
        self.addCleanup(d1.kill)
        wait_for("the agent", lambda: os.path.exists(d1.db + ".neap-sock"))
        wait_for("in-sync", lambda: d1.status()["state"] == "in-sync")
        app = sqlite3.connect(d1.db, isolation_level=None)
        app.execute("BEGIN IMMEDIATE")
        began, ops = time.monotonic(), 0
        while time.monotonic() - began < HELD_SECONDS:
            ops += 1
            app.execute("INSERT INTO items VALUES (?, 'held', ?)", (1000 + ops, ops))
            d2.sql("INSERT INTO items VALUES (?, 'd2', ?)", 100_000 + ops, ops)
            if ops % 10 == 0:
                d2.sync(30)
            time.sleep(0.3)
        d2.sync(30)
        status = d1.status()
        self.assertEqual(status["state"], "database-locked")
        held = int(status["reason"].split(" for ")[1].split()[0])
        # As of the last try: those are up to 5 s apart, and wait 2 s for the lock.
        self.assertGreaterEqual(held, HELD_SECONDS - 12)
        self.assertEqual(d1.sql("SELECT count(*) FROM items"), [(1,)])
        self.assertEqual(stack.sql("SELECT count(*) FROM items WHERE writer = 'held'"), [(0,)])
        app.execute("COMMIT")
        ended = time.monotonic()
        app.close()
        want = 1 + 2 * ops
        wait_for("all rows at the server", lambda: stack.sql("SELECT count(*) FROM items") == [(want,)], 30)
        wait_for("all rows here", lambda: d1.sql("SELECT count(*) FROM items") == [(want,)], 30)
        after = time.monotonic() - ended
        print(f"{journal}: lock held {HELD_SECONDS} s, {2 * ops} rows written meanwhile, all there {after:.1f} s after it ended")
        # The longest pause between two tries is 5 s.
        self.assertLess(after, 15)
        wait_for("no trouble", lambda: d1.status()["troubles"] == [], 30)
        d1.sync()
        d2.sync()
        rows = stack.sql("SELECT id, writer, n FROM items ORDER BY id")
        for d in (d1, d2):
            self.assertEqual(d.sql(ALL), rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--held-seconds", type=int, default=HELD_SECONDS)
    args, rest = parser.parse_known_args()
    HELD_SECONDS = args.held_seconds
    unittest.main(verbosity=2, argv=sys.argv[:1] + rest)
