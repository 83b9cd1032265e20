#!/usr/bin/env python3
"""One agent with several databases: bad ones are told and tried again, and the good ones go on meanwhile."""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
import unittest
from pathlib import Path

from harness import NEAP, Stack, wait_for

NOTES = "CREATE TABLE notes (id INTEGER PRIMARY KEY, text)"


class Several(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        cls.enterClassContext(cls.stack)

    def start(self, *devices):
        """One agent for all of them; its log."""
        log = self.stack.dir / f"{self.id().rsplit('.', 1)[1]}.log"
        with open(log, "wb") as out:
            agent = subprocess.Popen([NEAP, "run", *(d.db for d in devices)], stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        self.addCleanup(self.stop, agent)
        return agent, log

    def stop(self, agent):
        if agent.poll() is None:
            agent.kill()
            agent.wait(timeout=20)

    def fresh(self, user, name):
        d = self.stack.device(user, name)
        d.sql(NOTES)
        d.init()
        d.neap("track", "notes")
        return d

    def travel(self, d, text):
        """How long a row takes from this device to the server, and an operator's answer back; in seconds."""
        began = time.monotonic()
        d.sql("INSERT INTO notes (text) VALUES (?)", text)
        count = "SELECT count(*) FROM notes WHERE user_id = ? AND text = ?"
        wait_for(f"{text} at the server", lambda: self.stack.sql(count, d.user, text) == [(1,)], 30)
        self.stack.sql("UPDATE notes SET text = ? WHERE user_id = ? AND text = ?", text + ", seen", d.user, text)
        wait_for(f"{text} seen", lambda: d.sql("SELECT count(*) FROM notes WHERE text = ?", text + ", seen") == [(1,)], 30)
        return time.monotonic() - began

    def served(self, d, text):
        """The agent takes this one up by itself."""
        wait_for(f"{d.name} served", lambda: os.path.exists(d.db + ".neap-sock"), 30)
        self.travel(d, text)

    def test_bad_ones_beside_good_ones(self):
        stack = self.stack
        for user in ("good", "bad"):
            stack.add_user(user)
        good = [self.fresh("good", "d1"), self.fresh("good", "d2")]
        names = ("missing", "unbound", "garbage", "damaged", "wide-open", "no-login", "held", "locked")
        bad = {name: self.fresh("bad", name) for name in names if name != "unbound"}
        bad["unbound"] = stack.device("bad", "unbound")
        bad["unbound"].sql(NOTES)
        for d in bad.values():
            if d.name != "unbound":
                d.sync()
        kept = {name: Path(bad[name].db).read_bytes() for name in ("garbage", "damaged")}
        secret = Path(bad["no-login"].db + ".neap-secret")
        login = secret.read_bytes()
        os.rename(bad["missing"].db, bad["missing"].db + ".away")
        Path(bad["garbage"].db).write_bytes(b"this is no database\n" * 1000)
        # The first page is whole, all that follow are not.
        Path(bad["damaged"].db).write_bytes(kept["damaged"][:4096] + os.urandom(len(kept["damaged"]) - 4096))
        os.chmod(bad["wide-open"].db + ".neap-secret", 0o644)
        secret.write_text("{}")
        bad["held"].start()
        wait_for("the other agent", lambda: os.path.exists(bad["held"].db + ".neap-sock"))
        app = sqlite3.connect(bad["locked"].db, isolation_level=None)
        app.execute("BEGIN EXCLUSIVE")

        # The bad ones come first.
        agent, log = self.start(*bad.values(), *good)
        said = {
            "missing": "missing.db.*(no such file|does not exist|not found|cannot be opened|unable to open)", "unbound": "neap init", "garbage": "not a SQLite database",
            "damaged": "malformed|damaged", "wide-open": "neap-secret", "no-login": "neap-secret", "held": "another|process", "locked": "locked by another program",
        }  # fmt: skip
        for name, why in said.items():
            line = re.compile(rf"^\S+ neap {re.escape(bad[name].db)}: (.*)$", re.M)
            wait_for(f"a word about {name}", lambda: line.search(log.read_text()), 30)
            self.assertRegex(line.search(log.read_text())[0], f"(?i){why}")
        for d in good:
            wait_for("the good one served", lambda: os.path.exists(d.db + ".neap-sock"), 30)
        # Long enough that every bad one is tried again meanwhile.
        times, until = [], time.monotonic() + 12
        while time.monotonic() < until:
            times += [self.travel(d, f"{d.name} {len(times)}") for d in good]
        print(f"{len(times)} rows there and back beside {len(bad)} bad databases: at most {max(times):.2f} s, {sorted(times)[len(times) // 2]:.2f} s in the middle")
        self.assertLess(sorted(times)[len(times) // 2], 2)
        self.assertLess(max(times), 6)
        self.assertIsNone(agent.poll())
        # Told once, not at every try.
        for name in said:
            self.assertLessEqual(log.read_text().count(f"neap {bad[name].db}:"), 2, name)

        # Each is cured, and taken up without a restart.
        os.rename(bad["missing"].db + ".away", bad["missing"].db)
        for name, content in kept.items():
            Path(bad[name].db).write_bytes(content)
        os.chmod(bad["wide-open"].db + ".neap-secret", 0o600)
        secret.write_bytes(login)
        bad["held"].kill()
        app.execute("COMMIT")
        app.close()
        bad["unbound"].init()
        bad["unbound"].neap("track", "notes")
        for d in bad.values():
            self.served(d, f"{d.name} is cured")
        agent.send_signal(signal.SIGTERM)
        self.assertEqual(agent.wait(timeout=20), 0)

    def test_one_goes_bad_while_it_is_served(self):
        stack = self.stack
        stack.add_user("later")
        d1, d2, d3 = devices = [self.fresh("later", name) for name in ("d1", "d2", "d3")]
        agent, log = self.start(*devices)
        for d in devices:
            self.served(d, f"{d.name} at first")
        # Another file in its place: the agent tells, and serves that one. The old one was all sent.
        d2.sync()
        shutil.copy2(d2.db, d2.db + ".copy")
        os.replace(d2.db + ".copy", d2.db)
        wait_for("a word about the file", lambda: "was replaced or removed" in log.read_text(), 20)
        # An app that holds its lock for ever delays nobody else.
        app = sqlite3.connect(d3.db, isolation_level=None)
        app.execute("BEGIN IMMEDIATE")
        stack.sql("INSERT INTO notes (user_id, id, text) VALUES ('later', 1000, 'for all')")
        times = [self.travel(d1, f"beside a locked one {i}") for i in range(10)]
        print(f"10 rows there and back beside a locked database: at most {max(times):.2f} s")
        self.assertLess(max(times), 1.5)
        app.execute("COMMIT")
        app.close()
        for d in devices:
            wait_for("what came meanwhile", lambda: d.sql("SELECT text FROM notes WHERE id = 1000") == [("for all",)], 30)
            self.travel(d, f"{d.name} at last")
        self.assertIsNone(agent.poll())
        os.unlink(d1.db)
        wait_for("a word about the removed one", lambda: log.read_text().count("was replaced or removed") == 2 or f"neap {d1.db}: " in log.read_text(), 20)
        self.travel(d2, "the others go on")

    def test_none_that_is_good(self):
        missing = self.stack.device("nobody", "none")
        os.unlink(missing.db)
        empty = self.stack.device("nobody", "empty")
        agent, log = self.start(missing, empty)
        self.assertEqual(agent.wait(timeout=30), 8)
        for d in (missing, empty):
            self.assertIn(d.db, log.read_text())


if __name__ == "__main__":
    unittest.main(verbosity=2)
