"""The picture of `hepswitch top`: sections of rows, as many of each as the screen has room for.

Not here: where the numbers come from, and when (`top`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

from rich.console import Group, RenderableType
from rich.markup import render
from rich.table import Table
from rich.text import Text

from hepswitch.cli.tables import plain

NUMBERS = frozenset((
    "packets/s", "bytes/s", "packets", "malformed", "refused", "kernel drops", "queued", "spooled", "lost",
))  # fmt: skip
"""Columns that are set to the right."""

ROOMY = 100
"""Columns of a screen that has room between its columns."""

FEWEST = 2
"""Rows that every section has before one gets more."""


@dataclass(frozen=True, slots=True)
class Shot:
    """What the switch said `at` one moment (monotonic seconds): the answers of its API."""

    PARTS: ClassVar = ("status", "stats", "destinations", "agents", "events")

    at: float
    status: dict[str, Any]
    stats: dict[str, Any]
    destinations: dict[str, Any]
    agents: dict[str, Any]
    events: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Section:
    """A table: `columns`, of which the first is its title, and rows in rich's markup, the most important ones first."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def picture(now: Shot, before: Shot, width: int, height: int | None) -> RenderableType:
    """The switch at `now`, with rates since `before`. `height`: lines of the screen; None: as many as it takes."""
    head = [_head(now, before), *(Text.from_markup(f"[yellow]{plain(hint)}[/]") for hint in now.status["hints"])]
    for line in head:
        line.no_wrap, line.overflow = True, "ellipsis"
    sections = [section for section in _sections(now, before) if section.rows]
    shown = [len(section.rows) for section in sections]
    if height is not None:
        shown = fitting(shown, height - len(head))
    tables = [_table(section, rows, width) for section, rows in zip(sections, shown, strict=True) if rows]
    return Group(*head, *tables)


def fitting(wanted: Sequence[int], room: int) -> list[int]:
    """How many rows each section shows in `room` lines, when it has so many and a title: all get FEWEST (the last ones
    none when that is too much), then each one more in turn."""
    shown: list[int] = []
    for rows in wanted:
        first = min(rows, FEWEST, room - 1)
        shown.append(max(first, 0))
        room -= 1 + first if first > 0 else 0
    while room > 0 and any(rows < most for rows, most in zip(shown, wanted, strict=True) if rows):
        for i, most in enumerate(wanted):
            if 0 < shown[i] < most and room > 0:
                shown[i] += 1
                room -= 1
    return shown


def _table(section: Section, shown: int, width: int) -> Table:
    full = section.columns[-1] in NUMBERS  # else the last column is text, and takes the rest of the line
    table = Table(
        box=None, pad_edge=False, padding=(0, 2 if width >= ROOMY else 1, 0, 0), header_style="bold", width=width
    )
    more = len(section.rows) - shown
    for i, column in enumerate(section.columns):
        title = f"{column} [dim]({more} more)[/]" if more and not i else column
        table.add_column(
            title, justify="right" if column in NUMBERS else "left", no_wrap=True, overflow="ellipsis",
            ratio=1 if not full and column == section.columns[-1] else None,
        )  # fmt: skip
    for row in section.rows[:shown]:
        table.add_row(*(render(cell) for cell in row))
    return table


def _head(now: Shot, before: Shot) -> Text:
    status, book = now.status, now.stats
    parts = [
        f"[bold]hepswitch {plain(status['version'])}[/]",
        f"up {_span(book['uptime'])}",
        "[green]balanced[/]" if book["balanced"] else "[bold red]NOT BALANCED: packets are unaccounted for[/]",
        f"[bold]{_rate(now, before, ('routed', 'packets'))}[/] packets/s",
    ]
    if not status["capturing"]:
        parts.append("[yellow]capturing is off[/]")
    if not status["tracing"]:
        parts.append("[yellow]tracing is off[/]")
    return Text.from_markup("   ".join(parts))


def _sections(now: Shot, before: Shot) -> Iterator[Section]:
    book = now.stats
    yield Section(
        ("listener", "packets/s", "bytes/s", "packets", "malformed", "refused", "kernel drops"),
        [_listener(now, before, url, row) for url, row in book["received"].items()],
    )
    yield Section(("route", "packets/s", "packets"), list(_outcomes(now, before)))
    yield Section(
        ("destination", "node", "state", "packets/s", "queued", "spooled", "lost", "last error"),
        [
            _node(now, before, name, node)
            for name, row in now.destinations.items()
            for node in sorted(row["nodes"], key=lambda node: node["state"] == "active")
        ],
    )
    yield Section(
        ("store", "packets/s", "queued", "spooled", "lost", "state"),
        [_store(now, before, name, row) for name, row in book["stores"].items()],
    )
    agents = now.agents["agents"]
    yield Section(
        ("agent", "node", "from", "HEP", "packets/s", "clock", "last seen"),
        [_agent(agent) for agent in sorted(agents, key=lambda agent: -agent["rate"])],
    )
    yield Section(("log", "process", "warning or error"), [_event(event) for event in now.events["events"]])
    processes = "  ".join(f"{plain(each['kind'])} {each['pid']}" for each in now.status["processes"])
    yield Section(("processes",), [[processes]])


