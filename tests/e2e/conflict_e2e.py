#!/usr/bin/env python3
"""Writes that lose: listed at both ends, told and resolved by a program that uses libneap."""

import json
import subprocess
import unittest

from harness import BUILD, Stack, wait_for

SETTINGS = "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT, note TEXT)"
RESOLVER = str(BUILD / "test" / "neap_resolver")


class Conflicts(unittest.TestCase):
    """One stack for the class; each test has a user of its own."""

    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        cls.enterClassContext(cls.stack)

    def pair(self, user):
        """Two devices that have the same row."""
        return self.stack.pair(user, SETTINGS, "INSERT INTO settings VALUES ('limit', 'old', 'n')")

    def on_server(self, user, *args):
        return json.loads(self.stack.neapd("conflicts", user, "--json", *args))["conflicts"]

    def on_device(self, d, *args):
        return json.loads(d.neap("conflicts", "--json", *args))

    def edit_apart(self, d1, d2):
        """Both write the same cell while offline, d1 the later; d1 comes back first."""
        d2.sql("UPDATE settings SET value = 'of d2'")
        d1.sql("UPDATE settings SET value = 'of d1'")
        d1.sync()

    def test_the_loser_is_listed_once_at_both_ends(self):
        d1, d2 = self.pair("apart")
        self.edit_apart(d1, d2)
        d2.sync()
        for d in (d1, d2, d1, d2):
            d.sync()
        for d in (d1, d2):
            self.assertEqual(d.sql("SELECT value FROM settings"), [("of d1",)])
        (lost,) = self.on_server("apart")
        wanted = {
            "user": "apart", "device": "d2", "table": "settings", "key": '{"name": "limit"}', "column": "value",
            "value": "of d2", "won_device": "d1", "why": "a later write won",
        }
        self.assertEqual({k: lost[k] for k in wanted}, wanted)
        self.assertLess(lost["written_ms"], lost["won_ms"])
        (mine,) = self.on_device(d2)["conflicts"]
        self.assertEqual((mine["table"], mine["column"], mine["reason"]), ("settings", "value", "a later write won"))
        self.assertEqual(json.loads(mine["row"]), {"name": "limit", "value": "of d2"})
        self.assertTrue(mine["noted"])
        self.assertEqual(self.on_device(d1)["conflicts"], [])
        self.assertIn("of d2", d2.neap("conflicts"))
        self.assertIn("apart/d2", self.stack.neapd("conflicts"))
        # The value comes back by the operator's hand, as docs/operations.md says.
        self.stack.sql("UPDATE settings SET value = (SELECT value FROM neap_conflict WHERE id = ?) WHERE user_id = 'apart'", lost["id"])
        wait_for("the operator's write", lambda: (d1.sync(), d1.sql("SELECT value FROM settings"))[1] == [("of d2",)])

    def test_what_loses_before_it_was_sent_reaches_the_server(self):
        d1, d2 = self.pair("unsent")
        late = self.stack.device("unsent", "d3")
        late.sql(SETTINGS)
        late.sql("INSERT INTO settings VALUES ('limit', 'of d3', 'n')")  # before it is tracked: it never beats a real write
        late.init()
        late.neap("track", "settings")
        late.sync()
        late.sync()
        self.assertEqual(late.sql("SELECT value FROM settings"), [("old",)])
        self.assertEqual([(c["device"], c["column"], c["value"]) for c in self.on_server("unsent")], [("d3", "value", "of d3")])
        self.assertTrue(self.on_device(late)["conflicts"][0]["noted"])

    def test_an_update_loses_to_a_delete(self):
        d1, d2 = self.pair("deleted")
        d2.sql("UPDATE settings SET value = 'of d2'")
        d1.sql("DELETE FROM settings")
        d1.sync()
        d2.sync()
        d2.sync()
        self.assertEqual(d2.sql("SELECT * FROM settings"), [])
        self.assertEqual([(c["device"], c["value"], c["why"]) for c in self.on_server("deleted")], [("d2", "of d2", "the row was deleted later")])
        self.assertEqual(len(self.on_device(d2)["conflicts"]), 1)

    def test_a_resolver_is_asked_once(self):
        d1, d2 = self.pair("resolved")
        self.edit_apart(d1, d2)

        def run():
            return subprocess.run([RESOLVER, d2.db], capture_output=True, text=True, timeout=60, check=True).stdout

        self.assertEqual(run(), 'settings {"name": "limit"} value: a later write won; resolved by a new write\ntold 1 asked 1\n')
        self.assertEqual(run(), "told 0 asked 0\n")
        d1.sync()
        for d in (d1, d2):
            self.assertEqual(d.sql("SELECT value FROM settings"), [("of d2+of d1",)])
        self.assertEqual(len(self.on_server("resolved")), 1)

    def test_lists_come_in_pages(self):
        d1, d2 = self.pair("pages")
        for end in (d1, d2):
            end.sql("WITH c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 250) INSERT OR IGNORE INTO settings SELECT 'n' || i, ?, '' FROM c", end.name)
        d1.sql("UPDATE settings SET value = 'later' WHERE name LIKE 'n%'")
        d1.sync()
        d2.sync()
        d2.sync()
        self.assertEqual(len(self.on_server("pages")), 100)
        self.assertEqual(len(self.on_server("pages", "--limit", "1000")), 250)
        self.assertEqual(len(self.on_server("pages", "--limit", "1000", "--since", "1h")), 250)
        self.assertEqual(self.on_server("pages", "--since", "2999-01-01"), [])
        page = self.on_device(d2, "--limit", "200")
        self.assertEqual(len(page["conflicts"]), 200)
        rest = self.on_device(d2, "--before", str(page["before"]))
        self.assertEqual((len(rest["conflicts"]), rest["before"]), (50, None))
        self.assertEqual(len({c["row"] for c in page["conflicts"] + rest["conflicts"]}), 250)

    def test_what_cannot_be_asked_is_told(self):
        self.assertIn("nobody", self.stack.neapd("conflicts", "nobody", code=8))
        for wrong in (("--since", "yesterday"), ("--limit", "0"), ("--before", "x")):
            self.assertIn(wrong[1], self.stack.neapd("conflicts", *wrong, code=2))


if __name__ == "__main__":
    unittest.main(verbosity=2)
