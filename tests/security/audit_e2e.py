#!/usr/bin/env python3
"""Each event of the audit trail that strangers, devices and operators can cause, and what cannot be smuggled into it."""

import re
import socket
import sqlite3
import ssl
import unittest
from urllib.parse import urlparse

import paho.mqtt.client as mqtt

from secure import PASSWORD, REFUSED, TESTS, Bare, Secure, record, status_of, wait_for

HOSTILE = 'root" status=200 from=10.0.0.1\n2026-01-01T00:00:00.000Z level=info event=login user=root\r\x1b[2J\u2028\\'


class Audit(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Secure()
        cls.enterClassContext(cls.stack)
        cls.secrets = [PASSWORD]

    def last(self, event, **members):
        found = self.stack.events(event, **members)
        self.assertTrue(found, f"no {event} {members}")
        return found[-1]

    def soon(self, event, **members):
        wait_for(f"{event} {members}", lambda: self.stack.events(event, **members), 60)
        return self.last(event, **members)

    def test_logins_and_refusals(self):
        stack = self.stack
        stack.add_user("anna")
        session = stack.login("anna", "d1")
        self.assertEqual(self.last("login", user="anna")["device"], "d1")
        self.assertEqual(self.last("login", user="anna")["from"], "127.0.0.1")
        newer = stack.refresh(session)
        self.last("refresh", user="anna", device="d1")
        self.secrets += [session["access_token"], session["refresh_token"], newer["refresh_token"], session["group_key"]["k"]]
        self.assertEqual(status_of(stack.login, "anna", "d1", "a wrong password"), 401)
        refused = self.last("login_refused", user="anna")
        self.assertEqual((refused["status"], refused["device"], refused["from"], refused["level"]), ("401", "d1", "127.0.0.1", "warn"))
        self.assertEqual(status_of(stack.refresh, {"refresh_token": "A" * 102}), 401)
        self.assertEqual(self.last("refresh_refused")["status"], "401")
        code = stack.neapd("device", "enrol", "anna", "kiosk").strip()
        self.secrets.append(code)
        self.assertEqual(self.soon("code_made", user="anna", device="kiosk")["level"], "info")
        d = stack.device("anna", "kiosk")
        where = ["--server", stack.env["NEAP_SERVER"], "--ca", stack.env["NEAP_CA"], "--code", code]
        d.neap("init", *where)
        self.last("enrol", user="anna", device="kiosk")
        self.soon("code_used", user="anna", device="kiosk")
        stack.device("anna", "other").neap("init", *where, code=4)
        self.last("enrol_refused", status="401")

    def test_changes_of_accounts(self):
        stack = self.stack
        stack.add_user("bert")
        added = self.soon("account_added", user="bert")
        self.assertRegex(added["at"], r"^\d{10}$")
        self.assertRegex(added["uid"], r"^\d+$")
        stack.login("bert", "d1")
        stack.neapd("device", "revoke", "bert", "d1")
        self.soon("device_revoked", user="bert", device="d1")
        self.soon("group_key_sent", user="bert")
        self.assertEqual(status_of(stack.login, "bert", "d1"), 403)
        self.last("login_refused", user="bert", status="403")
        stack.neapd("device", "allow", "bert", "d1")
        self.soon("device_allowed", user="bert", device="d1")
        stack.neapd("user", "passwd", "bert", "--password-file", str(stack.password_file))
        self.soon("password_changed", user="bert")
        stack.neapd("user", "remove", "bert")
        self.soon("account_removed", user="bert")

    def test_a_hostile_name_forges_nothing(self):
        stack = self.stack
        self.assertEqual(status_of(stack.login, HOSTILE, "d1"), 401)
        self.assertEqual(status_of(stack.login, "anna", HOSTILE), 400)
        (line,) = [r for r in stack.events("login_refused") if r.get("user", "").startswith("root") and r["status"] == "401"]
        self.assertIn("\\x0a2026", line["user"])
        self.assertEqual([r for r in stack.events("login") if r["user"] == "root"], [])
        c = mqtt.Client('anna/d1" why="', protocol=mqtt.MQTTv5)
        c.username_pw_set("x\" y", "none")
        c.tls_set_context(ssl.create_default_context(cafile=stack.folder / "ca" / "broker.pem"))
        c.connect("127.0.0.1", int(stack.env["NEAP_MQTT_PORT"]))
        c.loop_start()
        wait_for("the broker's line", lambda: stack.broker_events("connect_refused", client='anna/d1" why="'), 60)
        c.loop_stop()
        # Every line is one record: the parser takes nothing else.
        for line in (stack.folder / "neapd.log").read_text().splitlines():
            record(line)

    def test_a_flood_is_counted_not_written(self):
        stack = self.stack
        url = urlparse(stack.env["NEAP_SERVER"])
        tls = ssl.create_default_context(cafile=stack.env["NEAP_CA"])
        for _ in range(40):
            with tls.wrap_socket(socket.create_connection((url.hostname, url.port)), server_hostname="localhost") as s:
                s.sendall(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
                self.assertIn(b" 404 ", s.recv(4096))
        lines = stack.events("request_refused", status="404")
        self.assertLessEqual(len(lines), 20)
        self.assertGreaterEqual(len(lines), 10)

    def test_the_brokers_part(self):
        stack = self.stack
        stack.add_user("carl")
        session = stack.login("carl", "d1")
        bare = Bare(session)
        bare.mqtt.publish("neap/v1/00/other/d1/up", b"x", 1)
        bare.mqtt.subscribe("#")
        wait_for("both refusals", lambda: stack.broker_events("publish_refused", client="carl/d1", topic="neap/v1/00/other/d1/up")
                 and stack.broker_events("subscribe_refused", client="carl/d1", topic="#"), 60)
        stack.neapd("device", "revoke", "carl", "d1")
        bare.ended.get(timeout=60)
        wait_for("the end", lambda: stack.broker_events("disconnected", client="carl/d1", why="revoked"), 60)
        self.assertEqual(Bare(session).reason, REFUSED)
        wait_for("the refusal", lambda: stack.broker_events("connect_refused", user="carl", client="carl/d1"), 60)
        stack.reload_broker()
        self.assertEqual(stack.broker_events("token_keys_loaded")[-1]["keys"], "1")

    def test_a_message_that_does_not_open(self):
        stack = self.stack
        stack.add_user("dora")
        session = stack.login("dora", "d1")
        bare = Bare(session)
        bare.mqtt.publish(session["topic_prefix"] + "/d1/up", b"no seal at all", 1)
        self.assertEqual(self.soon("message_refused", user="dora")["device"], "d1")
        bare.close()

    def test_when_its_own_files_fail(self):
        """A key that is none, a login that cannot be answered, changes of accounts that cannot be told: each is said, and over with its cause."""
        stack = self.stack
        stack.add_user("emil")
        auth = stack.folder / "auth"
        bad = auth / "keys" / "master-1"
        bad.write_bytes(b"no key")
        bad.chmod(0o600)
        self.assertEqual(self.soon("keys_not_read")["level"], "error")
        bad.unlink()
        db = sqlite3.connect(auth / "auth.db", isolation_level=None)
        db.execute("BEGIN IMMEDIATE")
        try:
            self.assertEqual(status_of(stack.login, "emil", "d1"), 503)
            self.assertEqual(self.last("login_failed")["level"], "error")
            with (auth / "revocations.log").open("a") as log:
                log.write("\n")
            self.soon("trail_not_written")
        finally:
            db.execute("ROLLBACK")
            db.close()
        self.assertEqual(status_of(stack.login, "emil", "d1"), 200)
        stack.neapd("device", "revoke", "emil", "d1")
        self.soon("device_revoked", user="emil")

    @classmethod
    def tearDownClass(cls):
        """After all of them: nothing secret is in either log, and the page describes every event that came."""
        page = (TESTS.parent / "docs" / "operations.md").read_text()
        for name in ("neapd.log", "broker.log"):
            text = (cls.stack.folder / name).read_text(errors="replace")
            for secret in cls.secrets:
                assert secret not in text, f"a secret in {name}"
            for event in set(re.findall(r"event=([a-z_]+)", text)):
                assert f"`{event}`" in page, f"docs/operations.md does not tell of {event}"
        super().tearDownClass()


if __name__ == "__main__":
    unittest.main(verbosity=2)
