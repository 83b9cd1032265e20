#!/usr/bin/env python3
"""What a table may be told beside which way it goes: that its messages are not compressed."""

import unittest

from harness import Stack, wait_for

TABLES = "CREATE TABLE secrets (id INTEGER PRIMARY KEY, name TEXT, secret TEXT, pin); CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)"


class Compress(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        cls.enterClassContext(cls.stack)

    def tables(self, device):
        return {t["name"]: t["compress"] for t in device.status()["tables"]}

    def test_off_on_one_table(self):
        d1, d2 = self.stack.pair("off", TABLES)
        for d in (d1, d2):
            d.neap("track", "secrets", "--compress", "off")
        self.assertEqual(self.tables(d1), {"secrets": "off", "notes": "on"})
        self.assertRegex(d1.neap("status"), r"secrets .* pending, not compressed\n")
        d1.start()
        d2.start()
        # More than a message holds, of every type, in one transaction with another table.
        d1.script("""BEGIN;
            WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
                INSERT INTO secrets SELECT i, 'n' || i, iif(i % 7, 'the same secret', NULL), iif(i % 3, i * 1.5, x'00ff') FROM n;
            INSERT INTO notes VALUES (1, 'beside it');
            COMMIT""")
        rows = "SELECT id, name, secret, pin FROM secrets ORDER BY id"
        wait_for("all rows on the other device", lambda: d2.sql(rows) == d1.sql(rows) and d2.sql("SELECT * FROM notes"), 30)
        d1.sync()
        self.assertEqual(self.stack.sql("SELECT id, name, secret, pin FROM secrets WHERE user_id = 'off' ORDER BY id"), d1.sql(rows))
        self.stack.sql("UPDATE secrets SET pin = 5 WHERE user_id = 'off' AND id < 4")
        wait_for("the operator's write", lambda: d1.sql("SELECT count(*) FROM secrets WHERE pin = 5") == [(3,)], 30)
        d1.neap("track", "secrets")
        self.assertEqual(self.tables(d1)["secrets"], "on")
        d1.sql("UPDATE secrets SET pin = 6 WHERE id = 9")
        wait_for("a write after it was tracked again", lambda: d2.sql("SELECT pin FROM secrets WHERE id = 9") == [(6,)], 30)

    def test_a_word_that_is_neither(self):
        d1, _ = self.stack.pair("neither", TABLES)
        self.assertIn("'maybe' is not a way to compress: on or off", d1.neap("track", "secrets", "--compress", "maybe", code=2))


if __name__ == "__main__":
    unittest.main(verbosity=2)
