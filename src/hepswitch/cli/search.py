"""`hepswitch search`: find calls and messages in a store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hepswitch.cli.selection import (
    TEXT,
    make_query,
    open_store,
    print_csv,
    print_json,
    query_options,
    store_options,
)
from hepswitch.cli.terminal import safe
from hepswitch.lake.rows import plain

if TYPE_CHECKING:
    from hepswitch.lake.query import Query
    from hepswitch.lake.reader import Reader
    from hepswitch.lake.remote import Remote

Row = dict[str, Any]

LIMIT, MOST = 100, 1_000_000_000

MESSAGE_COLUMNS = (
    "ts", "src_ip", "src_port", "dst_ip", "dst_port", "proto_type", "method", "status", "reason", "cseq_method",
    "from_user", "from_domain", "to_user", "to_domain", "call_id", "correlation_id",
)  # fmt: skip
"""What the table of messages needs; JSON and CSV give all columns."""


@click.command("search")
@query_options
@click.option("--messages", is_flag=True, help="One row a message (RTCP and logs too) instead of one a call.")
@click.option("--limit", type=click.IntRange(1, MOST), default=LIMIT, show_default=True, help="The latest so many.")
@click.option(
    "--sql",
    type=TEXT,
    metavar="SELECT …",
    help="Read-only SQL over a lake's view `messages`, instead of the options above.",
)
@store_options
@click.option("--json", "form", flag_value="json", help="JSON lines.")
@click.option("--csv", "form", flag_value="csv", help="CSV with a line of names.")
def cli(
    messages: bool,
    limit: int,
    sql: str | None,
    store: str | None,
    lake: Path | Remote | None,
    config: Path | None,
    form: str | None,
    **filters: Any,
) -> None:
    """Find calls: one row a Call-ID in which some message fulfils every condition; with --messages the messages themselves.

    Works while the switch runs and without it. Times are UTC. `*` and `?` make patterns: --from '+4930*'.
    Exit status 1 when nothing was found.

    \b
    Example:
      hepswitch search --from alice --since 2h
      hepswitch search --status 4xx --method INVITE --since 2026-11-23T06:00 --json
      hepswitch search --filter 'src_ip in 10.0.0.0/8 and sip.header("X-Tenant") = acme'
      hepswitch search --config switch.toml --store homer --call-id 'a84b4c76*'
      hepswitch search --sql "select user_agent, count(*) from messages group by all order by 2 desc"
    """
    if sql is not None:
        if messages or any(value is not None for value in filters.values()):
            raise click.UsageError("--sql stands alone: write the conditions into its WHERE")
        with open_store(store, lake, config) as asked:
            _answer_sql(asked, sql, form)
        return
    query = make_query(filters, limit)
    with open_store(store, lake, config) as asked:
        rows = _messages(asked, query, form) if messages else _calls(asked, query, form)
    if not rows:
        if form is None:
            click.echo(f"nothing found in {asked.place}. Fewer conditions or an earlier --since find more.", err=True)
        raise SystemExit(1)
    if form is None and len(rows) == limit:
        click.echo(f"the latest {limit}; --limit shows more", err=True)


def _answer_sql(asked: Reader, sql: str, form: str | None) -> None:
    from hepswitch.lake.lake import Lake, QueryError

    if not isinstance(asked, Lake):
        raise click.UsageError(f"--sql asks a lake; ask {asked.place} with its own client (psql, mysql, sqlite3 …)")
    try:
        names, rows = asked.sql(sql)
    except QueryError as error:
        click.echo("\n".join(safe(line) for line in f"--sql: {error}".split("\n")), err=True)
        raise SystemExit(2) from None
    if form == "json":
        print_json(dict(zip(names, row, strict=True)) for row in rows)
    elif form == "csv":
        print_csv(names, rows)
    else:
        _table(names, ([_cell(value) for value in row] for row in rows))


def _calls(asked: Reader, query: Query, form: str | None) -> Sequence[Row]:
    from hepswitch.lake.calls import COLUMNS

    rows = asked.calls(query)
    if form == "json":
        print_json(rows)
    elif form == "csv":
        print_csv(COLUMNS, ([row[name] for name in COLUMNS] for row in rows))
    elif rows:
        _table(("time", "method", "from", "to", "status", "duration", "messages", "Call-ID"), map(_call_cells, rows))
    return rows


def _messages(asked: Reader, query: Query, form: str | None) -> Sequence[Row]:
    rows = asked.search(query, MESSAGE_COLUMNS if form is None else ("*",))
    if form == "json":
        print_json(rows)
    elif form == "csv":
        print_csv(rows[0] if rows else (), (row.values() for row in rows))
    elif rows:
        _table(("time", "source", "destination", "message", "from", "to", "Call-ID"), map(_message_cells, rows))
    return rows


def _call_cells(row: Row) -> list[str]:
    duration = "" if row["duration"] is None else f"{row['duration']:.1f} s"
    return [
        _time(row["start"]),
        row["method"] or "",
        _party(row, "from"),
        _party(row, "to"),
        _status(row),
        duration,
        str(row["messages"]),
        row["call_id"],
    ]


def _message_cells(row: Row) -> list[str]:
    from hepswitch.lake.ladder import endpoint
    from hepswitch.wire.chunks import PROTO_TYPES

    kind = row["proto_type"]
    name = (row["method"] or _status(row, row["cseq_method"])) if kind == 1 else PROTO_TYPES.get(kind, f"type {kind}")
    ends = [endpoint(row[f"{side}_ip"] or "?", row[f"{side}_port"]) for side in ("src", "dst")]
    return [
        _time(row["ts"]),
        *ends,
        name,
        _party(row, "from"),
        _party(row, "to"),
        row["call_id"] or row["correlation_id"] or "",
    ]


def _status(row: Row, method: str | None = None) -> str:
    words = [str(row["status"]) if row["status"] else "no reply", row["reason"] or "", f"({method})" if method else ""]
    return " ".join(word for word in words if word)


def _party(row: Row, side: str) -> str:
    return row[f"{side}_user"] or row[f"{side}_domain"] or ""


def _time(value: datetime) -> str:
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return _time(value) if isinstance(value, datetime) and value.tzinfo else str(plain(value))


def _table(names: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """A table as wide as the screen; what has no screen gets every column whole."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from hepswitch.cli.drawing import ASCII, UNICODE

    console = Console()
    if not console.is_terminal:
        console = Console(width=10_000)
    glyphs = UNICODE if "utf" in console.encoding else ASCII
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in names:
        # A Call-ID is there to be copied: it is the last to give way.
        table.add_column(
            name,
            no_wrap=name == "time",
            overflow="fold",
            justify="right" if name in ("duration", "messages") else "left",
        )
    for row in rows:
        cells = [Text(glyphs.safe(cell)) for cell in row]
        table.add_row(*cells)
    console.print(table)
