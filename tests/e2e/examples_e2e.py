#!/usr/bin/env python3
"""The programs of examples/, as a stranger would build and run them: an installed copy, the real stack."""

import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from harness import BUILD, NEAP, ROOT, Stack, wait_for

STATION = str(ROOT / "examples" / "python" / "station.py")


def run(*args):
    done = subprocess.run(args, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise AssertionError(f"{args}: exit {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


class Program:
    """A running example; `said` is what it has printed so far."""

    def __init__(self, log, *args):
        self.log = Path(log)
        with open(log, "wb") as out:
            self.process = subprocess.Popen(args, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def said(self):
        return self.log.read_text().splitlines()

    def end(self, seconds=60):
        return self.process.wait(timeout=seconds)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Examples(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.work = Path(tempfile.mkdtemp(prefix="neap-examples."))
        cls.addClassCleanup(shutil.rmtree, cls.work, ignore_errors=True)
        run("cmake", "--install", BUILD, "--prefix", cls.work / "prefix")
        run("cmake", "-G", "Ninja", "-S", ROOT / "examples" / "c", "-B", cls.work / "c", f"-DCMAKE_PREFIX_PATH={cls.work / 'prefix'}", "-DCMAKE_C_FLAGS=-Werror")
        run("cmake", "--build", cls.work / "c")
        cls.meter = str(cls.work / "c" / "meter")
        cls.stack = Stack()
        cls.enterClassContext(cls.stack)

    def program(self, *args):
        p = Program(self.stack.dir / f"{self.id().rsplit('.', 1)[-1]}.log", *args)
        self.addCleanup(p.kill)
        return p

    def wait_said(self, p, line):
        try:
            wait_for(f"'{line}'", lambda: line in p.said())
        except AssertionError as e:
            raise AssertionError(f"{e}; it said {p.said()}") from None

    def test_the_meter_follows_the_server_and_resolves(self):
        self.stack.add_user("water")
        meter, office = self.stack.device("water", "meter"), self.stack.device("water", "office")
        Path(meter.db).unlink()  # `neap init` makes the file, the meter its tables
        meter.init()
        meter.start()  # another engine: refused, with a sentence
        wait_for("the agent", lambda: meter.status()["state"] != "stopped")
        refused = subprocess.run([self.meter, meter.db, "1"], capture_output=True, text=True, timeout=60)
        self.assertEqual((refused.returncode, refused.stdout), (7, ""))
        self.assertIn("another", refused.stderr)
        meter.kill()

        office.sql("CREATE TABLE settings(name TEXT PRIMARY KEY, value INTEGER)")
        office.init()
        office.neap("track", "settings")
        office.sql("INSERT INTO settings VALUES('interval_ms', 100)")
        office.sync()
        meter.sync()
        # Both write while apart; the office's is the later one, and the larger.
        meter.sql("UPDATE settings SET value = 20")
        office.sql("UPDATE settings SET value = 3000")
        office.sync()

        p = self.program(self.meter, meter.db, "1000000")
        self.wait_said(p, 'conflict: settings {"name": "interval_ms"} value: a later write won; resolved by a new write')
        self.wait_said(p, "changed: settings, a reading each 20 ms")
        wait_for("the meter's answer at the office", lambda: (office.sync(), office.sql("SELECT value FROM settings"))[1] == [(20,)])
        self.stack.sql("UPDATE settings SET value = 40 WHERE user_id = 'water' AND name = 'interval_ms'")
        self.wait_said(p, "changed: settings, a reading each 40 ms")
        wait_for("readings on the server", lambda: self.stack.sql("SELECT count(*) FROM readings WHERE user_id = 'water'")[0][0] > 10)
        p.kill()  # without warning: what it had written is in its file
        self.ends_by_itself(meter)

    def ends_by_itself(self, meter):
        have = meter.sql("SELECT count(*) FROM readings")[0][0]
        p = self.program(self.meter, meter.db, "5")
        self.assertEqual(p.end(), 0, p.said())
        self.assertEqual(p.said()[-1], "in-sync, 0 rows pending")
        mine = meter.sql("SELECT at_ms, litres FROM readings ORDER BY id")
        self.assertEqual(len(mine), have + 5)
        self.assertEqual(self.stack.sql("SELECT at_ms, litres FROM readings WHERE user_id = 'water' ORDER BY id"), mine)

    def test_the_meter_says_what_is_wrong(self):
        for args, code, words in (([], 2, "usage"), (["x.db", "many"], 2, "usage"), (["/nowhere/x.db", "1"], 1, "/nowhere/x.db")):
            done = subprocess.run([self.meter, *args], capture_output=True, text=True, timeout=60)
            self.assertEqual((done.returncode, done.stdout), (code, ""))
            self.assertIn(words, done.stderr)

    def test_the_station_overwrites_only_what_the_server_has(self):
        self.stack.add_user("wind")
        d = self.stack.device("wind", "station")
        run(sys.executable, STATION, d.db, "0")
        d.init()
        d.neap("track", "slots", "--direction", "up")
        d.neap("track", "settings")
        d.sql("INSERT INTO settings VALUES('interval_ms', 20)")
        d.sync()
        self.keep_history()

        # No agent runs. A station that starts anew cannot know which rows are pending: two are too many.
        run(sys.executable, STATION, d.db, "2", "--neap", NEAP)
        p = self.program(sys.executable, STATION, d.db, "1", "--neap", NEAP)
        self.wait_said(p, "waiting: 2 rows pending")
        d.sync()
        self.assertEqual(p.end(), 0, p.said())
        d.sync()

        # Four readings find room, the fifth would cost one.
        p = self.program(sys.executable, STATION, d.db, "12", "--neap", NEAP)
        self.wait_said(p, "waiting: 4 rows pending")
        self.assertEqual(d.sql("SELECT reading FROM slots ORDER BY reading"), [(4,), (5,), (6,), (7,)])
        d.start()
        self.assertEqual(p.end(), 0, p.said())
        self.assertEqual([line for line in p.said() if line.startswith("reading")], [f"reading {i}" for i in range(4, 16)])
        d.kill()
        d.sync()
        self.assertEqual(self.stack.sql("SELECT DISTINCT reading FROM history ORDER BY reading"), [(i,) for i in range(1, 16)])

        # A setting of the server's is read like any row.
        self.stack.sql("UPDATE settings SET value = 10 WHERE user_id = 'wind'")
        wait_for("the setting", lambda: (d.sync(), d.sql("SELECT value FROM settings"))[1] == [(10,)])
        d.neap("untrack", "slots")
        lost = subprocess.run([sys.executable, STATION, d.db, "1", "--neap", NEAP], capture_output=True, text=True, timeout=60)
        self.assertEqual(lost.returncode, 1)
        self.assertIn("neap track", lost.stderr.replace(NEAP, "neap"))

    def keep_history(self):
        """Whatever a slot has held on the server, by a trigger of the operator's."""
        wait_for("the table", lambda: self.stack.has_table("slots"))
        self.stack.sql("CREATE TABLE history(reading)")
        for what in ("INSERT", "UPDATE"):
            self.stack.sql(f"CREATE TRIGGER history_{what} AFTER {what} ON slots BEGIN INSERT INTO history VALUES(new.reading); END")


if __name__ == "__main__":
    unittest.main(verbosity=2)
