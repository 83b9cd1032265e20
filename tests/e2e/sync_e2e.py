#!/usr/bin/env python3
"""The whole, on real processes: what a user does, and what a user does wrong."""

import fcntl
import math
import os
import shutil
import signal
import sqlite3
import subprocess
import time
import unittest

from harness import NEAP, Stack, wait_for

READINGS = "CREATE TABLE readings (id INTEGER PRIMARY KEY, at_ms INTEGER, value REAL)"
SETTINGS = "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT, note TEXT)"


class Case(unittest.TestCase):
    """One stack for the class; each test has users of its own."""

    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        cls.enterClassContext(cls.stack)

    def pair(self, user, *tables):
        """Two devices of a new user that track the same tables, each a tuple (SQL, options of track…)."""
        self.stack.add_user(user)
        devices = [self.stack.device(user, name) for name in ("d1", "d2")]
        for d in devices:
            for sql, *options in tables:
                d.sql(sql)
            d.init()
            for (name,), (sql, *options) in zip(d.sql("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'neap%' ORDER BY rowid"), tables):
                d.neap("track", name, *options)
        return devices

    def rows_on_server(self, user, table, columns="*"):
        return self.stack.sql(f"SELECT {columns} FROM {table} WHERE user_id = ? ORDER BY 1", user)


class Sync(Case):
    def test_both_kinds_of_table_reach_both_ends(self):
        d1, d2 = self.pair("round", (READINGS, "--append"), (SETTINGS,))
        for i in range(1, 301):
            d1.sql("INSERT INTO readings VALUES (?, ?, ?)", i, 1000 * i, i / 10)
        d1.sql("INSERT INTO settings VALUES ('a', '1', 'from d1'), ('b', '2', 'from d1')")
        d1.sync()
        self.assertEqual(
            self.stack.sql("SELECT device_id, id, at_ms, value FROM readings WHERE user_id = 'round' ORDER BY id"),
            [("d1", i, 1000 * i, i / 10) for i in range(1, 301)],
        )
        d2.sync()
        self.assertEqual(d2.sql("SELECT * FROM settings ORDER BY name"), [("a", "1", "from d1"), ("b", "2", "from d1")])
        d2.sql("UPDATE settings SET value = '3' WHERE name = 'a'")
        d2.sql("DELETE FROM settings WHERE name = 'b'")
        d2.sync()
        d1.sync()
        self.assertEqual(d1.sql("SELECT * FROM settings"), [("a", "3", "from d1")])
        self.assertEqual(self.rows_on_server("round", "settings", "name, value, note"), [("a", "3", "from d1")])
        self.assertEqual(d1.status()["pending_rows"], 0)

    def test_cells_written_apart_while_offline_both_stay(self):
        d1, d2 = self.pair("apart", (SETTINGS,))
        d1.sql("INSERT INTO settings VALUES ('x', 'v', 'n')")
        d1.sync()
        d2.sync()
        d1.sql("UPDATE settings SET value = 'of d1'")
        d2.sql("UPDATE settings SET note = 'of d2'")
        d1.sync()
        d2.sync()
        d1.sync()
        for end in (d1.sql("SELECT * FROM settings"), d2.sql("SELECT * FROM settings"), self.rows_on_server("apart", "settings", "name, value, note")):
            self.assertEqual(end, [("x", "of d1", "of d2")])

    def test_every_value_arrives_exactly(self):
        d1, d2 = self.pair("values", ('CREATE TABLE "odd ""name" (k INTEGER PRIMARY KEY, "the value")',))
        values = [
            None, 0, -1, 2**63 - 1, -(2**63), 1.5, -0.0, 1e308, 5e-324, math.inf, -math.inf, 0.1,
            "", "text", "é e\u0301 \U0001f600", "a\x00b", b"", b"\x00\x01\xff\x00", "x" * 100000, b"\x00" * 100000,
        ]
        for k, v in enumerate(values):
            d1.sql('INSERT INTO "odd ""name" VALUES (?, ?)', k, v)
        d1.sync()
        d2.sync()
        shown = 'SELECT k, typeof("the value"), quote("the value"), hex("the value") FROM "odd ""name" ORDER BY k'
        self.assertEqual(d2.sql(shown), d1.sql(shown))
        self.assertEqual(len(d2.sql(shown)), len(values))

    def test_composite_keys_replace_and_key_changes(self):
        table = "CREATE TABLE parts (a TEXT, b INTEGER, tag TEXT UNIQUE, n INTEGER, PRIMARY KEY (a, b)) WITHOUT ROWID"
        d1, d2 = self.pair("keys", (table,))
        d1.sql("INSERT INTO parts VALUES ('p', 1, 't1', 1), ('p', 2, 't2', 2), ('q', 1, 't3', 3)")
        d1.sync()
        d2.sync()
        d2.sql("INSERT OR REPLACE INTO parts VALUES ('r', 9, 't2', 9)")
        d2.sql("UPDATE parts SET b = 7 WHERE a = 'q'")
        d2.sql("INSERT INTO parts VALUES ('p', 1, 't1', 0) ON CONFLICT (a, b) DO UPDATE SET n = n + 10")
        d2.sync()
        d1.sync()
        wanted = [("p", 1, "t1", 11), ("q", 7, "t3", 3), ("r", 9, "t2", 9)]
        self.assertEqual(d2.sql("SELECT * FROM parts ORDER BY 1, 2"), wanted)
        self.assertEqual(d1.sql("SELECT * FROM parts ORDER BY 1, 2"), wanted)
        self.assertEqual(self.rows_on_server("keys", "parts", "a, b, tag, n"), wanted)

    def test_a_users_rows_stay_with_the_user(self):
        self.pair("one", (SETTINGS,))[0].sync()
        a = self.stack.devices[-2]
        other, _ = self.pair("two", (SETTINGS,))
        a.sql("INSERT INTO settings VALUES ('secret', 'of one', '')")
        a.sync()
        other.sync()
        self.assertEqual(other.sql("SELECT * FROM settings"), [])

    def test_an_operators_sql_reaches_running_devices_within_a_second(self):
        d1, d2 = self.pair("operator", (SETTINGS,))
        d1.sql("INSERT INTO settings VALUES ('interval', '1', ''), ('gone', 'x', '')")
        d1.start()
        d2.start()
        two = [("gone", "x"), ("interval", "1")]
        wait_for("rows at d2", lambda: d2.sql("SELECT name, value FROM settings ORDER BY 1") == two)
        for i in range(2, 8):
            self.stack.sql("UPDATE settings SET value = ? WHERE user_id = 'operator' AND name = 'interval'", str(i))
            for d in (d1, d2):
                wait_for("the UPDATE", lambda: d.sql("SELECT value FROM settings WHERE name = 'interval'") == [(str(i),)], 1)
        self.stack.sql("DELETE FROM settings WHERE user_id = 'operator' AND name = 'gone'")
        self.stack.sql("INSERT INTO settings (user_id, name, value) VALUES ('operator', 'new', 'row')")
        wanted = [("interval", "7"), ("new", "row")]
        for d in (d1, d2):
            wait_for("DELETE and INSERT", lambda: d.sql("SELECT name, value FROM settings ORDER BY 1") == wanted, 1)
        self.assertEqual(d1.kill(signal.SIGTERM), 0)
        self.assertEqual(d2.kill(signal.SIGTERM), 0)

    def test_devices_talk_through_the_broker(self):
        d1, d2 = self.pair("talk", (SETTINGS,))
        d1.start()
        d2.start()
        for i in range(20):
            d1.sql("INSERT INTO settings VALUES ('k', ?, '') ON CONFLICT DO UPDATE SET value = excluded.value", str(i))
            wait_for("d1's write at d2", lambda: d2.sql("SELECT value FROM settings") == [(str(i),)], 5)
        # With an agent running the other commands go through it.
        d1.sync()
        self.assertEqual(d1.status()["pending_rows"], 0)

    def test_untracked_tables_stay_at_home(self):
        (d1, _) = self.pair("private", (SETTINGS,))
        d1.sql("CREATE TABLE diary (day TEXT PRIMARY KEY, text TEXT)")
        d1.sql("INSERT INTO diary VALUES ('today', 'nobody''s business')")
        d1.sync()
        self.assertFalse(self.stack.has_table("diary"))


class Mistakes(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.stack.add_user("clumsy")

    def fresh(self, name):
        d = self.stack.device("clumsy", name)
        d.sql(SETTINGS)
        return d

    def check_says(self, said, *words):
        for word in words:
            self.assertIn(word, said)

    def test_wrong_password(self):
        wrong = self.stack.dir / "wrong"
        wrong.write_text("not the password\n")
        wrong.chmod(0o600)
        said = self.fresh("password").init(password_file=str(wrong), code=4)
        self.assertNotIn("not the password", said)

    def test_unknown_user_is_no_different(self):
        self.fresh("nobody").init(user="nobody", code=4)

    def test_unreachable_server(self):
        self.fresh("far").init(server="https://127.0.0.1:9", code=3)

    def test_untrusted_certificate(self):
        # The broker's CA is a good CA, but not the login server's.
        self.fresh("ca").init(ca=str(self.stack.dir / "stack" / "ca" / "broker.pem"), code=5)

    def test_plain_http_is_refused(self):
        d = self.fresh("http")
        self.assertNotEqual(d.init(server=self.stack.env["NEAP_SERVER"].replace("https", "http"), code=None), "")
        self.assertFalse(any(d.sql("SELECT 1 FROM sqlite_schema WHERE name = 'neap_site'")))

    def test_unknown_table_and_table_without_a_key(self):
        d = self.fresh("tables")
        d.init()
        self.check_says(d.neap("track", "nothere", code=8), "nothere")
        d.sql("CREATE TABLE loose (x, y)")
        self.check_says(d.neap("track", "loose", code=8), "loose", "key")

    def test_unknown_database(self):
        done = subprocess.run([NEAP, "sync", str(self.stack.dir / "missing.db")], capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 8)
        self.assertIn("missing.db", done.stderr)

    def test_not_initialised(self):
        self.check_says(self.fresh("uninit").sync(code=8), "neap init")

    def test_usage(self):
        for args in ([], ["nonsense"], ["sync"], ["track", "x.db"], ["sync", "x.db", "--nonsense"]):
            done = subprocess.run([NEAP, *args], capture_output=True, text=True, timeout=30)
            self.assertEqual(done.returncode, 2, args)

    def test_an_agent_starts_while_the_app_holds_the_lock(self):
        d = self.fresh("locked")
        d.init()
        app = sqlite3.connect(d.db, isolation_level=None)
        app.execute("BEGIN IMMEDIATE")
        d.start()
        log = self.stack.dir / f"agent-{d.name}.log"
        wait_for("the agent to tell of the lock", lambda: "waiting" in log.read_text())
        app.execute("COMMIT")
        app.close()
        wait_for("the connection", lambda: "connected" in log.read_text())
        self.assertEqual(d.kill(signal.SIGTERM), 0)

    def test_an_agent_that_waits_for_a_lock_can_be_stopped(self):
        d = self.fresh("waiting")
        d.init()
        app = sqlite3.connect(d.db, isolation_level=None)
        app.execute("BEGIN IMMEDIATE")
        d.start()
        log = self.stack.dir / f"agent-{d.name}.log"
        wait_for("the agent to tell of the lock", lambda: "waiting" in log.read_text())
        self.assertEqual(d.kill(signal.SIGTERM), 0)
        app.execute("ROLLBACK")
        app.close()

    def test_an_agent_whose_file_is_replaced_ends(self):
        d = self.fresh("replaced")
        d.init()
        d.start()
        log = self.stack.dir / f"agent-{d.name}.log"
        wait_for("the connection", lambda: "connected" in log.read_text())
        shutil.copy(d.db, d.db + ".copy")
        os.replace(d.db + ".copy", d.db)
        self.assertEqual(d.agent.wait(timeout=20), 8)
        self.check_says(log.read_text(), "replaced", "start the agent again")
        d.agent = None

    def test_second_engine_on_the_same_file(self):
        d = self.fresh("twice")
        d.init()
        d.start()
        wait_for("the agent", lambda: os.path.exists(d.db + ".neap-sock"))
        said = d.neap("run", code=7)
        self.check_says(said, d.db.rsplit("/", 1)[1])

    def test_a_sync_waits_for_an_agent_that_is_starting(self):
        d = self.fresh("starting")
        d.init()
        d.neap("track", "settings")
        # Its lock is taken, its socket not there yet.
        with open(d.db + ".neap-lock", "r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            began = time.monotonic()
            said = d.sync(2, code=7)
            self.assertIn("another", said)
            self.assertTrue(2 <= time.monotonic() - began < 6)
            waiting = subprocess.Popen([NEAP, "sync", d.db], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            # More than any other command waits for a lock.
            with self.assertRaises(subprocess.TimeoutExpired):
                waiting.wait(timeout=4)
        d.start()
        said, _ = waiting.communicate(timeout=30)
        self.assertEqual(waiting.returncode, 0, said)
        for _ in range(5):
            d.kill()
            d.start()
            d.sync(20)

    def test_sync_times_out_and_keeps_what_is_pending(self):
        d = self.fresh("patient")
        d.init()
        d.neap("track", "settings")
        d.sync()
        d.sql("INSERT INTO settings VALUES ('kept', '1', '')")
        self.stack.restart_broker()
        subprocess.run([NEAP, "status", d.db], check=True, capture_output=True, timeout=30)
        os.kill(self.stack.pid("BROKER_PID"), signal.SIGSTOP)
        try:
            d.sync(3, code=3)
            self.assertEqual(d.status()["pending_rows"], 1)
        finally:
            os.kill(self.stack.pid("BROKER_PID"), signal.SIGCONT)
        d.sync()
        self.assertEqual(self.rows_on_server("clumsy", "settings", "name"), [("kept",)])

    def test_revoked_device_is_out_at_once_and_keeps_its_rows(self):
        d = self.fresh("stolen")
        d.init()
        d.neap("track", "settings")
        d.sync()
        self.stack.neapd("device", "revoke", "clumsy", "stolen")
        d.sql("INSERT INTO settings VALUES ('after', 'revocation', '')")
        d.sync(10, code=4)
        self.assertEqual(d.status()["pending_rows"], 1)
        d.init(code=4)
        self.assertEqual(self.stack.sql("SELECT count(*) FROM settings WHERE name = 'after'"), [(0,)])


if __name__ == "__main__":
    unittest.main(verbosity=2)
