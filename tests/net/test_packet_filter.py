"""The kernel's filter for mirrors, run here by an interpreter of classic BPF, and in the kernel itself over loopback."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepswitch.net import bpf
from hepswitch.net.packet_filter import OUTGOING, capture_filter, share_by_hosts, tunnel_filter
from hepswitch.wire.ip import FrameBuilder

SNAPLEN = 1600
PORTS = [(5060, 5070), (5080, 5080)]


def ran(program: list[bpf.Instruction], data: bytes, protocol: int = 0, kind: int = 0, interface: int = 2) -> int:
    """What the kernel's machine would return for a packet."""
    a = x = at = 0
    memory = [0] * 16
    extras = {bpf.AD_PROTOCOL: protocol, bpf.AD_PKTTYPE: kind, bpf.AD_IFINDEX: interface}
    sizes = {bpf.LD_W: 4, bpf.LD_H: 2, bpf.LD_B: 1, bpf.LDI_W: 4, bpf.LDI_H: 2, bpf.LDI_B: 1}
    while True:
        code, yes, no, k = program[at]
        at += 1
        if code == bpf.LD_W and k in extras:
            a = extras[k]
        elif code in sizes:
            place = k + (x if code in (bpf.LDI_W, bpf.LDI_H, bpf.LDI_B) else 0)
            if place >= bpf.NETWORK:
                place -= bpf.NETWORK
            if place + sizes[code] > len(data):
                return 0
            a = int.from_bytes(data[place : place + sizes[code]], "big")
        elif code in (bpf.RET, bpf.RET_A):
            return k if code == bpf.RET else a
        elif code == bpf.JA:
            at += k
        elif code in (bpf.JEQ, bpf.JGT, bpf.JGE, bpf.JSET):
            holds = {bpf.JEQ: a == k, bpf.JGT: a > k, bpf.JGE: a >= k, bpf.JSET: bool(a & k)}[code]
            at += yes if holds else no
        elif code in (bpf.ST, bpf.STX):
            memory[k] = a if code == bpf.ST else x
        elif code in (bpf.LD_MEM, bpf.TXA):
            a = memory[k] if code == bpf.LD_MEM else x
        elif code in (bpf.LDX_IMM, bpf.LDX_MEM, bpf.TAX):
            x = {bpf.LDX_IMM: k, bpf.LDX_MEM: memory[k & 15], bpf.TAX: a}[code]
        else:
            a = {
                bpf.ADD: a + k, bpf.ADD_X: a + x, bpf.MUL: a * k, bpf.AND: a & k, bpf.LSH: a << (k & 31),
                bpf.RSH: a >> (k & 31),
            }[code] & 0xFFFFFFFF  # fmt: skip


V4, V6 = ("192.0.2.1", "198.51.100.9"), ("2001:db8::1", "2001:db8::9")
TAG_8021Q, TAG_8021AD = bytes.fromhex("8100 0064"), bytes.fromhex("88a8 00c8")


def frame(
    ends: tuple[str, str], sport: int, dport: int, payload: bytes = b"OPTIONS sip:x SIP/2.0", proto: int = 17
) -> bytes:
    return FrameBuilder().frames(proto, ends[0], sport, ends[1], dport, payload)[0]


def tagged(data: bytes, *tags: bytes) -> bytes:
    return data[:12] + b"".join(tags) + data[12:]


def ip_of(data: bytes) -> bytes:
    return data[14:]


def outer(protocol: int, inside: bytes, ends: tuple[str, str] = V4) -> bytes:
    """`inside` in an IP datagram of `protocol`, in Ethernet."""
    if ":" in ends[0]:
        addresses = b"".join(socket.inet_pton(socket.AF_INET6, end) for end in ends)
        return bytes(12) + b"\x86\xdd\x60\0\0\0" + len(inside).to_bytes(2) + bytes((protocol, 64)) + addresses + inside
    addresses = b"".join(map(socket.inet_aton, ends))
    head = b"\x45\0" + (20 + len(inside)).to_bytes(2) + b"\0\1\0\0\x40" + bytes((protocol,)) + b"\0\0" + addresses
    return bytes(12) + b"\x08\0" + head + inside


