"""The gate: what is refused, for which reason, and that the books say so."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from far_ends import numbered, until
from hepswitch import books
from hepswitch.net.udp import UdpReceiver
from hepswitch.networks import Networks
from hepswitch.routing.flow import Flow
from hepswitch.routing.gate import Access, Gate
from hepswitch.routing.guards import AccessTable, DuplicatesTable, LimitTable, build_gate, listener_access
from hepswitch.routing.packet import Context, Packet
from hepswitch.routing.replays import ROOM, Replays
from hepswitch.units import Endpoint, parse_endpoint
from hepswitch.wire.batch import Batch
from hepswitch.wire.hep import Hep

INVITE = b"INVITE sip:bob@example.net SIP/2.0\r\nCall-ID: c1\r\nFrom: <sip:alice@a>;tag=1\r\nCSeq: 1 INVITE\r\n\r\n"
URL = "udp://127.0.0.1:9060"
OURS = 0xC0FFEE


def hep(payload: bytes = INVITE, *, trail: tuple[int, ...] = (), version: int = 3, **chunks: Any) -> bytes:
    packet = Hep.new(payload, src_ip="192.0.2.1", dst_ip="192.0.2.2", src_port=1, dst_port=2, **chunks)
    packet.version = version
    frame = bytes(packet) + b"".join(struct.pack(">HHHI", 0x4853, 0x7F01, 10, hop) for hop in trail)
    return frame[:4] + struct.pack(">H", len(frame)) + frame[6:] if version == 3 else frame


class Bench:
    """A flow behind a gate; `passed` holds the packets that reached the route, and their tags."""

    def __init__(self, gate: Gate | None) -> None:
        self.passed: list[bytes] = []
        self.tags: list[set[str]] = []
        self.routed = books.Routed()
        self.listener = books.Listener(URL)
        self.flow = Flow(Context({}, {}, None, self.routed), self._failed, self._route, gate=gate)

    def _route(self, packet: Packet) -> None:
        self.passed.append(bytes(packet))
        self.tags.append(set(packet.tags))
        packet.drop("seen")

    def _failed(self, packet: Packet, error: Exception) -> None:
        raise AssertionError(error)

    def run(self, *packets: bytes, ip: str = "192.0.2.9") -> dict[str, int]:
        """Send packets from `ip`; what was refused, by reason, so far."""
        self.flow(Batch.of(list(packets), self.listener, (ip, 4000)))
        row = self.listener
        assert row.packets == row.malformed + sum(row.refused.values()) + self.routed.packets
        assert self.routed.packets == len(self.passed)
        return dict(row.refused)


def bench(
    access: dict[str, Any] | None = None,
    limits: list[dict[str, Any]] | None = None,
    duplicates: dict[str, Any] | None = None,
    url: str = URL,
    **options: Any,
) -> Bench:
    gate = build_gate(
        AccessTable(**access or {}),
        [LimitTable(**limit) for limit in limits or []],
        DuplicatesTable(**duplicates or {}),
        {URL: parse_endpoint(url)},
        **options,
    )
    assert gate is not None
    return Bench(gate)


def test_nothing_to_guard_is_no_gate() -> None:
    listeners = {URL: parse_endpoint(URL)}
    assert build_gate(AccessTable(), [], DuplicatesTable(), listeners) is None
    assert build_gate(AccessTable(), [], DuplicatesTable(), listeners, switch_id=1) is not None


# ── who may send ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_deny_wins_over_allow() -> None:
    door = bench({"allow": ["10.0.0.0/8", "2001:db8::/32"], "deny": ["10.6.6.0/24"]})
    for ip in ("10.1.2.3", "2001:db8::1", "::ffff:10.1.2.3", "10.1.2.3"):
        assert door.run(hep(), ip=ip) == {}
    for number, ip in enumerate(["10.6.6.1", "::ffff:10.6.6.1", "192.0.2.1", "2001:db9::1", "", "nonsense", "::"], 1):
        assert door.run(hep(), ip=ip) == {"not allowed": number}


def test_only_denied_senders_are_refused_when_nobody_is_allowed_by_name() -> None:
    door = bench({"deny": "10.0.0.0/8"})
    assert door.run(hep(), ip="192.0.2.1") == {}
    assert door.run(hep(), b"garbage that nobody decodes", ip="10.0.0.1") == {"not allowed": 2}
    assert door.listener.malformed == 0


def test_a_listener_has_its_own_lists() -> None:
    door = bench({"allow": ["10.0.0.0/8"], "deny": ["10.6.6.6"]}, url=f"{URL}?allow=192.0.2.0/24,10.6.6.6")
    assert door.run(hep(), ip="192.0.2.1") == {}
    assert door.run(hep(), ip="10.6.6.6") == {}
    assert door.run(hep(), ip="10.0.0.1") == {"not allowed": 1}
    with pytest.raises(ValueError, match=r"10\.0\.0\.1/8"):
        listener_access(parse_endpoint(f"{URL}?deny=10.0.0.1/8"), AccessTable())


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=300))
def test_remembered_verdicts_are_those_of_the_lists(numbers: list[int]) -> None:
    access = Access(Networks(["10.0.0.0/20"]), Networks(["10.0.3.0/24"]))
    door = Bench(Gate({URL: access}))
    for number in numbers:
        ip = f"10.0.{number >> 8}.{number & 255}"
        before = len(door.passed)
        door.run(hep(), ip=ip)
        assert (len(door.passed) > before) is access.permits(ip)


@pytest.mark.parametrize(
    ("host", "ours", "others"),
    [("127.0.0.1", "127.0.0.1", "127.0.0.2"), ("::", "127.0.0.1", "127.0.0.2"), ("::1", "::1", "")],
)
async def test_senders_of_datagrams(host: str, ours: str, others: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setblocking(False)
        sock.bind((host, 0))
        senders = []
        for ip in filter(None, [ours, others, ours]):
            sender = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM)
            senders.append(sender)
            sender.bind((ip, 0))
            sender.sendto(hep(), (ours, sock.getsockname()[1]))
        door = bench({"allow": [ours]})
        receiver = UdpReceiver(sock, door.listener)

        def read() -> bool:
            batch = receiver.receive()
            if batch is not None:
                door.flow(batch)
            return door.listener.packets == len(senders)

        await until(read, "the datagrams")
        for sender in senders:
            sender.close()
    assert door.listener.refused["not allowed"] == (1 if others else 0)
    assert door.routed.packets == len(senders) - door.listener.refused["not allowed"]


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_packet_needs_one_of_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEP_KEY", "from the environment")
    door = bench({"auth_key": ["s3cret", "env:HEP_KEY"]})
    assert door.run(hep(auth_key=b"s3cret"), hep(auth_key=b"from the environment")) == {}
    assert door.run(hep()) == {"no auth key": 1}
    wrong = [b"", b"s3cre", b"s3cret\0", b"S3cret", b"\xff\xfe"]
    assert door.run(*[hep(auth_key=key) for key in wrong]) == {"no auth key": 1, "wrong auth key": 5}


def test_old_versions_carry_no_key() -> None:
    door = bench({"auth_key": "k", "auth_key_optional_for": ["10.0.0.0/8"]})
    assert door.run(hep(version=1), hep(version=2)) == {"no auth key": 2}
    assert door.run(hep(version=1), hep(version=2), hep(), ip="10.0.0.1") == {"no auth key": 2}
    assert door.run(hep(auth_key=b"x"), ip="10.0.0.1") == {"no auth key": 2, "wrong auth key": 1}


def test_a_list_of_whom_needs_no_key_needs_a_key() -> None:
    with pytest.raises(ValidationError, match="no auth_key is set"):
        AccessTable(auth_key_optional_for=["10.0.0.0/8"])


# ── loops ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_packets_that_have_been_here_are_refused() -> None:
    door = bench(switch_id=OURS)
    assert door.run(hep(), hep(trail=(1, 2)), hep(trail=tuple(range(1, 17))), hep(version=1), hep(version=2)) == {}
    assert door.run(hep(trail=(1, OURS, 2)), hep(trail=(OURS,))) == {"loop": 2}
    assert door.run(hep(trail=tuple(range(1, 18)))) == {"loop": 2, "too many hops": 1}


# ── how much ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_too_much_of_one_sender_is_dropped() -> None:
    door = bench(limits=[{"rate": "2/h"}])
    assert door.run(*[hep()] * 5) == {"rate limit": 3}
    assert door.run(hep(), ip="192.0.2.8") == {"rate limit": 3}


def test_too_much_can_be_marked_instead() -> None:
    door = bench(limits=[{"name": "noisy", "by": "agent", "rate": "1/h", "action": "mark"}])
    assert door.run(hep(captagent_id=1), hep(captagent_id=1), hep(captagent_id=2)) == {}
    assert door.tags == [set(), {"limited"}, set()]
    gate = door.flow.gate
    assert gate is not None
    assert gate.account() == {"limits": {"noisy": 1}, "evicted": 0}


def test_a_packet_must_be_within_all_limits() -> None:
    door = bench(limits=[{"by": "source", "rate": "1/h"}, {"by": "listener", "rate": "2/h"}])
    for ip in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"):
        door.run(hep(), ip=ip)
    assert door.listener.refused == {"rate limit": 2}


def test_refused_packets_cost_no_tokens() -> None:
    door = bench({"auth_key": "k"}, [{"by": "listener", "rate": "1/h"}], switch_id=OURS)
    door.run(hep(), hep(auth_key=b"x"), hep(auth_key=b"k", trail=(OURS,)), hep(auth_key=b"k"), hep(auth_key=b"k"))
    assert door.listener.refused == {"no auth key": 1, "wrong auth key": 1, "loop": 1, "rate limit": 1}


@pytest.mark.parametrize(
    ("by", "same", "other"),
    [
        ("node_name", {"node_name": "edge-1"}, {"node_name": "edge-2"}),
        ("captagent_id", {"captagent_id": 1}, {"captagent_id": 2}),
        ("correlation_id", {"correlation_id": b"a"}, {"correlation_id": b"b"}),
        ("0x11", {"correlation_id": b"a"}, {"correlation_id": b"b"}),
        ("proto_type", {"proto_type": 1}, {"proto_type": 5}),
        ("node_name", {}, {"node_name": "edge-2"}),
    ],
)
def test_limits_by_chunk(by: str, same: dict[str, Any], other: dict[str, Any]) -> None:
    door = bench(limits=[{"by": by, "rate": "1/h"}])
    assert door.run(hep(**same), hep(**same), hep(**other)) == {"rate limit": 1}


def test_an_agent_is_the_same_in_every_version() -> None:
    door = bench(limits=[{"by": "agent", "rate": "1/h"}])
    assert door.run(hep(captagent_id=7), hep(captagent_id=7, version=2)) == {"rate limit": 1}


def test_addresses_are_keys_too() -> None:
    door = bench(limits=[{"by": "src_ip", "rate": "1/h"}])
    other = Hep.new(INVITE, src_ip="2001:db8::1", dst_ip="2001:db8::2")
    assert door.run(hep(), hep(version=1), bytes(other), bytes(other)) == {"rate limit": 2}


@pytest.mark.parametrize(
    ("table", "words"),
    [({"rate": "much"}, "not a rate"), ({"rate": "1/s", "by": "colour"}, "nothing that packets have")],
)
def test_limits_that_mean_nothing(table: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        LimitTable(**table)


# ── not twice ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_message_from_another_agent_is_refused() -> None:
    door = bench(duplicates={"window": "500ms"})
    first, second = hep(captagent_id=1, time=1e9), hep(captagent_id=2, time=1e9 + 0.4)
    assert door.run(first, second) == {"duplicate": 1}
    assert door.run(first, second) == {"duplicate": 2}
    assert door.passed == [first, first]
    assert door.run(hep(captagent_id=3, time=1e9 + 2)) == {"duplicate": 2}


@pytest.mark.parametrize("other", [{"captagent_id": 2}, {"node_name": "edge-2"}, {"ip": "192.0.2.8"}])
def test_what_makes_another_agent(other: dict[str, Any]) -> None:
    door = bench(duplicates={"window": "1s", "action": "mark"})
    agent = {"captagent_id": 1, "node_name": "edge-1", "time": 1e9}
    ip = other.pop("ip", "192.0.2.9")
    assert door.run(hep(**agent)) == {}
    assert door.run(hep(**agent | other), ip=ip) == {}
    assert door.tags == [set(), {"duplicate"}]
    gate = door.flow.gate
    assert gate is not None
    assert gate.account() == {"limits": {}, "duplicates": 1, "forgotten": 0}


def test_the_key_can_be_fields() -> None:
    door = bench(
        duplicates={"window": "1s", "key": ["sip.call_id", "sip.cseq", "sip.method", "sip.status", "src_port"]}
    )
    altered = INVITE.replace(b"sip:bob@", b"sip:bob2@")
    assert door.run(hep(captagent_id=1, time=1e9), hep(altered, captagent_id=2, time=1e9)) == {"duplicate": 1}
    other = INVITE.replace(b"1 INVITE", b"2 INVITE")
    assert door.run(hep(other, captagent_id=2, time=1e9), hep(b"no SIP", captagent_id=3, time=1e9)) == {"duplicate": 1}


def test_what_is_no_sip_is_not_looked_at_unless_asked_for() -> None:
    logs = [hep(b"disk full", captagent_id=agent, proto_type=100, time=1e9) for agent in (1, 2)]
    assert bench(duplicates={"window": "1s"}).run(*logs) == {}
    assert bench(duplicates={"window": "1s", "proto_types": ["LOG"]}).run(*logs) == {"duplicate": 1}
    assert bench(duplicates={"window": "1s", "proto_types": []}).run(*logs) == {"duplicate": 1}
    empty = [hep(b"", captagent_id=agent, time=1e9) for agent in (1, 2)]
    assert bench(duplicates={"window": "1s"}).run(*empty) == {}


def test_a_packet_over_the_limit_is_no_first_copy() -> None:
    door = bench(limits=[{"by": "agent", "rate": "1/h"}], duplicates={"window": "1s"})
    door.run(hep(b"SIP/2.0 200 OK\r\n\r\n", captagent_id=1, time=1e9), hep(captagent_id=1, time=1e9))
    assert door.run(hep(captagent_id=2, time=1e9)) == {"rate limit": 1}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"key": ["sip.colour"]}, "SIP has no field"),
        ({"key": ["colour"]}, "no chunk is called"),
        ({"proto_types": ["tin can"]}, "no protocol type"),
        ({"proto_types": ["256"]}, "0..255"),
    ],
)
def test_duplicates_that_mean_nothing(table: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        DuplicatesTable(**table)


# ── whatever the bytes ───────────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.tuples(st.integers(0, 150), st.integers(0, 255)), max_size=12), st.integers(0, 200))
def test_hostile_packets_are_counted_once(edits: list[tuple[int, int]], cut: int) -> None:
    door = bench(
        {"auth_key": "k", "auth_key_optional_for": "192.0.2.0/24"},
        [{"by": by, "rate": "1000/s"} for by in ("agent", "node_name", "src_ip", "0x7f01", "payload")],
        {"window": "1s", "key": ["sip.call_id", "sip.cseq", "node_name", "timestamp"], "proto_types": [], "size": 100},
        switch_id=OURS,
    )
    frame = bytearray(hep(b"SIP/2.0 200 OK\r\ni: \xff\r\n\r\n", node_name="n", auth_key=b"k", trail=(1, 2), time=1e9))
    for at, value in edits:
        frame[at % len(frame)] = value
    door.run(bytes(frame), bytes(frame[: cut % len(frame) + 1]), ip="192.0.2.7")
    door.run(bytes(frame), ip="192.0.2.8")
    assert door.listener.packets == 3


def test_a_listener_that_has_no_place_for_a_key_needs_none() -> None:
    keyed = bench({"auth_key": "secret", "deny": "10.0.0.0/8"})
    keyed.listener.keyless = True
    assert keyed.run(hep()) == {}
    assert keyed.run(hep(), ip="10.0.0.1") == {"not allowed": 1}


def test_nobody_sends_to_a_listener_that_captures() -> None:
    table = AccessTable.model_validate({"allow": ["10.0.0.0/8"], "auth_key": ["secret"]})
    assert listener_access(Endpoint("mirror", "eth0", 0), table) is None
    assert listener_access(Endpoint("pcap", "", 0), table) is None
    assert listener_access(Endpoint("sip", "127.0.0.1", 5060), table) is not None


# ── packets that were here before ────────────────────────────────────────────────────────────────────────────────────


STREAM = "tls://127.0.0.1:9061?cert=c&key=k"


def once(number: int, queue: int = 77, size: int = 16, **chunks: Any) -> bytes:
    return numbered(hep(**chunks), number, queue, size)


def test_what_comes_again_is_refused_and_the_number_goes_no_further() -> None:
    door = bench(url=STREAM, replays=Replays(bytearray(ROOM)))
    assert door.run(once(1), once(2)) == {}
    assert door.run(once(1), once(2), once(3)) == {"replayed": 2}
    assert door.run(once(1, queue=78)) == {"replayed": 2}
    assert door.passed == [hep()] * 4


def test_over_udp_numbers_mean_nothing_and_are_taken_out() -> None:
    door = bench(replays=Replays(bytearray(ROOM)))
    assert door.run(once(1), once(1)) == {}
    assert door.passed == [hep()] * 2


@pytest.mark.parametrize("size", [0, 15, 17])
def test_a_number_of_another_size_is_none_and_is_taken_out(size: int) -> None:
    door = bench(url=STREAM, replays=Replays(bytearray(ROOM)))
    assert door.run(once(1, size=size), once(1, size=size)) == {}
    assert door.passed == [hep()] * 2


def test_a_number_among_other_chunks_and_several_of_them() -> None:
    door = bench(url=STREAM, replays=Replays(bytearray(ROOM)))
    first, second = once(1), hep()
    chunk = first[len(second) :]
    behind = first[:6] + chunk + first[6:]
    behind = behind[:4] + struct.pack(">H", len(behind)) + behind[6:]
    assert door.run(behind) == {}
    assert door.run(behind, first) == {"replayed": 2}
    assert door.passed == [second]


def test_a_packet_refused_for_its_key_was_not_here_and_is_answered() -> None:
    replays = Replays(bytearray(ROOM))
    door = bench({"auth_key": "right"}, url=STREAM, replays=replays)
    assert door.run(once(1, auth_key=b"wrong")) == {"wrong auth key": 1}
    assert (replays.answered(), replays.answered()) == ((77, 1), None)
    assert door.run(once(1, auth_key=b"right")) == {"wrong auth key": 1}
    assert door.run(once(1, auth_key=b"right")) == {"wrong auth key": 1, "replayed": 1}
    assert len(door.passed) == 1


def test_what_another_worker_may_have_is_left_in_the_batch_as_it_came() -> None:
    memory = bytearray(ROOM)
    other = Replays(memory, 1)
    assert other.had(77, 1) is False
    door = bench(url=STREAM, replays=Replays(memory, 0))
    packets = [hep(), once(1, queue=5), once(1), once(2), hep()]
    batch = Batch.of(packets, door.listener, ("192.0.2.9", 4000))
    door.flow(batch)
    assert (batch.busy, len(batch), door.listener.packets, len(door.passed)) == (True, 2, 2, 2)
    assert door.listener.bytes == len(packets[0]) + len(packets[1])
    other.safe(other.taken())
    again = Batch.of(packets[2:], door.listener, ("192.0.2.9", 4000))
    door.flow(again)
    assert (again.busy, len(again)) == (False, 3)
    assert door.run() == {"replayed": 1}
    assert door.passed == [hep()] * 4
