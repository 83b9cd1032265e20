"""Keys, sealed messages, frames and parts, from docs/protocol.md, on libraries that Neap itself does not use."""

import hashlib
import secrets
import struct

import cbor2
import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAX_FRAME = 5 << 20
MAX_CONTENT = 256 << 10
PART = 3


def cbor(item):
    return cbor2.dumps(item, canonical=True)


def derive(key, info):
    return HKDF(SHA256(), 32, b"", info).derive(key)


def key_info(purpose, master_id, user, device, epoch):
    return cbor(["neap/v1", purpose, master_id, user, device or None, epoch])


def subkey_info(kind, user, peer, sid):
    return cbor(["neap/v1", "seal", kind, user, peer, sid])


def protected_header(epoch, sid):
    # The order of the map's keys is pinned by the document: 1, 4, "sid".
    return cbor({1: 3, 4: epoch.to_bytes(4, "big"), "sid": sid})


def aad(kind, user, peer, protected):
    return cbor(["Encrypt0", protected, cbor(["neap/v1", kind, user, peer])])


def seal(key, kind, user, peer, epoch, plain, sid, iv):
    protected = protected_header(epoch, sid)
    subkey = derive(key, subkey_info(kind, user, peer, sid))
    sealed = AESGCM(subkey).encrypt(iv, plain, aad(kind, user, peer, protected))
    return cbor(cbor2.CBORTag(16, [protected, {5: iv}, sealed]))


def open_sealed(keys, kind, user, peer, message):
    """The plaintext; `keys` maps epochs to keys. Raises whatever is wrong."""
    tag = cbor2.loads(message)
    if tag.tag != 16 or cbor(tag) != message:
        raise ValueError("not the one shape")
    protected, unprotected, sealed = tag.value
    header = cbor2.loads(protected)
    epoch = int.from_bytes(header[4], "big")
    if protected != protected_header(epoch, header["sid"]) or set(unprotected) != {5} or len(sealed) < 17:
        raise ValueError("not the one shape")
    subkey = derive(keys[epoch], subkey_info(kind, user, peer, header["sid"]))
    return AESGCM(subkey).decrypt(unprotected[5], sealed, aad(kind, user, peer, protected))


class Sealer:
    """Seals for one topic: a random sid, and IVs that count from a random start."""

    def __init__(self, key, kind, user, peer, epoch):
        self.args = (key, kind, user, peer, epoch)
        self.sid = secrets.token_bytes(8)
        self.head, self.count = struct.unpack(">IQ", secrets.token_bytes(12))

    def __call__(self, plain):
        self.count = (self.count + 1) % (1 << 64)
        return seal(*self.args, plain, self.sid, struct.pack(">IQ", self.head, self.count))


def frame_of(plain):
    """The frame in a plaintext: the array itself, or zstd frames that say how large they get."""
    if plain[0] != 0x01:
        return checked(plain)
    data, out = plain[1:], b""
    while data:
        size = zstandard.frame_content_size(data)
        if not 0 < size <= MAX_CONTENT or len(out) + size > MAX_FRAME:
            raise ValueError(f"a zstd frame of {size} bytes")
        unpack = zstandard.ZstdDecompressor().decompressobj()
        out += unpack.decompress(data)
        data = unpack.unused_data
    return checked(out)


def checked(data):
    frame = cbor2.loads(data)
    if cbor(frame) != data:
        raise ValueError("not deterministic CBOR")
    return frame


def parts_of(plain, cut, piece):
    """What goes on the wire for one plaintext: itself, or part frames."""
    if len(plain) <= piece:
        return [plain]
    pieces = [plain[i : i + piece] for i in range(0, len(plain), piece)]
    digest = hashlib.sha256(plain).digest()
    return [cbor([PART, cut, i, len(pieces), len(plain), digest, p]) for i, p in enumerate(pieces)]


class Parts:
    """Puts parts together; add() returns the plaintext with the last one."""

    def __init__(self):
        self.open = {}

    def add(self, part):
        _, cut, index, count, size, digest, data = part
        pieces = self.open.setdefault(cut, {})
        pieces[index] = data
        if len(pieces) < count:
            return None
        del self.open[cut]
        plain = b"".join(pieces[i] for i in range(count))
        if len(plain) != size or hashlib.sha256(plain).digest() != digest:
            raise ValueError("parts that do not make what they say")
        return plain
