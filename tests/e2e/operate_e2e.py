#!/usr/bin/env python3
"""What an operator does and suffers: SQL under load, locks, a full disk, revocation, a second neapd."""

import json
import os
import shutil
import sqlite3
import subprocess
import time
import unittest

from harness import BUILD, NEAP, NEAPD, Stack, wait_for

SETTINGS = "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT)"
BLOBS = "CREATE TABLE blobs (id INTEGER PRIMARY KEY, b BLOB)"


def tracked(stack, user, name, sql, *options):
    d = stack.device(user, name)
    d.sql(sql)
    d.init()
    d.neap("track", sql.split()[2], *options)
    return d


class Operator(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        cls.enterClassContext(cls.stack)

    def test_sql_gets_in_while_a_fleet_sends(self):
        stack = self.stack
        stack.add_user("fleet-0")
        stack.add_user("busy")
        d = tracked(stack, "busy", "d1", SETTINGS)
        d.sql("INSERT INTO settings VALUES ('k', '0')")
        d.sync()
        d.start()
        fleet = subprocess.Popen(
            [
                BUILD / "test" / "neap_fleet", "--server", stack.env["NEAP_SERVER"], "--ca", stack.env["NEAP_CA"],
                "--broker-ca", stack.dir / "stack" / "ca" / "broker.pem", "--mqtt-port", stack.env["NEAP_MQTT_PORT"],
                "--password-file", stack.password_file, "--devices", "10", "--sets", "1000", "--rows", "100", "--timeout", "150",
            ],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            wait_for("the fleet's rows", lambda: stack.has_table("fleet_readings"), 30)
            updates = 0
            while fleet.poll() is None and updates < 30:
                updates += 1
                began = time.monotonic()
                # As in the documents: sqlite3 -cmd '.timeout 5000'.
                db = sqlite3.connect(stack.env["NEAP_STORE"], timeout=5, isolation_level=None)
                db.execute("UPDATE settings SET value = ? WHERE user_id = 'busy'", (str(updates),))
                db.close()
                self.assertLess(time.monotonic() - began, 5)
            out, _ = fleet.communicate(timeout=180)
        finally:
            fleet.kill()
        self.assertEqual(fleet.returncode, 0, out)
        self.assertGreater(updates, 5, "the fleet was done too soon to prove anything")
        wait_for("the last UPDATE at the device", lambda: d.sql("SELECT value FROM settings") == [(str(updates),)], 5)
        self.assertEqual(stack.sql("SELECT count(*) FROM fleet_readings"), [(10 * 1000 * 100,)])
        d.kill()

    def test_a_locked_store_only_delays(self):
        stack = self.stack
        stack.add_user("locked")
        d = tracked(stack, "locked", "d1", SETTINGS)
        d.sync()
        d.start()
        db = sqlite3.connect(stack.env["NEAP_STORE"], timeout=10, isolation_level=None)
        db.execute("BEGIN IMMEDIATE")
        d.sql("INSERT INTO settings VALUES ('k', 'v')")
        retries = stack.status()["messages"]["retries"]
        # neapd waits five seconds for the lock before it says so.
        wait_for("neapd to find the store locked", lambda: stack.status()["messages"]["retries"] > retries, 15)
        self.assertNotEqual(stack.status()["committer"]["trouble"], "")
        self.assertEqual(d.status()["pending_rows"], 1)
        db.execute("ROLLBACK")
        db.close()
        wait_for("the row", lambda: stack.sql("SELECT name, value FROM settings WHERE user_id = 'locked'") == [("k", "v")], 15)
        wait_for("no trouble", lambda: stack.status()["committer"]["trouble"] == "")
        d.kill()

    def test_odd_user_ids_harm_nothing(self):
        stack = self.stack
        for user in ("odd", "even"):
            stack.add_user(user)
        d, other = tracked(stack, "odd", "d1", SETTINGS), tracked(stack, "even", "d1", SETTINGS)
        for device in (d, other):
            device.sync()
            device.start()
        for user in ("a/#", "nobody-yet", "", None, "server", "x" * 100, 7):
            stack.sql("INSERT INTO settings (user_id, name, value) VALUES (?, 'odd', 'row')", user)
        stack.sql("INSERT INTO settings (user_id, name, value) VALUES ('odd', 'k', 'v')")
        wait_for("the good row", lambda: d.sql("SELECT name, value FROM settings") == [("k", "v")], 5)
        # The row moves: gone for the one, new for the other.
        stack.sql("UPDATE settings SET user_id = 'even' WHERE user_id = 'odd'")
        wait_for("the row at its new user", lambda: other.sql("SELECT name, value FROM settings") == [("k", "v")], 5)
        wait_for("the row gone at its old user", lambda: d.sql("SELECT name, value FROM settings") == [], 5)
        for device in (d, other):
            device.kill()

    def test_a_revocation_moves_the_groups_key_for_the_others(self):
        stack = self.stack
        stack.add_user("group")
        d1, d2, thief = (tracked(stack, "group", name, SETTINGS) for name in ("d1", "d2", "thief"))
        for d in (d1, d2, thief):
            d.start()
        d1.sql("INSERT INTO settings VALUES ('k', 'before')")
        for d in (d2, thief):
            wait_for("the row", lambda: d.sql("SELECT value FROM settings") == [("before",)])
        stack.neapd("device", "revoke", "group", "thief")
        for i in range(3):
            d1.sql("UPDATE settings SET value = ?", f"after {i}")
            wait_for("the row under the new key", lambda: d2.sql("SELECT value FROM settings") == [(f"after {i}",)], 5)
        self.assertEqual(thief.sql("SELECT value FROM settings"), [("before",)])
        for d in (d1, d2, thief):
            d.kill()

    def test_a_device_is_bound_by_a_one_time_code(self):
        stack = self.stack
        stack.add_user("enrolled")
        code = json.loads(stack.neapd("device", "enrol", "enrolled", "kiosk", "--json"))["code"]
        where = ["--server", stack.env["NEAP_SERVER"], "--ca", stack.env["NEAP_CA"]]
        d = stack.device("enrolled", "kiosk")
        typed = subprocess.run([NEAP, "init", d.db, *where, "--code", "-"], input=code.lower() + "\n", capture_output=True, text=True, timeout=30)
        self.assertEqual(typed.returncode, 0, typed.stderr)
        self.assertIn("user enrolled, device kiosk", typed.stdout)
        d.sql("CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT)")
        d.neap("track", "settings")
        d.sql("INSERT INTO settings VALUES ('a', '1')")
        d.sync()
        self.assertEqual(stack.sql("SELECT name, value FROM settings WHERE user_id = 'enrolled'"), [("a", "1")])

        other = stack.device("enrolled", "thief")
        self.assertIn("not good (any more)", other.neap("init", *where, "--code", code, code=4))
        self.assertIn("no --user", other.neap("init", *where, "--code", code, "--user", "enrolled", code=2))
        self.assertEqual(other.sql("SELECT count(*) FROM sqlite_schema"), [(0,)])
        # A code of another account's does not take the database over.
        stack.add_user("stranger")
        code = stack.neapd("device", "enrol", "stranger", "kiosk", "--valid", "5m").strip()
        self.assertIn("belongs to user 'enrolled'", d.neap("init", *where, "--code", code, code=None))
        d.sync()

    def test_a_second_neapd_is_refused_and_harms_nothing(self):
        before = self.stack.status()
        done = subprocess.run([NEAPD, "serve", "--config", self.stack.env["NEAP_CONFIG"]], capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 7, done.stderr)
        self.assertIn("already running", done.stderr)
        after = self.stack.status()
        self.assertEqual((after["pid"], after["broker"]), (before["pid"], before["broker"]))


# Needs root, for a small file system of its own; badinput_e2e.py has the same for everybody by a limit on file sizes.
if os.geteuid() == 0:

    class FullDisk(unittest.TestCase):
        def test_a_full_disk_loses_nothing(self):
            stack = Stack()
            data = stack.dir / "stack" / "data"
            data.mkdir(parents=True, mode=0o700)
            data.parent.chmod(0o700)
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m,mode=0700", "tmpfs", data], check=True)
            try:
                with stack:
                    stack.add_user("full")
                    d = tracked(stack, "full", "d1", BLOBS, "--append")
                    for _ in range(50):
                        d.sql("INSERT INTO blobs (b) VALUES (randomblob(100000))")
                    d.start()
                    wait_for("neapd to say that the disk is full", lambda: "full" in stack.status()["committer"]["trouble"], 30)
                    self.assertGreater(d.status()["pending_rows"], 0)
                    subprocess.run(["mount", "-o", "remount,size=64m", data], check=True)
                    wait_for("all rows acknowledged", lambda: d.status()["pending_rows"] == 0, 60)
                    self.assertEqual(stack.status()["committer"]["trouble"], "")
                    there = stack.sql("SELECT id, b FROM blobs ORDER BY id")
                    self.assertEqual(there, d.sql("SELECT id, b FROM blobs ORDER BY id"))
                    d.kill()
                    stack._run("stop")
            finally:
                subprocess.run(["umount", "-l", data], check=False, capture_output=True)
                shutil.rmtree(stack.dir, ignore_errors=True)


if __name__ == "__main__":
    unittest.main(verbosity=2)
