#!/usr/bin/env python3
"""Rows that the server refuses: each by itself, visible, and put back with one command."""

import json
import sqlite3
import unittest

from harness import Stack, wait_for

PEOPLE = "CREATE TABLE people (id INTEGER PRIMARY KEY, email TEXT UNIQUE COLLATE NOCASE, name TEXT)"


class Reject(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        cls.enterClassContext(cls.stack)

    def pair(self, user):
        return self.stack.pair(user, PEOPLE)

    def people(self, where):
        return where.sql("SELECT id, email, name FROM people ORDER BY id")

    def on_server(self, user):
        return self.stack.sql("SELECT id, email, name FROM people WHERE user_id = ? ORDER BY id", user)

    def test_unique_value_taken_by_another_device(self):
        d1, d2 = self.pair("unique")
        d1.sql("INSERT INTO people VALUES (1, 'ann@x', 'Ann')")
        d2.sql("INSERT INTO people VALUES (2, 'ANN@X', 'Anna'), (3, 'carl@x', 'Carl')")
        d1.sync()
        said = d2.sync(code=6)
        self.assertIn("UNIQUE (email)", said)
        want = [(1, "ann@x", "Ann"), (3, "carl@x", "Carl")]
        self.assertEqual(self.on_server("unique"), want)
        self.assertEqual(self.people(d2), want)
        d1.sync()
        self.assertEqual(self.people(d1), want)
        listed = json.loads(d2.neap("rejected", "--json"))["rows"]
        self.assertEqual([(r["table"], r["what"], json.loads(r["row"])) for r in listed], [("people", "rejected", {"id": 2, "email": "ANN@X", "name": "Anna"})])
        self.assertIn("UNIQUE (email)", listed[0]["reason"])
        self.assertEqual(d2.status()["rejected_rows"], 1)
        self.assertIn("Anna", d2.neap("rejected"))
        # The value is still taken here: nothing changes, and it says so.
        self.assertIn("UNIQUE", d2.neap("rejected", "--retry", code=6))
        d2.sql("UPDATE people SET email = 'ann@old' WHERE id = 1")
        d2.neap("rejected", "--retry", "--id", str(listed[0]["id"]))
        d2.sync()
        d1.sync()
        want = [(1, "ann@old", "Ann"), (2, "ANN@X", "Anna"), (3, "carl@x", "Carl")]
        for rows in (self.on_server("unique"), self.people(d1), self.people(d2)):
            self.assertEqual(rows, want)
        self.assertEqual(d2.status()["rejected_rows"], 0)

    def test_values_swap_within_a_transaction(self):
        d1, d2 = self.pair("swap")
        d1.sql("INSERT INTO people VALUES (1, 'a', ''), (2, 'b', '')")
        d1.sync()
        d2.sync()
        d2.sql("UPDATE people SET email = CASE id WHEN 1 THEN 'x' ELSE 'a' END")
        d2.sql("UPDATE people SET email = 'b' WHERE id = 1")
        d2.sync()
        d1.sync()
        for rows in (self.on_server("swap"), self.people(d1)):
            self.assertEqual(rows, [(1, "b", ""), (2, "a", "")])

    def test_who_may_write_a_table(self):
        d1, d2 = self.pair("policy")
        d1.sql("INSERT INTO people VALUES (1, 'a', 'A'), (2, 'b', 'B')")
        d1.sync()
        d2.sync()
        self.stack.neapd("schema", "from", "people", "server")
        d2.sql("UPDATE people SET name = 'X' WHERE id = 1")
        d2.sql("DELETE FROM people WHERE id = 2")
        d2.sql("INSERT INTO people VALUES (3, 'c', 'C')")
        self.assertIn("only the server writes this table", d2.sync(code=6))
        want = [(1, "a", "A"), (2, "b", "B")]
        for rows in (self.people(d2), self.on_server("policy")):
            self.assertEqual(rows, want)
        self.assertEqual(d2.status()["rejected_rows"], 3)
        shown = json.loads(self.stack.neapd("schema", "show", "--json"))
        self.assertEqual([t["from"] for t in shown["tables"] if t["name"] == "people"], ["server"])
        self.stack.sql("UPDATE people SET name = 'S' WHERE user_id = 'policy' AND id = 1")
        d1.sync()
        self.assertEqual(self.people(d1), [(1, "a", "S"), (2, "b", "B")])
        self.stack.neapd("schema", "from", "people", "devices")
        with self.assertRaisesRegex(sqlite3.IntegrityError, "only devices write this table"):
            self.stack.sql("UPDATE people SET name = 'T' WHERE user_id = 'policy'")
        d2.neap("rejected", "--retry")
        d2.sync()
        self.assertEqual(self.on_server("policy"), [(1, "a", "X"), (3, "c", "C")])
        self.stack.neapd("schema", "from", "people", "both")

    def test_with_an_agent_and_an_operators_trigger(self):
        d1, _ = self.pair("agent")
        self.stack.sql("CREATE TRIGGER no_eve BEFORE INSERT ON people WHEN NEW.name = 'Eve' BEGIN SELECT raise(ABORT, 'no Eve here'); END")
        try:
            d1.start()
            d1.sql("INSERT INTO people VALUES (7, 'eve@x', 'Eve'), (8, 'dan@x', 'Dan')")
            wait_for("the row is refused", lambda: d1.status()["rejected_rows"] == 1)
            self.assertIn("no Eve here", d1.sync(code=6))
            self.assertEqual(self.on_server("agent"), [(8, "dan@x", "Dan")])
            wait_for("the device follows", lambda: self.people(d1) == [(8, "dan@x", "Dan")])
            d1.neap("rejected", "--forget")
            d1.sync()
        finally:
            self.stack.sql("DROP TRIGGER no_eve")

    def test_an_append_row_that_a_constraint_refuses(self):
        d = self.stack.device("append", "d1")
        self.stack.add_user("append")
        d.script("CREATE TABLE log (id INTEGER PRIMARY KEY, v INTEGER)")
        d.init()
        d.neap("track", "log", "--append")
        d.sql("INSERT INTO log VALUES (1, 1)")
        d.sync()
        for how in ("ABORT", "ROLLBACK"):
            self.stack.sql(f"CREATE TRIGGER positive BEFORE INSERT ON log WHEN NEW.v < 0 BEGIN SELECT RAISE({how}, 'v is below 0'); END")
            there = self.stack.sql("SELECT max(id) FROM log")[0][0]
            d.sql(f"INSERT INTO log VALUES ({there + 1}, 1), ({there + 2}, -1), ({there + 3}, 1)")
            self.assertIn("rejected", d.sync(code=6))
            self.assertEqual(self.stack.sql("SELECT id FROM log WHERE id > ? ORDER BY id", there), [(there + 1,), (there + 3,)])
            listed = json.loads(d.neap("rejected", "--json"))["rows"]
            self.assertEqual([json.loads(r["row"]) for r in listed], [{"id": there + 2, "v": -1}])
            self.assertIn("v is below 0", listed[0]["reason"])
            self.stack.sql("DROP TRIGGER positive")
            d.neap("rejected", "--retry")
            d.sync()
            self.assertEqual(self.stack.sql("SELECT v FROM log WHERE id = ?", there + 2), [(-1,)])
        self.assertEqual(self.stack.sql("SELECT count(*), count(DISTINCT id) FROM log"), [(7, 7)])

    def test_what_no_device_can_get_is_told(self):
        d1, _d2 = self.pair("unsent")
        d1.sql("INSERT INTO people VALUES (1, 'a', 'A')")
        d1.sync()
        before = self.stack.status()["ingest"]["not_sent"]
        self.stack.sql("INSERT INTO people (user_id, id) VALUES ('unsent', NULL)")
        self.stack.sql("UPDATE people SET name = zeroblob(3670017) WHERE user_id = 'unsent' AND id = 1")
        wait_for("both writes counted", lambda: self.stack.status()["ingest"]["not_sent"] == before + 2)
        self.assertEqual(self.stack.status()["ingest"]["not_sent_last"], "people: a value is above 3.5 MiB")
        self.stack.sql("DELETE FROM people WHERE id IS NULL")

    def neapd_status(self):
        return json.loads(self.stack.neapd("status", "--json"))

    def missing(self):
        return {t["name"]: t["missing"] for t in json.loads(self.stack.neapd("schema", "show", "--json"))["tables"]}

    def test_an_operators_ddl_is_noticed(self):
        d1, d2 = self.pair("ddl")
        for d in (d1, d2):
            d.sql("CREATE TABLE other (id INTEGER PRIMARY KEY, x)")
            d.neap("track", "other")
        d1.sql("INSERT INTO people VALUES (1, 'a', 'A')")
        d1.sync()
        d2.sync()
        self.stack.sql("ALTER TABLE people RENAME COLUMN name TO label")
        try:
            wait_for("it is noticed", lambda: self.neapd_status()["committer"]["tables_missing"] == 1)
            self.assertIn("no column named name: put it back", self.stack.neapd("status"))
            self.assertIn("no column named name: put it back", self.stack.neapd("schema", "show"))
            self.assertIn("no column named name", self.missing()["people"])
            self.assertIsNone(self.missing()["other"])
            d1.sql("UPDATE people SET name = 'B'")
            d1.sql("INSERT INTO other VALUES (1, 'x')")
            self.assertIn("no column named name", d1.sync(code=6))
            # Only that table waits: the other one is with the server and goes on to the other device.
            wait_for("the other table arrives", lambda: (d1.neap("sync", code=None), self.stack.sql("SELECT x FROM other WHERE user_id = 'ddl'") == [("x",)])[1])
            d2.sync()
            self.assertEqual(d2.sql("SELECT id, x FROM other"), [(1, "x")])
        finally:
            self.stack.sql("ALTER TABLE people RENAME COLUMN label TO name")
        wait_for("it is back", lambda: self.neapd_status()["committer"]["tables_missing"] == 0)
        d1.sync()
        d2.sync()
        self.assertEqual(self.people(d2), [(1, "a", "B")])
        mended = self.neapd_status()["ingest"]["captures_reinstalled"]
        names = [n for n, in self.stack.sql("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'people' AND name GLOB 'neap_m*'")]
        for name in names:
            self.stack.sql(f'DROP TRIGGER "{name}"')
        wait_for("the triggers are back", lambda: self.neapd_status()["ingest"]["captures_reinstalled"] > mended and len(self.stack.sql("SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'people'")) == len(names))
        self.stack.sql("UPDATE people SET name = 'C' WHERE user_id = 'ddl'")
        d2.sync()
        self.assertEqual(self.people(d2), [(1, "a", "C")])


if __name__ == "__main__":
    unittest.main()
