"""A Neap device in Python, from docs/protocol.md alone. It keeps its state in memory: enough to show
that two ends which share no line of code understand each other, and no more (no crash safety, no merge)."""

import hashlib
import json
import queue
import secrets
import ssl
import sys
import time
import urllib.request
from pathlib import Path

import cbor2
import jwt
import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import row_writer
from sealing import PART, Parts, Sealer, cbor, frame_of, open_sealed, parts_of

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "vectors"))
from read_rows import read_tables  # noqa: E402

HELLO, SET, PULL, DECLARE = 1, 2, 4, 5
WELCOME, ACK, EXPECT, BUSY, PAGE, RESET, REFUSE, KEY = 16, 17, 18, 19, 20, 21, 22, 23
CHANGE, HEAD = 32, 33
MESSAGE_BYTES = 4096


def random_id():
    return secrets.randbelow((1 << 63) - 2) + 1


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def post(server, ca, path, body):
    context = ssl.create_default_context(cafile=ca)
    request = urllib.request.Request(server + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), NoRedirect)
    with opener.open(request, timeout=20) as answer:
        return json.load(answer)


def login(server, ca, user, password, device):
    """The answer of POST /v1/login."""
    return post(server, ca, "/v1/login", {"user": user, "password": password, "device": device})


def refresh(server, ca, token):
    """The answer of POST /v1/refresh. A device has the new token on disk before it uses anything of it."""
    return post(server, ca, "/v1/refresh", {"refresh_token": token})


def jwk(member):
    """(epoch, key) of a JWK as the login gives it, parsed by a JOSE library."""
    assert member["key_ops"] == ["deriveKey"]
    return int(member["kid"]), jwt.PyJWK.from_dict(member, algorithm="HS256").key


class Shape:
    """A table as this client declares it."""

    def __init__(self, name, kind, direction, key_is_number, keys, columns):
        self.columns = [c[0] for c in columns]
        self.declaration = [name, kind, direction, key_is_number, keys, columns, []]
        self.encoded = cbor(self.declaration)
        self.id = hashlib.sha256(self.encoded).digest()[:8]


