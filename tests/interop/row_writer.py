"""Writes rows as docs/protocol.md says, in the plainest of the many valid ways."""

import struct
from itertools import groupby


def varint(v):
    out = bytearray()
    while v > 0x7F:
        out.append(v & 0x7F | 0x80)
        v >>= 7
    out.append(v)
    return bytes(out)


def zigzag(v):
    return varint((v << 1 ^ v >> 63) & (1 << 64) - 1)


def ints(values):
    """Integers without a predictor, as varints; one small value for all in a byte."""
    if not values:
        return b""
    if len(set(values)) == 1 and 0 <= values[0] < 128:
        return bytes([0x80 | values[0]])
    return b"\x03" + b"".join(map(zigzag, values))


def constant(v):
    if v is None:
        return b"\x00"
    if isinstance(v, int):
        x, base = (v, 0xC0) if v >= 0 else (-1 - v, 0xD0)
        size = (x.bit_length() + 7) // 8
        # 0 in no bytes is not among the forms of a number that is not negative: f0 is.
        return bytes([0xF0]) if v == 0 else bytes([base + size]) + x.to_bytes(size, "big")
    if isinstance(v, float):
        return b"\xda" + struct.pack(">d", v)
    if isinstance(v, bytes):
        return b"\xd9" + varint(len(v)) + v
    data = v.encode()
    return (bytes([0x40 + len(data)]) if len(data) < 63 else b"\x7f" + varint(len(data) - 63)) + data


def types(values):
    return [0 if v is None else {int: 1, float: 2, str: 3, bytes: 4}[type(v)] for v in values]


def of_one_type(kind, values):
    if kind == 1:
        return b"\x01" + ints(values)
    if kind == 2:
        planes = [struct.pack(">d", v) for v in values]
        return b"\x04" + bytes(p[i] for i in range(8) for p in planes)
    data = [v.encode() if kind == 3 else v for v in values]
    return (b"\x05" if kind == 3 else b"\x09") + ints([len(d) for d in data]) + b"".join(data)


def column(values):
    kinds = types(values)
    if len({(k, repr(v)) for k, v in zip(kinds, values)}) == 1:
        return constant(values[0])
    if len(set(kinds)) == 1:
        return of_one_type(kinds[0], values)
    out = b"\x0c" + ints(kinds)
    for kind in sorted(set(kinds) - {0}):
        out += column([v for k, v in zip(kinds, values) if k == kind])
    return out


def append_table(shape_id, rows):
    """`rows`: (generation, number = key, [value, …])."""
    body = ints([r[0] for r in rows]) + ints([r[1] for r in rows])
    body += b"".join(column(list(c)) for c in zip(*(r[2] for r in rows)))
    return shape_id + varint(len(rows) << 2) + body


def kind_of(row, columns):
    """(existence, columns present) of a row ([key…], exist, stamp, {column: value})."""
    _, exist, _, cells = row
    return ({"update": 0, "alive": 1, "dead": 2}[exist], tuple(c in cells for c in columns))


def kind_bytes(kind):
    exist, has = kind
    # A lone existence register is the cells' register, too (0); an update has one for all (1).
    registers = 0 if exist or not any(has) else 1
    if not any(has):
        return bytes([exist])
    bitmap = sum(1 << c for c, present in enumerate(has) if present)
    return bytes([exist | registers << 2 | 2 << 4]) + bitmap.to_bytes((len(has) + 7) // 8, "little")


def merge_table(shape_id, columns, rows):
    """`rows`: ([key…], "update" | "alive" | "dead", stamp, {column: value}); one stamp a row, of the home site."""
    kinds = [kind_of(r, columns) for r in rows]
    distinct = [k for k, _ in groupby(sorted(kinds))]
    body = varint(len(distinct)) + b"".join(map(kind_bytes, distinct))
    if len(distinct) > 1:
        body += ints([distinct.index(k) for k in kinds])
    body += ints([r[2] >> 16 for r in rows]) + ints([r[2] & 0xFFFF for r in rows])
    body += b"".join(column(list(k)) for k in zip(*(r[0] for r in rows)))
    for name in columns:
        values = [r[3][name] for r in rows if name in r[3]]
        body += column(values) if values else b""
    return shape_id + varint(len(rows) << 2) + body
