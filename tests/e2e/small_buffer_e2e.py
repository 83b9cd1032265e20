#!/usr/bin/env python3
"""Values of 3.5 MiB and transactions of 4 MiB from a device whose socket takes 16 KiB, over a fast link and a slow one."""

import hashlib
import json
import os
import socket
import threading
import time
import unittest
from pathlib import Path

from harness import BUILD, Stack, wait_for

PRELOAD = str(BUILD / "lib" / "libneap_small_buffer.so")
VALUE = 3_670_016  # the longest that is synced: 3.5 MiB
TABLES = "CREATE TABLE docs (id INTEGER PRIMARY KEY, body BLOB, note TEXT); CREATE TABLE log (id INTEGER PRIMARY KEY, b BLOB)"
SLOW_BYTES = 512 * 1024  # a second, of the slow link


class SlowLink:
    """A TCP relay that takes so many bytes a second, with a small receive buffer: the sender's fills up."""

    def __init__(self, to_port, bytes_a_second):
        self.to_port, self.rate = to_port, bytes_a_second
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen()
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.to_port))
            far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.carry, args=(near, far, self.rate), daemon=True).start()
            threading.Thread(target=self.carry, args=(far, near, None), daemon=True).start()

    @staticmethod
    def carry(source, sink, rate):
        try:
            while data := source.recv(2048):
                if rate:
                    time.sleep(len(data) / rate)
                sink.sendall(data)
        except OSError:
            pass
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()


class SmallBuffer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        cls.enterClassContext(cls.stack)

    def device(self, user, name):
        d = self.stack.device(user, name)
        d.script(TABLES)
        d.init()
        d.neap("track", "docs")
        d.neap("track", "log", "--append")
        d.sync()
        return d

    def through(self, d, link):
        secret = Path(d.db + ".neap-secret")
        settings = json.loads(secret.read_text())
        settings["grant"]["broker"]["port"] = link.port
        secret.write_text(json.dumps(settings))

    def start(self, d):
        os.environ["LD_PRELOAD"] = PRELOAD
        try:
            d.start()
        finally:
            del os.environ["LD_PRELOAD"]
        self.addCleanup(d.kill)
        wait_for("the agent", lambda: os.path.exists(d.db + ".neap-sock"))
        self.assertIn(PRELOAD, Path(f"/proc/{d.agent.pid}/maps").read_text())


    def same(self, *where):
        digests = [[(i, hashlib.sha256(b or b"").hexdigest(), n) for i, b, n in rows] for rows in where]
        for other in digests[1:]:
            self.assertEqual(digests[0], other)

    def check(self, user, rate):
        stack = self.stack
        stack.add_user(user)
        d1, d2 = self.device(user, "d1"), self.device(user, "d2")
        limit = 30
        if rate:
            link = SlowLink(int(stack.env["NEAP_MQTT_PORT"]), rate)
            self.addCleanup(link.close)
            self.through(d1, link)
            limit = 20 + 3 * 12_000_000 / rate
        self.start(d1)
        d2.start()
        self.addCleanup(d2.kill)
        docs, log = "SELECT id, body, note FROM docs ORDER BY id", "SELECT id, b, 0 FROM log ORDER BY id"
        docs_there, log_there = (
            lambda: stack.sql("SELECT id, body, note FROM docs WHERE user_id = ? ORDER BY id", user),
            lambda: stack.sql("SELECT id, b, 0 FROM log WHERE user_id = ? ORDER BY id", user),
        )
        began = time.monotonic()
        # The longest value there is, that no packing makes shorter.
        d1.sql("INSERT INTO docs VALUES (1, ?, 'longest value')", os.urandom(VALUE))
        wait_for("the value at the server", lambda: len(docs_there()) == 1, limit, 0.1)
        one = time.monotonic() - began
        # One transaction of 4 MiB in rows of all sizes, over both tables.
        d1.sql("PRAGMA busy_timeout = 10000")
        rows = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {n}) INSERT INTO {t} SELECT {first} + i, randomblob({size}){rest} FROM n"
        d1.script(
            "BEGIN IMMEDIATE;"
            + rows.format(n=10, t="docs", first=100, size=200_000, rest=", 'ten'")
            + ";"
            + rows.format(n=200, t="docs", first=1000, size=5000, rest=", 'short'")
            + ";"
            + rows.format(n=1000, t="log", first=0, size=1000, rest="")
            + "; COMMIT"
        )
        wait_for("the transaction at the server", lambda: len(docs_there()) == 211 and len(log_there()) == 1000, limit, 0.1)
        # An append row of the longest value.
        d1.sql("INSERT INTO log VALUES (5000, ?)", os.urandom(VALUE))
        wait_for("the append row", lambda: len(log_there()) == 1001, limit, 0.1)
        took = time.monotonic() - began
        print(f"{user}: {VALUE} bytes there after {one:.1f} s, 11 MB in all after {took:.1f} s")
        wait_for("the values at the other device", lambda: len(d2.sql(docs)) == 211, limit, 0.1)
        d1.sync(60)
        self.same(d1.sql(docs), docs_there(), d2.sql(docs))
        self.same(d1.sql(log), log_there())
        self.assertEqual(d1.status()["troubles"], [])
        # With each message that does not fit waiting a second, as Paho does, it would take a quarter of an hour.
        self.assertLess(took, limit)

    def test_a_fast_link(self):
        self.check("fast", None)

    def test_a_slow_link(self):
        self.check("slow", SLOW_BYTES)


if __name__ == "__main__":
    unittest.main(verbosity=2)