def _listener(now: Shot, before: Shot, url: str, row: Mapping[str, Any]) -> list[str]:
    at = ("received", url)
    lost = row["kernel_drops"]
    return [
        plain(url),
        _rate(now, before, (*at, "packets")),
        _rate(now, before, (*at, "bytes")),
        f"{row['packets']:,}",
        _bad(row["malformed"]),
        _bad(sum(row["refused"].values())),
        _bad(lost),
    ]


def _outcomes(now: Shot, before: Shot) -> Iterator[list[str]]:
    """What the route did, the most frequent first; what is wrong in red."""
    routed = now.stats["routed"]
    yield ["routed", _rate(now, before, ("routed", "packets")), f"{routed['packets']:,}"]
    wrong = [("errors of the route", ("errors",)), ("unrouted", ("unrouted",))]
    for words, key in wrong:
        if count := routed[key[0]]:
            yield [f"[red]{words}[/]", _rate(now, before, ("routed", *key)), f"[red]{count:,}[/]"]
    for reason, count in sorted(routed["dropped"].items(), key=lambda item: -item[1]):
        yield [f"dropped: {plain(reason)}", _rate(now, before, ("routed", "dropped", reason)), f"{count:,}"]


def _node(now: Shot, before: Shot, name: str, node: Mapping[str, Any]) -> list[str]:
    url = node["url"]
    at = ("destinations", name, "nodes", url)
    account = _at(now.stats, at) or {"discarded": {}}
    return [
        plain(name),
        plain(url),
        _state(node["state"]),
        _rate(now, before, (*at, "delivered")),
        f"{node['queued']:,}",
        f"{node['spooled']:,}",
        _bad(sum(account["discarded"].values())),
        plain(node["last_error"] or ""),
    ]


def _store(now: Shot, before: Shot, name: str, row: Mapping[str, Any]) -> list[str]:
    return [
        plain(name),
        _rate(now, before, ("stores", name, "delivered")),
        f"{row['queued']:,}",
        f"{row['spooled']:,}",
        _bad(sum(row["discarded"].values())),
        _state(row.get("state", "active")),
    ]


def _agent(agent: Mapping[str, Any]) -> list[str]:
    skew = agent["skew"]
    late = f"{skew:+.1f} s" if skew is not None else ""
    return [
        str(agent["captagent_id"]),
        plain(agent["node_name"] or ""),
        plain(agent["src_ip"] or ""),
        ", ".join(map(str, agent["versions"])),
        f"{agent['rate']:,.0f}",
        f"[yellow]{late}[/]" if skew is not None and abs(skew) >= 1 else late,
        _ago(agent["last_seen"]),
    ]


def _event(event: Mapping[str, Any]) -> list[str]:
    colour = "yellow" if event["level"] == "warning" else "red"
    details = "  ".join(f"{plain(key)}={plain(value)}" for key, value in event["details"].items())
    return [
        f"[dim]{plain(event['at'][11:19])}[/]",
        plain(event["process"]),
        f"[{colour}]{plain(event['event'])}[/]  [dim]{details}[/]",
    ]


def _state(state: str) -> str:
    return f"[{'green' if state == 'active' else 'yellow'}]{plain(state)}[/]"


def _bad(count: int) -> str:
    return f"[red]{count:,}[/]" if count else "0"


def _at(book: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        book = book.get(key) if isinstance(book, dict) else None
    return book


def _rate(now: Shot, before: Shot, keys: Sequence[str]) -> str:
    """A number of the books a second. What is new began at nothing; what went back (a worker died) did nothing."""
    seconds = now.at - before.at
    more = (_at(now.stats, keys) or 0) - (_at(before.stats, keys) or 0)
    return f"{max(more, 0) / seconds:,.0f}" if seconds > 0 else "-"


def _span(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{f'{days} d ' if days else ''}{hour}:{minute:02}:{second:02}"


def _ago(at: str) -> str:
    return f"{_span(max((datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds(), 0))} ago"
