"""TIFF files, built by hand."""

from __future__ import annotations

import struct
import zlib

LZW, DEFLATE, PACK_BITS = 5, 8, 32773


def tiff(
    tags: dict[int, tuple[str, list[int]]], chunks: list[bytes], order: str, big: bool
) -> bytes:
    """A TIFF file of one page. `tags` maps a tag's number to a `struct` letter and the values."""
    kinds = {"B": 1, "H": 3, "I": 4, "Q": 16}
    places, sizes = (324, 325) if 322 in tags else (273, 279)
    number = "Q" if big else "I"
    rows = tags | {places: (number, [0] * len(chunks)), sizes: (number, [len(c) for c in chunks])}
    head, room = (16, 8) if big else (8, 4)
    entry = 20 if big else 12
    at = head + (8 if big else 2) + entry * len(rows) + room
    outside = {
        tag: struct.calcsize(f"={len(values)}{letter}")
        for tag, (letter, values) in rows.items()
        if struct.calcsize(f"={len(values)}{letter}") > room
    }
    start = at + sum(outside.values())
    offsets = [start + sum(map(len, chunks[:i])) for i in range(len(chunks))]
    rows[places] = (number, offsets)
    mark = b"II" if order == "<" else b"MM"
    out = mark + (
        struct.pack(order + "HHHQ", 43, 8, 0, 16) if big else struct.pack(order + "HI", 42, 8)
    )
    out += struct.pack(order + ("Q" if big else "H"), len(rows))
    extra = b""
    for tag, (letter, values) in sorted(rows.items()):
        raw = struct.pack(f"{order}{len(values)}{letter}", *values)
        out += struct.pack(order + "HH" + number, tag, kinds[letter], len(values))
        if len(raw) > room:
            out += struct.pack(order + number, at + len(extra))
            extra += raw
        else:
            out += raw.ljust(room, b"\0")
    return out + bytes(room) + extra + b"".join(chunks)


def compressed(data: bytes, how: int) -> bytes:
    if how == DEFLATE:
        return zlib.compress(data)
    if how == PACK_BITS:
        pieces = [data[i : i + 128] for i in range(0, len(data), 128)]
        return b"".join(bytes([len(piece) - 1]) + piece for piece in pieces)
    if how == LZW:
        # A clear code before each run of 200 bytes keeps all codes at 9 bits.
        codes: list[int] = []
        for i, byte in enumerate(data):
            codes += [256, byte] if i % 200 == 0 else [byte]
        bits = "".join(f"{code:09b}" for code in [*codes, 257])
        return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    return data
