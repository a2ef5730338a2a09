from collections.abc import Sequence
from typing import Any

import pyarrow as pa

def json_objects(members: Sequence[tuple[str, pa.Array[Any], str | None]], rows: int) -> pa.StringArray:
    """One JSON object a row (RFC 8259). `members`: (key, column of `rows` values, JSON text that stands for null).

    A column of strings gives JSON strings, one of whole numbers gives numbers. A member without a text for null is left
    out of the rows where it is null. Keys are in the order given; NUL is left out of strings, nothing else is.
    TypeError for columns of other types, ValueError for columns that are too short or contradict themselves, OverflowError
    when the objects together have more than 2³¹-1 bytes.
    """
