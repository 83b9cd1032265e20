#!/usr/bin/env python3
"""neap verify: what a writer did that no trigger saw is found and mended, at either end, while others write."""

import json
import os
import pty
import re
import sqlite3
import subprocess
import threading
import time
import unittest

from harness import BUILD, Stack, wait_for

VALVES = "CREATE TABLE valves (id INTEGER PRIMARY KEY, state TEXT, opened REAL)"
FILL = "WITH c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 5000) INSERT INTO valves SELECT i, 'auto', i / 4.0 FROM c"


def unseen(path, sql):
    """A writer beside our triggers: it drops them, writes, and puts them back as they were."""
    db = sqlite3.connect(path, timeout=10, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    triggers = db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'neap_m%'").fetchall()
    for name, _ in triggers:
        db.execute(f"DROP TRIGGER {name}")
    for statement in sql.split(";"):
        db.execute(statement)
    for _, text in triggers:
        db.execute(text)
    db.execute("COMMIT")
    db.close()
    return len(triggers)


class Verify(unittest.TestCase):
    """One stack for the class; each test has a user of its own."""

    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        cls.enterClassContext(cls.stack)

    def pair(self, user):
        return self.stack.pair(user, VALVES, FILL)

    def start(self, *devices):
        for d in devices:
            d.start()
            wait_for("the agent", lambda: '"in-sync"' in d.neap("status", "--json", code=None), seconds=30)

    def verify(self, d, *args, code=0):
        report, _ = json.JSONDecoder().raw_decode(d.neap("verify", "--json", *args, code=code))  # stderr comes behind it
        self.assertTrue(report["done"])
        (table,) = report["tables"]
        self.assertEqual(table["outcome"], "compared")
        return {k: table[k] for k in ("rows", "differed", "missing", "extra", "repaired")}

    def found(self, rows=5000, differed=0, missing=0, extra=0, repaired=0):
        return {"rows": rows, "differed": differed, "missing": missing, "extra": extra, "repaired": repaired}

    def assert_equal_everywhere(self, user, *devices):
        want = self.stack.sql("SELECT id, state, opened FROM valves WHERE user_id = ? ORDER BY id", user)
        for d in devices:
            self.assertEqual(d.sql("SELECT * FROM valves ORDER BY id"), want)

    def test_a_damaged_device(self):
        d1, d2 = self.pair("device")
        self.assertEqual(self.verify(d1), self.found())
        self.assertGreater(unseen(d1.db, "UPDATE valves SET state = 'broken' WHERE id = 2500; DELETE FROM valves WHERE id IN (1, 4000);"
                                         "INSERT INTO valves VALUES (9000, 'new', 1)"), 0)
        d1.sync()
        self.assertEqual(self.verify(d1, "--no-repair", code=6), self.found(5001, 1, 2, 1))
        self.assertEqual(d1.sql("SELECT state FROM valves WHERE id = 2500"), [("broken",)])
        self.assertEqual(self.verify(d1, "VALVES"), self.found(5001, 1, 2, 1, 4))
        for d in (d1, d2):
            d.sync()
        self.assertEqual(d2.sql("SELECT state FROM valves WHERE id = 9000"), [("new",)])
        self.assert_equal_everywhere("device", d1, d2)
        (lost,) = json.loads(d1.neap("conflicts", "--json"))["conflicts"]
        self.assertEqual((lost["reason"], json.loads(lost["row"])["state"]), ("repaired by verify", "broken"))
        self.assertEqual(self.verify(d1), self.found(5001))
        (table,) = d1.status()["tables"]
        self.assertEqual({k: table["verified"][k] for k in ("rows", "differed", "repaired")}, {"rows": 5001, "differed": 0, "repaired": 0})
        self.assertRegex(d1.neap("status"), r"verified +valves: 5001 rows compared with the server's \d+ s ago\n")
        self.assertNotIn("verified ", re.sub(r"confirmed.*", "", d2.neap("status")))

    def test_a_damaged_server(self):
        d1, d2 = self.pair("store")
        table = "user_id = 'store'"
        self.assertGreater(unseen(self.stack.env["NEAP_STORE"], f"UPDATE valves SET state = 'manual' WHERE {table} AND id = 10;"
                                                         f"DELETE FROM valves WHERE {table} AND id = 11;"
                                                         "INSERT INTO valves(user_id, id, state) VALUES ('store', 9001, 'added')"), 0)
        self.start(d1, d2)
        # With agents running the request goes through them; the server's own changes reach both.
        self.assertEqual(self.verify(d1)["differed"], 1)
        wait_for("what SQL did unseen", lambda: all(d.sql("SELECT id FROM valves WHERE id IN (11, 9001)") == [(9001,)] for d in (d1, d2)))
        self.assertEqual(self.verify(d2), self.found(5000, 1, 0, 0, 1))
        self.assert_equal_everywhere("store", d1, d2)
        self.assertEqual(self.verify(d1), self.found())

    def test_while_all_write(self):
        d1, d2 = self.pair("busy")
        self.start(d1, d2)
        stop = threading.Event()

        def write(d, step):
            db = sqlite3.connect(d.db, timeout=30, isolation_level=None)
            n = 0
            while not stop.is_set():
                n += step
                db.execute("UPDATE valves SET state = ? WHERE id = ?", (f"{d.name} {n}", n % 5000))
                db.execute("INSERT INTO valves VALUES (?, 'more', 0) ON CONFLICT DO NOTHING", (5000 + n % 700,))
                db.execute("DELETE FROM valves WHERE id = ?", (5000 + (n * 7) % 700,))
                time.sleep(0.002)
            db.close()

        writers = [threading.Thread(target=write, args=a) for a in ((d1, 7919), (d2, 104729))]
        for w in writers:
            w.start()
        try:
            for _ in range(3):
                for d in (d1, d2):
                    got = self.verify(d)
                    self.assertEqual((got["differed"], got["missing"], got["extra"]), (0, 0, 0))
        finally:
            stop.set()
            for w in writers:
                w.join()
        for d in (d1, d2, d1, d2):
            d.sync(seconds=60)
        self.assert_equal_everywhere("busy", d1, d2)

    def test_it_lasts_through_a_lost_backend(self):
        d1, _ = self.pair("lasting")
        unseen(d1.db, "UPDATE valves SET state = 'broken'")
        self.start(d1)
        run = subprocess.Popen([str(BUILD / "bin" / "neap"), "verify", d1.db, "--json", "--timeout", "60"], stdout=subprocess.PIPE, text=True)
        self.stack.restart_backend()
        out, _ = run.communicate(timeout=90)
        self.assertEqual(run.returncode, 0)
        self.assertEqual(json.loads(out)["tables"][0]["rows"], 5000)
        self.assertEqual(d1.sql("SELECT DISTINCT state FROM valves"), [("auto",)])

    def test_what_cannot_be_compared(self):
        self.stack.add_user("kinds")
        d = self.stack.device("kinds", "d1")
        d.sql("CREATE TABLE log (id INTEGER PRIMARY KEY, v)")
        d.sql("CREATE TABLE events (id TEXT PRIMARY KEY, v)")
        d.sql(VALVES)
        d.init()
        self.assertIn("no table is tracked", d.neap("verify"))
        d.neap("track", "log", "--append")
        d.neap("track", "events", "--append")
        d.neap("track", "valves")
        d.sql(FILL)
        d.sql("INSERT INTO log(v) VALUES ('a'), ('b'), ('c')")
        d.sync()
        text = d.neap("verify")
        self.assertRegex(text, r"events +not compared: an append table without an INTEGER PRIMARY KEY")
        self.assertRegex(text, r"log +3 rows compared: equal")
        self.assertRegex(text, r"valves +5000 rows compared: equal")
        d.neap("verify", "log")
        # By the library, alone and through an agent.
        for through_agent in (False, True):
            if through_agent:
                d.start()
            unseen(d.db, "DELETE FROM valves WHERE id <= 3")
            run = subprocess.run([str(BUILD / "test" / "neap_verifier"), d.db, "valves"], capture_output=True, text=True, timeout=60)
            self.assertEqual(run.stdout, "valves compared rows 5000 differed 0 missing 3 extra 0 repaired 3\ntold 1\n", run.stderr)
            self.assertEqual(run.returncode, 0)
        d.kill()
        d.neap("verify", "events", code=6)
        d.neap("verify", "nosuch", code=8)
        d.neap("verify", "--timeout", "soon", code=2)
        d.neap("verify", "--help")

    def test_progress_on_a_terminal(self):
        d1, _ = self.pair("terminal")
        d1.sql("WITH c(i) AS (SELECT 10000 UNION ALL SELECT i + 1 FROM c WHERE i < 90000) INSERT INTO valves SELECT i, 'auto', i / 4.0 FROM c")
        d1.sync(seconds=120)
        unseen(d1.db, "UPDATE valves SET state = 'broken' WHERE id % 10 = 0")
        main, side = pty.openpty()
        run = subprocess.Popen([str(BUILD / "bin" / "neap"), "verify", d1.db], stdout=subprocess.PIPE, stderr=side)
        os.close(side)
        out, _ = run.communicate(timeout=240)
        seen = os.read(main, 1 << 20).decode()
        os.close(main)
        self.assertEqual(run.returncode, 0)
        self.assertIn(b"85001 rows compared: 8", out)
        self.assertRegex(seen, r"\[[#.]{30}\] table 1 of 1, valves: \d+ of 85001 rows, ")


if __name__ == "__main__":
    unittest.main()
