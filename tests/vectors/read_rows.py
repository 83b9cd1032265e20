"""Reads rows.json as a stranger would: written from docs/protocol.md alone, with nothing of ours.

If this and the C code both read the vectors, the page says what the code does.
"""

import hashlib
import json
import struct
import sys
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parent
MASK = (1 << 64) - 1
INTS_DEPTH = COLUMN_DEPTH = 3


def signed(v):
    v &= MASK
    return v - (1 << 64) if v >> 63 else v


def unzigzag(u):
    return signed((u >> 1) ^ -(u & 1))


class Input:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        assert self.at + n <= len(self.data), "too short"
        self.at += n
        return self.data[self.at - n : self.at]

    def byte(self):
        return self.take(1)[0]

    def varint(self):
        value = shift = 0
        while True:
            b = self.byte()
            value |= (b & 0x7F) << shift
            shift += 7
            if b < 0x80:
                return value

    def zigzag(self):
        return unzigzag(self.varint())


class Bits:
    """Bits from the lowest of each byte; end() drops the padding."""

    def __init__(self, source):
        self.source, self.used = source, 0

    def bit(self):
        b = self.source.data[self.source.at + self.used // 8] >> self.used % 8 & 1
        self.used += 1
        return b

    def number(self, width):
        return sum(self.bit() << i for i in range(width))

    def end(self):
        self.source.take((self.used + 7) // 8)


# --- integer columns ---


def rice(source, r):
    base, k0, phases = source.zigzag(), source.byte(), source.byte()
    phase = [[1 << k0, 1] for _ in range(phases)]
    bits, out = Bits(source), []
    for i in range(r):
        p = phase[i % phases]
        k = 0
        while p[1] << k < p[0]:
            k += 1
        q = 0
        while q < 20 and bits.bit():
            q += 1
        u = q << k | bits.number(k) if q < 20 else bits.number(bits.number(6) + 1)
        p[0] += min(u, 20 << k, 1 << 40)
        p[1] += 1
        if p[1] == 32:
            p[0], p[1] = p[0] >> 1, p[1] >> 1
        out.append(signed(base + unzigzag(u)))
    bits.end()
    return out


def packed(source, r):
    base, width = source.zigzag(), source.byte()
    bits = Bits(source)
    out = [signed(base + bits.number(width)) for _ in range(r)]
    bits.end()
    return out


def sparse(source, r, depth):
    out = [source.zigzag()] * r
    n = source.varint()
    gaps, values = ints(source, n, depth - 1), ints(source, n, depth - 1)
    at = -1
    for gap, value in zip(gaps, values):
        at += gap + 1
        out[at] = value
    return out


def rest_of(source, coder, r, depth):
    if coder == 0:
        return [source.zigzag()] * r
    if coder == 1:
        return packed(source, r)
    if coder == 2:
        return rice(source, r)
    if coder == 3:
        return [source.zigzag() for _ in range(r)]
    assert coder == 4
    return sparse(source, r, depth)


def ints(source, n, depth=INTS_DEPTH):
    if n == 0:
        return []
    assert depth > 0
    head = source.byte()
    if head & 0x80:
        return [head & 0x7F] * n
    assert head >> 5 == 0
    predictor, out = head >> 3, []
    if predictor == 1:
        out = [source.zigzag()]
    elif predictor == 2:
        first = source.zigzag()
        out = [first, signed(first + source.zigzag())]
    elif predictor == 3:
        out = ints(source, source.byte(), depth - 1)
    lag = len(out)
    for value in rest_of(source, head & 7, n - lag, depth):
        if predictor == 1:
            value += out[-1]
        elif predictor == 2:
            value += 2 * out[-1] - out[-2]
        elif predictor == 3:
            value += out[-lag]
        out.append(signed(value))
    return out


# --- the text code ---

CODE = {
    4: b"et",
    5: b" 01ailnors",
    6: b"-.23456789_cdfghmpu",
    7: b"/:bkvwy",
    8: b",AEINORSTx",
    9: b"\"#%'()+=@BCDFGHKLMPUVWXYjqz" + bytes.fromhex("0ac2c3cecfd0d1e2e3"),
    10: b"!&*;<>?JQZ[\\]{|}" + bytes(range(0x80, 0xC0)),
    11: b"$^`~",
}
CODE[12] = bytes(set(range(256)) - set(b"".join(CODE.values())))


def make_words():
    words, code, length = {}, 0, 0
    for n in sorted(CODE):
        for b in sorted(CODE[n]):
            code <<= n - length
            length = n
            words[n, code] = b
            code += 1
    assert code == 1 << length
    return words


WORDS = make_words()


def characters(source, n):
    bits, out = Bits(source), bytearray()
    for _ in range(n):
        length = code = 0
        while (length, code) not in WORDS:
            length, code = length + 1, code << 1 | bits.bit()
        out.append(WORDS[length, code])
    bits.end()
    return bytes(out)


# --- value columns: None, int, or (kind, value) ---


def real(data):
    return ("real", struct.unpack(">d", bytes(data))[0])


def constant(source, mode):
    if mode == 0x00:
        return None
    if mode < 0x80:
        n = mode - 0x40
        return ("text", source.take(n if n < 63 else 63 + source.varint()))
    if mode < 0xC0:
        return ("text", characters(source, mode - 0x80))
    if mode < 0xD0:
        return int.from_bytes(source.take(mode - 0xC0), "big")
    if mode < 0xD9:
        return -1 - int.from_bytes(source.take(mode - 0xD0), "big")
    if mode == 0xD9:
        return ("blob", source.take(source.varint()))
    if mode == 0xDA:
        return real(source.take(8))
    if mode >= 0xF0:
        return mode - 0xF0
    assert mode >= 0xE0
    return ("real", source.zigzag() / 10 ** (mode - 0xE0))


def decimals(source, n, exceptions):
    e = source.byte()
    out = [("real", i / 10**e) for i in ints(source, n)]
    if exceptions:
        at = -1
        for gap in ints(source, source.varint()):
            at += gap + 1
            out[at] = real(source.take(8))
    return out


def planes(source, n):
    data = source.take(8 * n)
    return [real(data[i::n]) for i in range(n)]


def strings(source, n, kind, coded, front):
    shared = ints(source, n) if front else [0] * n
    own = ints(source, n)
    data = characters(source, sum(own)) if coded else source.take(sum(own))
    out, at, before = [], 0, b""
    for s, length in zip(shared, own):
        before = before[:s] + data[at : at + length]
        at += length
        out.append((kind, before))
    return out


def split(source, n):
    length, front = source.varint(), source.byte()
    numbers = ints(source, n) if front else [0] * n
    return [
        ("blob", (v & MASK).to_bytes(8, "big")[8 - front :] + source.take(length - front))
        for v in numbers
    ]


def mixed(source, n, depth):
    types = ints(source, n)
    of = {k: iter(column(source, types.count(k), depth - 1)) for k in (1, 2, 3, 4) if k in types}
    return [next(of[k]) if k else None for k in types]


def column(source, n, depth=COLUMN_DEPTH):
    assert depth > 0
    mode = source.byte()
    if mode == 0x00 or mode >= 0x40:
        return [constant(source, mode)] * n
    if mode == 0x01:
        return ints(source, n)
    if mode in (0x02, 0x03):
        return decimals(source, n, mode == 0x03)
    if mode == 0x04:
        return planes(source, n)
    if mode <= 0x08:
        return strings(source, n, "text", mode in (0x06, 0x08), mode >= 0x07)
    if mode <= 0x0A:
        return strings(source, n, "blob", False, mode == 0x0A)
    if mode == 0x0B:
        return split(source, n)
    if mode == 0x0C:
        return mixed(source, n, depth)
    assert mode == 0x0D
    values = column(source, source.varint(), depth - 1)
    return [values[i] for i in ints(source, n)]


# --- shapes and rows ---


def cbor(source):
    head = source.byte()
    major, n = head >> 5, head & 31
    if n >= 24:
        n = int.from_bytes(source.take(1 << n - 24), "big")
    if major == 0:
        return n
    if major == 2:
        return source.take(n)
    if major == 3:
        return source.take(n).decode()
    assert major == 4
    return [cbor(source) for _ in range(n)]


def value_text(v):
    if v is None:
        return "null"
    if isinstance(v, int):
        return str(v)
    kind, value = v
    if kind == "real":
        return f"real {value:.17g}"
    if kind == "blob":
        return f"x'{value.hex()}'"
    return "'" + "".join(chr(c) if 32 <= c < 127 else f"\\x{c:02x}" for c in value) + "'"


class Row(NamedTuple):
    """A row as it was read. An append row has `append`, (generation, number); a merge row `exist` and registers."""

    key: list
    cells: dict  # column's name -> (value, register or None)
    append: tuple = None
    exist: str = None
    register: tuple = None  # of the existence: (milliseconds, counter, site)


def register_text(r):
    return f" @{r[0]}+{r[1]}/{r[2]}" if r else ""


def row_text(row):
    text = "key (" + ", ".join(map(value_text, row.key)) + ") "
    text += "gen {} n {}".format(*row.append) if row.append else row.exist + register_text(row.register)
    cells = [f"{name} = {value_text(v)}{register_text(r)}" for name, (v, r) in row.cells.items()]
    return text + (": " + ", ".join(cells) if cells else "")


def append_rows(source, n, flags, keys, columns):
    gens, numbers = ints(source, n), ints(source, n)
    key = [column(source, n) for _ in keys] if flags & 2 else [numbers]
    cells = [] if flags & 1 else [column(source, n) for _ in columns]
    for i in range(n):
        values = {c[0]: (v[i], None) for c, v in zip(columns, cells)}
        yield Row([k[i] for k in key], values, append=(gens[i], numbers[i]))


def read_kind(source, n_col):
    head = source.byte()
    where = head >> 4
    has = []
    if where == 1:
        has = list(range(n_col))
    elif where == 2:
        bitmap = source.take((n_col + 7) // 8)
        has = [c for c in range(n_col) if bitmap[c // 8] >> c % 8 & 1]
    elif where == 3:
        has = [source.byte()]
    return head & 3, head >> 2 & 3, has


def registers_of(kind):
    exist, regs, has = kind
    return (exist != 0) + (0, bool(has), len(has))[regs]


def merge_rows(source, n, flags, keys, columns, home):
    sites = [home]
    if flags & 1:
        sites += [int.from_bytes(source.take(8), "big") for _ in range(source.varint())]
    kinds = [read_kind(source, len(columns)) for _ in range(source.varint())]
    of = [kinds[k] for k in (ints(source, n) if len(kinds) > 1 else [0] * n)]
    total = sum(map(registers_of, of))
    ms, counter = ints(source, total), ints(source, total)
    site = ints(source, total) if flags & 1 else [0] * total
    regs = iter([(m, c, sites[s]) for m, c, s in zip(ms, counter, site)])
    key = [column(source, n) for _ in keys]
    cells = []
    for c in range(len(columns)):
        count = sum(c in kind[2] for kind in of)
        cells.append(iter(column(source, count) if count else []))
    for i, (exist, where, has) in enumerate(of):
        row = Row([k[i] for k in key], {}, exist=("update", "alive", "dead")[exist], register=next(regs) if exist else None)
        reg = next(regs) if where == 1 and has else row.register
        for c in has:
            reg = next(regs) if where == 2 else reg
            row.cells[columns[c][0]] = (next(cells[c]), reg)
        yield row


def read_tables(data, home, shapes):
    """Of each table in `data`: its shape id and its rows."""
    source = Input(data)
    while source.at < len(data):
        shape = source.take(8)
        name, kind, _, _, keys, columns, *_ = shapes[shape]
        head = source.varint()
        n, flags = head >> 2, head & 3
        if kind == 1:
            rows = append_rows(source, n, flags, keys, columns)
        else:
            rows = merge_rows(source, n, flags, keys, columns, home)
        yield shape, list(rows)


def read_rows(data, home, shapes):
    return [row_text(row) for _, rows in read_tables(data, home, shapes) for row in rows]


def vectors(name):
    return json.loads((FOLDER / f"{name}.json").read_text())[name]


def main():
    shapes = {}
    for v in vectors("shapes"):
        data = bytes.fromhex(v["hex"])
        shapes[hashlib.sha256(data).digest()[:8]] = cbor(Input(data))
    bad = 0
    all_rows = vectors("rows")
    for v in all_rows:
        try:
            got = read_rows(bytes.fromhex(v["hex"]), v["home"], shapes)
        except (AssertionError, IndexError, KeyError) as e:
            got = repr(e)
        if got != v["says"]:
            bad += 1
            print(f"{v['name']}: {got} instead of {v['says']}")
    assert len(all_rows) >= 9
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
