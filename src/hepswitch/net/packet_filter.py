"""Which frames the kernel hands to a mirror, and which of several readers gets them: classic BPF programs.

A program sees a frame from its Ethernet header on, or (`cooked`) from what follows the link layer. The kernel takes the
outermost VLAN tag out of the frame; two more may be inside. Where a frame does not say its ports it comes through, and
user space, which puts fragments together, looks again: fragments after the first, IPv6 extension headers, and
tunnels of Ethernet (ERSPAN, VXLAN). IP in IP and GRE with IP inside are looked into here.

Not here: sockets (`sources.mirror`), reading (`net.packet_ring`).
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

from hepswitch.net import bpf
from hepswitch.net.bpf import Assembler, Instruction

PortRange = tuple[int, int]
"""First and last port, both included."""

LOOPBACK = 1
"""The number of the interface lo, in every network namespace."""

OUTGOING = 4
"""PACKET_OUTGOING: the type of what this machine sends."""

NOTHING: list[Instruction] = [(bpf.RET, 0, 0, 0)]
"""The program that refuses every frame."""

_IPV4, _IPV6 = 0x0800, 0x86DD
_VLAN_TAGS = (0x8100, 0x88A8, 0x9100)
_TAGS_INSIDE = 2
_IPIP, _TCP, _UDP, _IP6IN4, _GRE = 4, 6, 17, 41, 47
_EXTENSIONS = (0, 43, 44, 51, 60, 135, 139, 140)  # fragments among them
_TUNNELS = (_IPIP, _IP6IN4, _GRE)
_VXLAN_PORT = 4789
_HEADER = 14  # of Ethernet
_SPREAD = 0x9E3779B1  # 2^32 / golden ratio: neighbours end far apart in the upper bits

# Cells of the scratch memory.
_PROTOCOL, _FLAGS = 0, 1
_SUM, _HEADER_AT = 0, 1


def capture_filter(
    ports: Sequence[PortRange],
    *,
    cooked: bool = False,
    rtcp: bool = True,
    tunnels: bool = True,
    snaplen: int = 0xFFFF,
) -> list[Instruction]:
    """Accepts `snaplen` bytes of UDP and TCP over IPv4 and IPv6 from or to a port within `ports`; without any, all ports.

    `rtcp`: also RTCP (RFC 3550: version 2, types 200 to 207) on any UDP port. `tunnels`: also what IP in IP, GRE and VXLAN
    carry. Of what lo sends only the copy that arrives counts. Raises ValueError when there are too many ranges.
    """
    made = _Filter(ports, rtcp=rtcp, snaplen=snaplen)
    made.link_layer(cooked=cooked)
    made.network_layer("outer", tunnels=tunnels)
    if tunnels:
        made.tunnel("inner")
        made.network_layer("inner", tunnels=False)
    return made.assembled()


def tunnel_filter(
    address: IPv4Address | IPv6Address, ports: Sequence[PortRange], *, rtcp: bool = True, snaplen: int = 0xFFFF
) -> list[Instruction]:
    """Accepts, of cooked frames, what IP in IP and GRE carry to `address`, by the rules of `capture_filter`.

    0.0.0.0 and :: stand for every address of their family.
    """
    made = _Filter(ports, rtcp=rtcp, snaplen=snaplen)
    made.link_layer(cooked=True)
    made.tunnel_to(address)
    made.tunnel("inner")
    made.network_layer("inner", tunnels=False)
    return made.assembled()


def share_by_hosts() -> list[Instruction]:
    """A number out of the two addresses of a packet, whichever sent it: the reader of PACKET_FANOUT, modulo their number.

    So both directions and all fragments between two hosts meet in one reader. Frames of other protocols go to the first.
    """
    made = Assembler()
    # The kernel runs it on the packet as it is: from the network header on when it came in, else from the link layer's.
    _find_ip(made, bpf.NETWORK, cooked=True)
    for name, first, words in (("ipv4", 12, 2), ("ipv6", 8, 8)):
        made.mark(name)
        made.add(bpf.LDI_W, bpf.NETWORK + first)
        made.add(bpf.STX, _HEADER_AT)
        for word in range(1, words):
            made.add(bpf.ST, _SUM)
            made.add(bpf.LDI_W, bpf.NETWORK + first + 4 * word)
            made.add(bpf.LDX_MEM, _SUM)
            made.add(bpf.ADD_X)
            made.add(bpf.LDX_MEM, _HEADER_AT)
        made.add(bpf.MUL, _SPREAD)
        made.add(bpf.RSH, 16)
        made.add(bpf.RET_A)
    return made.assembled()


def _find_ip(made: Assembler, base: int, *, cooked: bool) -> None:
    """Goes to "ipv4" or "ipv6" with X at the header, counted from `base`; what is neither is refused."""
    at = 0 if cooked else _HEADER
    for tags in range(_TAGS_INSIDE + 1):
        if cooked and tags == 0:
            made.add(bpf.LD_W, bpf.AD_PROTOCOL)
        else:
            made.add(bpf.LD_H, base + at - 2)
        made.add(bpf.LDX_IMM, at)
        made.jump_if(bpf.JEQ, _IPV4, "ipv4")
        made.jump_if(bpf.JEQ, _IPV6, "ipv6")
        if tags < _TAGS_INSIDE:
            for tag in _VLAN_TAGS:
                made.jump_if(bpf.JEQ, tag, f"tag {tags}")
        made.give(0)
        if tags < _TAGS_INSIDE:
            made.mark(f"tag {tags}")
            if cooked and tags == 0:
                _find_ip_behind_own_tag(made, base)
        at += 4


def _find_ip_behind_own_tag(made: Assembler, base: int) -> None:
    """What is sent through a card that sets no tags itself has its tag in the link layer, and that is not seen here."""
    made.add(bpf.LD_W, bpf.AD_PKTTYPE)
    made.jump_unless(bpf.JEQ, OUTGOING, "tag within")
    made.add(bpf.LD_B, base)
    made.add(bpf.RSH, 4)
    made.jump_if(bpf.JEQ, 4, "ipv4")
    made.jump_if(bpf.JEQ, 6, "ipv6")
    made.give(0)
    made.mark("tag within")


class _Filter(Assembler):
    """Parts of a filter, in the order of a packet's headers. X points at the header that is looked at."""

    def __init__(self, ports: Sequence[PortRange], *, rtcp: bool, snaplen: int) -> None:
        super().__init__()
        self._ports = _merged(ports) or [(0, 0xFFFF)]
        self._rtcp = rtcp
        self._accept = snaplen

    def link_layer(self, *, cooked: bool) -> None:
        self.add(bpf.LD_W, bpf.AD_IFINDEX)
        self.jump_unless(bpf.JEQ, LOOPBACK, "elsewhere")
        self.add(bpf.LD_W, bpf.AD_PKTTYPE)
        self.give_if(bpf.JEQ, OUTGOING, 0)
        self.mark("elsewhere")
        _find_ip(self, 0, cooked=cooked)
        self.mark("ipv4")
        self.add(bpf.LDI_B, 9)
        self.add(bpf.ST, _PROTOCOL)
        self.jump("outer ipv4")
        self.mark("ipv6")
        self.add(bpf.LDI_B, 6)
        self.add(bpf.ST, _PROTOCOL)
        self.jump("outer ipv6")

    def tunnel_to(self, address: IPv4Address | IPv6Address) -> None:
        """Only tunnels that end at `address`."""
        words = [int.from_bytes(address.packed[at : at + 4], "big") for at in range(0, len(address.packed), 4)]
        wanted, other, at = ("ipv4", "ipv6", 16) if address.version == 4 else ("ipv6", "ipv4", 24)
        self.mark(f"outer {wanted}")
        for word in words if any(words) else []:
            self.add(bpf.LDI_W, at)
            self.jump_unless(bpf.JEQ, word, f"outer {other}")
            at += 4
        self.add(bpf.LD_MEM, _PROTOCOL)
        for protocol in _TUNNELS:
            self.jump_if(bpf.JEQ, protocol, f"outer {wanted} tunnel")
        self.mark(f"outer {other}")
        self.give(0)
        self.mark(f"outer {wanted} tunnel")
        self._behind_ipv4() if address.version == 4 else self._behind_ipv6()

    def network_layer(self, name: str, *, tunnels: bool) -> None:
        """From "`name` ipv4" and "`name` ipv6" on: protocols, fragments, ports. Tunnels go on behind it."""
        protocols = (_UDP, _TCP, *(_TUNNELS if tunnels else ()))
        for version in ("ipv4", "ipv6"):
            self.mark(f"{name} {version}")
            self.add(bpf.LD_MEM, _PROTOCOL)
            for protocol in protocols:
                self.jump_if(bpf.JEQ, protocol, f"{name} {version} payload")
            if version == "ipv6":
                for header in _EXTENSIONS:
                    self.jump_if(bpf.JEQ, header, f"{name} extension")
                self.give(0)
                self.mark(f"{name} extension")
                self.add(bpf.LDI_B, 40)
                for protocol in (*protocols, *_EXTENSIONS):
                    self.give_if(bpf.JEQ, protocol, self._accept)
            self.give(0)
        self.mark(f"{name} ipv4 payload")
        self._behind_ipv4()
        self.jump(f"{name} transport")
        self.mark(f"{name} ipv6 payload")
        self._behind_ipv6()
        self.mark(f"{name} transport")
        self.add(bpf.LD_MEM, _PROTOCOL)
        if tunnels:
            for protocol in _TUNNELS:
                self.jump_if(bpf.JEQ, protocol, f"{name} tunnel")
        for port in (0, 2):
            self.add(bpf.LDI_H, port)
            for low, high in self._ports:
                self.give_within(low, high, self._accept)
        self.add(bpf.LD_MEM, _PROTOCOL)
        self.jump_unless(bpf.JEQ, _UDP, f"{name} no RTCP")
        if tunnels:
            self.add(bpf.LDI_H, 2)
            self.give_if(bpf.JEQ, _VXLAN_PORT, self._accept)
        if self._rtcp:
            self.add(bpf.LDI_H, 8)
            self.add(bpf.AND, 0xC0FF)
            self.give_within(0x80C8, 0x80CF, self._accept)
        self.mark(f"{name} no RTCP")
        self.give(0)
        if tunnels:
            self.mark(f"{name} tunnel")

    def tunnel(self, inner: str) -> None:
        """X is behind the outer IP header: to the header inside; Ethernet inside GRE is accepted as it is."""
        self.add(bpf.LD_MEM, _PROTOCOL)
        self.jump_unless(bpf.JEQ, _GRE, "inside")
        self.add(bpf.LDI_H, 2)
        self.jump_if(bpf.JEQ, _IPV4, "gre")
        self.jump_if(bpf.JEQ, _IPV6, "gre")
        self.give(self._accept)
        self.mark("gre")
        self.add(bpf.LDI_H, 0)
        self.add(bpf.ST, _FLAGS)
        self._advance(4)
        for flag in (0x8000, 0x2000, 0x1000):  # checksum, key, sequence number: 4 bytes each (RFC 2890)
            self.add(bpf.LD_MEM, _FLAGS)
            self.jump_unless(bpf.JSET, flag, f"gre without {flag}")
            self._advance(4)
            self.mark(f"gre without {flag}")
        self.mark("inside")
        for version, protocol in ((4, 9), (6, 6)):
            self.add(bpf.LDI_B, protocol)
            self.add(bpf.ST, _PROTOCOL)
            self.add(bpf.LDI_B, 0)
            self.add(bpf.RSH, 4)
            self.jump_if(bpf.JEQ, version, f"{inner} ipv{version}")
        self.give(0)

    def _behind_ipv4(self) -> None:
        """X behind the header; a fragment after the first is accepted."""
        self.add(bpf.LDI_H, 6)
        self.give_if(bpf.JSET, 0x1FFF, self._accept)
        self.add(bpf.LDI_B, 0)
        self.add(bpf.AND, 15)
        self.add(bpf.LSH, 2)
        self.add(bpf.ADD_X)
        self.add(bpf.TAX)

    def _behind_ipv6(self) -> None:
        self._advance(40)

    def _advance(self, size: int) -> None:
        self.add(bpf.TXA)
        self.add(bpf.ADD, size)
        self.add(bpf.TAX)


def _merged(ports: Sequence[PortRange]) -> list[PortRange]:
    """The ranges in order, those that touch made one."""
    merged = list[PortRange]()
    for low, high in sorted(ports):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged
