"""A payload is deflated and inflated in its place, and reads the same either way."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepswitch.wire.hep import Hep
from hepswitch.wire.values import MOST_INFLATED

SIP = b"OPTIONS sip:a@x SIP/2.0\r\nCall-ID: c1\r\nSubject: " + b"as long as it is worth it " * 8 + b"\r\n\r\n"


def packet(payload: bytes | None = SIP, **chunks: Any) -> Hep:
    hep = Hep.new(payload, src_ip="192.0.2.1", dst_ip="192.0.2.2", src_port=1, dst_port=2, **chunks)
    if hep.version == 3:
        hep.correlation_id = b"behind"
    return hep


@given(st.binary(max_size=2000) | st.text(alphabet="ab", min_size=50, max_size=3000).map(str.encode))
def test_there_and_back(payload: bytes) -> None:
    hep = packet(payload)
    before, key = bytes(hep), hep.call_identity
    ids = [(chunk.vendor, chunk.id) for chunk in hep.chunks()]
    if not hep.compress():
        assert bytes(hep) == before
        assert not hep.inflate()
        return
    assert len(bytes(hep)) < len(before)
    assert [(vendor, 0x0F if id == 0x10 else id) for vendor, id in _ids(hep)] == ids
    assert hep.compressed_payload is not None
    assert gzip.decompress(hep.compressed_payload) == payload
    assert (hep.payload, hep.call_identity) == (payload, key)
    again = Hep(bytes(hep))
    assert (again.payload, again.correlation_id) == (payload, b"behind")
    assert hep.inflate()
    assert again.inflate()
    assert bytes(hep) == bytes(again) == before


def _ids(hep: Hep) -> list[tuple[int, int]]:
    return [(chunk.vendor, chunk.id) for chunk in hep.chunks()]


def test_the_same_packet_gives_the_same_bytes() -> None:
    one, two = packet(), packet()
    assert one.compress()
    assert two.compress()
    assert bytes(one) == bytes(two)
    assert one.compressed_payload is not None
    assert one.compressed_payload[:8] == b"\x1f\x8b\x08\0\0\0\0\0"  # gzip, without a time


def test_what_was_read_as_sip_still_is() -> None:
    hep = packet()
    assert hep.sip is not None
    assert hep.compress()
    assert hep.sip is not None
    assert hep.sip.call_id == "c1"
    hep.payload = SIP.replace(b"c1", b"c2")
    assert hep.sip.call_id == "c2"
    assert hep.compressed_payload is None


@pytest.mark.parametrize("version", [1, 2])
def test_old_versions_have_no_chunk_for_it(version: int) -> None:
    hep = packet(version=version)
    before = bytes(hep)
    assert not hep.compress()
    assert not hep.inflate()
    assert bytes(hep) == before


@pytest.mark.parametrize(
    "compressed",
    [
        b"",
        b"no gzip",
        gzip.compress(SIP)[:-4],
        gzip.compress(b"\0" * (MOST_INFLATED + 1)),
        gzip.compress(b"\0" * 65530),
    ],
    ids=["empty", "garbage", "cut", "a bomb", "too long for a packet"],
)
def test_what_cannot_be_inflated_stays(compressed: bytes) -> None:
    hep = packet(None)
    hep.compressed_payload = compressed
    before = bytes(hep)
    assert not hep.inflate()
    assert not hep.compress()
    assert bytes(hep) == before


def test_a_packet_without_payload_stays() -> None:
    hep = packet(None)
    assert not hep.compress()
    assert not hep.inflate()
