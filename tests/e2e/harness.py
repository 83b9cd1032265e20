"""A private stack, devices of it, and waiting with a deadline. Only Python's standard library."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("NEAP_BUILD", ROOT / "build"))
NEAP = str(BUILD / "bin" / "neap")
NEAPD = str(BUILD / "bin" / "neapd")
PASSWORD = "a long enough password"


def wait_for(what, condition, seconds=15, interval=0.02):
    """Polls `condition` until it is true; fails after so many seconds. Returns how long it took."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(interval)
    return time.monotonic() - began


class Writer(threading.Thread):
    """An app that goes on writing to a device until it is stopped: `write(db)` is one write."""

    def __init__(self, device, pause_s):
        super().__init__()
        self.device, self.pause_s, self.done, self.n = device, pause_s, threading.Event(), 0

    def run(self):
        db = sqlite3.connect(self.device.db, timeout=30, isolation_level=None)
        while not self.done.wait(self.pause_s):
            self.n += 1
            self.write(db)
        db.close()

    def stop(self):
        self.done.set()
        self.join()


class Stack:
    """scripts/stack under a temporary folder; use as a context manager."""

    def __init__(self):
        self.dir = Path(tempfile.mkdtemp(prefix="neap-e2e."))
        self.env = {}
        self.devices = []

    def __enter__(self):
        try:
            self._run("start")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.password_file = self.dir / "password"
        self.password_file.write_text(PASSWORD + "\n")
        self.password_file.chmod(0o600)
        return self

    def __exit__(self, kind, value, trace):
        for device in self.devices:
            device.kill()
        if kind:
            for log in sorted(self.dir.glob("**/*.log")):
                text = log.read_text(errors="replace").splitlines()[-15:]
                print(f"-- {log.name}", *text, sep="\n")
        self._run("stop", check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    def _run(self, command, check=True):
        done = subprocess.run([ROOT / "scripts" / "stack", command, self.dir / "stack"], capture_output=True, text=True, timeout=90)
        if check and done.returncode:
            raise AssertionError(f"scripts/stack {command}: {done.stdout}{done.stderr}")
        file = self.dir / "stack" / "env"
        if file.exists():
            self.env = dict(line.split("=", 1) for line in file.read_text().splitlines())

    def restart_broker(self):
        self._run("restart-broker")

    def kill_backend(self):
        self._run("kill-backend")

    def restart_backend(self):
        self._run("restart-backend")

    def pid(self, name):
        return int(self.env[name])

    def neapd(self, *args, code=0):
        """An admin command; what it says, where it is to fail on stderr."""
        done = subprocess.run([NEAPD, *args, "--config", self.env["NEAP_CONFIG"]], capture_output=True, text=True, timeout=30)
        assert done.returncode == code, f"neapd {args}: exit {done.returncode}: {done.stderr}"
        return done.stderr if code else done.stdout

    def add_user(self, name):
        self.neapd("user", "add", name, "--password-file", str(self.password_file))

    def status(self):
        return json.loads(self.neapd("status", "--json"))

    def sql(self, text, *values):
        """One statement on the server's store, as an operator's shell would run it."""
        db = sqlite3.connect(self.env["NEAP_STORE"], timeout=10, isolation_level=None)
        try:
            return db.execute(text, values).fetchall()
        finally:
            db.close()

    def has_table(self, name):
        return self.sql("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?", name) == [(1,)]

    def device(self, user, name):
        device = Device(self, user, name)
        self.devices.append(device)
        return device

    def pair(self, user, create, rows=None):
        """Two devices, d1 and d2, of a new user, which track the tables that `create` makes; both have the `rows` that d1 inserted."""
        self.add_user(user)
        devices = [self.device(user, name) for name in ("d1", "d2")]
        for d in devices:
            d.script(create)
            tables = d.sql("SELECT name FROM sqlite_schema WHERE type = 'table'")
            d.init()
            for (table,) in tables:
                d.neap("track", table)
            d.sync()
        if rows:
            devices[0].script(rows)
            for d in devices:
                d.sync()
        return devices


class Device:
    """An app's database and what `neap` does with it."""

    def __init__(self, stack, user, name):
        self.stack, self.user, self.name = stack, user, name
        self.db = str(stack.dir / f"{user}-{name}.db")
        self.agent = None
        sqlite3.connect(self.db).close()

    def neap(self, *args, code=0, timeout=60):
        """Runs `neap COMMAND DB …`; the exit code must be `code`. Returns what it said."""
        command, rest = args[0], args[1:]
        done = subprocess.run([NEAP, command, self.db, *rest], capture_output=True, text=True, timeout=timeout)
        said = done.stdout + done.stderr
        if code is not None and done.returncode != code:
            raise AssertionError(f"neap {' '.join(args)} on {self.name}: exit {done.returncode}, not {code}: {said}")
        return said

    def init(self, **changes):
        code = changes.pop("code", 0)
        options = {
            "server": self.stack.env["NEAP_SERVER"],
            "user": self.user,
            "device": self.name,
            "ca": self.stack.env["NEAP_CA"],
            "password_file": str(self.stack.password_file),
            **changes,
        }
        args = []
        for name, value in options.items():
            args += ["--" + name.replace("_", "-"), value]
        return self.neap("init", *args, code=code)

    def sync(self, seconds=30, code=0):
        return self.neap("sync", "--timeout", str(seconds), code=code, timeout=seconds + 30)

    def status(self):
        return json.loads(self.neap("status", "--json"))

    def sql(self, text, *values):
        db = sqlite3.connect(self.db, timeout=10, isolation_level=None)
        try:
            return db.execute(text, values).fetchall()
        finally:
            db.close()

    def script(self, text):
        """Several statements, as an app with sqlite3 alone runs them."""
        db = sqlite3.connect(self.db, timeout=10, isolation_level=None)
        try:
            db.executescript(text)
        finally:
            db.close()

    def start(self, *options):
        log = open(self.stack.dir / f"agent-{self.name}.log", "ab")
        self.agent = subprocess.Popen([NEAP, "run", *options, self.db], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        log.close()

    def kill(self, how=signal.SIGKILL):
        if self.agent:
            self.agent.send_signal(how)
            code = self.agent.wait(timeout=20)
            self.agent = None
            return code
        return None
