"""The flow of a call as a ladder: who talks to whom, message by message. A pure model made from rows of the lake.

Columns are hosts in the order in which they appear in the signalling; hosts that only send media reports come after them.
Not here: finding the rows (`query`), drawing the ladder (`cli.ladder`).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hepswitch.wire.chunks import PROTO_TYPES
from hepswitch.wire.rtcp import Quality, quality, summary

SIP, RTCP, LOG = 1, 5, 100
REPORTS = (34, 35)

COPY = timedelta(milliseconds=250)
"""The same message from another agent within this time is one packet seen twice: SIP repeats after 500 ms (RFC 3261, T1)."""

LONGEST_LABEL = 400
"""Characters; the packet has the rest."""

Address = tuple[str, int | None]


@dataclass(slots=True)
class Event:
    """One arrow (source → target are columns) or, when source is target, a note at that column.

    `kind` is "request", "reply", "rtcp", "report", "log" or "other". `leg` counts the Call-IDs from 0, None when the packet
    belongs to no leg. `copies` is how many capture agents sent this very message. `dialog` numbers the dialogs from 0: what
    belongs to none, or to none yet, has the number of the one that its request may begin. `quality` is what a media report
    says.
    """

    at: datetime
    offset: float
    kind: str
    source: int
    target: int
    label: str
    leg: int | None
    status: int | None
    sdp: bool
    retransmission: bool
    row: Mapping[str, Any]
    copies: int = 1
    dialog: int | None = None
    quality: Quality | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A column: a host, or an address of one whose ports talk to each other. `name` is that of the capture agent on it.

    An agent stands where all that it sends comes from or goes to, if that is one place, and if it is the only one there.
    """

    label: str
    host: str
    name: str | None = None


@dataclass(slots=True)
class Ladder:
    """Columns (`endpoints`), Call-IDs (`legs`) and what happened, in the order of time."""

    endpoints: list[Endpoint] = field(default_factory=list)
    legs: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    @property
    def outcome(self) -> str:
        """How the first leg's first request ended: "answered, 16.0 s", "486 Busy Here", "no final reply" …"""
        leg = [event for event in self.events if event.leg == 0 and event.kind in ("request", "reply")]
        method = leg[0].row["method"] or leg[0].row["cseq_method"] if leg else None
        replies = [event for event in leg if event.status is not None and event.row["cseq_method"] == method]
        good = next((event for event in replies if 200 <= (event.status or 0) < 300), None)
        if good is None:
            final = [event for event in replies if (event.status or 0) >= 300]
            return f"{final[-1].status} {final[-1].row['reason'] or ''}".rstrip() if final else "no final reply"
        if method != "INVITE":
            return f"{good.status} {good.row['reason'] or ''}".rstrip()
        bye = next((event for event in leg if event.row["method"] == "BYE" and event.at >= good.at), None)
        return f"answered, {(bye.at - good.at).total_seconds():.1f} s" if bye else "answered, no BYE"


def build(rows: Iterable[Mapping[str, Any]]) -> Ladder:
    """The ladder of `rows`: mappings with the columns of docs/lake.md, in the order of time."""
    rows = list(rows)
    ladder = Ladder()
    columns = _columns(rows)
    names = _agents(rows, columns)
    ladder.endpoints = [
        Endpoint(label, key[0], names.get(key)) for key, label in zip(columns.numbers, columns.labels, strict=True)
    ]
    legs: dict[str, int] = {}
    dialogs = _Dialogs()
    drawn: dict[object, _Drawn] = {}
    for row in rows:
        event = _event(row, (row["ts"] - rows[0]["ts"]).total_seconds(), columns, legs)
        if row["proto_type"] == SIP:
            event.dialog = dialogs.of(row)
            before = drawn.setdefault(_identity(row), _Drawn())
            if before.copied(event, (row["captagent_id"], row["node_name"])):
                continue
        ladder.events.append(event)
    ladder.legs = list(legs)
    return ladder


@dataclass(slots=True)
class _Columns:
    """Which column an address belongs to: its host's, or its own where ports of one host talk to each other."""

    split: set[str]
    labels: list[str] = field(default_factory=list)
    numbers: dict[Address, int] = field(default_factory=dict)

    def key(self, ip: str | None, port: int | None) -> Address:
        name = ip or "?"
        return (name, port) if name in self.split else (name, None)

    def of(self, ip: str | None, port: int | None) -> int:
        return self.numbers[self.key(ip, port)]


class _Drawn:
    """The events of one message, repeated and seen by several agents. Each event is passed once an agent, so a flood of
    the same packet takes no longer than one of different ones."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._late = 0
        self._passed: dict[object, int] = {}

    def copied(self, event: Event, agent: object) -> bool:
        """Whether the agent's event is a copy of the first one that it has not sent yet; else it is one of its own."""
        while self._late < len(self._events) and event.at - self._events[self._late].at >= COPY:
            self._late += 1
        place = max(self._late, self._passed.get(agent, 0))
        self._passed[agent] = place + 1
        if place < len(self._events):
            self._events[place].copies += 1
            return True
        event.retransmission = bool(self._events)
        self._events.append(event)
        return False


