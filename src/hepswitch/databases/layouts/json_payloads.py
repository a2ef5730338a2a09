"""Payloads that are JSON, for layouts that keep them as JSON: checked, as PostgreSQL would take it.

Not here: what agents mean by them, but for ISUP (protocol type 54, as the SS7 module of captagent sends it).
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

MOST_NUMBER = 0xFFFF_FFFF
"""Greater ones are no point codes."""

_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
"""NUL as JSON has it, behind an even number of backslashes."""


def _decoded(payload: bytes | None) -> tuple[str, dict[str, Any]] | None:
    """The text of a JSON object without NUL, and the object; None when the payload is something else."""
    try:
        text = _NUL.sub(r"\1", (payload or b"").decode())
        value = msgspec.json.decode(text)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        return None
    return (text, value) if isinstance(value, dict) else None


def json_object(payload: bytes | None) -> str | None:
    """The text of a payload that is a JSON object."""
    found = _decoded(payload)
    return found[0] if found else None


def isup(payload: bytes | None) -> dict[str, Any] | None:
    """What Homer searches ISUP by; what the payload does not say is 0 or empty."""
    found = _decoded(payload)
    if found is None:
        return None
    said = found[1]
    cic, dpc, opc = (_whole(said.get(key)) for key in ("cic", "dpc", "opc"))
    called, calling = (_text(_member(said.get(key), "num")) for key in ("called_number", "calling_number"))
    return {
        "cic": cic, "dpc": dpc, "opc": opc, "msg_name": _text(said.get("msg_name")),
        "called_number": called, "calling_number": calling, "callid": f"{min(dpc, opc)}:{max(dpc, opc)}:{cic}",
    }  # fmt: skip


def _member(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_NUMBER else 0


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
