#!/usr/bin/env python3
"""Corrupt messages, ended tokens, a flood, full disks: nothing is lost, all goes on, and what is said helps."""

import base64
import json
import os
import queue
import random
import resource
import signal
import sqlite3
import subprocess
import threading
import time
import unittest

from harness import BUILD, NEAP, PASSWORD, Stack, wait_for

SETTINGS = "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT)"
BLOBS = "CREATE TABLE blobs (id INTEGER PRIMARY KEY, b BLOB)"


def tracked(stack, user, name, sql, *options):
    d = stack.device(user, name)
    d.sql(sql)
    d.init()
    d.neap("track", sql.split()[2], *options)
    return d


def grant(device):
    """What the device was granted at its last login or refresh."""
    with open(device.db + ".neap-secret") as f:
        return json.load(f)["grant"]


class Hostile:
    """neap_hostile: a client that says whatever it is told."""

    def __init__(self, *args):
        command = [str(a) for a in (BUILD / "test" / "neap_hostile", *args)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.got, self.answers = [], queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self._expect("connected", "0")

    @classmethod
    def device(cls, stack, device):
        token = stack.dir / f"token-{device.name}"
        token.write_text(grant(device)["access_token"] + "\n")
        return cls(
            stack.env["NEAP_MQTT_PORT"], stack.dir / "stack" / "ca" / "broker.pem",
            f"{device.user}/{device.name}", device.user, token,
        )  # fmt: skip

    @classmethod
    def backend(cls, stack):
        config = json.loads((stack.dir / "stack" / "neapd.conf").read_text())
        tls = stack.dir / "stack" / "tls"
        return cls(
            config["broker"].rsplit(":", 1)[1], stack.dir / "stack" / "ca" / "broker.pem",
            "$neapd/hostile", "$neapd", "-", tls / "backend-cert.pem", tls / "backend-key.pem",
        )  # fmt: skip

    def _read(self):
        for line in self.process.stdout:
            words = line.split()
            if words[0] == "got":
                self.got.append((words[1], bytes.fromhex(words[2]) if len(words) > 2 else b""))
            else:
                self.answers.put(words)

    def _expect(self, name, *wanted):
        words = self.answers.get(timeout=15)
        if words[0] != name or (wanted and words[1] not in wanted):
            raise AssertionError(f"{name}: {words}")
        return words[1] if len(words) > 1 else ""

    def say(self, *words, wanted=()):
        self.process.stdin.write(" ".join(str(w) for w in words) + "\n")
        self.process.stdin.flush()
        return self._expect(words[0], *wanted)

    def subscribe(self, topic):
        self.say("sub", topic, wanted=("0", "1", "2"))

    def publish(self, topic, payload, *retain):
        # 16: accepted, but nobody is subscribed.
        self.say("pub", topic, payload.hex() or "-", *retain, wanted=("0", "16"))

    def seal(self, kind, user, peer, jwk, plain):
        key = base64.urlsafe_b64decode(jwk["k"] + "=")
        return bytes.fromhex(self.say("seal", kind, user, peer, key.hex(), jwk["kid"], plain.hex() or "-"))

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=10)
        self.process.stdout.close()


def flipped(r, message):
    bad = bytearray(message)
    bad[r.randrange(len(bad))] ^= 1 << r.randrange(8)
    return bytes(bad)


def garbage(r):
    return [b"\x00", b"\xff" * 100, b"{}", r.randbytes(1), r.randbytes(73), r.randbytes(3000), b"\xd0\x83" + r.randbytes(200)]


