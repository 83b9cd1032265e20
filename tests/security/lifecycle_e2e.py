#!/usr/bin/env python3
"""Tokens, revocation and keys of a running fleet: real broker, neapd and agents, and a bare client where the token itself is judged."""

import json
import shutil
import subprocess
import time
import unittest
from pathlib import Path

from secure import NO_VERDICT, NOTES, READINGS, REFUSED, Bare, Secure, attempt, status_of, wait_for
from harness import NEAP, NEAPD, Writer


def tracked(stack, user, name):
    d = stack.device(user, name)
    d.script(NOTES + ";" + READINGS)
    d.init()
    d.neap("track", "notes")
    d.neap("track", "readings", "--append")
    d.sync()
    return d


class App(Writer):
    """Writes telemetry and a note of its own, about a hundred times a second."""

    def __init__(self, device):
        super().__init__(device, 0.01)

    def write(self, db):
        db.execute("INSERT INTO readings (v) VALUES (?)", (self.n,))
        db.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (self.device.name, str(self.n)))


def settled(devices):
    for d in devices:
        wait_for(f"{d.name} to be through", lambda d=d: (s := d.status())["pending_rows"] == 0 and s["state"] == "in-sync", 60)


class ShortLives(unittest.TestCase):
    """Access tokens of a few seconds, so that a fleet renews them while it works."""

    @classmethod
    def setUpClass(cls):
        cls.stack = Secure(token_life_s=5)
        cls.enterClassContext(cls.stack)

    def expect_all(self, user, writers):
        """What the apps wrote is on the server once, and every device has every note."""
        want = {w.device.name: str(w.n) for w in writers}
        for w in writers:
            got = self.stack.sql("SELECT count(*), count(DISTINCT v), max(v) FROM readings WHERE user_id = ? AND device_id = ?", user, w.device.name)
            self.assertEqual(got, [(w.n, w.n, w.n)])
            wait_for("every note everywhere", lambda w=w: dict(w.device.sql("SELECT id, body FROM notes")) == want, 15)

    def test_t06_renewal_on_a_live_connection_loses_nothing(self):
        stack = self.stack
        stack.add_user("renew")
        devices = [tracked(stack, "renew", name) for name in ("d1", "d2")]
        before = stack.status()["ingest"]
        for d in devices:
            d.start()
        writers = [App(d) for d in devices]
        for w in writers:
            w.start()
        wait_for("three renewals of each", lambda: all(len(stack.events("refresh", device=d.name, user="renew")) >= 4 for d in devices), 40)
        for w in writers:
            w.stop()
        settled(devices)
        self.expect_all("renew", writers)
        after = stack.status()["ingest"]
        renewals = len(stack.events("refresh", user="renew"))
        print(f"{sum(w.n for w in writers)} rows, {after['sets'] - before['sets']} sets, {renewals} renewals, "
              f"{after['duplicates'] - before['duplicates']} sets sent twice", flush=True)
        # It changes over when nothing is under way, or after 2 s: on a busy machine a set may go twice, and counts once.
        self.assertLessEqual(after["duplicates"] - before["duplicates"], renewals)
        # They were renewed in time: the broker had to end none.
        self.assertEqual([e for e in stack.broker_events("disconnected") if e["client"].startswith("renew/")], [])
        self.assertEqual(stack.events("refresh_reused"), [])
        for d in devices:
            d.kill()

    def test_t09_crash_around_the_file_write(self):
        stack = self.stack
        stack.add_user("crash")
        d = tracked(stack, "crash", "d1")
        secret = Path(d.db + ".neap-secret")

        def refreshed():
            d.sql("INSERT INTO readings (v) VALUES (1)")
            d.sync()
            return secret.read_bytes()

        def put_back(content):
            secret.write_bytes(content)

        first = secret.read_bytes()
        second = refreshed()
        self.assertNotEqual(first, second)
        put_back(first)  # the answer came, and the power went before it was on disk
        third = refreshed()
        d.sync()  # … and after it was, before anything else
        put_back(second)  # a copy of the answer that was lost: its successor was used
        d.sql("INSERT INTO readings (v) VALUES (2)")
        self.assertIn("log in", d.sync(code=4))
        self.assertEqual(d.status()["pending_rows"], 1)
        self.assertEqual(len(stack.events("refresh_reused", user="crash", device="d1")), 1)
        put_back(third)  # the family is dead, whoever comes
        d.sync(code=4)
        d.init()
        d.sync()
        self.assertEqual(stack.sql("SELECT count(*) FROM readings WHERE user_id = 'crash'"), [(3,)])

    def test_t09_clones_and_lost_replies(self):
        stack = self.stack
        stack.add_user("clone")
        first = stack.login("clone", "d1")
        stack.refresh(first)  # the reply is lost …
        again = stack.refresh(first)  # … and asked for once more
        self.assertEqual(attempt(again), 0)
        newer = stack.refresh(again)
        # A clone comes with what the device had before: both are out.
        self.assertEqual(status_of(stack.refresh, first), 401)
        self.assertEqual(status_of(stack.refresh, newer), 401)
        (reuse,) = stack.events("refresh_reused", user="clone")
        self.assertIn("log in again", reuse["why"])

    def test_keys_rotate_under_a_running_fleet(self):
        stack = self.stack
        stack.add_user("rotate")
        devices = [tracked(stack, "rotate", f"d{i}") for i in range(3)]
        logins = len(stack.events("login", user="rotate"))
        for d in devices:
            d.start()
        writers = [App(d) for d in devices]
        for w in writers:
            w.start()

        def refreshes():
            return min(len(stack.events("refresh", user="rotate", device=d.name)) for d in devices)

        wait_for("the fleet to send", lambda: all(stack.sql("SELECT count(*) FROM readings WHERE device_id = ?", d.name)[0][0] > 20 for d in devices), 60)
        stack.neapd("key", "rotate", "token", "--after", "1s")
        wait_for("the new key to sign", lambda: len(stack.events("token_key_signs")) == 2, 60)
        stack.neapd("key", "rotate", "master")
        wait_for("new group keys", lambda: stack.events("group_key_sent", user="rotate"), 60)
        wait_for("two renewals since", lambda n=refreshes(): refreshes() >= n + 2, 30)
        for w in writers:
            w.stop()
        settled(devices)
        self.expect_all("rotate", writers)

        keys = json.loads(stack.neapd("key", "list", "--json"))["keys"]
        self.assertEqual([(k["kind"], k["in_use"]) for k in keys], [("master", False), ("master", True), ("token", False), ("token", True)])
        self.assertIn("still be needed", stack.neapd("key", "retire"))
        # Three hours later, as far as the command is concerned.
        done = subprocess.run(["faketime", "-f", "+3h", NEAPD, "key", "retire", "--config", stack.env["NEAP_CONFIG"]], capture_output=True, text=True, timeout=30)
        self.assertEqual((done.returncode, done.stdout.count("removed")), (0, 2), done.stderr)
        wait_for("neapd and the broker to drop them", lambda: stack.events("master_key_removed") and stack.events("token_key_removed")
                 and stack.broker_events("token_keys_loaded")[-1]["keys"] == "1", 60)
        self.assertEqual(len(list((stack.folder / "broker" / "token-keys").glob("*.pem"))), 1)
        devices[0].sql("INSERT INTO notes VALUES ('last', 'word')")
        for d in devices[1:]:
            wait_for("sync goes on", lambda d=d: d.sql("SELECT body FROM notes WHERE id = 'last'") == [("word",)], 15)
        self.assertEqual(len(stack.events("login", user="rotate")), logins)
        for d in devices:
            d.kill()