class Client:
    def __init__(self, session):
        self.user, self.device = session["user"], session["device"]
        self.prefix = f"neap/v1/{hashlib.sha256(self.user.encode()).hexdigest()[:2]}/{self.user}"
        assert session["topic_prefix"] == self.prefix
        self.session = session
        self.epoch, self.message_key = jwk(session["message_key"])
        group_epoch, group_key = jwk(session["group_key"])
        self.group_epoch, self.group_keys = group_epoch, {group_epoch: group_key}
        self.seal = Sealer(self.message_key, "up", self.user, self.device, self.epoch)
        self.frames, self.parts = queue.Queue(), Parts()
        self.site, self.number, self.cut = random_id(), 0, 0
        self.position = [0, 0, 0, 0, 0, 0]
        self.pulls = 0
        self.shapes, self.known = {}, {}
        self.dropped = 0

    def renew(self, session):
        """Goes on with the answer of a refresh: site, numbers and position stay, and no hello is needed."""
        self.close()
        assert (session["user"], session["device"]) == (self.user, self.device)
        self.session = session
        self.epoch, self.message_key = jwk(session["message_key"])
        epoch, key = jwk(session["group_key"])
        if epoch >= self.group_epoch:  # a newer one may have come by `key`
            self.group_epoch = epoch
        self.group_keys[epoch] = key
        self.seal = Sealer(self.message_key, "up", self.user, self.device, self.epoch)
        self.connect()

    # --- MQTT ---

    def topic(self, name):
        return f"{self.prefix}/{name}"

    def connect(self):
        broker = self.session["broker"]
        c = mqtt.Client(f"{self.user}/{self.device}", protocol=mqtt.MQTTv5)
        c.username_pw_set(self.user, self.session["access_token"])
        context = ssl.create_default_context(cadata=broker["ca"])
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        c.tls_set_context(context)
        c.will_set(self.topic(self.device + "/presence"), b"offline", 0, True)
        answers = queue.Queue()
        c.on_connect = lambda _c, _u, _f, reason, _p: answers.put(reason)
        c.on_subscribe = lambda _c, _u, _m, reasons, _p: answers.put(reasons)
        c.on_message = lambda _c, _u, message: self.arrived(message)
        expiry = Properties(PacketTypes.CONNECT)
        expiry.SessionExpiryInterval = 0
        c.connect(broker["host"], broker["port"], keepalive=60, clean_start=True, properties=expiry)
        c.loop_start()
        self.mqtt = c
        reason = answers.get(timeout=20)
        assert reason == 0, f"CONNACK: {reason}"
        for name in (self.device + "/down", "changes/+", "head"):
            c.subscribe(self.topic(name), 0)
            assert all(r.value == 0 for r in answers.get(timeout=20)), name
        c.publish(self.topic(self.device + "/presence"), b"online", 0, True)

    def close(self):
        self.mqtt.disconnect()
        self.mqtt.loop_stop()

    def arrived(self, message):
        """Opens a message and queues its frame; what does not open is counted and dropped."""
        try:
            kind, peer, keys = self.whose(message.topic)
            frame = frame_of(open_sealed(keys, kind, self.user, peer, message.payload))
            if frame[0] == PART:
                plain = self.parts.add(frame)
                frame = plain and frame_of(plain)
        except Exception:
            self.dropped += 1
            return
        if frame:
            self.frames.put(frame)

    def whose(self, topic):
        assert topic.startswith(self.prefix + "/")
        rest = topic[len(self.prefix) + 1 :]
        if rest == self.device + "/down":
            return "down", self.device, {self.epoch: self.message_key}
        if rest == "head":
            return "head", "", self.group_keys
        first, origin = rest.split("/")
        assert first == "changes"
        return "changes", origin, self.group_keys

    def send(self, frame, cut=None):
        for plain in parts_of(cbor(frame), cut or random_id(), MESSAGE_BYTES):
            self.mqtt.publish(self.topic(self.device + "/up"), self.seal(plain), 1).wait_for_publish(20)

    def next_frame(self, *types, seconds=20):
        """The next frame of these types; group keys on the way are taken, others passed over."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                frame = self.frames.get(timeout=max(0.001, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no frame of type {types} within {seconds} s") from None
            if frame[0] == KEY and frame[1] > self.group_epoch:
                self.group_epoch = frame[1]
                self.group_keys[frame[1]] = frame[2]
            if frame[0] in types:
                return frame

    # --- the session ---

    def hello(self, shapes):
        """S3, S6, S9: says hello, declares what the server does not know, pulls all. Returns the rows pulled."""
        nonce = random_id()
        self.known = {s.id: s for s in shapes}
        self.shapes.update({s.id: s.declaration for s in shapes})
        self.send([HELLO, nonce, self.site, self.number, self.cut, self.position, b"".join(self.known)])
        while (answer := self.next_frame(WELCOME, RESET))[1] != nonce:
            pass
        assert answer[0] == WELCOME, answer
        _, _, store, term, head, _server_ms, site, status, _number, _cut, _noted, unknown = answer
        assert (site, status) == (self.site, 0)
        ids = [unknown[i : i + 8] for i in range(0, len(unknown), 8)]
        if ids:
            self.send([DECLARE, [self.known[i].encoded for i in ids]])
        if self.position[0] == 0:
            self.position = [store, term, 0, 0, 1, head]
        return self.pull()

    def pull(self):
        """Pulls until nothing is missing (S24, S28, S29). Returns the rows, in order, as (table's name, row)."""
        rows, token = [], b""
        while True:
            nonce, self.pulls = random_id(), self.pulls + 1
            self.send([PULL, nonce, self.pulls, self.position, token, 32768])
            while (page := self.next_frame(PAGE))[1] != nonce:
                pass
            _, _, store, term, start, upto, head, token, shapes, data = page
            assert (store, term, start) == (*self.position[:2], self.position[2])
            rows += self.rows_of(data, shapes)
            self.position[2:4] = upto, max(self.position[3], head)
            if not token and upto >= self.position[3]:
                self.position[4:] = [0, 0]
                return rows

    def rows_of(self, data, shapes=()):
        for encoded in shapes:
            self.shapes[hashlib.sha256(encoded).digest()[:8]] = cbor2.loads(encoded)
        return [(self.shapes[shape][0], row) for shape, rows in read_tables(data, 0, self.shapes) for row in rows]

    def send_set(self, tables):
        """S10: a change set of these packed tables. Returns its ack's (head, own seq)."""
        self.number, self.cut = self.number + 1, random_id()
        seen = [self.position[2]] if self.position[2] else []  # S10a
        self.send([SET, self.site, self.number, self.cut, b"".join(tables), *seen], self.cut)
        while True:
            frame = self.next_frame(ACK, REFUSE, EXPECT)
            assert frame[0] == ACK, frame
            _, _store, _term, site, number, head, pairs = frame
            if site == self.site and number >= self.number:
                own = dict(zip(pairs[::2], pairs[1::2])).get(self.number, 0)
                if own == self.position[2] + 1:
                    self.position[2] = own  # S18: the ack stands in for the echo
                return head, own

    def change(self, seconds=20):
        """The next broadcast that is the cursor's successor (S26): its rows."""
        while True:
            _, term, seq, data = self.next_frame(CHANGE, seconds=seconds)
            if term == self.position[1] and seq == self.position[2] + 1:
                self.position[2] = seq
                return self.rows_of(data)


def stamp_now():
    return int(time.time() * 1000) << 16


def merge_rows(shape, rows):
    return row_writer.merge_table(shape.id, shape.columns, rows)


def append_rows(shape, rows):
    return row_writer.append_table(shape.id, rows)
