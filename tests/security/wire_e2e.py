#!/usr/bin/env python3
"""Forged and old messages on the real wire (T14 to T17), and a search for secrets wherever they might lie (T29)."""

import base64
import json
import os
import signal
import socket
import sys
import threading
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
from badinput_e2e import Hostile, grant, tracked  # noqa: E402
from harness import PASSWORD, Stack, wait_for  # noqa: E402

SETTINGS = "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT)"


def vectors(kind):
    """Frames of that kind, as tests/vectors has them."""
    frames = json.loads((ROOT / "tests" / "vectors" / "frames.json").read_text())["frames"]
    return [bytes.fromhex(f["hex"]) for f in frames if f["name"].replace(",", "").split()[0] == kind]


class Relay:
    """Passes TCP on to a port and keeps all that went by."""

    def __init__(self, port):
        self.port, self.seen, self.ends = port, bytearray(), []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.own_port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                here, _ = self.listener.accept()
            except OSError:
                return
            there = socket.create_connection(("127.0.0.1", self.port))
            self.ends += [here, there]
            for pair in ((here, there), (there, here)):
                threading.Thread(target=self._copy, args=pair, daemon=True).start()

    def _copy(self, source, sink):
        try:
            while part := source.recv(65536):
                self.seen += part
                sink.sendall(part)
        except OSError:
            pass
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        for s in (self.listener, *self.ends):
            s.close()


