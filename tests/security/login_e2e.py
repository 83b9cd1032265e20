#!/usr/bin/env python3
"""The login server against those who guess, flood and smuggle (T10 to T12), and TLS that is not what it should be (T13)."""

import http.server
import json
import socket
import sqlite3
import ssl
import statistics
import subprocess
import sys
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from harness import PASSWORD, Stack, wait_for  # noqa: E402

SLOW_S = 20  # what a connection may take in all


def answer(raw):
    """Status, header lines but the date, body; how many status lines there are."""
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    return int(lines[0].split()[1]), [line for line in lines[1:] if not line.lower().startswith(b"date:")], body, raw.count(b"HTTP/1.1 ")


class Server(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        cls.enterClassContext(cls.stack)
        cls.port = int(cls.stack.env["NEAP_SERVER"].rsplit(":", 1)[1])
        cls.trust = ssl.create_default_context(cafile=cls.stack.env["NEAP_CA"])
        cls.stack.add_user("anna")

    def dial(self, source="127.0.0.1"):
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=60, source_address=(source, 0))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            return self.trust.wrap_socket(plain, server_hostname="localhost")
        except BaseException:
            plain.close()
            raise

    def ask(self, request, source="127.0.0.1"):
        """All that comes until the server closes."""
        with self.dial(source) as s:
            raw = b""
            try:
                s.sendall(request)
            except OSError:
                pass  # refused before all of it was taken: the answer is there
            try:
                while part := s.recv(65536):
                    raw += part
            except ssl.SSLEOFError:
                pass
            return raw

    def post(self, path, body, source="127.0.0.1"):
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        return self.ask(head.encode() + body, source)

    def login(self, user, password, device="d1", source="127.0.0.1"):
        return self.post("/v1/login", json.dumps({"user": user, "password": password, "device": device}).encode(), source)

    def healthy(self):
        self.assertEqual(answer(self.ask(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n"))[0], 200)

    def test_t10_refusals_look_alike(self):
        # Three tries a name are free of delay. The disabled ones have the right password.
        names = {"wrong password": [f"wrong{i}" for i in range(4)], "disabled": [f"out{i}" for i in range(4)], "unknown": [f"nobody{i}" for i in range(4)]}
        for user in names["wrong password"] + names["disabled"]:
            self.stack.add_user(user)
        auth = sqlite3.connect(self.stack.dir / "stack" / "auth" / "auth.db", timeout=10)
        with auth:
            auth.execute("UPDATE users SET disabled = 1 WHERE name LIKE 'out%'")
        auth.close()
        took, seen = {case: [] for case in names}, set()
        for i in range(12):
            for case, users in names.items():
                began = time.monotonic()
                raw = self.login(users[i % 4], PASSWORD if case == "disabled" else "not the password")
                took[case].append(time.monotonic() - began)
                status, headers, body, count = answer(raw)
                self.assertEqual((status, count), (401, 1))
                seen.add((tuple(headers), body))
        self.assertEqual(len(seen), 1, "headers and body are the same for all")
        medians = {case: statistics.median(t) * 1000 for case, t in took.items()}
        print("refused logins, median:", ", ".join(f"{case} {ms:.1f} ms" for case, ms in medians.items()))
        # What is judged holds on a busy machine, too: an answer without a password hash would take a tenth.
        fastest = {case: min(t) for case, t in took.items()}
        for case, least in fastest.items():
            self.assertGreater(least, max(fastest.values()) / 2, fastest)

    def test_t11_a_crowd_of_logins(self):
        crowd, results = 200, []
        grant = json.loads(answer(self.login("anna", PASSWORD, "refresher"))[2])

        def peak_kib():
            status = Path(f"/proc/{self.stack.pid('NEAPD_PID')}/status").read_text()
            return int(status.split("VmHWM:")[1].split()[0])

        def one(i):
            # From 8 addresses: one alone has 50 connections.
            try:
                raw = self.login("anna", PASSWORD, "crowd", f"127.0.0.{10 + i % 8}")
                results.append(answer(raw)[0] if raw else 0)
            except OSError:
                results.append(0)

        before = peak_kib()
        threads = [threading.Thread(target=one, args=(i,)) for i in range(crowd)]
        for t in threads:
            t.start()
        refreshes = []
        while any(t.is_alive() for t in threads):
            began = time.monotonic()
            raw = self.post("/v1/refresh", json.dumps({"refresh_token": grant["refresh_token"]}).encode(), "127.0.0.2")
            refreshes.append((time.monotonic() - began) * 1000)
            status, _, body, _ = answer(raw)
            self.assertEqual(status, 200, body)
            grant = json.loads(body)
            time.sleep(0.02)
        for t in threads:
            t.join()
        counts = {status: results.count(status) for status in sorted(set(results))}
        grown = (peak_kib() - before) / 1024
        print(f"{crowd} logins at once: {counts}; {len(refreshes)} refreshes beside them, median {statistics.median(refreshes):.0f} ms, longest {max(refreshes):.0f} ms; memory at its peak +{grown:.0f} MiB")
        self.assertGreater(counts.get(200, 0), 0)
        self.assertGreater(counts.get(503, 0), 0)
        self.assertEqual(set(counts) - {0, 200, 503, 429}, set())
        # A hash takes 19 MiB, and half the cores hash.
        self.assertLess(grown, 100)
        self.healthy()

    def test_t12_requests_that_break_http(self):
        json_post = b"POST /v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        hidden = b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
        drip, waited = threading.Thread(target=lambda: waited.update(self.slow())), {}
        drip.start()
        cases = {
            "1 MiB": (json_post + b"Content-Length: 1048576\r\n\r\n" + b"x" * 1048576, 413),
            "5,000 brackets": (json_post + b"Content-Length: 5000\r\n\r\n" + b"[" * 5000, 413),
            "4,000 brackets": (json_post + b"Content-Length: 4000\r\n\r\n" + b"[" * 4000, 400),
            "10^23": (json_post + b"Content-Length: 100000000000000000000000\r\n\r\n{}", None),
            "two lengths": (json_post + b"Content-Length: 2\r\nContent-Length: 52\r\n\r\n{}" + hidden, 411),
            "chunked and a length": (json_post + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, 411),
            "a blank before the colon": (json_post + b"Content-Length : 2\r\n\r\n{}" + hidden, 400),
            "duplicate members": (b'{"user":"anna","password":"x","device":"d1","user":"bob"}', 400),
            "no UTF-8": (b'{"user":"\xff\xfe","password":"x","device":"d1"}', 400),
            "GET": (b"GET /v1/login HTTP/1.1\r\nHost: localhost\r\n\r\n" + hidden, 405),
        }
        for name, (request, wanted) in cases.items():
            with self.subTest(name):
                raw = self.post("/v1/login", request) if request.startswith(b"{") else self.ask(request)
                if wanted is None and not raw:
                    continue  # the library hangs up
                status, headers, body, count = answer(raw)
                self.assertNotIn(b'"ok"', raw)
                if wanted is None:  # the library's own page, whose head it writes twice
                    self.assertTrue(400 <= status < 500, raw)
                    continue
                self.assertEqual(count, 1, "exactly one request is seen")
                self.assertEqual(status, wanted, raw)
                self.assertIn(b"application/problem+json", b"\n".join(headers))
                self.assertEqual(json.loads(body)["status"], wanted)
            self.healthy()
        drip.join()
        self.assertNotIn("error", waited)
        self.assertLess(waited["seconds"], SLOW_S + 10)
        self.assertGreater(waited["seconds"], SLOW_S / 2)

    def slow(self):
        """A header that comes byte by byte; how long it is listened to."""
        began = time.monotonic()
        try:
            with self.dial() as s:
                s.settimeout(0.25)
                s.sendall(b"POST /v1/login HTTP/1.1\r\nX: ")
                while time.monotonic() - began < 3 * SLOW_S:
                    try:
                        s.sendall(b"x")
                        if not s.recv(1000):
                            break
                    except TimeoutError:
                        continue
        except OSError:
            pass
        return {"seconds": time.monotonic() - began}


class Quiet(http.server.BaseHTTPRequestHandler):
    """A login server that sends everybody elsewhere."""

    def do_POST(self):
        self.server.asked += 1
        self.send_response(307)
        self.send_header("Location", self.server.elsewhere)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


class Tls(unittest.TestCase):
    """A device whose login server is not what it should be: refused, and `neap status` says why."""

    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        cls.enterClassContext(cls.stack)
        cls.stack.add_user("u")
        cls.dir = cls.stack.dir / "stack"

    def impostor(self, certificate, key, elsewhere="https://localhost:9/v1/refresh", address="127.0.0.1"):
        server = http.server.ThreadingHTTPServer((address, 0), Quiet)
        server.handle_error = lambda *args: None  # devices hang up, as they should
        server.asked, server.elsewhere = 0, elsewhere
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return server

    def expired(self):
        """A certificate for localhost by the right authority whose time is over."""
        key, request, cert = (self.stack.dir / f"expired.{end}" for end in ("key", "csr", "pem"))
        run = lambda *args: subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True, timeout=30)
        run("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
        run("req", "-new", "-key", key, "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-out", request)
        ca = self.stack.dir / "ca"
        ca.mkdir(exist_ok=True)
        (ca / "index.txt").write_text("")
        (ca / "serial").write_text("1001\n")
        (ca / "ca.conf").write_text(
            f"[ca]\ndefault_ca = d\n[d]\ndatabase = {ca}/index.txt\nserial = {ca}/serial\nnew_certs_dir = {ca}\ndefault_md = sha256\n"
            f"policy = p\ncopy_extensions = copy\nunique_subject = no\n[p]\ncommonName = supplied\n"
        )
        run("ca", "-batch", "-config", ca / "ca.conf", "-cert", self.dir / "ca" / "login.pem", "-keyfile", self.dir / "ca" / "login-key.pem",
            "-startdate", "20200101000000Z", "-enddate", "20200201000000Z", "-in", request, "-out", cert, "-notext")  # fmt: skip
        return cert, key

    def device(self, name):
        d = self.stack.device("u", name)
        d.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, a)")
        d.init()
        d.neap("track", "t")
        d.sql("INSERT INTO t VALUES (1, 'kept')")
        return d

    def refused(self, name, url, code, state, reason):
        """`neap init` and a device that has to refresh there: neither gets in, and both say the same."""
        fresh = self.stack.device("u", name + "-new")
        said = fresh.init(server=url, code=code)
        self.assertRegex(said, reason)
        d = self.device(name)
        secret = Path(d.db + ".neap-secret")
        settings = json.loads(secret.read_text())
        settings["server"] = url
        settings["received_ms"] -= 7200 * 1000  # its token has ended
        secret.write_text(json.dumps(settings))
        d.start()
        try:
            wait_for("the agent to say why", lambda: Path(d.db + ".neap-sock").exists() and d.status()["state"] == state, 20)
            self.assertRegex(d.status()["reason"], reason)
            self.assertEqual(d.status()["pending_rows"], 1)
        finally:
            d.kill()

    def test_t13_the_brokers_certificate(self):
        server = self.impostor(self.dir / "broker" / "cert.pem", self.dir / "broker" / "key.pem")
        self.refused("broker-cert", f"https://localhost:{server.server_port}", 5, "certificate", "certificate")
        self.assertEqual(server.asked, 0)

    def test_t13_an_expired_certificate(self):
        server = self.impostor(*self.expired())
        self.refused("expired", f"https://localhost:{server.server_port}", 5, "certificate", "expired")
        self.assertEqual(server.asked, 0)

    def test_t13_another_host(self):
        # The right certificate, at an address that it does not name.
        server = self.impostor(self.dir / "tls" / "login-cert.pem", self.dir / "tls" / "login-key.pem", address="127.0.0.2")
        self.refused("other-host", f"https://127.0.0.2:{server.server_port}", 5, "certificate", "127.0.0.2")
        self.assertEqual(server.asked, 0)

    def test_t13_a_redirect_is_not_followed(self):
        target = self.impostor(self.dir / "tls" / "login-cert.pem", self.dir / "tls" / "login-key.pem")
        server = self.impostor(
            self.dir / "tls" / "login-cert.pem", self.dir / "tls" / "login-key.pem", f"https://localhost:{target.server_port}/v1/login"
        )
        d = self.stack.device("u", "redirected")
        said = d.init(server=f"https://localhost:{server.server_port}", code=None)
        self.assertIn("redirect", said)
        self.assertFalse(Path(d.db + ".neap-secret").exists())
        self.assertEqual((server.asked, target.asked), (1, 0))


if __name__ == "__main__":
    unittest.main(verbosity=2)