class Messages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        cls.enterClassContext(cls.stack)
        cls.random = random.Random(7)

    def hostile(self, kind, *args):
        h = getattr(Hostile, kind)(self.stack, *args)
        self.addCleanup(h.close)
        return h

    def test_corrupt_messages_to_the_server(self):
        stack, r = self.stack, self.random
        stack.add_user("victim")
        d = tracked(stack, "victim", "d1", SETTINGS)
        topic = grant(d)["topic_prefix"] + "/d1/up"
        spy = self.hostile("backend")
        spy.subscribe("/".join(topic.split("/")[:3]) + "/+/+/up")
        d.sql("INSERT INTO settings VALUES ('k', 'v')")
        d.sync()
        real = [m for t, m in spy.got if t == topic]
        self.assertGreater(len(real), 1, "hello and a set")

        me, key = self.hostile("device", d), grant(d)["message_key"]
        me.subscribe(grant(d)["topic_prefix"] + "/d1/down")
        before = stack.status()
        # Not sealed, or not by this device: refused before anything is read.
        forged = garbage(r) + [flipped(r, m) for m in real for _ in range(40)] + [m[:-n] for m in real for n in (1, 16, len(m) - 1)]
        forged.append(me.seal("up", "victim", "d2", key, b"\x00\x80"))
        forged.append(me.seal("down", "victim", "d1", key, b"\x00\x80"))
        for m in forged:
            me.publish(topic, m)
        wait_for("all refused", lambda: stack.status()["messages"]["refused"] - before["messages"]["refused"] == len(forged))
        # Sealed as it should be, around nonsense: opened, and malformed.
        sealed = garbage(r) + [b"\x00" + r.randbytes(50), b"\x01" + r.randbytes(50), b"\x00\x9f" + b"\x81" * 2000, b"\x00\x82\x02\x01"]
        for plain in sealed:
            me.publish(topic, me.seal("up", "victim", "d1", key, plain))
        wait_for("all malformed", lambda: stack.status()["ingest"]["malformed"] - before["ingest"]["malformed"] == len(sealed))
        after = stack.status()
        self.assertEqual((after["pid"], after["ingest"]["sets"]), (before["pid"], before["ingest"]["sets"]))
        self.assertEqual([t for t, _ in me.got], [], "nothing was acknowledged")
        self.assertEqual(stack.sql("SELECT name, value FROM settings WHERE user_id = 'victim'"), [("k", "v")])

        d.sql("UPDATE settings SET value = 'w'")
        d.sync()
        self.assertEqual(stack.sql("SELECT name, value FROM settings WHERE user_id = 'victim'"), [("k", "w")])

    def test_corrupt_messages_to_a_device(self):
        stack, r = self.stack, self.random
        stack.add_user("target")
        d, other = (tracked(stack, "target", name, SETTINGS) for name in ("d1", "d2"))
        d.sync()
        d.start()
        wait_for("the agent", lambda: d.status()["state"] == "in-sync")
        prefix, key, group = (grant(d)[k] for k in ("topic_prefix", "message_key", "group_key"))
        backend = self.hostile("backend")
        backend.publish(prefix + "/d1/down", b"?")
        wait_for("the first to be counted", lambda: d.status()["bad_messages"] == 1)
        neapd = stack.pid("NEAPD_PID")
        try:
            # With the server stopped what is pending has to stay so.
            os.kill(neapd, signal.SIGSTOP)
            d.sql("INSERT INTO settings VALUES ('kept', '1')")
            wait_for("the row to be pending", lambda: d.status()["pending_rows"] == 1)
            n = 1
            for m in garbage(r):
                for end in ("/d1/down", "/changes/d2", "/changes/server", "/head"):
                    backend.publish(prefix + end, m)
                    n += 1
                for kind, end, peer, k in (("down", "/d1/down", "d1", key), ("changes", "/changes/d2", "d2", group), ("head", "/head", "-", group)):
                    backend.publish(prefix + end, backend.seal(kind, "target", peer, k, m))
                    n += 1
            backend.publish(prefix + "/head", r.randbytes(99), "retain")
            n += 1
            wait_for("all to be counted", lambda: d.status()["bad_messages"] == n)
            self.assertEqual(d.status()["pending_rows"], 1)
        finally:
            os.kill(neapd, signal.SIGCONT)
        wait_for("the row", lambda: stack.sql("SELECT name FROM settings WHERE user_id = 'target'") == [("kept",)])
        wait_for("nothing pending", lambda: d.status()["pending_rows"] == 0)
        # One that comes new to a broker with a forged head gets everything all the same.
        backend.publish(prefix + "/head", r.randbytes(99), "retain")
        other.sync()
        self.assertEqual(other.sql("SELECT name, value FROM settings"), [("kept", "1")])
        d.kill()

    def test_a_flood_is_told_busy_and_hinders_nobody_else(self):
        stack = self.stack
        for user in ("flooder", "quiet"):
            stack.add_user(user)
        d, quiet = tracked(stack, "flooder", "d1", SETTINGS), tracked(stack, "quiet", "d1", SETTINGS)
        for device in (d, quiet):
            device.sync()
        me = self.hostile("device", d)
        prefix, key = grant(d)["topic_prefix"], grant(d)["message_key"]
        me.subscribe(prefix + "/d1/down")
        bad = me.seal("up", "flooder", "d1", key, b"\x00\x80").hex()
        lock = sqlite3.connect(stack.env["NEAP_STORE"], timeout=10, isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        try:
            # With the committer held up the queue fills.
            deadline = time.monotonic() + 20
            while stack.status()["messages"]["shed"] == 0:
                self.assertLess(time.monotonic(), deadline, "nothing was shed")
                me.say("flood", 2000, prefix + "/d1/up", bad)
            wait_for("the flooder to be told", lambda: me.got)
        finally:
            lock.execute("ROLLBACK")
            lock.close()
        stopping, floods = threading.Event(), []

        def go_on():
            while not stopping.is_set():
                floods.append(me.say("flood", 100, prefix + "/d1/up", bad))

        flooding = threading.Thread(target=go_on)
        flooding.start()
        try:
            for i in range(3):
                so_far = len(floods)
                quiet.sql("INSERT INTO settings VALUES (?, 'x')", f"k{i}")
                began = time.monotonic()
                quiet.sync()
                self.assertLess(time.monotonic() - began, 10)
                wait_for("the flood to go on", lambda: len(floods) > so_far)
        finally:
            stopping.set()
            flooding.join()
        self.assertEqual(stack.sql("SELECT count(*) FROM settings WHERE user_id = 'quiet'"), [(3,)])


class Tokens(unittest.TestCase):
    def test_tokens_that_end_every_two_seconds_are_not_noticed(self):
        with Stack() as stack:
            file = stack.dir / "stack" / "neapd.conf"
            config = json.loads(file.read_text())
            config["token_life_s"] = 2
            file.write_text(json.dumps(config))
            stack.restart_backend()
            stack.add_user("short")
            d = tracked(stack, "short", "d1", BLOBS, "--append")
            d.start()
            tokens, states, n = set(), set(), 0
            until = time.monotonic() + 12
            while time.monotonic() < until:
                d.sql("INSERT INTO blobs (b) VALUES (randomblob(100))")
                n += 1
                tokens.add(grant(d)["access_token"])
                states.add(d.status()["state"])
                time.sleep(0.05)
            wait_for("all rows", lambda: stack.sql("SELECT count(*) FROM blobs") == [(n,)])
            wait_for("nothing pending", lambda: d.status()["pending_rows"] == 0)
            self.assertNotIn("login-required", states)
            self.assertGreater(len(tokens), 3)
            self.assertEqual(stack.sql("SELECT id, b FROM blobs ORDER BY id"), d.sql("SELECT id, b FROM blobs ORDER BY id"))
            d.kill(signal.SIGTERM)

    def test_a_new_password_asks_for_a_login(self):
        with Stack() as stack:
            stack.add_user("alice")
            d = tracked(stack, "alice", "d1", SETTINGS)
            d.sync()
            new = stack.dir / "new"
            new.write_text(PASSWORD + ", a newer one\n")
            new.chmod(0o600)
            stack.neapd("user", "passwd", "alice", "--password-file", str(new))
            d.sql("INSERT INTO settings VALUES ('k', 'v')")
            said = d.sync(10, code=4)
            self.assertIn("login", said)
            self.assertIn("neap init", said)
            self.assertEqual(d.status()["pending_rows"], 1)
            self.assertEqual(stack.sql("SELECT count(*) FROM settings"), [(0,)])
            d.init(code=4)
            self.assertEqual(d.status()["pending_rows"], 1)
            d.init(password_file=str(new))
            d.sync()
            self.assertEqual(stack.sql("SELECT name, value FROM settings"), [("k", "v")])


class FullDisk(unittest.TestCase):
    """A limit on the size of files stands for the full disk: it needs no rights."""

    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        cls.enterClassContext(cls.stack)

    def test_of_a_device(self):
        stack = self.stack
        stack.add_user("device")
        source, d = (tracked(stack, "device", name, BLOBS) for name in ("d1", "d2"))
        d.sync()
        source.sql("INSERT INTO blobs WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30) SELECT i, randomblob(50000) FROM n")
        source.sync()
        d.sql("INSERT INTO blobs VALUES (1000, x'00')")
        done = subprocess.run(
            ["/bin/sh", "-c", 'ulimit -f 700; exec "$@"', "sh", NEAP, "sync", d.db, "--timeout", "30"], capture_output=True, text=True, timeout=60
        )
        self.assertEqual(done.returncode, 9, done.stderr)
        self.assertIn("disk", done.stderr)
        self.assertIn("room", done.stderr, "what next")
        self.assertEqual(d.sql("SELECT hex(b) FROM blobs WHERE id = 1000"), [("00",)])
        self.assertEqual(d.sql("PRAGMA integrity_check"), [("ok",)])
        d.sync()
        source.sync()
        for device in (d, source):
            self.assertEqual(device.sql("SELECT * FROM blobs ORDER BY id"), stack.sql("SELECT id, b FROM blobs WHERE user_id = 'device' ORDER BY id"))
        self.assertEqual(d.sql("SELECT count(*) FROM blobs"), [(31,)])
        self.assertEqual(d.status()["pending_rows"], 0)

    def test_of_the_server(self):
        stack = self.stack
        stack.add_user("server1")
        d = tracked(stack, "server1", "d1", SETTINGS)
        d.sync()
        pid = stack.pid("NEAPD_PID")
        soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, hard))
        try:
            d.sql("INSERT INTO settings VALUES ('big', ?)", "x" * 1000000)
            d.start()
            wait_for("neapd to say so", lambda: stack.status()["committer"]["trouble"] != "", 20)
            self.assertEqual(stack.status()["pid"], pid)
            self.assertEqual(d.status()["pending_rows"], 1)
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
        wait_for("the row acknowledged", lambda: d.status()["pending_rows"] == 0, 30)
        self.assertEqual(stack.status()["committer"]["trouble"], "")
        self.assertEqual(stack.sql("SELECT name, length(value) FROM settings WHERE user_id = 'server1'"), [("big", 1000000)])
        d.kill()


