"""The number by which the next switch recognises a packet that comes again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from far_ends import packet
from hepswitch.destinations.balance import Balancer, Node
from hepswitch.wire.chunks import NUMBER, TRAIL
from hepswitch.wire.hep import Hep

MOST = 65535


def numbered(*packets: Hep, mark: int = 0) -> tuple[Node, list[Hep]]:
    """A node with these packets in its inbox."""
    node = Node("tls://far:9061", 1.0, 3, 1 << 30)
    node.numbered, node.mark = True, mark
    balancer = Balancer([node], "first")
    for each in packets:
        assert balancer.offer(each)
    return node, [Hep(frame) for frame in node.inbox]


def number_of(hep: Hep) -> tuple[int, int] | None:
    value = hep.get(NUMBER[1], type="octet-string", vendor=NUMBER[0])
    return None if value is None else (int.from_bytes(value[:8]), int.from_bytes(value[8:]))


@given(st.lists(st.integers(0, 2000), min_size=1, max_size=20), st.sampled_from([0, 7]))
def test_numbers_grow_by_one_and_nothing_else_changes(sizes: list[int], mark: int) -> None:
    packets = [packet(i, size=size) for i, size in enumerate(sizes)]
    node, after = numbered(*packets, mark=mark)
    assert [number_of(hep) for hep in after] == [(node.queue, i + 1) for i in range(len(sizes))]
    for before, hep in zip(packets, after, strict=True):
        assert hep.chunks()[-1].id == NUMBER[1], "last: where it is taken out without moving anything"
        hep.delete(NUMBER[1], vendor=NUMBER[0])
        hep.delete(TRAIL[1], vendor=TRAIL[0])
        assert bytes(hep) == bytes(before)


def test_each_queue_has_a_name_of_its_own() -> None:
    names = {Node("tls://far:9061", 1.0, 3, 1).queue for _ in range(100)}
    assert len(names) == 100
    assert 0 not in names


@pytest.mark.parametrize("room", [0, 21, 22])
def test_a_packet_that_is_full_goes_without_and_costs_no_number(room: int) -> None:
    size = len(bytes(packet(1, size=1000)))
    full = packet(1, size=MOST - size + 1000 - room)
    node, after = numbered(full, packet(2))
    assert (number_of(after[0]) is not None) is (room == 22)
    assert number_of(after[1]) == (node.queue, 2 if room == 22 else 1)