class Revocation(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Secure()
        cls.enterClassContext(cls.stack)

    def fleet(self, user, n):
        """n databases in one agent; returns them with the agent's process."""
        devices = [tracked(self.stack, user, f"d{i}") for i in range(n)]
        with open(self.stack.dir / f"agent-{user}.log", "ab") as log:
            agent = subprocess.Popen([NEAP, "run", *(d.db for d in devices)], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.addCleanup(agent.wait)
        self.addCleanup(agent.kill)
        settled(devices)
        return devices

    def test_t07_a_revoked_device_is_out_at_once_and_stays_out(self):
        stack = self.stack
        stack.add_user("thief")
        session, good = stack.login("thief", "stolen"), stack.login("thief", "mine")
        bare, other = Bare(session), Bare(good)
        self.assertEqual((bare.reason, other.reason), (0, 0))
        began = time.monotonic()
        stack.neapd("device", "revoke", "thief", "stolen")
        bare.ended.get(timeout=60)
        # Below 1 s but on a machine that is busy with other things.
        print(f"a revoked device is disconnected after {time.monotonic() - began:.3f} s", flush=True)
        self.assertEqual(attempt(session), REFUSED)
        self.assertTrue(other.ended.empty())
        (kick,) = stack.broker_events("disconnected", client="thief/stolen")
        self.assertEqual(kick["why"], "revoked")

        stack.restart_broker()  # it knows nothing, and neapd tells it
        self.assertEqual(attempt(session), REFUSED)
        self.assertEqual(attempt(good), 0)
        stack.kill_backend()
        self.assertEqual(attempt(session), REFUSED)
        self.assertEqual(attempt(good), 0)
        stack.new_broker_alone()  # nobody tells it: it lets nobody in
        wait_for("the broker to listen", lambda: stack.broker_events("connect_must_wait") or attempt(good) is not NO_VERDICT, 60)
        for _ in range(3):
            self.assertEqual((attempt(session), attempt(good)), (NO_VERDICT, NO_VERDICT))
        stack.restart_backend()
        self.assertEqual(attempt(session), REFUSED)
        self.assertEqual(attempt(good), 0)

    def test_t08_the_others_go_on_without_a_rush(self):
        stack = self.stack
        stack.add_user("group")
        devices = self.fleet("group", 8)
        thief = stack.login("group", "thief")
        writer = App(devices[0])  # messages under the new key come before the key itself
        writer.start()
        wait_for("it to write", lambda: writer.n > 20, 60)
        stack.neapd("device", "revoke", "group", "thief")
        self.assertEqual(status_of(stack.login, "group", "thief"), 403)
        self.assertEqual(status_of(stack.refresh, thief), 401)
        wait_for("the new key", lambda: stack.events("group_key_sent", user="group"), 60)
        n = writer.n
        wait_for("it to write on", lambda: writer.n > n + 50, 60)
        writer.stop()
        for i in range(3):
            devices[i].sql("INSERT INTO notes VALUES (?, 'after')", f"n{i}")
            for d in devices:
                wait_for("rows under the new key", lambda d=d: len(d.sql("SELECT * FROM notes")) == i + 2, 60)
        time.sleep(7.5)  # a refresh because of it would come within 7 s
        self.assertEqual(stack.events("refresh", user="group"), [])
        for d in devices:
            self.assertEqual(d.sql("SELECT body FROM notes WHERE id = 'd0'"), [(str(writer.n),)])
        stack.neapd("device", "allow", "group", "thief")
        self.assertEqual(attempt(thief), REFUSED)
        self.assertEqual(attempt(stack.login("group", "thief")), 0)

    def test_a_new_password_and_a_removed_account_end_every_login(self):
        stack = self.stack
        stack.add_user("leak")
        old = stack.login("leak", "a")
        d = tracked(stack, "leak", "b")
        d.sql("INSERT INTO notes VALUES ('kept', 'here')")
        bare = Bare(old)
        new = stack.dir / "new-password"
        new.write_text("quite another password\n")
        new.chmod(0o600)
        stack.neapd("user", "passwd", "leak", "--password-file", str(new))
        bare.ended.get(timeout=60)
        self.assertEqual(attempt(old), REFUSED)
        self.assertEqual(status_of(stack.refresh, old), 401)
        self.assertEqual(status_of(stack.login, "leak", "a"), 401)
        d.sync(code=4)
        self.assertEqual(d.status()["pending_rows"], 1)
        again = stack.login("leak", "a", "quite another password")
        for name in ("message_key", "group_key"):
            self.assertGreater(int(again[name]["kid"]), int(old[name]["kid"]))
        d.init(password_file=str(new))
        d.sync()
        self.assertEqual(stack.sql("SELECT body FROM notes WHERE user_id = 'leak'"), [("here",)])

        bare = Bare(again)
        stack.neapd("user", "remove", "leak")
        bare.ended.get(timeout=60)
        self.assertEqual(attempt(again), REFUSED)
        self.assertEqual(status_of(stack.refresh, again), 401)
        self.assertEqual(status_of(stack.login, "leak", "a", "quite another password"), 401)
        self.assertEqual(stack.sql("SELECT body FROM notes WHERE user_id = 'leak'"), [("here",)])

    def test_the_brokers_keys_are_what_its_folder_has(self):
        stack = self.stack
        stack.add_user("keys")
        session = stack.login("keys", "a")
        kept = Bare(session)
        self.assertEqual(kept.reason, 0)
        stack.reload_broker()
        self.assertEqual(attempt(stack.login("keys", "c")), 0)
        self.assertTrue(kept.ended.empty())
        keys = stack.folder / "broker" / "token-keys"
        (pem,) = keys.glob("*.pem")
        aside = stack.dir / "aside.pem"
        other = stack.login("keys", "b")
        shutil.move(pem, aside)
        stack.reload_broker()
        self.assertEqual(attempt(other), NO_VERDICT)
        kept.ended.get(timeout=60)  # Mosquitto asks for every connection again on SIGHUP
        pem.write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
        stack.reload_broker()
        self.assertEqual(attempt(other), NO_VERDICT)
        self.assertIn(pem.name, stack.broker_events("token_key_unusable")[-1]["why"])
        shutil.move(aside, pem)
        stack.reload_broker()
        self.assertEqual(attempt(other), 0)
        # All of that did not disturb the backend, whose rights come by certificate.
        self.assertTrue(stack.status()["broker"]["connected"])
        self.assertEqual(stack.status()["broker"]["failures"], 0)


class Restored(unittest.TestCase):
    def test_t19_an_old_auth_db_and_a_wiped_store(self):
        with Secure(token_life_s=5) as stack:
            stack.add_user("site")
            kept, gone = (tracked(stack, "site", name) for name in ("kept", "gone"))
            kept.script("INSERT INTO notes VALUES ('n', 'one'); INSERT INTO readings VALUES (1, 10), (2, 20)")
            kept.sync()
            gone.sync()
            stack.neapd("backup", str(stack.dir / "auth-copy.db"), "--auth")
            stack.neapd("device", "revoke", "site", "gone")
            for v in (30, 40):
                kept.sql("INSERT INTO readings (v) VALUES (?)", v)
                kept.sync()  # each with a refresh that the copy does not know of
            logins = len(stack.events("login"))
            stack.kill_backend()
            for name in ("store.db", "store.db-wal", "store.db-shm"):
                (stack.folder / "data" / name).unlink(missing_ok=True)
            for name in ("auth.db-wal", "auth.db-shm"):
                (stack.folder / "auth" / name).unlink(missing_ok=True)
            shutil.copy(stack.dir / "auth-copy.db", stack.folder / "auth" / "auth.db")
            stack.restart_backend()

            kept.sql("INSERT INTO notes VALUES ('m', 'two')")
            kept.sync(60)
            self.assertEqual(len(stack.events("refresh_from_the_future", user="site", device="kept")), 1)
            self.assertEqual(stack.sql("SELECT v FROM readings WHERE user_id = 'site' ORDER BY v"), [(10,), (20,), (30,), (40,)])
            gone.sql("INSERT INTO notes VALUES ('x', 'no')")
            gone.sync(code=4)
            self.assertEqual(status_of(stack.login, "site", "gone"), 403)
            self.assertEqual(len(stack.events("login")), logins)
            kept.sync()


if __name__ == "__main__":
    unittest.main(verbosity=2)
