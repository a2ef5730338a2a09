"""Envelopes: the packets that `Hep.new()` makes, many in one batch."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepswitch.wire.envelopes import Envelopes
from hepswitch.wire.hep import Hep

BETWEEN: dict[str, Any] = {"src_ip": "192.0.2.1", "src_port": 5060, "dst_ip": "192.0.2.2", "dst_port": 5062}

ADDRESSES = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)), st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6))
)
PORTS = st.integers(0, 65535)
PACKETS = st.fixed_dictionaries(
    {
        "addresses": ADDRESSES,
        "src_port": PORTS,
        "dst_port": PORTS,
        "time_us": st.integers(0, 2**32 * 1_000_000 - 1),
        "proto_id": st.integers(0, 255),
        "proto_type": st.integers(0, 255),
        "vlan_id": st.none() | st.integers(0, 4095),
        "correlation_id": st.binary(max_size=40),
        "payload": st.binary(max_size=400),
    }
)


@given(st.lists(PACKETS, max_size=20), st.integers(0, 2**32 - 1), st.none() | st.text(max_size=20))
def test_they_are_what_hep_new_makes(packets: list[dict[str, Any]], agent: int, node: str | None) -> None:
    envelopes = Envelopes("listener", agent, node)
    for _ in range(2):  # the second time in the same memory
        expected = []
        for packet in packets:
            said = dict(packet)
            said["src_ip"], said["dst_ip"] = map(str, said.pop("addresses"))
            assert envelopes.add(**said)
            seconds, microseconds = divmod(said.pop("time_us"), 1_000_000)
            said |= {"timestamp": seconds, "timestamp_us": microseconds, "captagent_id": agent}
            if node:
                said["node_name"] = node.encode("utf-8", "surrogateescape")
            said["correlation_id"] = said["correlation_id"] or None
            expected.append(bytes(Hep.new(**said)))
        batch = envelopes.batch()
        assert (len(envelopes), batch.listener, batch.peer) == (len(packets), "listener", None)
        assert list(batch) == expected
        envelopes.clear()
        assert (len(batch), len(envelopes)) == (0, 0)


def test_many_packets_and_the_time_of_their_arrival() -> None:
    envelopes = Envelopes(None, peer=("192.0.2.9", 4000))
    payloads = [b"%d" % number * 50 for number in range(5000)]
    before = time.time()
    for number, payload in enumerate(payloads):
        assert envelopes.add(payload, time_us=number, **BETWEEN)
    batch = envelopes.batch()
    assert [Hep(packet).payload for packet in batch] == payloads
    assert before - 1 <= batch.arrival_us / 1e6 <= time.time() + 1
    assert batch.peer == ("192.0.2.9", 4000)


def test_a_batch_that_was_given_out_is_empty_once_packets_are_added() -> None:
    envelopes = Envelopes(None)
    envelopes.add(b"one", time_us=1, **BETWEEN)
    batch = envelopes.batch()
    envelopes.add(b"two", time_us=2, **BETWEEN)
    assert list(batch) == []
    assert [Hep(packet).payload for packet in envelopes.batch()] == [b"one", b"two"]


def test_what_hep_cannot_say_is_not_put() -> None:
    envelopes = Envelopes(None, node_name="edge")
    room = 65_535 - len(bytes(Hep.new(b"", timestamp=1, timestamp_us=0, captagent_id=1, node_name="edge", **BETWEEN)))
    assert envelopes.add(bytes(room), time_us=1_000_000, **BETWEEN)
    assert not envelopes.add(bytes(room + 1), time_us=1_000_000, **BETWEEN)
    assert not envelopes.add(bytes(room), time_us=1, correlation_id=b"x", **BETWEEN)
    assert not envelopes.add(b"", time_us=1, correlation_id=bytes(70_000), **BETWEEN)
    assert not envelopes.add(b"", time_us=2**32 * 1_000_000, **BETWEEN)
    assert [len(packet) for packet in envelopes.batch()] == [65_535]


def test_packets_that_are_hep_already_stay_as_they_are() -> None:
    envelopes = Envelopes(None)
    whole = bytes(Hep.new(b"x", captagent_id=7))
    assert envelopes.add_whole(whole)
    assert not envelopes.add_whole(bytes(65_536))
    assert list(envelopes.batch()) == [whole]


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"src_ip": "2001:db8::1"}, "two families"),
        ({"dst_ip": "nowhere"}, "'nowhere' is no IPv4 or IPv6 address"),
        ({"src_port": 65_536}, "src_port takes a number 0..65535"),
        ({"proto_type": -1}, "proto_type takes a number 0..255"),
        ({"vlan_id": 65_536}, "vlan_id takes"),
        ({"time_us": -1}, "time_us takes"),
    ],
)
def test_what_is_wrong_is_said(wrong: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        Envelopes(None).add(b"", **({"time_us": 1} | BETWEEN | wrong))


def test_an_agent_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"captagent_id takes a number 0\.\.4294967295, not -1"):
        Envelopes(None, -1)
    with pytest.raises(ValueError, match="node_name has 256 bytes"):
        Envelopes(None, node_name="x" * 256)
