"""`hepswitch tail`: packets as they go by in a running switch.

Not here: which packets match, and what is shown of them (`tracing.taps`, `tracing.tap_rows`).
"""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlencode

import click

from hepswitch.cli.remote import Remote, remote_options
from hepswitch.cli.terminal import json_line, safe

ENDPOINT = len("255.255.255.255:65535")
"""Columns of an endpoint; those of IPv6 take what they need."""


@click.command("tail")
@click.option("--filter", "condition", metavar="CONDITION", default="", help="Which packets; see the filter language.")
@click.option("--payload", is_flag=True, help="Show the messages themselves, too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a packet.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N packets.")
@remote_options
def cli(remote: Remote, condition: str, payload: bool, as_json: bool, count: int | None) -> None:
    """Show packets as they go by, as the route leaves them, until Ctrl-C: time (UTC), from where to where, method or
    status, From and To, Call-ID, capture agent, and what became of the packet.

    The switch never waits for it: what is more than can be shown is counted, and said.

    \b
    Example:
      hepswitch tail
      hepswitch tail --filter 'sip.method = INVITE and callee = +493055502' --payload
      hepswitch tail --filter 'sip.status >= 500' --json | jq -r .call_id
    """
    query = urlencode({"filter": condition, "payload": "true" if payload else "false"})
    show = _show_json if as_json else _show
    shown = 0
    try:
        for event, data in _events(remote.stream(f"/api/v1/live?{query}")):
            if event == "packet":
                show(data)
                shown += 1
                if shown == count:
                    return
            elif event == "missed":
                _confess(data)
    except KeyboardInterrupt:
        return


def _events(lines: Iterable[bytes]) -> Iterator[tuple[str, Any]]:
    """The server-sent events of a stream, each with its data."""
    import msgspec

    event = ""
    for line in lines:
        field, _, value = line.rstrip(b"\n").partition(b": ")
        if field == b"event":
            event = value.decode()
        elif field == b"data":
            yield event, msgspec.json.decode(value)


def _confess(data: dict[str, int]) -> None:
    if data["missed"]:
        click.echo(f"{data['missed']:,} packets not shown", err=True)
    if data["skipped"]:
        click.echo(f"{data['skipped']:,} packets not looked at: the filter takes too long", err=True)


def _show_json(row: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json_line(row) + b"\n")
    sys.stdout.buffer.flush()


def _show(row: dict[str, Any]) -> None:
    label, colour = _label(row)
    ends = [f"{_endpoint(row[f'{side}_ip'], row[f'{side}_port']):<{ENDPOINT}}" for side in ("src", "dst")]
    users = f"{row['from_user'] or '?'} → {row['to_user'] or '?'}" if row["call_id"] is not None else ""
    cells = [
        click.style(row["at"][11:-1], dim=True),
        f"{ends[0]} → {ends[1]}",
        click.style(safe(f"{label:<24}"), fg=colour, bold=True),
        safe(users),
        click.style(safe(row["call_id"] or row["correlation_id"] or ""), fg="blue"),
        click.style(safe(" ".join(str(row[key]) for key in ("captagent_id", "node_name") if row[key])), dim=True),
        click.style(safe(row["outcome"]), fg=_OUTCOMES.get(row["outcome"].partition(":")[0], "yellow")),
    ]
    _echo("  ".join(cell for cell in cells if cell))
    if text := _payload(row):
        _echo("\n".join(safe(line) for line in text.replace("\r\n", "\n").rstrip("\n").split("\n")) + "\n")


_OUTCOMES = {"stored": "green", "relayed": "green", "traced": "green", "stored, relayed": "green"}


def _label(row: dict[str, Any]) -> tuple[str, str]:
    """What the packet is, as in a ladder, and its colour."""
    if row["method"]:
        return row["method"], "cyan"
    if row["status"]:
        label = f"{row['status']} {row['reason'] or ''}".rstrip()
        colour = {1: "yellow", 2: "green", 3: "blue"}.get(row["status"] // 100, "red")
        return f"{label} ({row['cseq_method']})" if row["cseq_method"] else label, colour
    from hepswitch.wire.chunks import PROTO_TYPES

    return PROTO_TYPES.get(row["proto_type"], f"type {row['proto_type']}"), "magenta"


def _endpoint(ip: str | None, port: int | None) -> str:
    host = f"[{ip}]" if ip and ":" in ip else ip or "?"
    return host if port is None else f"{host}:{port}"


def _payload(row: dict[str, Any]) -> str:
    if "payload_base64" in row:
        text = base64.b64decode(row["payload_base64"]).decode("utf-8", "backslashreplace")
    else:
        text = row.get("payload", "")
    return f"{text}\n… cut here: {row['size']:,} bytes in all" if row.get("cut") else text


def _echo(text: str) -> None:
    """In colour where a terminal shows it and nobody objects (NO_COLOR); what it cannot write as a question mark."""
    encoding = sys.stdout.encoding or "ascii"
    colour = False if os.environ.get("NO_COLOR") else None
    click.echo(text.encode(encoding, "replace").decode(encoding), color=colour)
