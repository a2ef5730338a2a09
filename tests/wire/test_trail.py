"""The trail: which switches passed a packet on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from far_ends import packet
from hepswitch.destinations.balance import Balancer, Node
from hepswitch.wire.chunks import TRAIL
from hepswitch.wire.hep import Hep

MOST = 65535


def passed_on(hep: Hep, *switches: int) -> Hep:
    """The packet as it is after these switches."""
    for switch in switches:
        node = Node("udp://far:9060", 1.0, 0, 1 << 20)
        node.mark = switch
        assert Balancer([node], "first").offer(hep)
        hep = Hep(node.inbox[0])
    return hep


@given(st.lists(st.integers(1, 2**32 - 1), max_size=8))
def test_each_switch_adds_its_id_and_nothing_else_changes(switches: list[int]) -> None:
    fresh = packet(1)
    after = passed_on(fresh, *switches)
    assert after.hops == switches
    assert fresh.hops == []
    assert after.chunks()[: len(fresh.chunks())] == fresh.chunks()
    assert len(bytes(after)) == len(bytes(fresh)) + 10 * len(switches)
    after.delete(TRAIL[1], vendor=TRAIL[0])
    assert bytes(after) == bytes(fresh)


def test_every_frame_of_a_growing_inbox_is_marked() -> None:
    node = Node("udp://far:9060", 1.0, 0, 1 << 30)
    node.mark = 0xCAFE
    balancer = Balancer([node], "first")
    packets = [packet(i, size=i * 7) for i in range(300)]
    for each in packets:
        assert balancer.offer(each)
    assert [Hep(frame).hops for frame in node.inbox] == [[0xCAFE]] * 300
    assert [Hep(frame).payload for frame in node.inbox] == [each.payload for each in packets]


@pytest.mark.parametrize("version", [1, 2])
def test_versions_1_and_2_cannot_carry_it(version: int) -> None:
    old = packet(1, proto_type=1)
    old.version = version
    after = passed_on(old, 7)
    assert bytes(after) == bytes(old)
    assert after.hops == []


@pytest.mark.parametrize("room", [0, 9, 10])
def test_a_packet_that_is_full_stays_as_it_is(room: int) -> None:
    size = len(bytes(packet(1, size=1000)))
    full = packet(1, size=MOST - size + 1000 - room)
    assert len(bytes(full)) == MOST - room
    assert passed_on(full, 7).hops == ([7] if room == 10 else [])


def test_a_chunk_of_another_size_or_vendor_is_no_hop() -> None:
    hep = packet(1)
    hep.set(TRAIL[1], b"\0\0\0\1\2", type="octet-string", vendor=TRAIL[0])
    hep.set(TRAIL[1], 5, type="uint32", vendor=3)
    assert hep.hops == []
