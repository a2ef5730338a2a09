"""`hepswitch export`: calls as a capture file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import click

from hepswitch.cli.selection import TEXT, make_query, open_store, query_options, store_options

if TYPE_CHECKING:
    from hepswitch.lake.reader import Reader, Row

SIP = 1
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


@click.command("export")
@click.argument("call_ids", type=TEXT, metavar="[CALL-ID]…", nargs=-1)
@query_options
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, allow_dash=True),
    help="A .pcapng or .pcap file, or - (pcapng).",
)
@store_options
def cli(
    call_ids: tuple[str, ...],
    output: str,
    store: str | None,
    lake: Path | None,
    config: Path | None,
    **filters: Any,
) -> None:
    """Write SIP messages as pcapng or pcap, with the addresses, ports and times at which they were captured.

    Either whole calls by Call-ID, with all their legs, or every message that fulfils the conditions. TLS and WebSocket
    become plain TCP. What came to the switch as text and not as packets (RTCP reports, logs) is left out, and counted.
    Exit status 1 when nothing was found.

    \b
    Example:
      hepswitch export 3848276298220188511@atlanta.example.com -o call.pcapng
      hepswitch export --from alice --since 2h -o - | tshark -r -
    """
    filtered = any(value is not None for value in filters.values())
    if filtered == bool(call_ids):
        raise click.UsageError(
            "name either Call-IDs or conditions: export CALL-ID… -o FILE, or export --from alice -o FILE"
        )
    query = make_query(filters)
    with open_store(store, lake, config) as asked:
        rows = _calls(asked, call_ids) if call_ids else asked.search(query)
    if not any(_fits(row) for row in rows):
        click.echo(f"no SIP found in {asked.place}; nothing was written", err=True)
        raise SystemExit(1)
    with click.open_file(output, "wb") as file:
        written, left_out = _write(cast(BinaryIO, file), rows, "pcap" if output.endswith(".pcap") else "pcapng")
    click.echo(f"{output}: {written} messages", err=True)
    for reason, count in sorted(left_out.items()):
        click.echo(f"left out: {count} {reason}", err=True)


def _calls(asked: Reader, call_ids: Iterable[str]) -> list[Row]:
    """The packets of the calls in the order of time, each once though calls may share legs."""
    rows: list[Row] = []
    done: set[str] = set()
    for call_id in call_ids:
        if call_id in done:
            continue
        call = asked.call(call_id)
        if not call:
            click.echo(f"no call {call_id!r} in {asked.place}", err=True)
            raise SystemExit(1)
        done |= {row["call_id"] for row in call}
        rows += call
    return sorted(rows, key=lambda row: row["ts"])


def _fits(row: Row) -> bool:
    """Only what was a packet on the wire, as it was, can be one again."""
    return row["proto_type"] == SIP and bool(row["payload"]) and bool(row["src_ip"]) and bool(row["dst_ip"])


def _write(file: BinaryIO, rows: Iterable[Row], form: str) -> tuple[int, Counter[str]]:
    """Messages written, and what was left out by kind."""
    from hepswitch.wire.chunks import PROTO_TYPES
    from hepswitch.wire.ip import UDP, FrameBuilder
    from hepswitch.wire.pcap import Writer
    from hepswitch.wire.values import unwrap

    writer = Writer(file, "pcap" if form == "pcap" else "pcapng")
    builder = FrameBuilder()
    written = 0
    left_out: Counter[str] = Counter()
    for row in rows:
        if not _fits(row):
            kind = row["proto_type"]
            name = PROTO_TYPES.get(kind, f"type {kind}")
            left_out["SIP without addresses or payload" if kind == SIP else f"{name} (text, not packets)"] += 1
            continue
        time_us = (row["ts"] - EPOCH) // MICROSECOND
        ends = row["src_ip"], row["src_port"] or 0, row["dst_ip"], row["dst_port"] or 0
        payload = row["payload"]
        message = unwrap(payload) if payload.startswith(b"{") else None
        for frame in builder.frames(row["proto_id"] or UDP, *ends, message or payload):
            writer.write(time_us, frame)
        written += 1
    return written, left_out
