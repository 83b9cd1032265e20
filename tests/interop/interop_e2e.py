#!/usr/bin/env python3
"""A device written in Python from docs/protocol.md alone, beside a real agent, on a real broker and neapd."""

import sys
import unittest
import urllib.error
from pathlib import Path

import jwt

import client
from client import Client, Shape, append_rows, merge_rows, stamp_now
from vectors_test import thumbprint

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from harness import PASSWORD, Stack, wait_for  # noqa: E402

NOTES = Shape("notes", 0, 0, 0, [["id", 1, 0]], [["body", 1], ["rank", 3], ["raw", 0]])
READINGS = Shape("readings", 1, 1, 1, [["id", 3, 0]], [["value", 4]])
SQL = "CREATE TABLE notes (id TEXT PRIMARY KEY, body TEXT, rank INTEGER, raw BLOB)"


def text(value):
    return value[1].decode() if isinstance(value, tuple) and value[0] == "text" else value


class Interop(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        cls.enterClassContext(cls.stack)

    def python_device(self, user, name="py"):
        env = self.stack.env
        session = client.login(env["NEAP_SERVER"], env["NEAP_CA"], user, PASSWORD, name)
        device = Client(session)
        device.connect()
        self.addCleanup(device.close)
        return device

    def agent(self, user):
        d = self.stack.device(user, "c")
        d.sql(SQL)
        d.init()
        d.neap("track", "notes")
        d.sync()
        d.start()
        return d

    def test_the_access_token_verifies_elsewhere(self):
        self.stack.add_user("token")
        env = self.stack.env
        session = client.login(env["NEAP_SERVER"], env["NEAP_CA"], "token", PASSWORD, "py")
        keys = list((Path(env["NEAP_CONFIG"]).parent / "broker" / "token-keys").glob("*"))
        header = jwt.get_unverified_header(session["access_token"])
        (key,) = [k.read_text() for k in keys if thumbprint(k.read_text()) == header["kid"]]
        claims = jwt.decode(session["access_token"], key, algorithms=["ES256"], audience="neap-broker", issuer="neapd",
                            options={"require": ["iss", "aud", "sub", "client_id", "iat", "nbf", "exp", "jti"]})
        self.assertEqual((claims["sub"], claims["client_id"]), ("token", "token/py"))
        self.assertEqual(sorted(header), ["alg", "kid", "typ"])

    def test_both_ways(self):
        self.stack.add_user("both")
        agent = self.agent("both")
        py = self.python_device("both")
        self.assertEqual(py.hello([NOTES, READINGS]), [])

        head, own = py.send_set([
            merge_rows(NOTES, [
                (["n1"], "alive", stamp_now(), {"body": "from Python", "rank": 7, "raw": b"\x00\xff"}),
                (["n2"], "alive", stamp_now(), {"body": None, "rank": -1, "raw": None}),
            ]),
            append_rows(READINGS, [(1, k, [k / 8]) for k in range(1, 101)]),
        ])
        self.assertEqual((head, own), (1, 1))
        self.assertEqual(self.stack.sql("SELECT count(*), sum(value) FROM readings WHERE user_id = 'both' AND device_id = 'py'"), [(100, sum(range(1, 101)) / 8)])
        want = [("n1", "from Python", 7, b"\x00\xff"), ("n2", None, -1, None)]
        wait_for("the agent to have it", lambda: agent.sql("SELECT * FROM notes ORDER BY id") == want)

        agent.sql("UPDATE notes SET rank = 8 WHERE id = 'n1'")
        ((table, row),) = py.change()
        self.assertEqual((table, text(row.key[0]), row.exist), ("notes", "n1", "update"))
        self.assertEqual({n: v for n, (v, _) in row.cells.items()}, {"rank": 8})

        agent.sql("DELETE FROM notes WHERE id = 'n2'")
        ((_, row),) = py.change()
        self.assertEqual((text(row.key[0]), row.exist), ("n2", "dead"))

        py.send_set([merge_rows(NOTES, [(["n1"], "update", stamp_now() + 1, {"body": "again"})])])
        wait_for("the update", lambda: agent.sql("SELECT * FROM notes") == [("n1", "again", 8, b"\x00\xff")])
        agent.kill()

    def test_parts_both_ways(self):
        self.stack.add_user("parts")
        agent = self.agent("parts")
        py = self.python_device("parts")
        py.hello([NOTES])
        # Random bytes do not compress: some 25 parts up, and more than a broadcast down.
        up = bytes((i * i * 31 + i // 7) % 251 for i in range(100_000))
        py.send_set([merge_rows(NOTES, [(["big"], "alive", stamp_now(), {"body": None, "rank": None, "raw": up})])])
        wait_for("a large value", lambda: agent.sql("SELECT raw FROM notes WHERE id = 'big'") == [(up,)], 30)
        agent.sql("UPDATE notes SET raw = randomblob(200000) WHERE id = 'big'")
        ((down,),) = agent.sql("SELECT raw FROM notes")
        while (head := py.next_frame(client.HEAD, seconds=30))[3] <= py.position[2]:
            pass
        self.assertEqual(head[2], py.position[1])
        rows = {text(r.key[0]): r for _, r in py.pull()}
        self.assertEqual(rows["big"].cells["raw"][0], ("blob", down))
        agent.kill()

    def test_a_second_life_pulls_everything(self):
        self.stack.add_user("late")
        agent = self.agent("late")
        agent.sql("WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT 3000) INSERT INTO notes SELECT 'k' || i, 'text ' || i, i, NULL FROM n")
        wait_for("all acknowledged", lambda: agent.status()["pending_rows"] == 0, 30)
        agent.kill()
        py = self.python_device("late")
        rows = py.hello([NOTES])
        self.assertEqual({text(r.key[0]): (text(r.cells["body"][0]), r.cells["rank"][0]) for _, r in rows}, {f"k{i}": (f"text {i}", i) for i in range(1, 3001)})
        self.assertEqual(py.dropped, 0)

    def test_a_refresh_on_the_way(self):
        """The token is renewed between two sets: nothing is lost, no hello, no password."""
        self.stack.add_user("renew")
        env = self.stack.env
        agent = self.agent("renew")
        py = self.python_device("renew")
        py.hello([NOTES, READINGS])
        py.send_set([append_rows(READINGS, [(1, 1, [0.5])])])
        first = py.session
        client.refresh(env["NEAP_SERVER"], env["NEAP_CA"], first["refresh_token"])  # its answer is lost
        second = client.refresh(env["NEAP_SERVER"], env["NEAP_CA"], first["refresh_token"])
        self.assertEqual(sorted(second), sorted(first))
        self.assertNotIn(second["refresh_token"], (first["refresh_token"],))
        self.assertNotEqual(second["access_token"], first["access_token"])
        self.assertEqual(second["message_key"], first["message_key"])

        py.close()
        agent.sql("INSERT INTO notes VALUES ('gap', 'while it was away', 1, NULL)")
        wait_for("its ack", lambda: agent.status()["pending_rows"] == 0)
        py.renew(second)
        self.assertEqual(py.next_frame(client.HEAD)[3], py.position[2] + 1)  # retained: something is missing
        self.assertEqual([text(row.key[0]) for _, row in py.pull()], ["gap"])
        head, own = py.send_set([append_rows(READINGS, [(1, 2, [1.5])])])
        self.assertEqual(py.number, 2)
        self.assertEqual(self.stack.sql("SELECT value FROM readings WHERE user_id = 'renew' AND device_id = 'py' ORDER BY value"), [(0.5,), (1.5,)])

        third = client.refresh(env["NEAP_SERVER"], env["NEAP_CA"], second["refresh_token"])
        for old in (first, third):  # the first one's successor was used: it was copied, and the login ends
            with self.assertRaises(urllib.error.HTTPError) as refused:
                client.refresh(env["NEAP_SERVER"], env["NEAP_CA"], old["refresh_token"])
            self.assertEqual(refused.exception.code, 401)
        agent.kill()

    def test_a_set_twice_is_one(self):
        self.stack.add_user("twice")
        py = self.python_device("twice")
        py.hello([READINGS])
        rows = append_rows(READINGS, [(1, 1, [0.5])])
        py.send_set([rows])
        py.number -= 1
        cut = py.cut
        frame = [client.SET, py.site, 1, cut, rows]
        py.send(frame)
        self.assertEqual(py.next_frame(client.ACK)[4], 1)
        py.send([client.SET, py.site, 1, cut ^ 1, rows])
        self.assertEqual(py.next_frame(client.REFUSE)[6], 9)
        self.assertEqual(self.stack.sql("SELECT count(*) FROM readings WHERE user_id = 'twice'"), [(1,)])


if __name__ == "__main__":
    unittest.main(verbosity=2)
