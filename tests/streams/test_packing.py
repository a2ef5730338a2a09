"""Bodies of messages: every packet in one, calls together, ids that stay."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from far_ends import number, packet
from hepswitch.books import Listener
from hepswitch.destinations.record_queue import RecordQueue
from hepswitch.streams.message import MOST_BYTES, Message, mark
from hepswitch.streams.packing import Packer, unpack
from hepswitch.wire.batch import Batch
from hepswitch.wire.hep import Hep

JOURNAL = "0123456789abcdef" * 2
ARRIVAL = 1_795_000_100.5


def queue_of(packets: list[Hep], **said: Any) -> RecordQueue:
    queue = RecordQueue(1 << 30)
    for each in packets:
        each.arrival = ARRIVAL
        assert queue.offer(each, **said)
    return queue


def packed(
    packets: list[Hep],
    *,
    partitions: int = 4,
    at_once: int = 500,
    most: int = MOST_BYTES,
    first: int = 0,
    left_out: frozenset[int] = frozenset(),
    **said: Any,
) -> list[Message]:
    queue = queue_of(packets, **said)
    packer = Packer(JOURNAL, partitions, at_once, most)
    packer.add(first, memoryview(queue.pending), memoryview(queue.pending.lengths()).cast("I"), left_out)
    assert packer.damaged == 0, packer.fault
    return packer.messages()


def batch() -> Batch:
    return Batch(Listener("nats://n1:4222/HEP"))


def read(messages: list[Message]) -> list[bytes]:
    found = []
    for message in messages:
        into = batch()
        assert unpack(into, message.body, 0) == 0
        assert len(into) == message.packets
        found += list(into)
    return found


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 3000)), max_size=40),
    st.integers(1, 9),
    st.integers(1, 7),
    st.integers(3100, 9000),
)
def test_every_packet_is_in_one_message_and_calls_stay_together_in_order(
    calls: list[tuple[str, int]], partitions: int, at_once: int, most: int
) -> None:
    packets = [packet(index, call, size=size, time=ARRIVAL) for index, (call, size) in enumerate(calls)]
    messages = packed(packets, partitions=partitions, at_once=at_once, most=most)
    assert sorted(read(messages)) == sorted(map(bytes, packets))
    places: dict[bytes | None, set[int]] = {}
    for message in messages:
        assert message.packets <= at_once
        assert len(message.body) <= most
        for each in read([message]):
            places.setdefault(Hep(each).correlation_id, set()).add(message.partition)
    assert all(len(found) == 1 for found in places.values())
    for partition in range(partitions):
        numbers = [number(each) for each in read([each for each in messages if each.partition == partition])]
        assert numbers == sorted(numbers)


def test_ids_are_the_same_each_time_and_each_is_another() -> None:
    packets = [packet(index, f"c{index % 7}", time=ARRIVAL) for index in range(100)]
    first = packed(packets, first=700, at_once=5)
    assert first == packed(packets, first=700, at_once=5)
    assert len({message.id for message in first}) == len(first)
    assert len({mark(message.id, message.body) for message in first}) == len(first)
    assert all(len(mark(message.id, message.body)) == 16 for message in first)
    assert all(message.id.startswith(f"{JOURNAL}-7") for message in first)


def test_the_same_bytes_twice_are_two_messages() -> None:
    same = [packet(1, "c1", time=ARRIVAL), packet(1, "c1", time=ARRIVAL)]
    messages = packed(same, at_once=1)
    assert [each.body for each in messages] == [bytes(same[0])] * 2
    assert len({each.id for each in messages}) == 2


def test_another_content_has_another_id_though_it_is_of_the_same_frames() -> None:
    packets = [packet(index, "c1", time=ARRIVAL) for index in range(3)]
    (whole,) = packed(packets)
    (part,) = packed(packets, left_out=frozenset({1}))
    assert [number(each) for each in read([part])] == [0, 2]
    assert whole.id.rpartition("-")[0] == part.id.rpartition("-")[0]
    assert whole.id != part.id


def test_the_key_is_the_partition_or_the_only_packets_call() -> None:
    packets = [packet(0, "c1", time=ARRIVAL), packet(1, "c2", time=ARRIVAL)]
    assert {each.key for each in packed(packets)} == {b"%d" % each.partition for each in packed(packets)}
    assert sorted(each.key for each in packed(packets, at_once=1)) == [b"c1", b"c2"]


def test_old_versions_become_version_3_and_what_has_no_time_gets_that_of_its_arrival() -> None:
    sip = b"OPTIONS sip:a SIP/2.0\r\nCall-ID: c9\r\n\r\n"
    ends: dict[str, Any] = {"src_ip": "192.0.2.1", "dst_ip": "192.0.2.2", "src_port": 5060, "dst_port": 5060}
    packets = [Hep.new(sip, version=version, **ends) for version in (1, 2, 3)]
    found = [Hep(each) for each in read(packed(packets))]
    assert [each.version for each in found] == [3, 3, 3]
    assert [each.payload for each in found] == [sip] * 3
    assert [each.time for each in found] == [ARRIVAL] * 3


def test_a_report_goes_under_the_correlation_id_that_the_route_said() -> None:
    (found,) = read(packed([packet(1, "c1", time=ARRIVAL)], correlation_id="leg-2", table="rtcp"))
    assert Hep(found).correlation_id == b"leg-2"


def test_a_packet_that_no_message_can_hold_is_named() -> None:
    queue = queue_of([packet(index, "c1", size=size, time=ARRIVAL) for index, size in enumerate((10, 3000, 20))])
    packer = Packer(JOURNAL, 1, 500, 1000)
    packer.add(40, memoryview(queue.pending), memoryview(queue.pending.lengths()).cast("I"))
    assert packer.too_large == [41]
    assert [number(each) for each in read(packer.messages())] == [0, 2]


@given(st.binary(max_size=200))
def test_records_that_are_none_are_counted(data: bytes) -> None:
    packer = Packer(JOURNAL, 2, 500, MOST_BYTES)
    packer.add(0, memoryview(data), memoryview(len(data).to_bytes(4, "little")).cast("I"))
    packer.add(1, memoryview(data), memoryview((len(data) + 1).to_bytes(4, "little")).cast("I"))
    assert packer.damaged == 2
    assert packer.fault
    assert packer.messages() == []


@given(st.binary(max_size=64), st.integers(0, 3))
def test_what_follows_the_packets_of_a_body_is_told_and_nothing_else_is_given(rest: bytes, count: int) -> None:
    packets = [bytes(packet(index, time=ARRIVAL)) for index in range(count)]
    into = batch()
    left = unpack(into, b"".join(packets) + rest, 5)
    assert list(into)[:count] == packets
    assert sum(map(len, into)) + left == sum(map(len, packets)) + len(rest)
    assert into.arrival_us == 5


def test_a_batch_is_emptied_before_it_is_filled() -> None:
    into = batch()
    assert unpack(into, bytes(packet(1)), 0) == 0
    assert unpack(into, b"", 0) == 0
    assert len(into) == 0


@pytest.mark.parametrize(("partitions", "packets", "most"), [(0, 1, 1), (1025, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_impossible_messages_are_refused(partitions: int, packets: int, most: int) -> None:
    with pytest.raises(ValueError, match="no messages of"):
        Packer(JOURNAL, partitions, packets, most)


def test_calls_spread_over_the_partitions() -> None:
    messages = packed([packet(index, f"call-{index}", time=ARRIVAL) for index in range(1600)], partitions=16)
    assert min(Counter({each.partition: each.packets for each in messages}).values()) > 60