def accepts(data: bytes, **options) -> bool:
    """Is an Ethernet frame accepted? The cooked program must say the same of what follows the header."""
    raw = ran(capture_filter(PORTS, snaplen=SNAPLEN, **options), data)
    kind = int.from_bytes(data[12:14], "big")
    cooked = ran(capture_filter(PORTS, cooked=True, snaplen=SNAPLEN, **options), data[14:], protocol=kind)
    assert raw == cooked
    assert raw in (0, SNAPLEN)
    return raw == SNAPLEN


@pytest.mark.parametrize("tags", [(), (TAG_8021Q,), (TAG_8021AD, TAG_8021Q)])
@pytest.mark.parametrize("proto", [6, 17])
@pytest.mark.parametrize("ends", [V4, V6])
def test_ports_of_udp_and_tcp_behind_tags(ends, proto, tags) -> None:
    for port, wanted in ((5059, False), (5060, True), (5070, True), (5071, False), (5080, True), (5081, False)):
        assert accepts(tagged(frame(ends, port, 40_000, proto=proto), *tags)) is wanted
        assert accepts(tagged(frame(ends, 40_000, port, proto=proto), *tags)) is wanted


@given(
    st.lists(st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(lambda p: (min(p), max(p))), max_size=12),
    st.integers(0, 65535),
    st.integers(0, 65535),
)
def test_any_ranges_mean_what_they_say(ranges, sport, dport) -> None:
    wanted = not ranges or any(low <= port <= high for low, high in ranges for port in (sport, dport))
    program = capture_filter(ranges, rtcp=False, tunnels=False)
    assert bool(ran(program, frame(V4, sport, dport))) is wanted


@given(st.binary(max_size=120), st.sampled_from([0, 0x0800, 0x86DD, 0x8100]), st.sampled_from([0, OUTGOING]))
def test_any_bytes_end_at_one_of_two_answers(data, protocol, kind) -> None:
    for program in (
        capture_filter(PORTS, snaplen=SNAPLEN),
        capture_filter(PORTS, cooked=True, snaplen=SNAPLEN),
        tunnel_filter(ip_address("192.0.2.1"), PORTS, snaplen=SNAPLEN),
        tunnel_filter(ip_address("::"), PORTS, snaplen=SNAPLEN),
    ):
        assert ran(program, data, protocol, kind) in (0, SNAPLEN)
    assert 0 <= ran(share_by_hosts(), data, protocol, kind) < 1 << 16


def test_options_of_the_ip_header_move_the_ports() -> None:
    plain = frame(V4, 5060, 1)
    long = plain[:14] + b"\x46" + plain[15:34] + bytes(4) + plain[34:]
    assert accepts(long)


def test_fragments_come_through_whatever_their_ports() -> None:
    first, later = bytearray(frame(V4, 5060, 1)), bytearray(frame(V4, 1, 1))
    first[20:22], later[20:22] = b"\x20\0", b"\0\x10"
    assert accepts(bytes(first))
    assert accepts(bytes(later))
    later[23] = 1  # ICMP
    assert not accepts(bytes(later))
    for protocol, wanted in ((17, True), (6, True), (58, False)):
        assert accepts(outer(44, bytes((protocol, 0, 0, 16)) + bytes(20), V6)) is wanted


def test_extension_headers_of_ipv6_come_through() -> None:
    for kind in (0, 43, 60):
        assert accepts(outer(kind, bytes((17, 0)) + bytes(30), V6))
        assert not accepts(outer(kind, bytes((58, 0)) + bytes(30), V6))  # ICMP: multicast listeners say hello like that
    assert not accepts(outer(58, bytes(30), V6))


def test_rtcp_is_told_from_rtp() -> None:
    rtcp, rtp = bytes.fromhex("81c90007") + bytes(28), bytes.fromhex("80000001") + bytes(160)
    for ends in (V4, V6):
        assert accepts(frame(ends, 30_001, 40_001, rtcp))
        assert not accepts(frame(ends, 30_001, 40_001, rtcp), rtcp=False)
        assert not accepts(frame(ends, 30_000, 40_000, rtp))
        assert not accepts(frame(ends, 30_001, 40_001, rtcp, proto=6))


GRE_PLAIN, GRE_FULL = bytes.fromhex("0000 0800"), bytes.fromhex("b000 0800") + bytes(12)


