"""Calls of SIPp through Kamailio, captured by a mirror: our export reads in tshark as what dumpcap wrote beside it."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from hepswitch.lake.lake import Lake
from interop.tools import HERE, dissected, hepswitch, kamailio, need, running, udp_bound
from namespaces import Namespace, pair, trunk
from running import running_switch, wait_for

CONFIG = """
listen = ["mirror://{interface}?ring=8MiB"]
[stores.lake]
url = "lake:./captures"
flush = "10ms"
"""

CALLS, KINDS = 5, 8
LONG = 3000
"""Bytes that make an INVITE longer than two fragments."""

FIELDS = (
    "sip.Call-ID", "sip.CSeq", "sip.Status-Code", "sip.Via.branch", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst",
    "udp.srcport", "udp.dstport", "tcp.srcport", "tcp.dstport",
)  # fmt: skip


@contextlib.contextmanager
def wires(kind: str) -> Iterator[tuple[Namespace, Namespace, Namespace, str]]:
    """Caller's namespace, proxy's, the one to capture in and its interface."""
    if kind == "veth":
        with pair() as (west, east):
            yield west, east, east, "east"
    else:
        with trunk(100) as (west, east, middle):
            yield west, east, middle, "trunk"


@contextlib.contextmanager
def recording(interface: str, path: Path) -> Iterator[None]:
    """dumpcap writes every frame of the interface to `path`."""
    with running(need("dumpcap"), "-q", "-i", interface, "-w", path) as program:
        wait_for(lambda: any(line.startswith("File:") for line in program.lines), "dumpcap capturing")
        yield
        # What the kernel has not handed to it yet is lost at its end.
        wait_for(lambda: path.read_bytes().count(b"CSeq: 2 BYE") >= 2 * KINDS * CALLS, "the calls in dumpcap's file")
        program.end(signal.SIGINT)


def call(west: Namespace) -> None:
    """`CALLS` calls by each of UDP and TCP over IPv4 and IPv6, with short and with long INVITEs, all at one time."""
    kinds = [
        (transport, source, target, padding)
        for transport in ("u1", "t1")
        for source, target in (("10.9.0.1", "10.9.0.2:5060"), ("[fd09::1]", "[fd09::2]:5060"))
        for padding in ("x", "x" * LONG)
    ]
    with west.entered(), contextlib.ExitStack() as stack:
        callers = [
            stack.enter_context(
                running(
                    need("sipp"), target, "-sf", HERE / "uac.xml", "-t", transport, "-i", source, "-p", str(7000 + port),
                    "-m", str(CALLS), "-r", "50", "-key", "padding", padding, "-mp",
                    str(10_000 + 10 * port), "-nostdin", "-timeout", "20s",
                    "-cid_str", f"%u-%p-{port}@%s",
                )
            )
            for port, (transport, source, target, padding) in enumerate(kinds)
        ]  # fmt: skip
        wait_for(lambda: all(caller.process.poll() is not None for caller in callers), "the calls")
        failed = [caller.lines for caller in callers if caller.process.returncode]
        assert not failed, "\n".join(failed[0])


@pytest.mark.parametrize("kind", ["veth", "trunk"])
def test_calls_are_stored_as_they_passed(tmp_path: Path, kind: str) -> None:
    taken, exported = tmp_path / "taken.pcapng", tmp_path / "exported.pcapng"
    with contextlib.ExitStack() as stack:
        west, east, middle, interface = stack.enter_context(wires(kind))
        with east.entered():
            stack.enter_context(running(need("sipp"), "-sn", "uas", "-i", "10.9.0.2", "-p", "5070", "-nostdin"))
            stack.enter_context(kamailio(tmp_path, "proxy.cfg"))
            wait_for(lambda: udp_bound(5060) and udp_bound(5070), "Kamailio and SIPp listening")
        stack.enter_context(middle.entered())
        switch = stack.enter_context(running_switch(tmp_path, CONFIG.format(interface=interface)))
        with recording(interface, taken):
            call(west)
        passed = single(dissected(taken, *FIELDS))
        book = switch.wait_stats(lambda book: book["stores"]["lake"]["delivered"] >= len(passed), "messages stored")
        assert book["balanced"]
        assert book["received"][f"mirror://{interface}"]["kernel_drops"] == 0
    lake = tmp_path / "captures"
    _, found = Lake(lake).sql("SELECT DISTINCT vlan_id FROM messages")
    assert found == [(100 if kind == "trunk" else None,)]
    hepswitch("export", "--ip", "*", "--lake", lake, "-o", exported)
    assert single(dissected(exported, *FIELDS)) == passed
    assert len({row[0] for row in passed}) == KINDS * CALLS
    assert len(set(passed)) >= KINDS * CALLS * 6, "INVITE, 180, 200, ACK, BYE, 200"


def single(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """One row a message, in order: tshark joins the messages of a frame by commas."""
    found = []
    for row in rows:
        ids, numbers, statuses, _ = (field.split(",") for field in row[:4])
        if len(ids) == 1:
            found.append(row)
            continue
        statuses += [""] * (len(ids) - len(statuses))
        found += [(*each, "", *row[4:]) for each in zip(ids, numbers, statuses, strict=False)]
    return sorted(found)
