#!/usr/bin/env python3
"""Apps change their tables with plain SQL, with and without an agent, and nothing of Neap's in their way."""

import unittest

from harness import Stack, wait_for

TABLE = "CREATE TABLE items (id INTEGER PRIMARY KEY, name, price)"


class Schema(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        cls.enterClassContext(cls.stack)

    def pair(self, user):
        return self.stack.pair(user, TABLE, "INSERT INTO items VALUES (1, 'nut', 10), (2, 'bolt', 20), (3, 'gear', 30)")

    def rebuild(self, device, unseen):
        """The usual migration in one transaction, with writes that no trigger sees."""
        device.script(f"""BEGIN IMMEDIATE;
            CREATE TABLE items_new (id INTEGER PRIMARY KEY, name, price, stock DEFAULT 0);
            INSERT INTO items_new (id, name, price) SELECT id, name, price FROM items;
            DROP TABLE items;
            ALTER TABLE items_new RENAME TO items;
            {unseen};
            COMMIT""")

    def items(self, device):
        return device.sql("SELECT id, name, price FROM items ORDER BY id")

    def on_server(self, user):
        return self.stack.sql("SELECT id, name, price FROM items WHERE user_id = ? ORDER BY id", user)

    UNSEEN = "UPDATE items SET price = 21 WHERE id = 2; DELETE FROM items WHERE id = 3; INSERT INTO items VALUES (4, 'cog', 40, 4)"
    WANT = [(1, "nut", 10), (2, "bolt", 21), (4, "cog", 40)]

    def test_rebuilt_without_an_agent(self):
        d1, d2 = self.pair("rebuilt")
        self.rebuild(d1, self.UNSEEN)
        self.assertIn("capture of table items", d1.status()["reason"])
        d1.sync()
        d2.sync()
        for rows in (self.items(d1), self.items(d2), self.on_server("rebuilt")):
            self.assertEqual(rows, self.WANT)
        self.assertNotIn("capture", d1.status()["reason"])
        self.assertEqual(d1.status()["pending_rows"], 0)

    def test_rebuilt_beside_the_agent(self):
        d1, d2 = self.pair("beside")
        d1.start()
        try:
            self.rebuild(d1, self.UNSEEN)
            wait_for("the unseen writes at the server", lambda: self.on_server("beside") == self.WANT, 30)
            d1.sql("UPDATE items SET name = 'seen' WHERE id = 1")
            wait_for("a captured write", lambda: (1, "seen", 10) in self.on_server("beside"), 30)
        finally:
            d1.kill()
        d2.sync()
        self.assertEqual(self.items(d2), self.on_server("beside"))

    def test_no_server_to_compare_with(self):
        self.stack.add_user("alone")
        d = self.stack.device("alone", "d1")
        d.sql(TABLE)
        d.init()
        d.neap("track", "items")
        d.sql("INSERT INTO items VALUES (1, 'nut', 10)")
        d.sync()
        d.sql("DROP TABLE items")
        self.assertIn("capture", d.sync(code=10))
        d.sql(TABLE)
        d.sql("INSERT INTO items VALUES (1, 'nut', 11)")
        d.sync()
        self.assertEqual(self.on_server("alone"), [(1, "nut", 11)])

    def test_old_and_new_side_by_side(self):
        d1, d2 = self.pair("sides")
        d1.sql("ALTER TABLE items ADD COLUMN stock DEFAULT 0")
        d1.sql("UPDATE items SET stock = 7 WHERE id = 1")
        d1.sync()
        d2.sql("UPDATE items SET name = 'wing nut' WHERE id = 1")
        d2.sql("INSERT INTO items VALUES (5, 'old', 50)")
        d2.sync()
        d1.sync()
        new = "SELECT id, name, price, stock FROM items ORDER BY id"
        want = [(1, "wing nut", 10, 7), (2, "bolt", 20, 0), (3, "gear", 30, 0), (5, "old", 50, 0)]
        self.assertEqual(d1.sql(new), want)
        d2.sql("ALTER TABLE items ADD COLUMN stock DEFAULT 0")
        d2.sync()
        self.assertEqual(d2.sql(new), want)

    def test_alter_table(self):
        d1, d2 = self.pair("alter")
        d1.sql("UPDATE items SET price = 11 WHERE id = 1")
        d1.sql("ALTER TABLE items DROP COLUMN name")
        d1.sql("ALTER TABLE items RENAME COLUMN price TO cents")
        d1.sql("UPDATE items SET cents = 33 WHERE id = 3")
        d1.sql("VACUUM")
        d1.sync()
        self.assertEqual(self.stack.sql("SELECT id, cents FROM items WHERE user_id = 'alter' ORDER BY id"), [(1, 11), (2, 20), (3, 33)])
        d2.sql("ALTER TABLE items RENAME COLUMN price TO cents")
        d2.sync()
        self.assertEqual(d2.sql("SELECT id, name, cents FROM items ORDER BY id"), [(1, "nut", 11), (2, "bolt", 20), (3, "gear", 33)])


if __name__ == "__main__":
    unittest.main(verbosity=2)
