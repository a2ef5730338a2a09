"""`hepswitch ladder`: the flow of a call in the terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hepswitch.cli.selection import TEXT, open_store, store_options
from hepswitch.cli.terminal import json_line, safe

if TYPE_CHECKING:
    from hepswitch.lake.ladder import Event
    from hepswitch.lake.reader import Reader, Row
    from hepswitch.lake.remote import Remote

PLAIN_WIDTH = 110
"""Columns when standard output is no terminal."""


@click.command("ladder")
@click.argument("call_id", type=TEXT, metavar="CALL-ID")
@store_options
@click.option(
    "--relative", "times", flag_value="relative", default=True, help="Seconds since the first message (default)."
)
@click.option("--delta", "times", flag_value="delta", help="Seconds since the message before.")
@click.option("--utc", "times", flag_value="utc", help="Times of day, UTC.")
@click.option("--full", is_flag=True, help="Every message in full below the ladder.")
@click.option("--json", "as_json", is_flag=True, help="The ladder as one JSON object.")
def cli(
    call_id: str,
    store: str | None,
    lake: Path | Remote | None,
    config: Path | None,
    times: str,
    full: bool,
    as_json: bool,
) -> None:
    """Draw the flow of a call: all legs that belong together, with their RTCP and logs.

    Columns are the hosts, arrows the messages. The beginning of a Call-ID is enough when only one begins with it.
    Exit status 1 when there is no such call.

    \b
    Example:
      hepswitch ladder 3848276298220188511@atlanta.example.com
      hepswitch ladder 38482 --delta --full --lake /var/lib/hepswitch/captures
      hepswitch ladder 38482 --config switch.toml --store homer
    """
    from hepswitch.lake.ladder import build

    with open_store(store, lake, config) as asked:
        ladder = build(_rows(asked, call_id))
    if as_json:
        from hepswitch.lake.rows import plain

        told = {
            "legs": ladder.legs,
            "endpoints": [endpoint.label for endpoint in ladder.endpoints],
            "outcome": ladder.outcome,
            "events": [_told(event, full) for event in ladder.events],
        }
        click.echo(json_line(plain(told)))
        return

    from rich.console import Console

    from hepswitch.cli.drawing import draw

    console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
    width = console.width if console.is_terminal else max(PLAIN_WIDTH, console.width)
    unicode = "utf" in (sys.stdout.encoding or "").lower().replace("-", "")
    for line in draw(ladder, width, times, full, unicode):
        console.print(line)


def _rows(asked: Reader, call_id: str) -> list[Row]:
    """The packets of the call; ends the command when there is none, or more than one Call-ID begins like that."""
    from hepswitch.lake.query import Query

    rows = asked.call(call_id)
    if rows:
        return rows
    pattern = call_id.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]") + "*"
    found = sorted({row["call_id"] for row in asked.search(Query(call_id=pattern), ("call_id",)) if row["call_id"]})
    if len(found) == 1:
        return asked.call(found[0])
    if found:
        some = "\n".join(f"  {safe(name)}" for name in found[:10]) + ("\n  …" if len(found) > 10 else "")
        click.echo(f"{len(found)} Call-IDs begin with {call_id!r}; write more of it:\n{some}", err=True)
    else:
        click.echo(f"no call {call_id!r} in {asked.place}. `hepswitch search` lists the latest calls.", err=True)
    raise SystemExit(1)


def _told(event: Event, full: bool) -> dict[str, Any]:
    row = event.row
    told = {
        name: getattr(event, name)
        for name in ("at", "offset", "kind", "source", "target", "label", "leg", "sdp", "retransmission", "copies")
    }
    told |= {
        name: row[name]
        for name in (
            "call_id",
            "correlation_id",
            "src_ip",
            "src_port",
            "dst_ip",
            "dst_port",
            "proto_id",
            "proto_type",
            "method",
            "status",
            "reason",
            "cseq",
            "cseq_method",
        )
    }
    return told | ({"payload": row["payload"]} if full else {})