class Words(unittest.TestCase):
    """Each message names what is wrong, and what to do."""

    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        cls.enterClassContext(cls.stack)
        cls.stack.add_user("clumsy")

    def test_what_is_said(self):
        stack = self.stack
        d = stack.device("clumsy", "d1")
        d.sql(SETTINGS)
        wrong = stack.dir / "wrong"
        wrong.write_text("not the password\n")
        wrong.chmod(0o600)
        cases = [
            (d.init(password_file=str(wrong), code=4), "wrong user or password", "check"),
            (d.init(server="https://127.0.0.1:9", code=3), "127.0.0.1:9", "check"),
            (d.init(ca=str(stack.dir / "stack" / "ca" / "broker.pem"), code=5), "certificate", "--ca"),
        ]
        d.init()
        d.sql("CREATE TABLE loose (x, y)")
        cases += [
            (d.neap("track", "nothere", code=8), "nothere", "create it"),
            (d.neap("track", "loose", code=8), "loose", "PRIMARY KEY"),
        ]
        d.db = str(stack.dir / "missing.db")
        cases.append((d.neap("sync", code=8), "missing.db", "neap init"))
        for said, *words in cases:
            for word in words:
                with self.subTest(said=said):
                    self.assertIn(word, said)


if __name__ == "__main__":
    unittest.main(verbosity=2)
