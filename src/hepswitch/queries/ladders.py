"""One call, and one packet of it, as answers: the model of `lake.ladder` in JSON.

Not here: the model, which the terminal draws, too; files of a call (`export`).
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator
from typing import Any

from hepswitch.lake.calls import told_by
from hepswitch.lake.ladder import SIP, Event, Ladder, build
from hepswitch.lake.query import Query
from hepswitch.lake.reader import Reader, Row, UnknownCallError
from hepswitch.lake.rows import moment_of, packet_id, plain
from hepswitch.queries import answers
from hepswitch.queries.finding import message_fields
from hepswitch.queries.questions import Call, Message
from hepswitch.wire.chunks import IP_PROTOCOLS
from hepswitch.wire.sip import Sip
from hepswitch.wire.values import unwrap

MOST_EVENTS = 20_000
"""Packets of a call that are shown; a file has them all."""

WITH_PAYLOADS = 2_000
"""Packets of a call, at most, that come with their payloads."""

MOST_PAYLOAD = 8 << 20
"""Bytes of those payloads, at most."""


def rows_of(reader: Reader, call_ids: list[str], legs: str) -> Iterator[Row]:
    """The packets of calls in the order of time: with all legs, or ("one") these alone. Raises UnknownCallError."""
    return reader.whole(call_ids) if legs == "all" else reader.alone(call_ids)


def call(reader: Reader, asked: Call, warnings: list[str]) -> answers.Ladder:
    """The ladder of a call. Raises UnknownCallError."""
    begun = time.perf_counter()
    rows = list(itertools.islice(rows_of(reader, [asked.call_id], asked.legs), MOST_EVENTS + 1))
    known = None
    if len(rows) > MOST_EVENTS:
        rows.pop()
        known = next(iter(reader.calls(Query(call_id=asked.call_id))), None)
        warnings.append(f"the call has more than {MOST_EVENTS} packets: the first are shown, an export has them all")
    ladder = build(rows)
    payloads = len(rows) <= WITH_PAYLOADS and sum(len(row["payload"] or b"") for row in rows) <= MOST_PAYLOAD
    endpoints = [answers.Endpoint(each.label, each.host, each.name) for each in ladder.endpoints]
    events = [_event(event, payloads) for event in ladder.events]
    return answers.Ladder(
        call=_summary(known or told_by(rows, asked.call_id), asked.call_id, rows, ladder),
        legs=ladder.legs,
        endpoints=endpoints,
        events=events,
        warnings=warnings,
        seconds=round(time.perf_counter() - begun, 6),
    )


def _summary(known: Row | None, call_id: str, rows: list[Row], ladder: Ladder) -> answers.WholeCall:
    """What a list of calls says of it (`known`); of what is known by a correlation id alone, the times."""
    if known is None:
        known = dict.fromkeys(answers.FoundCall.__struct_fields__) | {
            "call_id": call_id, "start": rows[0]["ts"], "end": rows[-1]["ts"], "messages": len(rows),
        }  # fmt: skip
        del known["legs"]
    return answers.WholeCall(**plain(known), legs=max(1, len(ladder.legs)), outcome=ladder.outcome)


def _event(event: Event, payload: bool) -> answers.LadderEvent:
    row = event.row
    octets = row["payload"] or b""
    carried: dict[str, Any] = {
        name: row[name] for name in ("src_ip", "src_port", "dst_ip", "dst_port", "captagent_id", "node_name")
    }
    proto = row["proto_id"]
    carried |= {"proto": None if proto is None else IP_PROTOCOLS.get(proto, str(proto)), "size": len(octets)}
    if payload:
        carried |= plain({"payload": octets})
    quality = event.quality
    return answers.LadderEvent(
        id=packet_id(row), at=plain(event.at), offset=event.offset, kind=event.kind, source=event.source,
        target=event.target, label=event.label, leg=event.leg, status=event.status,
        method=row["method"] or row["cseq_method"],
        cseq=row["cseq"], sdp=event.sdp, retransmission=event.retransmission, copies=event.copies, dialog=event.dialog,
        quality=None if quality is None else answers.Quality(quality.loss, quality.jitter, quality.mos),
        message=answers.Carried(**carried),
    )  # fmt: skip


# ── one packet ───────────────────────────────────────────────────────────────────────────────────────────────────────


def message(reader: Reader, asked: Message) -> Row:
    """The packet that is meant. Raises UnknownCallError."""
    at = moment_of(asked.id)
    for row in () if at is None else reader.tied({asked.call_id}, at):
        if packet_id(row) == asked.id:
            return row
    raise UnknownCallError(f"no message {asked.id!r} of {asked.call_id!r} in {reader.place}")


def whole_message(row: Row) -> answers.WholeMessage:
    """A packet with its payload taken apart, as far as it is SIP."""
    sip = sdp = None
    if row["proto_type"] == SIP:
        octets = row["payload"] or b""
        text = (unwrap(octets) if octets.startswith(b"{") else None) or octets
        sip, sdp = _sip(text), _sdp(text)
    return answers.WholeMessage(**message_fields(row, True), sip=sip, sdp=sdp)


_HEAD_END = re.compile(rb"\r?\n\r?\n|\Z")
_LINE_END = re.compile(r"\r?\n(?![ \t])")
_FOLDED = re.compile(r"\s*\r?\n[ \t]+")


def _sip(octets: bytes) -> answers.SipView:
    """The lines of a message, whatever is wrong with it: what has no colon is a header without a value."""
    found = _HEAD_END.search(octets)
    assert found is not None
    first, *lines = _LINE_END.split(_text(octets[: found.start()]))
    headers = []
    for line in filter(None, lines):
        name, _, value = _FOLDED.sub(" ", line).partition(":")
        headers.append((name.strip(), value.strip()))
    return answers.SipView(first, headers, _text(octets[found.end() :]))


def _sdp(octets: bytes) -> answers.SdpView | None:
    sdp = Sip(octets).sdp
    if sdp is None:
        return None
    views = [
        answers.MediaView(
            _clean(medium.type), medium.port, _clean(medium.proto), medium.address and _clean(medium.address),
            [_clean(name) for name in medium.encodings], medium.direction,
        )
        for medium in sdp.media
    ]  # fmt: skip
    return answers.SdpView(views)


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "replace")


def _clean(text: str) -> str:
    """Text of the wire as JSON can hold it."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