class Wire(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        cls.enterClassContext(cls.stack)

    def hostile(self, kind, *args):
        h = getattr(Hostile, kind)(self.stack, *args)
        self.addCleanup(h.close)
        return h

    def pair(self, user):
        self.stack.add_user(user)
        return [tracked(self.stack, user, name, SETTINGS) for name in ("d1", "d2")]

    def test_t14_keys_and_scopes_of_others(self):
        stack = self.stack
        d1, d2 = self.pair("alice")
        stack.add_user("bob")
        other = tracked(stack, "bob", "d1", SETTINGS)
        d1.sql("INSERT INTO settings VALUES ('k', 'v')")
        d1.sync()
        g = grant(d1)
        me = self.hostile("device", d1)
        me.subscribe(g["topic_prefix"] + "/d1/down")
        up, plain = g["topic_prefix"] + "/d1/up", vectors("set")[0]
        key = g["message_key"]
        epoch = int(key["kid"])
        kid = lambda n: {**key, "kid": str(n)}
        forged = [
            me.seal("up", "alice", "d1", kid(epoch - 1), plain),  # an epoch before
            me.seal("up", "alice", "d1", kid(1), plain),
            me.seal("up", "alice", "d1", kid(epoch + 1), plain),  # one that has not begun
            me.seal("up", "alice", "d1", kid(2**32 - 1), plain),
            me.seal("up", "alice", "d1", grant(other)["message_key"], plain),  # another user's key
            me.seal("up", "bob", "d1", grant(other)["message_key"], plain),  # … and scope
            me.seal("up", "alice", "d1", g["group_key"], plain),
            me.seal("up", "alice", "d2", key, plain),  # another device's scope
            me.seal("up", "bob", "d1", key, plain),
            me.seal("down", "alice", "d1", key, plain),  # another kind
            me.seal("changes", "alice", "d1", key, plain),
            me.seal("head", "alice", "-", key, plain),
        ]
        before, rows = stack.status(), stack.sql("SELECT * FROM settings")
        for m in forged:
            me.publish(up, m)
        wait_for("all refused", lambda: stack.status()["messages"]["refused"] - before["messages"]["refused"] == len(forged))
        after = stack.status()
        self.assertEqual(after["ingest"], before["ingest"])
        self.assertEqual([t for t, _ in me.got], [], "nothing was answered")
        self.assertEqual(stack.sql("SELECT * FROM settings"), rows)

    def test_t15_one_device_as_another(self):
        stack = self.stack
        d1, d2 = self.pair("carol")
        for d in (d1, d2):
            d.sync()
        d2.start()
        wait_for("the agent", lambda: d2.status()["state"] == "in-sync")
        g = grant(d1)
        prefix, mine, group = g["topic_prefix"], g["message_key"], g["group_key"]
        broker = self.hostile("backend")  # what a broker taken over may do, with all that d1 has
        frames = vectors("ack") + vectors("page") + vectors("reset") + vectors("welcome") + vectors("key")
        self.assertGreater(len(frames), 4)
        neapd = stack.pid("NEAPD_PID")
        try:
            os.kill(neapd, signal.SIGSTOP)
            d2.sql("INSERT INTO settings VALUES ('kept', '1')")
            wait_for("the row to be pending", lambda: d2.status()["pending_rows"] == 1)
            n = d2.status()["bad_messages"]
            for frame in frames:
                for key in (mine, group):
                    for peer in ("d1", "d2"):
                        broker.publish(prefix + "/d2/down", broker.seal("down", "carol", peer, key, frame))
                        n += 1
            wait_for("all to be counted", lambda: d2.status()["bad_messages"] == n)
            self.assertEqual(d2.status()["pending_rows"], 1)
        finally:
            os.kill(neapd, signal.SIGCONT)
        wait_for("the row", lambda: stack.sql("SELECT name FROM settings WHERE user_id = 'carol'") == [("kept",)])
        # And a set of the other device's, sealed with d1's key.
        before = stack.status()
        second = self.hostile("device", d1)
        for peer in ("d1", "d2"):
            second.say("pub", prefix + "/d2/up", second.seal("up", "carol", peer, mine, vectors("set")[0]).hex(), wanted=("135",))
        d2.kill()
        me = self.hostile("device", d2)  # the broker lets it through
        for peer in ("d1", "d2"):
            me.publish(prefix + "/d2/up", me.seal("up", "carol", peer, mine, vectors("set")[0]))
        wait_for("both refused", lambda: stack.status()["messages"]["refused"] - before["messages"]["refused"] == 2)
        self.assertEqual(stack.status()["ingest"]["sets"], before["ingest"]["sets"])

    def test_t16_recorded_sets_and_a_lost_store(self):
        with Stack() as stack:
            stack.add_user("dora")
            d1, d2 = (tracked(stack, "dora", name, SETTINGS) for name in ("d1", "d2"))
            prefix = grant(d1)["topic_prefix"]
            broker = Hostile.backend(stack)
            self.addCleanup(broker.close)
            broker.subscribe("/".join(prefix.split("/")[:3]) + "/+/+/up")
            d1.sql("INSERT INTO settings VALUES ('gone', 'long ago')")
            for d in (d1, d2):
                d.sync()
            recorded = [m for topic, m in broker.got if topic == prefix + "/d1/up"]
            self.assertGreater(len(recorded), 1)
            d2.sql("DELETE FROM settings")
            for d in (d2, d1, d2):
                d.sync()
            stack.kill_backend()
            for file in (stack.dir / "stack" / "data").glob("store.db*"):
                file.unlink()
            stack.restart_backend()
            me = Hostile.device(stack, d1)  # what a broker that was taken over can do for it
            self.addCleanup(me.close)
            before = stack.status()
            for m in recorded:
                me.publish(prefix + "/d1/up", m)
            wait_for("all refused", lambda: stack.status()["messages"]["refused"] - before["messages"]["refused"] == len(recorded))
            self.assertFalse(stack.has_table("settings"))
            me.close()
            # The devices get their new keys by themselves, and what they write arrives.
            d1.sql("INSERT INTO settings VALUES ('new', '1')")
            for d in (d1, d2):
                d.start()
            for d in (d1, d2):
                wait_for("the new row alone", lambda: d.sql("SELECT name FROM settings") == [("new",)], 40)
                wait_for("nothing pending", lambda: d.status()["pending_rows"] == 0, 40)
            self.assertEqual(stack.sql("SELECT name FROM settings"), [("new",)])

    def test_t17_an_old_head_and_a_frozen_broker(self):
        stack = self.stack
        d1, d2 = self.pair("dave")
        d1.sql("INSERT INTO settings VALUES ('a', '1')")
        d1.sync()
        prefix = grant(d1)["topic_prefix"]
        spy = self.hostile("device", d1)
        spy.subscribe(prefix + "/head")
        wait_for("the head of then", lambda: spy.got)
        topic, old = spy.got[0]
        spy.close()
        for d, value in ((d1, "2"), (d2, "3"), (d1, "4")):
            d.sync()
            d.sql("INSERT OR REPLACE INTO settings VALUES ('a', ?)", value)
            d.sync()
        broker = self.hostile("backend")
        broker.publish(topic, old, "retain")
        sets = stack.status()["ingest"]["sets"]
        for d in (d1, d2):
            d.sync()
            self.assertEqual(d.sql("SELECT value FROM settings"), [("4",)])
        d2.start()
        wait_for("the agent", lambda: d2.status()["state"] == "in-sync")
        broker.publish(topic, old, "retain")
        d1.sql("UPDATE settings SET value = '5'")
        d1.sync()
        wait_for("what was written then", lambda: d2.sql("SELECT value FROM settings") == [("5",)])
        self.assertEqual(stack.status()["ingest"]["sets"], sets + 1, "nothing went up again")
        d2.kill()
        # Nothing is pending, all is there, and still nobody may say so: the broker stands.
        pid = stack.pid("BROKER_PID")
        try:
            os.kill(pid, signal.SIGSTOP)
            d1.sync(2, code=3)
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_for("neapd to be connected", lambda: stack.status()["broker"]["connected"])
        d1.sync()

    def everywhere(self, name):
        """Files of the stack whose path within it begins so."""
        root = self.stack.dir / "stack"
        files = [root / name] if (root / name).is_file() else (root / name).rglob("*")
        return {str(f.relative_to(root)): f.read_bytes() for f in files if f.is_file()}

    def test_t29_no_secret_where_it_does_not_belong(self):
        stack, canary = self.stack, "canary-7f3a91c2-of-the-rows"
        stack.add_user("erin")
        login, mqtt = Relay(int(stack.env["NEAP_SERVER"].rsplit(":", 1)[1])), Relay(int(stack.env["NEAP_MQTT_PORT"]))
        self.addCleanup(login.close)
        self.addCleanup(mqtt.close)
        d = stack.device("erin", "d1")
        d.sql(SETTINGS)
        d.init(server=f"https://localhost:{login.own_port}")
        d.neap("track", "settings")
        secret = Path(d.db + ".neap-secret")
        settings = json.loads(secret.read_text())
        old = settings["grant"]
        settings["received_ms"] -= 7200 * 1000  # so that it refreshes first
        secret.write_text(json.dumps(settings))
        d.start()
        wait_for("a refresh", lambda: grant(d)["refresh_token"] != old["refresh_token"])
        d.kill()
        settings = json.loads(secret.read_text())
        settings["grant"]["broker"]["port"] = mqtt.own_port
        secret.write_text(json.dumps(settings))
        spy = self.hostile("backend")
        spy.subscribe(f"{old['topic_prefix'].rsplit('/', 1)[0]}/+/+/up")
        d.start()
        wait_for("the agent", lambda: Path(d.db + ".neap-sock").exists() and d.status()["state"] == "in-sync")
        d.sql("INSERT INTO settings VALUES ('k', ?)", canary)
        wait_for("the row", lambda: stack.sql("SELECT value FROM settings WHERE user_id = 'erin'") == [(canary,)])
        wait_for("its end", lambda: d.status()["pending_rows"] == 0)
        # Mistakes are logged as well: a wrong password, and one given to a wrong place.
        wrong = stack.dir / "wrong"
        wrong.write_text("wrong-password-8812\n")
        wrong.chmod(0o600)
        stack.device("erin", "d2").init(password_file=str(wrong), code=4)
        stack.device(PASSWORD.replace(" ", "."), "d2").init(code=4)

        now = grant(d)
        keys = self.everywhere("auth/keys")
        secrets = {"password": PASSWORD.encode(), "wrong password": b"wrong-password-8812"}
        for name, g in (("old", old), ("new", now)):
            for token in ("access_token", "refresh_token"):
                secrets[f"{name} {token}"] = g[token].encode()
            for key in ("message_key", "group_key"):
                raw = base64.urlsafe_b64decode(g[key]["k"] + "=")
                secrets |= {f"{name} {key}": g[key]["k"].encode(), f"{name} {key}, bytes": raw, f"{name} {key}, hex": raw.hex().encode()}
        for name, raw in keys.items():
            if "token-" not in name:
                secrets |= {name: raw, f"{name}, hex": raw.hex().encode(), f"{name}, base64": base64.b64encode(raw).rstrip(b"=")}
            else:
                secrets[name] = raw.splitlines()[1]
        plain = {"canary": canary.encode()}

        pids = {"neapd": stack.pid("NEAPD_PID"), "broker": stack.pid("BROKER_PID"), "agent": d.agent.pid}
        places = {}
        for name, pid in pids.items():
            for what in ("cmdline", "environ"):
                places[f"{what} of {name}"] = Path(f"/proc/{pid}/{what}").read_bytes()
        places |= {f.name: f.read_bytes() for f in stack.dir.glob("**/*.log")}
        places |= {"neap status": d.neap("status").encode(), "neap status --json": d.neap("status", "--json").encode()}
        places |= {"neapd status": stack.neapd("status").encode(), "neapd status --json": stack.neapd("status", "--json").encode()}
        places |= {"device list": stack.neapd("device", "list", "erin").encode(), "user list": stack.neapd("user", "list").encode()}
        places |= self.everywhere("broker") | self.everywhere("run") | self.everywhere("auth/auth.db") | self.everywhere("auth/auth.db-wal")
        places |= self.everywhere("auth/revocations.log") | self.everywhere("neapd.conf")
        places |= {"login, captured": bytes(login.seen), "MQTT, captured": bytes(mqtt.seen), "what the broker saw": b"".join(m for _, m in spy.got)}
        data = self.everywhere("data") | {f.name: f.read_bytes() for f in stack.dir.glob("erin-d1.db*") if f != secret and f.is_file()}
        self.assertGreater(min(len(login.seen), len(mqtt.seen), sum(len(m) for _, m in spy.got)), 300)
        self.assertTrue(any(canary.encode() in text for text in data.values()), "the search finds what is there")
        for place, text in places.items():
            self.assertEqual([name for name, secret in (secrets | plain).items() if secret in text], [], place)
        for place, text in data.items():  # the rows are in the clear there
            self.assertEqual([name for name, secret in secrets.items() if secret in text], [], place)

        for name in ("neapd", "agent"):
            limits = Path(f"/proc/{pids[name]}/limits").read_text()
            core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
            self.assertEqual(core.split()[4], "0", name)
        d.kill()


if __name__ == "__main__":
    unittest.main(verbosity=2)