@pytest.mark.parametrize("ends", [V4, V6])
@pytest.mark.parametrize(("protocol", "head"), [(4, b""), (47, GRE_PLAIN), (47, GRE_FULL)])
def test_tunnels_are_looked_into(ends, protocol, head) -> None:
    sip, other = ip_of(frame(V4, 5060, 1)), ip_of(frame(V4, 1, 1))
    assert accepts(outer(protocol, head + sip, ends))
    assert not accepts(outer(protocol, head + other, ends))
    assert not accepts(outer(protocol, head + sip, ends), tunnels=False)
    to, elsewhere = ip_address(ends[1]), ip_address(ends[0])
    ethertype = 0x86DD if ":" in ends[0] else 0x0800
    packet = ip_of(outer(protocol, head + sip, ends))
    assert ran(tunnel_filter(to, PORTS), packet, ethertype)
    assert ran(tunnel_filter(ip_address("::" if ":" in ends[0] else "0.0.0.0"), PORTS), packet, ethertype)
    assert not ran(tunnel_filter(elsewhere, PORTS), packet, ethertype)
    assert not ran(tunnel_filter(to, PORTS), ip_of(outer(protocol, head + other, ends)), ethertype)
    assert not ran(tunnel_filter(to, PORTS), ip_of(frame(ends, 5060, 1)), ethertype)


def test_tunnels_of_ipv6_and_of_ethernet() -> None:
    assert accepts(outer(41, ip_of(frame(V6, 5060, 1))))
    assert not accepts(outer(41, ip_of(frame(V6, 1, 1))))
    assert accepts(outer(47, bytes.fromhex("1000 88be 00000001") + bytes(60)))
    assert accepts(frame(V4, 50_000, 4789))
    assert not accepts(frame(V4, 50_000, 4789), tunnels=False)


def test_what_lo_sends_comes_back_and_is_taken_then() -> None:
    program = capture_filter(PORTS)
    assert not ran(program, frame(V4, 5060, 1), kind=OUTGOING, interface=1)
    assert ran(program, frame(V4, 5060, 1), kind=0, interface=1)
    assert ran(program, frame(V4, 5060, 1), kind=OUTGOING, interface=2)


def test_own_packets_whose_tag_the_card_does_not_set() -> None:
    """The protocol says VLAN, and the tag stands before what a cooked socket sees."""
    program = capture_filter(PORTS, cooked=True)
    assert ran(program, ip_of(frame(V4, 5060, 1)), protocol=0x8100, kind=OUTGOING)
    assert ran(program, ip_of(frame(V6, 5060, 1)), protocol=0x8100, kind=OUTGOING)
    assert not ran(program, ip_of(frame(V6, 1, 1)), protocol=0x8100, kind=OUTGOING)


@given(st.data())
def test_two_hosts_share_a_reader_whichever_sends(data) -> None:
    family = data.draw(st.sampled_from([4, 6]))
    a, b = (str(data.draw(st.ip_addresses(v=family))) for _ in range(2))
    protocol = 0x0800 if family == 4 else 0x86DD
    tag = data.draw(st.sampled_from([b"", b"\0\x64" + protocol.to_bytes(2)]))
    there = tag + ip_of(frame((a, b), 5060, 1))
    back = tag + ip_of(frame((b, a), 40_000, 5060, proto=6))
    said = 0x8100 if tag else protocol
    assert ran(share_by_hosts(), there, said) == ran(share_by_hosts(), back, said)


@pytest.mark.parametrize(
    "make", [lambda host: (f"10.0.0.{host}", "10.1.0.1"), lambda host: (f"fd00::{host}", "fd00:1::1")]
)
def test_neighbours_are_spread_over_readers(make) -> None:
    protocol = 0x86DD if ":" in make(1)[0] else 0x0800
    found = [ran(share_by_hosts(), ip_of(frame(make(host), 1, 2)), protocol) % 4 for host in range(1, 201)]
    assert min(found.count(reader) for reader in range(4)) > 20


def test_the_kernel_takes_the_programs_and_agrees() -> None:
    ranges = [(port, port + 10) for port in range(1000, 41_000, 400)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for program in (capture_filter(ranges), capture_filter(ranges, cooked=True), share_by_hosts()):
            bpf.attach(sock, program)
    with pytest.raises(ValueError, match="instructions"):
        capture_filter([(port, port) for port in range(0, 40_000, 2)])
