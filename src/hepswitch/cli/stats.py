"""`hepswitch stats`: the books of a running switch."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from hepswitch.cli.remote import Remote, remote_options
from hepswitch.cli.tables import plain

Row = tuple[str, str, str]


@click.command("stats")
@click.option("--json", "as_json", is_flag=True, help="The books as JSON.")
@click.option("--watch", type=float, metavar="SECONDS", help="Show them again every so many seconds.")
@remote_options
def cli(remote: Remote, as_json: bool, watch: float | None) -> None:
    """Show what became of every packet: received, routed, delivered, waiting, lost and why.

    Exit status 1 when the books do not balance, or nobody answers.

    \b
    Example:
      hepswitch stats
      hepswitch stats --json | jq .stores.lake.delivered
    """
    while True:
        book = remote.get("/api/v1/stats")
        if as_json:
            click.echo(json.dumps(book))
        else:
            _show(book)
        if watch is None:
            raise SystemExit(0 if book["balanced"] else 1)
        time.sleep(watch)


def _show(book: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2), show_header=False)
    for column in ("left", "right", "left"):
        table.add_column(justify="right" if column == "right" else "left")
    for rows in (
        _received(book["received"]), _routed(book["routed"]),
        _outlets("destination", book["destinations"]), _outlets("store", book["stores"]),
    ):  # fmt: skip
        for row in rows:
            table.add_row(*row)
    state = "[green]balanced[/]" if book["balanced"] else "[red]NOT BALANCED[/]"
    console = Console()
    console.print(table)
    console.print(f"  up {book['uptime']:.0f} s, {state}")


def _received(listeners: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for url, row in listeners.items():
        rows.append((f"[bold]received[/] {plain(url)}", f"{row['packets']:,}", f"{row['bytes']:,} bytes"))
        rows += _reasons("malformed", row["malformed_reasons"])
        rows += _reasons("refused", row["refused"])
        if row.get("waiting"):
            rows.append(("  waiting", f"{row['waiting']:,}", f"messages in the stream ({plain(row['state'])})"))
        if row["kernel_drops"]:
            rows.append(
                (
                    "  lost in the kernel",
                    f"[red]{row['kernel_drops']:,}[/]",
                    "receive buffer full: raise receive_buffer",
                )
            )
    return rows


def _routed(row: dict[str, Any]) -> list[Row]:
    rows: list[Row] = [("[bold]routed[/]", f"{row['packets']:,}", "")]
    rows += _reasons("dropped", row["dropped"])
    if row["unrouted"]:
        rows.append(("  unrouted", f"{row['unrouted']:,}", "neither sent, stored nor dropped by name"))
    if row["errors"]:
        rows.append(("  route errors", f"[red]{row['errors']:,}[/]", "see the log"))
    return rows


def _outlets(kind: str, outlets: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for name, row in outlets.items():
        rows.append((f"[bold]{kind}[/] {plain(name)}", f"{row['accepted']:,}", "accepted"))
        rows += _account(row)
        rows += _uploads(row.get("uploads"))
        for url, node in row.get("nodes", {}).items():
            rows.append((f"  node {plain(url)}", f"{node['delivered']:,}", f"delivered ({node['state']})"))
            rows += [(f"  {label}", number, note) for label, number, note in _account(node) if label != "  delivered"]
    return rows


def _uploads(row: dict[str, Any] | None) -> list[Row]:
    if row is None:
        return []
    rows: list[Row] = [("  uploaded", f"{row['files']:,}", f"files, {row['bytes']:,} bytes ({plain(row['state'])})")]
    if row["waiting_files"]:
        note = f"files wait for their upload, the oldest for {row['lag']:.0f} s"
        rows.append(("  to upload", f"{row['waiting_files']:,}", note))
    if row["lost_files"]:
        rows.append(("  not uploaded", f"[red]{row['lost_files']:,}[/]", "files deleted before they were uploaded"))
    return rows


def _account(row: dict[str, Any]) -> list[Row]:
    rows: list[Row] = [("  delivered", f"{row['delivered']:,}", "")]
    rows += [
        (f"  {key}", f"{row[key]:,}", where)
        for key, where in (("queued", "in memory"), ("spooled", "on disk"))
        if row[key]
    ]
    return rows + _reasons("discarded", row["discarded"]) + _reasons("refused", row.get("refused", {}))


def _reasons(what: str, reasons: dict[str, int]) -> list[Row]:
    return [(f"  {what}", f"{count:,}", plain(reason)) for reason, count in sorted(reasons.items())]
