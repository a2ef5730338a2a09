"""A destination's treatment changes its own copy and nothing else; what it refuses is counted with the reason."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from far_ends import UdpSink, assert_balanced, packet, until
from hepswitch.destinations.hep import HepDestination, HepOutlet
from hepswitch.destinations.treatment import (
    CANNOT_CARRY,
    CANNOT_MASK,
    FILTERED,
    SAMPLED_OUT,
    TOO_FAST,
    Treat,
    Treatment,
)
from hepswitch.wire.hep import Hep
from hepswitch.wire.masking import Masker

SIP = (
    b"INVITE sip:+4930555501@x SIP/2.0\r\nFrom: <sip:alice@x>;tag=1\r\nCall-ID: %s\r\nCSeq: 1 INVITE\r\n"
    b"Content-Length: 0\r\n\r\n"
)


def sip(call_id: bytes = b"c1", **chunks: Any) -> Hep:
    return Hep.new(SIP % call_id, src_ip="192.0.2.1", dst_ip="192.0.2.2", src_port=1, dst_port=2, **chunks)


def treat(**table: Any) -> Treat:
    return Treat(Treatment.model_validate(table))


def treated(treatment: Treat, given: Hep) -> Hep:
    """The copy; the packet itself must be as it was."""
    before = bytes(given)
    copy = treatment(given)
    assert isinstance(copy, Hep)
    assert copy is not given
    assert bytes(given) == before
    return copy


def test_a_table_without_any_of_it_asks_for_no_treatment() -> None:
    assert not Treatment().treats
    for table in ({"sample": 1.0}, {"rate": 1}, {"delete": [0x1F]}, {"set": {"vlan_id": 1}}, {"payload": "deflate"}):
        assert Treatment.model_validate(table).treats


def test_what_is_not_edited_is_not_copied() -> None:
    given = packet(1)
    assert treat(sample=1.0)(given) is given


def test_chunks_are_deleted_and_set() -> None:
    edits = {
        "node_name": "edge",
        "captagent_id": 42,
        "0x1f": {"value": 7, "type": "uint32", "vendor": 9},
        "0x30": "text",
    }
    copy = treated(treat(delete=["correlation_id", 0x20], set=edits), packet(1, node_name="old", mos=400))
    assert (copy.correlation_id, copy.mos, copy.node_name, copy.captagent_id) == (None, None, "edge", 42)
    assert copy.get(0x1F, type="uint32", vendor=9) == 7
    assert copy.get(0x30, vendor=3) == b"text"


def test_the_auth_key_is_replaced_from_a_secret_or_stripped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PARTNER_KEY", "theirs")
    (tmp_path / "key").write_bytes(b"in a file\n")
    given = packet(1, auth_key=b"ours")
    assert treated(treat(set={"auth_key": "env:PARTNER_KEY"}), given).auth_key == b"theirs"
    assert treated(treat(set={"auth_key": f"file:{tmp_path}/key"}), given).auth_key == b"in a file"
    assert treated(treat(delete=["auth_key"]), given).auth_key is None
    with pytest.raises(ValueError, match="NOT_THERE is not set"):
        treat(set={"auth_key": "env:NOT_THERE"})


@pytest.mark.parametrize("chunk", ["auth_key", "AUTH_KEY", "0x0e", "14"])
def test_an_auth_key_in_the_table_never_shows(chunk: str) -> None:
    table = Treatment.model_validate({"set": {chunk: "hush hush", "node_name": "edge"}})
    assert "hush" not in repr(table) + table.model_dump_json()
    assert "edge" in repr(table) + table.model_dump_json()


def test_the_copy_is_masked() -> None:
    mask = Masker(key=b"k" * 16)
    copy = treated(Treat(Treatment(mask="partner"), mask=mask.apply), sip(auth_key=b"k"))
    assert copy.sip is not None
    assert (copy.sip.call_id, copy.auth_key) == ("c1", b"k")
    assert b"alice" not in bytes(copy)
    assert b"4930555501" not in bytes(copy)


def test_payloads_are_deflated_and_inflated() -> None:
    given = packet(1, size=2000)
    small = treated(treat(payload="deflate"), given)
    assert len(bytes(small)) < len(bytes(given)) / 2
    assert small.payload == given.payload
    assert small.compressed_payload is not None
    assert bytes(treated(treat(payload="deflate"), given)) == bytes(small)
    assert bytes(treated(treat(payload="inflate"), small)) == bytes(given)


def test_a_filter_decides() -> None:
    treatment = Treat(Treatment(filter="captagent_id = 7"), condition=lambda hep: hep.captagent_id == 7)
    given = packet(1, captagent_id=7)
    assert treatment(given) is given
    assert treatment(packet(1, captagent_id=8)) == FILTERED


@pytest.mark.parametrize("options", [{"mask": lambda hep: None}, {"condition": lambda hep: True}])
def test_a_key_and_what_it_names_come_together(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="one is there alone"):
        Treat(Treatment(), **options)
    with pytest.raises(ValueError, match="one is there alone"):
        Treat(Treatment(filter="sip", mask="partner"), **options)


def test_a_sample_keeps_calls_whole_and_has_its_share() -> None:
    treatment = treat(sample=0.25)
    calls = [b"call-%d@x" % i for i in range(4000)]
    taken = {call for call in calls if treatment(sip(call)) != SAMPLED_OUT}
    assert 900 < len(taken) < 1100
    for call in calls[:200]:
        rtcp = packet(1, call=call.decode(), proto_type=5)
        assert (treatment(rtcp) != SAMPLED_OUT) == (call in taken)
        reply = sip(call)
        reply.version = 2
        assert (treatment(reply) != SAMPLED_OUT) == (call in taken)
    assert all(sip(call).sampled(0.5) for call in taken)
    assert all(sip(call).sampled(1.0) and not sip(call).sampled(0.0) for call in calls[:100])


def test_a_sample_is_the_same_on_every_machine() -> None:
    assert [i for i in range(12) if sip(b"call-%d@x" % i).sampled(0.5)] == DRAWN


DRAWN = [0, 1, 8, 11]


def test_a_rate_is_a_token_bucket() -> None:
    now = 5.0
    treatment = Treat(Treatment(rate=10), clock=lambda: round(now * 1e9))
    given = packet(1)
    assert [treatment(given) for _ in range(11)] == [given] * 10 + [TOO_FAST]
    now = 5.25
    assert [treatment(given) for _ in range(3)] == [given, given, TOO_FAST]
    now = 100.0
    assert Counter(isinstance(treatment(given), Hep) for _ in range(20)) == {True: 10, False: 10}
    slow = Treat(Treatment(rate="30/m"), workers=30, clock=lambda: round(now * 1e9))
    assert [slow(given) for _ in range(2)] == [given, TOO_FAST], "one of many workers has its share"


def test_an_old_packet_that_cannot_carry_an_edit_becomes_new() -> None:
    given = sip(version=1)
    copy = treated(treat(set={"vlan_id": 7}), given)
    assert (copy.version, copy.vlan_id, copy.payload) == (3, 7, given.payload)
    assert treated(treat(set={"src_port": 7}), given).version == 1


def test_what_cannot_be_masked_is_not_sent() -> None:
    mask = Masker(key=b"k" * 16)
    given = Hep.new(src_ip="192.0.2.1", dst_ip="192.0.2.2")
    given.delete("payload")
    given.compressed_payload = b"no deflate of any kind"
    assert Treat(Treatment(mask="partner"), mask=mask.apply)(given) == CANNOT_MASK


def test_what_would_be_too_large_is_refused() -> None:
    assert treat(set={"node_name": "x" * 60_000})(packet(1, size=10_000)) == CANNOT_CARRY


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"delete": ["nothing"]}, "no chunk is called 'nothing'"),
        ({"set": {"nothing": 1}}, "no chunk is called 'nothing'"),
        ({"set": {"captagent_id": -1}}, "captagent_id takes a number"),
        ({"set": {"captagent_id": "x"}}, "captagent_id takes a number"),
        ({"set": {"node_name": 1.5}}, "node_name.value"),
        ({"set": {"captagent_id": True}}, "captagent_id.value"),
        ({"set": {"src_ip": "somewhere"}}, "src_ip takes an IPv4 or IPv6 address"),
        ({"set": {"0x30": {"value": "a", "type": "uint8"}}}, "takes a number 0..255"),
        ({"set": {"0x30": {"value": "a", "type": "text"}}}, "octet-string"),
        ({"set": {"0x30": {"valu": "a"}}}, "valu"),
        ({"sample": 0}, "greater than 0"),
        ({"sample": 1.5}, "less than or equal to 1"),
        ({"rate": 0}, "out of range"),
        ({"rate": "fast"}, "is not a rate"),
        ({"payload": "zip"}, "inflate"),
    ],
)
def test_mistakes_are_told(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Treatment.model_validate(table)


async def test_the_outlet_sends_the_copy_and_counts_what_it_refuses() -> None:
    with closing(UdpSink()) as sink:
        table = Treatment.model_validate({"filter": "not vlan_id", "sample": 0.5, "set": {"node_name": "edge"}})
        condition: Callable[[Hep], bool] = lambda hep: hep.vlan_id is None  # noqa: E731
        outlet = HepOutlet("partner", HepDestination(urls=[sink.url]), treat=Treat(table, condition))
        await outlet.open()
        try:
            offered = [sip(b"call-%d@x" % i) for i in range(100)]
            before = [bytes(each) for each in offered]
            accepted = [outlet.offer(each) for each in offered]
            assert not outlet.offer(sip(vlan_id=1))
            assert [bytes(each) for each in offered] == before
            outlet.flush()
            await until(lambda: len(sink.read()) >= sum(accepted), "every copy")
            row = outlet.account()
            assert row["accepted"] == row["delivered"] == len(sink.frames) == sum(accepted)
            assert row["refused"] == {FILTERED: 1, SAMPLED_OUT: 100 - sum(accepted)}
            assert {Hep(frame).node_name for frame in sink.frames} == {"edge"}
            assert_balanced(row)
            outlet.refused.clear()
        finally:
            await asyncio.wait_for(outlet.close(1.0), 10)
