"""The table of chunks and the types of their values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepswitch.wire.chunks import GENERIC, TYPES, ProtoType, by_id, by_name
from hepswitch.wire.errors import WireError
from hepswitch.wire.hep import Hep
from hepswitch.wire.values import MOST_INFLATED, decode, deflate, encode, inflate


def test_every_chunk_has_a_known_type_and_an_attribute() -> None:
    assert {chunk.type for chunk in GENERIC} <= set(TYPES)
    for chunk in GENERIC:
        assert hasattr(Hep, chunk.name)


def test_names_and_numbers_lead_to_the_same_chunk() -> None:
    assert by_id[0x0C] is by_name["captagent_id"]
    assert by_name["src_ip"].id == 3


def test_a_protocol_type_compares_with_name_and_number() -> None:
    rtcp = ProtoType(5)
    assert rtcp == 5
    assert rtcp == "RTCP"
    assert rtcp == "rtcp"
    assert rtcp != "SIP"
    assert rtcp != 1
    assert str(rtcp) == f"{rtcp}" == "RTCP"
    assert f"{rtcp:d}" == "5"
    assert {5: "found"}[rtcp] == "found"
    assert str(ProtoType(200)) == "200"
    assert ProtoType.named("mos-FULL") == 34
    with pytest.raises(ValueError, match="no protocol type is called 'tea'"):
        ProtoType.named("tea")


@given(st.sampled_from(["uint8", "uint16", "uint32", "uint64"]), st.data())
def test_numbers_come_back(kind: str, data: st.DataObject) -> None:
    value = data.draw(st.integers(0, (1 << int(kind[4:])) - 1))
    assert decode(kind, encode(kind, value, "x")) == value


@given(st.binary())
def test_text_comes_back_whatever_its_bytes(raw: bytes) -> None:
    text = decode("utf8-string", raw)
    assert encode("utf8-string", text, "x") == raw


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("uint8", 256, r"chunk x is a uint8: it takes a number 0\.\.255, not 256"),
        ("uint16", -1, "takes a number"),
        ("uint32", "seven", "takes a number"),
        ("inet4-addr", "::1", "takes an IPv4 address, not '::1'"),
        ("inet6-addr", "10.0.0.1", "takes an IPv6 address"),
        ("utf8-string", 5, "takes str or bytes, not 5; for a number name its type"),
        ("int", 5, "no chunk type is called 'int': use one of uint8"),
    ],
)
def test_what_a_type_cannot_hold_is_refused_in_words(kind: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode(kind, value, "chunk x")


def test_a_wire_error_says_where_and_why() -> None:
    error = WireError(4, "bad length")
    assert (error.offset, error.reason, str(error)) == (4, "bad length", "bad length (at byte 4)")


@given(st.binary())
def test_inflating_anything_gives_bytes_or_nothing(raw: bytes) -> None:
    assert isinstance(inflate(raw), bytes | None)


@given(st.binary(max_size=200), st.integers(1, 1000))
def test_what_is_deflated_can_be_inflated(raw: bytes, times: int) -> None:
    for whole in (raw, (raw * times)[:MOST_INFLATED], bytes(100 * times)):
        assert inflate(deflate(whole)) == whole
