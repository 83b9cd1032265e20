#!/usr/bin/env python3
"""The project's vectors, judged by libraries that Neap does not use: a second CBOR, AES-GCM, HKDF, JWT and zstd."""

import base64
import hashlib
import json
import random
import sys
import unittest
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.serialization import load_pem_public_key

import row_writer
import sealing

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
sys.path.insert(0, str(VECTORS))
import read_rows  # noqa: E402  the reader written from the document


def load(name):
    return json.loads((VECTORS / f"{name}.json").read_text())


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Vectors(unittest.TestCase):
    def test_frames_are_deterministic_cbor_of_a_second_decoder(self):
        frames = load("frames")["frames"]
        self.assertGreater(len(frames), 15)
        for v in frames:
            with self.subTest(v["name"]):
                frame = sealing.frame_of(bytes.fromhex(v["hex"]))
                self.assertIsInstance(frame[0], int)
                if frame[0] == 1:
                    self.assertIn(f"hello nonce={frame[1]} site={frame[2]}", v["says"])

    def test_keys(self):
        data = load("keys")
        for v in data["keys"]:
            info = sealing.key_info(v["purpose"], v["master_id"], v["user"], v["device"], v["epoch"])
            self.assertEqual(info.hex(), v["info"])
            self.assertEqual(sealing.derive(bytes.fromhex(data["master"]), info).hex(), v["key"])

    def test_sealed_messages(self):
        for v in load("seal")["seals"]:
            with self.subTest(v["kind"]):
                key, sid, iv = (bytes.fromhex(v[k]) for k in ("key", "sid", "iv"))
                plain = bytes.fromhex(v["plain"])
                self.assertEqual(sealing.seal(key, v["kind"], v["user"], v["peer"], v["epoch"], plain, sid, iv).hex(), v["sealed"])
                sealed = bytes.fromhex(v["sealed"])
                self.assertEqual(sealing.open_sealed({v["epoch"]: key}, v["kind"], v["user"], v["peer"], sealed), plain)
                for changed in (sealed[:-1] + bytes([sealed[-1] ^ 1]), sealed[:30] + bytes([sealed[30] ^ 1]) + sealed[31:]):
                    with self.assertRaises(Exception):
                        sealing.open_sealed({v["epoch"]: key}, v["kind"], v["user"], v["peer"], changed)

    def test_access_token(self):
        v = load("jwt")
        claims = jwt.decode(v["token"], v["public_pem"], algorithms=["ES256"], audience="neap-broker", issuer="neapd",
                            options={"verify_exp": False, "verify_nbf": False, "verify_iat": False})
        self.assertEqual(claims, json.loads(v["payload"]))
        self.assertEqual(jwt.get_unverified_header(v["token"]), json.loads(v["header"]))
        self.assertEqual(v["kid"], thumbprint(v["public_pem"]))


def thumbprint(pem):
    """RFC 7638, of a P-256 key."""
    n = load_pem_public_key(pem.encode()).public_numbers()
    members = {"crv": "P-256", "kty": "EC", "x": b64(n.x.to_bytes(32, "big")), "y": b64(n.y.to_bytes(32, "big"))}
    text = json.dumps(members, separators=(",", ":"), sort_keys=True)
    return b64(hashlib.sha256(text.encode()).digest())


class Writer(unittest.TestCase):
    """What row_writer writes, the reader reads: both come from the document alone."""

    def value(self, rng):
        return rng.choice([None, 0, 1, -1, rng.randrange(-(2**63), 2**63), rng.random(), "", "é" * rng.randrange(80), b"\x00" * rng.randrange(9)])

    def plain(self, value):
        if isinstance(value, tuple):
            return bytes(value[1]).decode() if value[0] == "text" else value[1]
        return value

    def test_random_rows(self):
        rng = random.Random(1)
        names = [f"c{i}" for i in range(9)]
        shape = ["t", 0, 0, 0, [["k", 3, 0]], [[n, 0] for n in names], []]
        data = sealing.cbor(shape)
        shape_id = hashlib.sha256(data).digest()[:8]
        for _ in range(300):
            rows = []
            for k in range(rng.randrange(1, 30)):
                exist = rng.choice(["update", "alive", "dead"])
                cells = {} if exist == "dead" else {n: self.value(rng) for n in names if exist == "alive" or rng.random() < 0.4}
                if exist == "update" and not cells:
                    cells = {"c0": 1}
                rows.append(([k], exist, rng.randrange(1 << 62), cells))
            written = row_writer.merge_table(shape_id, names, rows)
            ((_, got),) = read_rows.read_tables(written, 5, {shape_id: shape})
            for row, (key, exist, stamp, cells) in zip(got, rows, strict=True):
                self.assertEqual((row.key, row.exist), (key, exist))
                self.assertEqual({n: self.plain(v) for n, (v, _) in row.cells.items()}, cells)
                for register in [r for _, r in row.cells.values()] + [row.register] * (exist != "update"):
                    self.assertEqual(register, (stamp >> 16, stamp & 0xFFFF, 5))


if __name__ == "__main__":
    unittest.main(verbosity=2)
