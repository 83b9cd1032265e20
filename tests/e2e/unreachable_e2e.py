#!/usr/bin/env python3
"""Why the broker cannot be reached, told apart: by neapd's log, by a device's status, with a real broker."""

import json
import os
import re
import shutil
import socket
import subprocess
import threading
import unittest
from pathlib import Path

from harness import NEAPD, Stack, wait_for

# A name that means 127.0.0.1, and that no certificate has.
ANOTHER_NAME = "127.1"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Backend(unittest.TestCase):
    """A second neapd, with accounts, keys and certificates of its own, is pointed at brokers."""

    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        cls.enterClassContext(cls.stack)
        cls.broker_ca = cls.stack.dir / "stack" / "ca" / "broker.pem"
        cls.backend_port = int(json.loads(Path(cls.stack.env["NEAP_CONFIG"]).read_text())["broker"].rsplit(":", 1)[1])

    def why(self, host, port, trust=False, certificate=False):
        """What a neapd says that connects there; with the stack's CA (`trust`), its client certificate."""
        own = self.stack.dir / self.id().rsplit(".", 1)[1]
        subprocess.run([NEAPD, "init", own, "--login-port", str(free_port()), "--mqtt-port", str(free_port())], check=True, capture_output=True, timeout=30)
        config = own / "neapd.conf"
        settings = json.loads(config.read_text())
        settings["broker"] = f"{host}:{port}"
        config.write_text(json.dumps(settings))
        if trust:
            shutil.copy(self.broker_ca, own / "ca" / "broker.pem")
        for name in ("backend-cert.pem", "backend-key.pem") if certificate else ():
            shutil.copy(self.stack.dir / "stack" / "tls" / name, own / "tls" / name)
        log = own / "neapd.log"
        with open(log, "wb") as out:
            neapd = subprocess.Popen([NEAPD, "serve", "--config", config], stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        try:
            said = re.compile(r'broker_unreachable host=\S+ port=\d+ why="(.*)"')
            wait_for("neapd to say why", lambda: said.search(log.read_text()), 20)
            return said.search(log.read_text())[1]
        finally:
            neapd.terminate()
            self.assertEqual(neapd.wait(timeout=20), 0)

    def test_refused(self):
        self.assertEqual(self.why("127.0.0.1", free_port()), "Connection refused")

    def test_a_name_that_is_none(self):
        self.assertIn("its name cannot be resolved", self.why("no-such-host.invalid", 8883))

    def test_a_certificate_of_another_authority(self):
        self.assertRegex(self.why("127.0.0.1", self.backend_port), "the broker's certificate is refused: .*(issuer|signed)")

    def test_a_certificate_of_another_host(self):
        self.assertRegex(self.why(ANOTHER_NAME, self.backend_port, trust=True, certificate=True), "the broker's certificate is refused: .*hostname mismatch")

    def test_the_broker_does_not_take_our_certificate(self):
        self.assertIn("it refuses our certificate", self.why("127.0.0.1", self.backend_port, trust=True))

    def test_the_broker_does_not_take_us(self):
        # On the devices' listener nobody is the backend, whatever certificate is shown.
        why = self.why("127.0.0.1", self.stack.env["NEAP_MQTT_PORT"], trust=True, certificate=True)
        self.assertRegex(why, r"the broker refuses neapd: .*\(reason 13\d\)")

    def test_no_tls(self):
        with socket.socket() as plain:
            plain.bind(("127.0.0.1", 0))
            plain.listen()
            plain.settimeout(20)
            # The first connection is Paho's, the second asks why.
            def greet():
                for _ in range(2):
                    peer, _ = plain.accept()
                    with peer:
                        peer.sendall(b"220 mail.example ESMTP\r\n")
                        peer.recv(1000)

            thread = threading.Thread(target=greet, daemon=True)
            thread.start()
            self.assertIn("the TLS handshake failed: wrong version number", self.why("127.0.0.1", plain.getsockname()[1]))


class Device(unittest.TestCase):
    """An agent whose login told it another broker."""

    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        cls.enterClassContext(cls.stack)
        cls.stack.add_user("u")

    def trouble(self, code, **broker):
        """The trouble of an agent that has these in place of its broker's host, port, CA; a sync must exit with `code`."""
        d = self.stack.device("u", self.id().rsplit(".", 1)[1].replace("_", "-"))
        d.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, a)")
        d.init()
        d.neap("track", "t")
        secret = Path(d.db + ".neap-secret")
        settings = json.loads(secret.read_text())
        settings["grant"]["broker"].update(broker)
        secret.write_text(json.dumps(settings))
        d.sql("INSERT INTO t VALUES (1, 'kept')")
        said = d.sync(seconds=3, code=code)
        d.start()
        try:
            wait_for("the agent", lambda: os.path.exists(d.db + ".neap-sock"))
            wait_for("a reason", lambda: d.status()["troubles"], 20)
            status = d.status()
            found = status["troubles"][0]
            self.assertEqual(found["exit_code"], code)
            self.assertTrue(found["next_step"])
            self.assertEqual((status["state"], status["reason"], status["next_step"]), (found["state"], found["reason"], found["next_step"]))
            text = d.neap("status")
            for part in ("state", "reason", "next_step"):
                # When the next try is changes between two looks.
                self.assertIn(re.split(" in |: the next try|: it is tried", found[part])[0], text)
            self.assertIn(found["reason"], said)
            self.assertEqual(status["pending_rows"], 1)
            return found["state"], found["reason"]
        finally:
            d.kill()

    def test_refused(self):
        state, reason = self.trouble(3, port=free_port())
        self.assertEqual(state, "offline")
        self.assertIn("Connection refused", reason)

    def test_a_name_that_is_none(self):
        state, reason = self.trouble(3, host="no-such-host.invalid")
        self.assertEqual(state, "offline")
        self.assertIn("no-such-host.invalid", reason)
        self.assertIn("its name cannot be resolved", reason)

    def test_a_certificate_of_another_authority(self):
        state, reason = self.trouble(5, ca=(self.stack.dir / "stack" / "ca" / "login.pem").read_text())
        self.assertEqual(state, "certificate")
        self.assertRegex(reason, "certificate of the broker .* is refused: .*(issuer|signed)")

    def test_a_certificate_of_another_host(self):
        state, reason = self.trouble(5, host=ANOTHER_NAME)
        self.assertEqual(state, "certificate")
        self.assertIn("hostname mismatch", reason)


if __name__ == "__main__":
    unittest.main(verbosity=2)
