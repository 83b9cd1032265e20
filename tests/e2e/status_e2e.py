#!/usr/bin/env python3
"""States of `neap status` made by real processes: text, JSON, and how `neap sync` ends. docs/states.md has the list."""

import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import time
import unittest

from harness import NEAP, PASSWORD, Stack, wait_for

ITEMS = "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT UNIQUE, price)"


class Case(unittest.TestCase):
    def trouble(self, d, state):
        return next((t for t in d.status()["troubles"] if t["state"] == state), None)

    def expect(self, d, state, code, reason, next_step, first=True):
        """The state is told in JSON and in text; the first of several names the whole, if it is in the way."""
        wait_for(f"{state} in the status of {d.name}", lambda: self.trouble(d, state), 60, 0.2)
        status, text = d.status(), d.neap("status")
        found = next(t for t in status["troubles"] if t["state"] == state)
        self.assertEqual(found["exit_code"], code)
        self.assertRegex(found["reason"], reason)
        self.assertRegex(found["next_step"], next_step)
        if not first:
            self.assertRegex(text, rf"(?m)^(also       {state}: |reason     ).*{reason}")
            return
        self.assertEqual((status["troubles"][0]["state"], status["reason"], status["next_step"]), (state, found["reason"], found["next_step"]))
        self.assertRegex(text, rf"(?m)^reason     .*{reason}")
        self.assertRegex(text, rf"(?m)^next       .*{next_step}")
        if code:
            self.assertEqual(status["state"], state)
            self.assertRegex(text, rf"(?m)^state      {state}$")

    def gone(self, d, state):
        wait_for(f"no {state} in the status of {d.name}", lambda: not self.trouble(d, state), 60, 0.2)

    def agent(self, d, *options):
        d.start(*options)
        self.addCleanup(d.kill)
        wait_for("the agent", lambda: os.path.exists(d.db + ".neap-sock"))


