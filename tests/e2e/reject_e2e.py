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
        self.stack.add_user(user)
        devices = [self.stack.device(user, name) for name in ("d1", "d2")]
        for d in devices:
            d.sql(PEOPLE)
            d.init()
            d.neap("track", "people")
            d.sync()
        return devices

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


if __name__ == "__main__":
    unittest.main()
