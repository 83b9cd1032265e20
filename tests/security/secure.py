"""What the tests of the lifecycle share: a stack with other settings, its logs as records, and a bare MQTT client."""

import json
import os
import queue
import re
import signal
import ssl
import subprocess
import sys
import urllib.error
from pathlib import Path

import paho.mqtt.client as mqtt

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "e2e"), str(TESTS / "interop")]
import client  # noqa: E402
from harness import PASSWORD, Stack, wait_for  # noqa: E402

NOTES = "CREATE TABLE notes (id TEXT PRIMARY KEY, body TEXT)"
READINGS = "CREATE TABLE readings (id INTEGER PRIMARY KEY, v INTEGER)"
REFUSED = 0x87
NO_VERDICT = None  # closed without a CONNACK: try again, do not refresh

PAIR = re.compile(r' ([a-z_]+)=("(?:[^"\\]|\\["\\]|\\x[0-9a-f]{2})*"|[!#-~]*)(?= |$)')


def record(line):
    """The pairs of one log line as a dict; fails if anything in it is no pair."""
    rest = PAIR.sub("", line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}Z|: neap:)", rest), line
    return {k: v[1:-1].replace('\\"', '"').replace("\\\\", "\\") if v[:1] == '"' else v for k, v in PAIR.findall(line)}


class Secure(Stack):
    """A stack whose neapd.conf differs."""

    def __init__(self, **settings):
        super().__init__()
        self.settings = settings
        self.brokers = []

    def __exit__(self, *why):
        super().__exit__(*why)
        for broker in self.brokers:
            broker.wait()

    def __enter__(self):
        super().__enter__()
        if self.settings:
            file = Path(self.env["NEAP_CONFIG"])
            file.write_text(json.dumps(json.loads(file.read_text()) | self.settings))
            self.restart_backend()
        return self

    @property
    def folder(self):
        return Path(self.env["NEAP_CONFIG"]).parent

    def events(self, event, **members):
        """Lines of neapd's audit trail."""
        lines = (self.folder / "neapd.log").read_text().splitlines()
        found = [record(line) for line in lines if f" event={event} " in line + " "]
        return [r for r in found if all(r.get(k) == v for k, v in members.items())]

    def broker_events(self, event, **members):
        lines = (self.folder / "broker.log").read_text(errors="replace").splitlines()
        found = [record(line) for line in lines if f" neap: event={event} " in line + " "]
        return [r for r in found if all(r.get(k) == v for k, v in members.items())]

    def login(self, user, device, password=PASSWORD):
        return client.login(self.env["NEAP_SERVER"], self.env["NEAP_CA"], user, password, device)

    def refresh(self, session):
        return client.refresh(self.env["NEAP_SERVER"], self.env["NEAP_CA"], session["refresh_token"])

    def reload_broker(self):
        before = len(self.broker_events("token_keys_loaded")) + len(self.broker_events("token_key_unusable"))
        os.kill(self.pid("BROKER_PID"), signal.SIGHUP)
        wait_for("the broker to have read its keys again",
                 lambda: len(self.broker_events("token_keys_loaded")) + len(self.broker_events("token_key_unusable")) > before, 60)

    def new_broker_alone(self):
        """Kills the broker and starts another, without waiting for a backend."""
        pid = self.pid("BROKER_PID")
        os.kill(pid, signal.SIGKILL)
        wait_for("the broker's end", lambda: not Path(f"/proc/{pid}").exists() or Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] == "Z", 60)
        with open(self.folder / "broker.log", "ab") as log:
            broker = subprocess.Popen(["/usr/sbin/mosquitto", "-c", str(self.folder / "broker" / "mosquitto.conf")],
                                      stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self.brokers.append(broker)
        (self.folder / "broker.pid").write_text(f"{broker.pid}\n")
        self.env["BROKER_PID"] = str(broker.pid)


def status_of(call, *args):
    """The HTTP status of a login or refresh."""
    try:
        call(*args)
    except urllib.error.HTTPError as e:
        return e.code
    return 200


class Bare:
    """One MQTT connection with a session's token, which nothing renews."""

    def __init__(self, session):
        self.ended, answers = queue.Queue(), queue.Queue()
        broker = session["broker"]
        c = mqtt.Client(f"{session['user']}/{session['device']}", protocol=mqtt.MQTTv5)
        c.username_pw_set(session["user"], session["access_token"])
        c.tls_set_context(ssl.create_default_context(cadata=broker["ca"]))
        c.reconnect_delay_set(600, 600)
        c.on_connect = lambda _c, _u, _f, reason, _p: answers.put(reason.value)
        c.on_disconnect = lambda *_: (answers.put(NO_VERDICT), self.ended.put(True))
        self.mqtt = c
        try:
            c.connect(broker["host"], broker["port"], keepalive=60, clean_start=True)
        except OSError:
            self.reason = NO_VERDICT
            return
        c.loop_start()
        self.reason = answers.get(timeout=20)

    def close(self):
        self.mqtt.disconnect()
        self.mqtt.loop_stop()


def attempt(session):
    """What the broker says to the session's token: 0, a reason, or NO_VERDICT."""
    bare = Bare(session)
    bare.close()
    return bare.reason
