#!/usr/bin/env python3
"""Devices whose clocks are wrong, and change while they run: the whole programs, TLS and all, under faketime."""

import ast
import os
import shutil
import subprocess
import sys
import unittest

from harness import NEAP, Device, Stack, wait_for

TABLE = "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT)"
LIBRARY = subprocess.run(
    [shutil.which("faketime"), "now", "sh", "-c", "echo $LD_PRELOAD"], capture_output=True, text=True, check=True
).stdout.strip()


APP = """
import ast, sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=10, isolation_level=None)
print(db.execute(sys.argv[2], ast.literal_eval(sys.argv[3])).fetchall())
"""


class WrongClock(Device):
    """A device on which every program sees another time; `set` changes it while they run."""

    def __init__(self, stack, user, name, offset):
        super().__init__(stack, user, name)
        stack.devices.append(self)
        self.file = stack.dir / f"clock-{user}-{name}"
        self.set(offset)
        self.env = {
            **os.environ,
            "LD_PRELOAD": LIBRARY,
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, offset):
        new = self.file.with_suffix(".new")
        new.write_text(offset + "\n")
        new.replace(self.file)

    def neap(self, *args, code=0, timeout=60):
        before = dict(os.environ)
        os.environ.update(self.env)
        try:
            return super().neap(*args, code=code, timeout=timeout)
        finally:
            os.environ.clear()
            os.environ.update(before)

    def start(self):
        with open(self.stack.dir / f"agent-{self.name}.log", "ab") as log:
            self.agent = subprocess.Popen([NEAP, "run", self.db], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.env)

    def sql(self, text, *values):
        """An app on that device: it sees the same time, since triggers take theirs from the clock of the writer."""
        done = subprocess.run([sys.executable, "-c", APP, self.db, text, repr(values)], env=self.env, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return ast.literal_eval(done.stdout)


class Clock(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        cls.enterClassContext(cls.stack)

    def device(self, user, name, offset=None):
        d = WrongClock(self.stack, user, name, offset) if offset else self.stack.device(user, name)
        d.sql(TABLE)
        d.init()
        d.neap("track", "settings")
        return d

    def value(self, d):
        return d.sql("SELECT value FROM settings WHERE name = 'a'")

    def test_from_1970_and_a_year_ahead(self):
        self.stack.add_user("wrong")
        past = self.device("wrong", "past", "-56y")
        ahead = self.device("wrong", "ahead", "+1y")
        right = self.device("wrong", "right")
        self.assertLess(past.sql("SELECT strftime('%Y', 'now')"), [("1975",)])
        everyone = (right, past, ahead)
        # Each edits what the one before it wrote: the last edit stands, whatever the clocks say.
        for writer, text in ((ahead, "of ahead"), (right, "of right"), (past, "of past"), (ahead, "ahead again"), (past, "past again"), (right, "the last")):
            writer.sync()
            writer.sql("INSERT INTO settings VALUES ('a', ?) ON CONFLICT DO UPDATE SET value = excluded.value", text)
            for d in (writer, *everyone):
                d.sync()
            for d in everyone:
                self.assertEqual(self.value(d), [(text,)], (writer.name, d.name))
        self.assertEqual(self.stack.sql("SELECT value FROM settings WHERE user_id = 'wrong'"), [("the last",)])

    def test_a_clock_that_is_set_while_the_agent_runs(self):
        self.stack.add_user("steps")
        jumper = self.device("steps", "jumper", "-56y")
        right = self.device("steps", "right")
        jumper.start()
        right.start()
        for i, offset in enumerate(("-56y", "+0", "-1d", "+1y", "-56y", "+0")):
            jumper.set(offset)
            jumper.sql("INSERT INTO settings VALUES ('a', ?) ON CONFLICT DO UPDATE SET value = excluded.value", f"jumper {i}")
            wait_for(f"what was written at {offset}", lambda: self.value(right) == [(f"jumper {i}",)], 30)
            right.sql("UPDATE settings SET value = ?", f"right {i}")
            wait_for(f"the answer to {offset}", lambda: self.value(jumper) == [(f"right {i}",)], 30)
        # A broker that comes back finds a device whose certificate time must be right again.
        jumper.set("-56y")
        self.stack.restart_broker()
        jumper.sql("UPDATE settings SET value = 'after the broker'")
        wait_for("the reconnect", lambda: self.value(right) == [("after the broker",)], 60)
        for d in (jumper, right):
            d.kill()


if __name__ == "__main__":
    unittest.main(verbosity=2)