class _Dialogs:
    """Numbers of dialogs: Call-ID and both tags, whichever side sends (RFC 3261, section 12)."""

    def __init__(self) -> None:
        self._dialogs: dict[tuple[Any, ...], int] = {}
        self._requests: dict[tuple[Any, ...], int] = {}
        self._continued: set[int] = set()
        self._next = itertools.count()

    def of(self, row: Mapping[str, Any]) -> int:
        """The number for a message. The first dialog that a request without a To tag leads to has the request's number."""
        tags = row["from_tag"], row["to_tag"]
        dialog = row["call_id"], *sorted(tag or "" for tag in tags)
        if dialog in self._dialogs:
            return self._dialogs[dialog]
        request = row["call_id"], row["from_tag"]
        # A refusal makes no dialog, whatever its tag.
        if row["to_tag"] is None or (row["status"] or 0) >= 300:
            if request not in self._requests:
                self._requests[request] = next(self._next)
            return self._requests[request]
        number = next(
            (self._requests[row["call_id"], tag] for tag in tags if (row["call_id"], tag) in self._requests), None
        )
        if number is None or number in self._continued:
            number = next(self._next)
        self._continued.add(number)
        self._dialogs[dialog] = number
        return number


def _agents(rows: list[Mapping[str, Any]], columns: _Columns) -> dict[Address, str]:
    """The names of capture agents by where they stand."""
    places: dict[str, set[Address]] = {}
    for row in rows:
        if row["proto_type"] == SIP and row["node_name"]:
            ends = {columns.key(row["src_ip"], row["src_port"]), columns.key(row["dst_ip"], row["dst_port"])}
            places[row["node_name"]] = places.get(row["node_name"], ends) & ends
    found = [(next(iter(place)), name) for name, place in places.items() if len(place) == 1]
    several = {place for place, count in Counter(place for place, _ in found).items() if count > 1}
    return {place: name for place, name in found if place not in several}


def _columns(rows: list[Mapping[str, Any]]) -> _Columns:
    columns = _Columns(
        {row["src_ip"] or "?" for row in rows if row["proto_type"] == SIP and row["src_ip"] == row["dst_ip"]}
    )
    ports: dict[Address, set[int]] = {}
    for signalling in (True, False):
        for row in rows:
            if (row["proto_type"] == SIP) != signalling:
                continue
            for ip, port in ((row["src_ip"], row["src_port"]), (row["dst_ip"], row["dst_port"])):
                key = columns.key(ip, port)
                columns.numbers.setdefault(key, len(columns.numbers))
                if port:
                    ports.setdefault(key, set()).add(port) if signalling else ports.setdefault(key, set())
    for key in columns.numbers:
        seen = ports.get(key, set())
        columns.labels.append(endpoint(key[0], next(iter(seen)) if len(seen) == 1 else None))
    return columns


def endpoint(ip: str, port: int | None) -> str:
    """Address and port as people write them: 192.0.2.1:5060, [2001:db8::1]:5060."""
    if port is None:
        return ip
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def _event(row: Mapping[str, Any], offset: float, columns: _Columns, legs: dict[str, int]) -> Event:
    source, target = columns.of(row["src_ip"], row["src_port"]), columns.of(row["dst_ip"], row["dst_port"])
    kind, label = _kind_and_label(row)
    if len(label) > LONGEST_LABEL:
        label = f"{label[: LONGEST_LABEL - 1]}…"
    if kind == "log":
        target = source
    leg = legs.setdefault(row["call_id"], len(legs)) if row["call_id"] else legs.get(row["correlation_id"])
    sdp = row["proto_type"] == SIP and _carries_sdp(row)
    reported = quality(row["payload"] or b"") if kind in ("rtcp", "report") else None
    return Event(row["ts"], offset, kind, source, target, label, leg, row["status"], sdp, False, row, quality=reported)


def _kind_and_label(row: Mapping[str, Any]) -> tuple[str, str]:
    kind = row["proto_type"]
    payload = row["payload"] or b""
    if kind == SIP:
        if row["status"] is None:
            return "request", row["method"] or "SIP"
        label = f"{row['status']} {row['reason'] or ''}".rstrip()
        return "reply", f"{label} ({row['cseq_method']})" if row["cseq_method"] else label
    if kind == RTCP:
        return "rtcp", summary(payload)
    if kind in REPORTS:
        return "report", summary(payload)
    text = " ".join(payload.decode("utf-8", "replace").split())
    if kind == LOG:
        return "log", text
    return "other", f"{PROTO_TYPES.get(kind, f'type {kind}')} {text}".rstrip()


def _carries_sdp(row: Mapping[str, Any]) -> bool:
    content = (row["content_type"] or "").lower()
    return content.startswith("application/sdp") or (
        content.startswith("multipart/") and b"\nm=" in (row["payload"] or b"")
    )


def _identity(row: Mapping[str, Any]) -> object:
    """The same for a message and its retransmissions."""
    names = (
        "call_id",
        "src_ip",
        "src_port",
        "dst_ip",
        "dst_port",
        "method",
        "status",
        "cseq",
        "cseq_method",
        "via_branch",
    )
    return (*(row[name] for name in names), row["payload"])
