"""Values of chunks: numbers, addresses and strings ⇄ bytes, by the types of the HEP specification.

Not here: which chunk has which type (`chunks`), where chunks lie in a packet (`hep`).
"""

from __future__ import annotations

import json
import re
import socket
import zlib
from typing import Any, Final, NamedTuple

import msgspec

from hepswitch.wire.chunks import TYPES

Value = int | str | bytes

MOST_INFLATED: Final = 256 << 10
"""Bytes that a compressed payload may have: four of the largest packets. Inflating so many takes about a millisecond."""
MOST_TIMES: Final = 64
"""How many times its size a compressed value may give. SIP and logs shrink to a fifth, at best a thirtieth; without this
bound 300 bytes from a stranger (zeros shrink a thousandfold) could cost a millisecond."""
_WIDTH: Final = {"uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8}
_NUMBER: Final = re.compile(r"[0-9]{1,20}|0[xX][0-9a-fA-F]{1,16}")
_ZLIB_OR_GZIP: Final = 47  # zlib's window bits: the largest window, tell gzip from zlib by the header
_RAW_DEFLATE: Final = -15
_GZIP: Final = 31
_LEVEL: Final = 6  # the usual one of zlib


class ChunkView(NamedTuple):
    """One chunk of a packet. `size` counts the value's bytes; `name` is "" for what the specification does not name.

    `value` is an int, a str or bytes by `type`, and bytes when the chunk's size does not fit its type.
    """

    vendor: int
    id: int
    name: str
    type: str
    size: int
    value: Value


def decode(kind: str, raw: bytes) -> Value | None:
    """`raw` as type `kind`; None when its size is impossible for that type.

    Numbers may have any size of 1 to 8 bytes: some senders write a uint16 where the specification has a uint32.
    """
    if kind in _WIDTH:
        return int.from_bytes(raw) if 1 <= len(raw) <= 8 else None
    if kind == "inet4-addr":
        return socket.inet_ntop(socket.AF_INET, raw) if len(raw) == 4 else None
    if kind == "inet6-addr":
        return socket.inet_ntop(socket.AF_INET6, raw) if len(raw) == 16 else None
    if kind == "utf8-string":
        return raw.decode("utf-8", "surrogateescape")
    if kind == "octet-string":
        return raw
    raise ValueError(f"no chunk type is called {kind!r}: use one of {', '.join(TYPES)}")


def number(text: str) -> int | None:
    """The number that `text` writes, decimal or with 0x hexadecimal, as OpenSIPS' scripts do. None when it writes none."""
    if _NUMBER.fullmatch(text) is None:
        return None
    return int(text, 16 if text[:2] in ("0x", "0X") else 10)


def encode(kind: str, value: object, what: str) -> bytes:
    """`value` as the bytes of type `kind`. ValueError, speaking of `what`, when the type cannot hold it."""
    if kind in _WIDTH:
        most = (1 << 8 * _WIDTH[kind]) - 1
        found = number(value) if isinstance(value, str) else value
        if not isinstance(found, int) or not 0 <= found <= most:
            raise ValueError(f"{what} is a {kind}: it takes a number 0..{most}, not {value!r}")
        return found.to_bytes(_WIDTH[kind])
    if kind in ("inet4-addr", "inet6-addr"):
        family = socket.AF_INET if kind == "inet4-addr" else socket.AF_INET6
        try:
            return socket.inet_pton(family, str(value))
        except (OSError, ValueError):
            version = kind[4]
            raise ValueError(f"{what} is an {kind}: it takes an IPv{version} address, not {value!r}") from None
    if kind in ("utf8-string", "octet-string"):
        if isinstance(value, str):
            return value.encode("utf-8", "surrogateescape")
        if isinstance(value, bytes | bytearray | memoryview):
            return bytes(value)
        raise ValueError(f"{what} is a {kind}: it takes str or bytes, not {value!r}; for a number name its type")
    raise ValueError(f"no chunk type is called {kind!r}: use one of {', '.join(TYPES)}")


def inflate(raw: bytes, most: int = MOST_INFLATED) -> bytes | None:
    """What gzip, zlib or raw deflate made into `raw`; None when it is none of them or cut.

    None also when it would have more than `most` bytes, or more than MOST_TIMES those of `raw`: no more are ever made.
    """
    most = min(most, MOST_TIMES * len(raw))
    for bits in (_ZLIB_OR_GZIP, _RAW_DEFLATE):
        stream = zlib.decompressobj(bits)
        try:
            found = stream.decompress(raw, most + 1)
        except zlib.error:
            continue
        if stream.eof or len(found) > most:
            return found if len(found) <= most else None
    return None


def deflate(raw: bytes) -> bytes:
    """`raw` as gzip (RFC 1952) without a time in it: the same bytes give the same bytes. No smaller than `inflate` takes."""
    packed = zlib.compress(raw, _LEVEL, _GZIP)
    if len(raw) <= MOST_TIMES * len(packed):
        return packed
    # Little but repetition. Without looking for that, a byte takes a bit at least.
    stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP, strategy=zlib.Z_HUFFMAN_ONLY)
    return stream.compress(raw) + stream.flush()


def unwrap(raw: bytes) -> bytes | None:
    """The SIP message in `{"payload": "…"}` (OpenSIPS with homer5_on=0); None when `raw` is something else."""
    try:
        found = json.loads(raw.decode("utf-8", "surrogateescape"))
        text = found.get("payload") if isinstance(found, dict) else None
        return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None


def json_object(payload: bytes) -> dict[str, Any] | None:
    """The JSON object that a payload is; NULs at its end are left out. None for whatever else it is."""
    try:
        value = msgspec.json.decode(payload.rstrip(b"\0"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
