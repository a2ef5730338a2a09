"""Packets that real implementations sent, against an independent decode of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from hepswitch.wire.hep import Hep

VECTORS = sorted((Path(__file__).parents[1] / "vectors").glob("*.hep"))
SPOKEN = {"version", "chunks", "payload_sha256", "payload_first_line", "trailing_nuls"}
SIP_LINE = ("SIP/2.0 ", "INVITE ", "ACK ", "BYE ", "CANCEL ", "REGISTER ", "OPTIONS ")


def expected(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
    return found


def text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_it_decodes_as_its_sender_meant_it(path: Path) -> None:
    packet, truth = Hep(path.read_bytes()), expected(path)
    assert packet.version == truth["version"]
    for name in truth.keys() - SPOKEN:
        assert text(getattr(packet, name)) == truth[name], name
    if packet.version == 3:
        assert [[c.vendor, c.id, c.size + 6] for c in packet.chunks()] == truth["chunks"]
    assert hashlib.sha256(packet.payload or b"").hexdigest() == truth["payload_sha256"]
    line = truth.get("payload_first_line") or ""
    if line.startswith(SIP_LINE):
        assert packet.sip is not None
        assert packet.call_identity == packet.sip.call_id.encode()


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_unchanged_it_gives_back_its_bytes(path: Path) -> None:
    raw = path.read_bytes()
    packet = Hep(raw)
    packet.chunks(), packet.sip, packet.payload, repr(packet)
    assert bytes(packet) == raw
    assert bytes(packet.copy()) == raw


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
@pytest.mark.parametrize("version", [1, 2, 3])
def test_converted_it_says_what_the_version_can_carry(path: Path, version: int) -> None:
    packet, before = Hep(path.read_bytes(), 1_700_000_000.25), Hep(path.read_bytes(), 1_700_000_000.25)
    if version < 3 and before.proto_type != "SIP" and before.sip is None:
        with pytest.raises(ValueError, match="carries nothing but SIP"):
            packet.version = version
        assert bytes(packet) == bytes(before)
        return
    packet.version = version
    again = Hep(bytes(packet), 1_700_000_000.25)
    assert again.version == version
    for name in ("src_ip", "dst_ip", "src_port", "dst_port", "proto_id"):
        assert getattr(again, name) == getattr(before, name), name
    if not (before.payload or b"").startswith(b"{"):
        assert again.payload == before.payload
    assert again.call_identity == before.call_identity
    if version > 1:
        assert again.time_us == before.time_us
        if before.version > 1:
            number = before.captagent_id or 0
            assert (again.captagent_id or 0) == (number if version == 3 or number < 65536 else 0)
