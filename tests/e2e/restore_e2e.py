#!/usr/bin/env python3
"""A server that lost its store, or got it back from a backup, by the steps of docs/operations.md."""

import json
import os
import re
import subprocess
import unittest
from pathlib import Path

from harness import BUILD, ROOT, Stack, Writer, wait_for

CREATE = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE readings (id INTEGER PRIMARY KEY, v TEXT);
CREATE TABLE events (id TEXT PRIMARY KEY, v TEXT);
"""


def steps(heading):
    """The lines for a shell below a heading of the operator's page."""
    text = (ROOT / "docs" / "operations.md").read_text()
    section = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", text, re.M | re.S).group(1)
    (block,) = re.findall(r"^```sh\n(.*?)^```$", section, re.M | re.S)
    return block


class App(Writer):
    def __init__(self, device):
        super().__init__(device, 0.002)

    def write(self, db):
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO readings (v) VALUES (?)", (f"r{self.n}",))
        db.execute("INSERT INTO events VALUES (hex(randomblob(8)), ?)", (f"e{self.n}",))
        db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (f"{self.device.name}-{self.n % 20}", str(self.n)))
        db.execute("COMMIT")


class Restore(unittest.TestCase):
    def setUp(self):
        self.stack = Stack()
        self.enterContext(self.stack)
        self.stack.add_user("site")
        self.copies = self.stack.dir / "copies"
        self.copies.mkdir()

    def shell(self, lines, **more):
        env = {"DIR": self.stack.dir / "stack", "BACKUPS": self.copies, "ELSEWHERE": self.copies, **more}
        path = f"{BUILD / 'bin'}:{os.environ['PATH']}"
        subprocess.run(["bash", "-euc", lines], env={**os.environ, **{k: str(v) for k, v in env.items()}, "PATH": path}, check=True, timeout=60)

    def a_device(self, name):
        d = self.stack.device("site", name)
        d.script(CREATE)
        d.init()
        d.neap("track", "settings")
        for table in ("readings", "events"):
            d.neap("track", table, "--append")
        d.sync()
        return d

    def lose_the_store(self, with_backup):
        """What an operator does, by the page."""
        self.stack.kill_backend()
        lines = steps("Restoring the data store").splitlines()
        self.assertIn("$BACKUP", lines[-1])
        if not with_backup:
            lines.pop()
        (copy,) = self.copies.glob("store-*.db")
        self.shell("\n".join(lines), BACKUP=copy)
        self.stack.restart_backend()

    def server_has_each_row_once(self, d):
        for table in ("readings", "events"):
            mine = d.sql(f"SELECT id, v FROM {table} ORDER BY id")
            there = self.stack.sql(f"SELECT id, v FROM {table} WHERE user_id = 'site' AND device_id = ? ORDER BY id", d.name)
            self.assertEqual(len(there), len(mine))
            self.assertEqual(there, mine)
            self.assertGreater(len(mine), 100)

    def all_are_equal(self, devices):
        server = lambda: self.stack.sql("SELECT name, value FROM settings WHERE user_id = 'site' ORDER BY name")
        for d in devices:
            wait_for(f"{d.name} to be equal", lambda: d.sql("SELECT name, value FROM settings ORDER BY name") == server(), 30)
            status = d.status()
            self.assertEqual((status["pending_rows"], status["bad_messages"]), (0, 0))

    def lost_and_found(self, with_backup):
        d1, d2, sleeper = (self.a_device(name) for name in ("d1", "d2", "d3"))
        writers = [App(d) for d in (d1, d2)]
        for d, w in zip((d1, d2), writers):
            d.start()
            w.start()
        wait_for("some hundred rows", lambda: min(w.n for w in writers) > 200, 60)
        # Under load: rows come in while the copy is made.
        self.shell(steps("Backups"))
        at_backup = [w.n for w in writers]
        wait_for("more rows", lambda: all(w.n > n + 200 for w, n in zip(writers, at_backup)), 60)
        for w in writers:
            w.stop()
        d1.sql("INSERT INTO settings VALUES ('after', 'the backup')")
        for d in (d1, d2):
            d.neap("sync", "--timeout", "60")
        sleeper.sync()
        self.assertEqual(sleeper.sql("SELECT value FROM settings WHERE name = 'after'"), [("the backup",)])
        for d in (d1, d2):
            self.server_has_each_row_once(d)

        self.lose_the_store(with_backup)
        # What is committed from now on takes numbers that the sleeper knows with other content.
        for i in range(60):
            d1.sql("INSERT INTO readings (v) VALUES ('later')")
            d2.sql("INSERT OR REPLACE INTO settings VALUES ('later', ?)", str(i))
        for d in (d1, d2, sleeper, d1, d2):
            d.neap("sync", "--timeout", "60")
        self.all_are_equal((d1, d2, sleeper))
        for d in (d1, d2):
            self.server_has_each_row_once(d)
        # A settled write that the server does not know any more is not lost either.
        told = [json.loads(d.neap("conflicts", "--json"))["conflicts"] for d in (d1, d2, sleeper)]
        self.assertTrue(any("the backup" in (c["row"] or "") for one in told for c in one), told)
        for d in (d1, d2):
            d.kill()

    def test_a_backup_is_restored(self):
        self.lost_and_found(with_backup=True)

    def test_an_empty_store(self):
        self.lost_and_found(with_backup=False)


if __name__ == "__main__":
    unittest.main()