class WithAServer(Case):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        cls.enterClassContext(cls.stack)

    def pair(self, user):
        return self.stack.pair(user, ITEMS, "INSERT INTO items VALUES (1, 'nut', 10), (2, 'bolt', 20)")

    def test_stopped_and_in_sync(self):
        d, _ = self.pair("stopped")
        self.assertEqual(d.status()["state"], "stopped")
        self.expect(d, "stopped", 0, "no agent runs on this database", "neap run DB")
        self.agent(d)
        wait_for("in-sync", lambda: d.status()["state"] == "in-sync")
        self.assertEqual(d.status()["troubles"], [])

    def test_asleep(self):
        d1, d2 = self.pair("asleep")
        self.agent(d1, "--every", "1h")
        self.expect(d1, "asleep", 0, "only now and then", "it connects in 3[2-6]\\d\\d s, or now with `neap sync")
        self.assertEqual(d1.status()["state"], "asleep")
        d1.sql("INSERT INTO items VALUES (3, 'gathers', 1)")
        d2.sql("INSERT INTO items VALUES (4, 'comes', 1)")
        d2.sync()
        # Nothing moves before somebody asks, or the time has come.
        for _ in range(5):
            self.assertEqual((d1.status()["state"], d1.status()["pending_rows"]), ("asleep", 1))
        self.assertEqual(d2.sql("SELECT count(*) FROM items WHERE id = 3"), [(0,)])
        self.assertEqual(d1.sql("SELECT count(*) FROM items WHERE id = 4"), [(0,)])
        d1.sync()
        self.assertEqual(d1.sql("SELECT count(*) FROM items WHERE id = 4"), [(1,)])
        d2.sync()
        self.assertEqual(d2.sql("SELECT count(*) FROM items WHERE id = 3"), [(1,)])
        wait_for("sleep after a sync", lambda: d1.status()["state"] == "asleep")
        self.assertIn(d1.status()["wake_in_ms"], range(3_200_000, 3_600_001))
        d1.kill()
        self.agent(d1, "--every", "1s")
        for i in (5, 6):
            wait_for("sleep", lambda: d1.status()["state"] == "asleep")
            d1.sql("INSERT INTO items VALUES (?, ?, 1)", i, f"gathers {i}")
            wait_for("a wake-up", lambda: self.stack.sql("SELECT count(*) FROM items WHERE user_id = 'asleep' AND id = ?", i) == [(1,)])
        self.assertIn("is not an age", subprocess.run([NEAP, "run", "--every", "5", d1.db], capture_output=True, text=True).stderr)

    def test_schema_refused(self):
        d, _ = self.pair("schema")
        self.stack.neapd("schema", "lock")
        self.addCleanup(self.stack.neapd, "schema", "unlock")
        d.script("CREATE TABLE unheard (id INTEGER PRIMARY KEY, a); INSERT INTO unheard VALUES (1, 'kept')")
        d.neap("track", "unheard")
        said = d.sync(code=6)
        self.assertIn("the schema is locked", said)
        self.agent(d)
        self.expect(d, "schema-refused", 6, "table unheard is unknown and the schema is locked", "ask the operator")
        self.assertEqual(d.status()["pending_rows"], 1)
        self.assertIn("the schema is locked", d.sync(code=6))

    def test_quota(self):
        def columns(first):
            return ", ".join(f"c{i}" for i in range(first, first + 120))

        self.stack.add_user("quota")
        d1, d2 = (self.stack.device("quota", name) for name in ("d1", "d2"))
        for d, first in ((d1, 0), (d2, 120)):
            d.script(f"CREATE TABLE wide (id INTEGER PRIMARY KEY, {columns(first)}); INSERT INTO wide (id) VALUES ({first})")
            d.init()
            d.neap("track", "wide")
        d1.sync()
        self.assertIn("more columns than 200", d2.sync(code=6))
        self.agent(d2)
        self.expect(d2, "quota", 6, "more columns than 200", "ask the operator")
        self.assertEqual(d2.status()["pending_rows"], 1)

    def quota(self, *options):
        return json.loads(self.stack.neapd("user", "quota", *options, "--json"))["users"][0]

    def test_quota_of_rows(self):
        d1, d2 = self.pair("rows")
        used = self.quota("rows")
        self.assertEqual((used["rows"], used["bytes"]), (2, 2 * 24))
        self.assertEqual(self.quota("rows", "--rows", "3")["rows_quota"], 3)
        d1.script("INSERT INTO items VALUES (3, 'gear', 30), (4, 'cog', 40); UPDATE items SET price = 11 WHERE id = 1")
        self.assertIn("account rows has 2 of 3 rows", d1.sync(code=6))
        self.agent(d1)
        self.expect(d1, "quota", 6, "account rows has 2 of 3 rows", "delete rows")
        self.assertEqual(d1.status()["pending_rows"], 3)
        # Deletes make room, also those of another device; what waited then goes by itself.
        d2.sql("DELETE FROM items WHERE id = 2")
        d2.sync()
        self.gone(d1, "quota")
        wait_for("all rows", lambda: d1.status()["pending_rows"] == 0, 60, 0.2)
        self.assertEqual(self.stack.sql("SELECT id, price FROM items WHERE user_id = 'rows' ORDER BY id"), [(1, 11), (3, 30), (4, 40)])
        self.assertEqual(self.quota("rows", "--rows", "none", "--recount"), {**used, "rows": 3, "rows_quota": None, "bytes": 3 * 24})
        self.assertGreater(json.loads(self.stack.neapd("status", "--json"))["ingest"]["over_quota"], 0)
        self.assertIn("no account", self.stack.neapd("user", "quota", "nobody", "--rows", "1", code=8))
        self.assertIn('"1X"', self.stack.neapd("user", "quota", "rows", "--bytes", "1X", code=2))

    def test_rows_rejected(self):
        d1, d2 = self.pair("rejected")
        d1.sql("UPDATE items SET name = 'gear' WHERE id = 1")
        d1.sync()
        d2.sql("INSERT INTO items VALUES (3, 'gear', 30)")
        self.assertIn("another row has the same value of UNIQUE", d2.sync(code=6))
        self.expect(d2, "rows-rejected", 6, "table items: another row has the same value of UNIQUE", "neap rejected")
        d2.neap("rejected", "--forget")
        d2.sync()
        self.gone(d2, "rows-rejected")

    def test_rows_parked(self):
        d1, _ = self.pair("parked")
        # The operator's SQL may break what the devices declare.
        self.stack.sql("UPDATE items SET name = 'nut' WHERE user_id = 'parked' AND id = 2")
        wait_for("neapd took the write", lambda: (d1.neap("sync", code=None), d1.status()["parked_rows"])[1] == 1, 20)
        self.assertIn("does not fit table items", d1.sync(code=6))
        self.expect(d1, "rows-parked", 6, "does not fit table items: .*UNIQUE", "neap rejected")
        self.stack.sql("UPDATE items SET name = 'cog' WHERE user_id = 'parked' AND id = 2")
        wait_for("the row fits", lambda: (d1.neap("sync", code=None), d1.status()["parked_rows"])[1] == 0, 20)
        d1.sync()
        self.gone(d1, "rows-parked")

    def test_capture_broken(self):
        d, _ = self.pair("broken")
        d.sql("DROP TABLE items")
        self.assertIn("capture of table items is broken", d.sync(code=10))
        self.expect(d, "capture-broken", 10, "capture of table items is broken", "neap track")
        d.sql(ITEMS)
        d.sync()
        self.gone(d, "capture-broken")

    def test_database_locked(self):
        d, _ = self.pair("locked")
        self.agent(d)
        wait_for("in-sync", lambda: d.status()["state"] == "in-sync")
        app = sqlite3.connect(d.db, isolation_level=None)
        app.execute("BEGIN IMMEDIATE")
        app.execute("INSERT INTO items VALUES (9, 'mine', 90)")
        self.stack.sql("UPDATE items SET price = 11 WHERE user_id = 'locked' AND id = 1")
        self.expect(d, "database-locked", 3, r"held the database's write lock for \d+ s", "end that program's transaction")
        self.assertIn("write lock", d.sync(seconds=8, code=3))
        app.execute("COMMIT")
        app.close()
        self.gone(d, "database-locked")
        d.sync()
        self.assertEqual(d.sql("SELECT price FROM items WHERE id = 1"), [(11,)])
        self.assertEqual(self.stack.sql("SELECT price FROM items WHERE user_id = 'locked' AND id = 9"), [(90,)])

    def test_session_taken(self):
        d, _ = self.pair("taken")
        rival = self.stack.device("taken", "d1")
        rival.db = str(self.stack.dir / "taken-rival.db")
        for tail in ("", ".neap-secret"):
            shutil.copy2(d.db + tail, rival.db + tail)
        self.agent(d)
        rival.start()
        self.expect(d, "session-taken", 3, "another one runs with this user and device", "device id of its own", first=False)
        rival.kill()
        # It is told on for ten minutes; a sync that gets through is not hindered by it.
        d.sql("INSERT INTO items VALUES (5, 'five', 5)")
        d.sync()
        self.assertTrue(self.trouble(d, "session-taken"))

    def test_login_required(self):
        d, _ = self.pair("login")
        self.agent(d)
        wait_for("in-sync", lambda: d.status()["state"] == "in-sync")
        new = self.stack.dir / "new-password"
        new.write_text(PASSWORD + ", a newer one\n")
        new.chmod(0o600)
        self.stack.neapd("user", "passwd", "login", "--password-file", str(new))
        d.sql("INSERT INTO items VALUES (6, 'kept', 60)")
        self.expect(d, "login-required", 4, "the server refused this device's login", "neap init")
        # The broker refused first, with the same code.
        log = self.stack.dir / "agent-d1.log"
        wait_for("the log to say so", lambda: "login required: " in log.read_text())
        self.assertIn("login required", d.sync(code=4))
        self.assertEqual(d.status()["pending_rows"], 1)
        # The agent takes up the new login by itself.
        d.init(password_file=str(new))
        self.gone(d, "login-required")
        d.sync()

    def test_disk(self):
        d, other = self.pair("disk")
        self.agent(d)
        wait_for("in-sync", lambda: d.status()["state"] == "in-sync")
        # A limit on the size of files stands for a full disk.
        soft, hard = resource.prlimit(d.agent.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(d.agent.pid, resource.RLIMIT_FSIZE, (4096, hard))
        other.sql("INSERT INTO items VALUES (7, ?, 70)", "x" * 1000000)
        other.sync()
        self.expect(d, "disk", 9, "the database cannot be written", "make room on the disk")
        self.assertIn("make room", d.sync(code=9))
        resource.prlimit(d.agent.pid, resource.RLIMIT_FSIZE, (soft, hard))
        self.gone(d, "disk")
        d.sync()
        self.assertEqual(d.sql("SELECT price FROM items WHERE id = 7"), [(70,)])

    def test_conflicts(self):
        d1, d2 = self.pair("conflicts")
        d2.sql("UPDATE items SET price = 2 WHERE id = 1")
        d1.sql("UPDATE items SET price = 3 WHERE id = 1")
        d1.sync()
        d2.sync()
        self.expect(d2, "conflicts", 0, "1 values of this device lost", "neap conflicts", first=False)

    def test_notice(self):
        d, _ = self.pair("notice")
        copy = d.db + ".copy"
        shutil.copy2(d.db, copy)
        d.sql("INSERT INTO items VALUES (3, 'gear', 30)")
        d.sync()
        for tail in ("-wal", "-shm"):
            if os.path.exists(d.db + tail):
                os.unlink(d.db + tail)
        os.replace(copy, d.db)
        d.sql("INSERT INTO items VALUES (4, 'cog', 40)")
        self.agent(d)
        self.expect(d, "notice", 0, "an older copy of itself", "nothing to do")
        d.sync()
        self.assertEqual(d.sql("SELECT count(*) FROM items"), [(4,)])


class WithoutAServer(Case):
    """neapd stands still from here on; the broker goes on."""

    def test_what_waits_for_it(self):
        with Stack() as stack:
            lost, _ = stack.pair("lost", ITEMS, "INSERT INTO items VALUES (1, 'nut', 10)")
            quiet, _ = stack.pair("quiet", ITEMS)
            bound, _ = stack.pair("bound", "CREATE TABLE log (id INTEGER PRIMARY KEY, v)")
            bound.neap("untrack", "log")
            bound.neap("track", "log", "--append", "--pending-rows", "100")
            dropping = stack.device("bound", "d3")
            dropping.sql("CREATE TABLE log (id INTEGER PRIMARY KEY, v)")
            dropping.init()
            dropping.neap("track", "log", "--append", "--pending-rows", "100", "--when-full", "drop-oldest")
            dropping.sync()
            os.kill(stack.pid("NEAPD_PID"), signal.SIGSTOP)
            try:
                self.check_all(stack, lost, quiet, bound, dropping)
            finally:
                os.kill(stack.pid("NEAPD_PID"), signal.SIGCONT)
            for d in (lost, quiet, bound, dropping):
                d.sync()
            for d, state in ((lost, "comparing"), (quiet, "server-silent"), (bound, "pending-over-bound")):
                self.gone(d, state)
            # What was lost stays told until the table is tracked again; a sync ends well.
            self.assertTrue(self.trouble(dropping, "rows-dropped"))
            dropping.neap("track", "log", "--append")
            self.gone(dropping, "rows-dropped")

    def check_all(self, stack, lost, quiet, bound, dropping):
        lost.script("""BEGIN; CREATE TABLE new (id INTEGER PRIMARY KEY, name TEXT UNIQUE, price); INSERT INTO new SELECT * FROM items;
            DROP TABLE items; ALTER TABLE new RENAME TO items; UPDATE items SET price = 11; COMMIT""")
        self.expect(lost, "comparing", 10, "capture of table items was lost", "sync")
        began = time.monotonic()
        # Without a time limit it gives up after a minute.
        compared = subprocess.Popen([NEAP, "sync", lost.db], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(compared.kill)

        rows = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150) INSERT INTO log (v) SELECT i FROM n"
        bound.sql(rows)
        self.expect(bound, "pending-over-bound", 0, "table log has 150 rows", "all rows are kept", first=False)
        self.agent(dropping)
        dropping.sql(rows)
        self.expect(dropping, "rows-dropped", 0, r"\d+ rows of table log were deleted unsent", "higher bound", first=False)
        self.assertLessEqual(dropping.sql("SELECT count(*) FROM log")[0][0], 100)

        self.agent(quiet)
        quiet.sql("INSERT INTO items VALUES (2, 'bolt', 20)")
        self.expect(quiet, "server-silent", 3, "the server does not answer", "is neapd running")
        self.assertIn("the server does not answer", quiet.sync(seconds=2, code=3))

        said, _ = compared.communicate(timeout=120)
        self.assertEqual(compared.returncode, 10, said)
        self.assertIn("capture of table items was lost", said)
        self.assertGreater(time.monotonic() - began, 50)


if __name__ == "__main__":
    unittest.main(verbosity=2)
