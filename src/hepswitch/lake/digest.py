"""What the end of a Parquet file says about the calls in it, small enough to ask thousands of files.

Of each row group and each column of IDENTITIES that is not all nulls: the least and the greatest value, and where in the
file the bits of its Bloom filter are (split-block, XXH64: Parquet's own). Not here: where ends are kept (`tails`).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from xxhash import xxh64_intdigest

from hepswitch.lake.parquet import IDENTITIES, MAGIC

FOOT = struct.Struct("<I4s")
"""The last bytes of a file: the length of what is before them, and MAGIC."""

BLOCK = 32
"""Bytes of a Bloom filter that one value has its bits in."""

_SALT = (0x47B6137B, 0x44974D91, 0x8824AD5B, 0xA2B7289D, 0x705495C7, 0x2DF1424B, 0x9EFC4947, 0x5C6BFB31)
_WORDS = struct.Struct("<8I")


class Column(msgspec.Struct, frozen=True, array_like=True):
    """A column of a row group: least and greatest value (None: not said); where its bits are, and how many bytes (or 0)."""

    low: bytes | None
    high: bytes | None
    bits: int
    size: int

    def may_hold(self, value: bytes, hashed: int, read: Callable[[int, int], bytes | None]) -> bool:
        """Can the value be there? `read` gives bytes of the file by offset and length, or None."""
        if self.low is not None and self.high is not None and not self.low <= value <= self.high:
            return False
        if not self.size:
            return True
        block = read(self.bits + ((hashed >> 32) * (self.size // BLOCK) >> 32) * BLOCK, BLOCK)
        if block is None or len(block) != BLOCK:
            return True
        key = hashed & 0xFFFFFFFF
        return all(word >> (key * salt >> 27 & 31) & 1 for word, salt in zip(_WORDS.unpack(block), _SALT, strict=True))


class Digest(msgspec.Struct, frozen=True, array_like=True):
    """The columns of each row group, without those of nulls alone. `first` is where in the file the first bits are."""

    first: int
    groups: list[list[Column]]

    def may_hold(self, value: bytes, read: Callable[[int, int], bytes | None]) -> bool:
        """Can a packet be in the file of which one of IDENTITIES is `value`?"""
        hashed = xxh64_intdigest(value)
        return any(column.may_hold(value, hashed, read) for group in self.groups for column in group)


def footer(end: bytes) -> int | None:
    """How many of the last bytes of the file are its footer; None when it is no Parquet file."""
    if len(end) < FOOT.size:
        return None
    length, magic = FOOT.unpack(end[-FOOT.size :])
    return length + FOOT.size if magic == MAGIC else None


def digest(end: bytes) -> Digest | None:
    """Of the end of a file, its footer at least; None when it makes no sense."""
    try:
        about = pq.read_metadata(io.BytesIO(end))
        names = [about.schema.column(number).name for number in range(about.num_columns)]
        places = [names.index(name) for name in IDENTITIES]
        found = [_columns(about.row_group(number), places) for number in range(about.num_row_groups)]
    except (pa.ArrowException, OSError, ValueError):
        return None
    return Digest(min((each.bits for group in found for each in group if each.size), default=0), found)


def _columns(group: pq.RowGroupMetaData, places: list[int]) -> list[Column]:
    return [column for place in places if (column := _column(group.column(place))) is not None]


def _column(chunk: pq.ColumnChunkMetaData) -> Column | None:
    low = high = None
    told: Any = chunk.statistics
    if told is not None:
        if told.null_count == chunk.num_values:
            return None
        if told.has_min_max:
            low, high = told.min.encode(), told.max.encode()
    about: Any = chunk  # the stubs do not know all of it
    start, length = about.bloom_filter_offset, about.bloom_filter_length
    if start is None or length is None:
        return Column(low, high, 0, 0)
    # In front of the bits, whose number is a power of two, is a header of a few bytes.
    size = 1 << length.bit_length() - 1
    return Column(low, high, start + length - size, size)
