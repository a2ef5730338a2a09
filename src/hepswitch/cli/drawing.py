"""A ladder as lines of text: columns are hosts, arrows messages. Width, colours and line-drawing characters only.

Not here: what belongs into the ladder (`lake.ladder`).
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from rich.text import Text

from hepswitch.cli import terminal
from hepswitch.lake.ladder import Event, Ladder

NARROWEST = 18
"""Columns between two lifelines, at least; a ladder of many hosts gets wider than the screen rather than unreadable."""
WIDEST = 46


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters of one style."""

    life: str
    line: str
    dots: str
    cross: str
    right: str
    left: str
    rule: str
    note: str
    again: str
    arrow: str
    times: str
    more: str
    encoding: str

    def safe(self, text: str) -> str:
        """Captured text as it may go to a terminal: no control characters, nothing that the terminal cannot write."""
        shown = terminal.safe(text, self.more)
        return shown.encode(self.encoding, "replace").decode(self.encoding)


UNICODE = Glyphs("│", "─", "┄", "┼", "▶", "◀", "┬", "•", "↻", "→", "×", "…", "utf-8")
ASCII = Glyphs("|", "-", ".", "+", ">", "<", "+", "*", "(again)", "->", "x", "~", "ascii")

LEG_NAMES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
LEG_STYLES = ("cyan", "magenta", "blue", "yellow", "green", "red")


def draw(ladder: Ladder, width: int, times: str, full: bool, unicode: bool) -> Iterator[Text]:
    """The lines of `ladder` for a screen of `width` columns. `times`: "relative", "delta" or "utc"."""
    glyphs = UNICODE if unicode else ASCII
    yield from _title(ladder, glyphs)
    yield Text()
    clock = [_time(ladder.events, i, times) for i in range(len(ladder.events))]
    several = len(ladder.legs) > 1
    margin = max(map(len, clock)) + (4 if several else 2)
    grid = _Grid([endpoint.label for endpoint in ladder.endpoints], margin, width, glyphs)
    yield from grid.header()
    for when, event in zip(clock, ladder.events, strict=True):
        yield from grid.event(event, when, several)
    yield from _legend(ladder.events, glyphs)
    if full:
        for event, when in zip(ladder.events, clock, strict=True):
            yield from _message(event, when, glyphs)


def _title(ladder: Ladder, glyphs: Glyphs) -> Iterator[Text]:
    first = next((event for event in ladder.events if event.leg == 0), ladder.events[0])
    names = [
        "@".join(part for part in (first.row[f"{side}_user"], first.row[f"{side}_domain"]) if part) or "?"
        for side in ("from", "to")
    ]
    title = Text(f"{glyphs.safe(names[0])} {glyphs.arrow} {glyphs.safe(names[1])}", style="bold")
    title.append(
        f"   {glyphs.safe(ladder.outcome)}",
        style="bold green" if ladder.outcome.startswith(("answered", "2")) else "bold red",
    )
    title.append(f"   {ladder.events[0].at:%Y-%m-%d %H:%M:%S} UTC   {len(ladder.events)} packets", style="not bold dim")
    yield title
    for number, call_id in enumerate(ladder.legs):
        several = len(ladder.legs) > 1
        leg = Text(f"{_leg_name(number)} " if several else "", style=_leg_style(number) if several else "")
        leg.append(f"Call-ID {glyphs.safe(call_id)}", style="dim")
        yield leg


def _time(events: list[Event], i: int, times: str) -> str:
    if times == "utc":
        return f"{events[i].at:%H:%M:%S.%f}"
    before = events[i - 1].offset if times == "delta" and i else 0.0
    return f"{events[i].offset - before:+.3f}"


def _leg_name(number: int) -> str:
    return LEG_NAMES[number] if number < len(LEG_NAMES) else str(number)


def _leg_style(number: int) -> str:
    return LEG_STYLES[number % len(LEG_STYLES)]


def _style(event: Event) -> str:
    if event.retransmission:
        return "dim"
    if event.kind == "request":
        return "bold cyan"
    if event.status is None:
        return "magenta" if event.kind in ("rtcp", "report") else "blue"
    return {1: "yellow", 2: "green", 3: "blue"}.get(event.status // 100, "red")


class _Grid:
    """Lifelines at fixed columns, and lines of text laid over them."""

    def __init__(self, endpoints: list[str], margin: int, width: int, glyphs: Glyphs) -> None:
        self._glyphs = glyphs
        self._margin = margin
        count = len(endpoints)
        room = max(NARROWEST, min(WIDEST, (width - margin) // count)) - 2
        self._names = [_folded(name, room) for name in endpoints]
        halves = [max(map(len, lines)) // 2 + 1 for lines in self._names]
        first = margin + halves[0]
        span = (width - 1 - halves[-1] - first) // max(1, count - 1)
        step = max(NARROWEST, min(WIDEST, span))
        self._at = [first + step * i for i in range(count)]
        self.width = max(self._at[-1] + halves[-1] + 1, min(width, self._at[-1] + WIDEST))

    def header(self) -> Iterator[Text]:
        height = max(map(len, self._names))
        for row in range(height):
            line = [" "] * self.width
            for at, names in zip(self._at, self._names, strict=True):
                # Names stand on the rule, so shorter ones begin lower.
                name = names[row - (height - len(names))] if row >= height - len(names) else ""
                self._put(line, at - len(name) // 2, name)
            yield Text("".join(line).rstrip(), style="bold")
        line = [" "] * self.width
        for at, names in zip(self._at, self._names, strict=True):
            half = max(map(len, names)) // 2
            self._put(line, at - half, self._glyphs.line * (2 * half + 1))
            line[at] = self._glyphs.rule
        yield Text("".join(line).rstrip(), style="dim")

    def event(self, event: Event, when: str, several: bool) -> Iterator[Text]:
        label = self._label(event)
        left, right = sorted((self._at[event.source], self._at[event.target]))
        head = f"{when:>{self._margin - (4 if several else 2)}}"
        if several:
            head += f" {_leg_name(event.leg) if event.leg is not None else ' '}"
        if left == right:
            yield self._line(event, head, left + 2, f"{self._glyphs.note} {label}")
            return
        inner = right - left - 1
        if len(label) + 6 <= inner:
            yield self._arrow(event, head, left, right, f" {label} ")
        else:
            start = max(self._margin, min(left + 2, self.width - len(label)))
            yield self._line(event, head, start, label)
            yield self._arrow(event, "", left, right, "")

    def _label(self, event: Event) -> str:
        label = self._glyphs.safe(event.label)
        if event.sdp:
            label = f"{label[:-1]}, SDP)" if label.endswith(")") else f"{label} (SDP)"
        if event.copies > 1:
            label += f" {self._glyphs.times}{event.copies}"
        return f"{label} {self._glyphs.again}" if event.retransmission else label

    def _blank(self, head: str) -> list[str]:
        line = [" "] * self.width
        self._put(line, 0, head)
        for at in self._at:
            line[at] = self._glyphs.life
        return line

    def _line(self, event: Event, head: str, start: int, label: str) -> Text:
        """`label` over the lifelines from column `start`, cut where the screen ends."""
        line = self._blank(head)
        room = self.width - start
        if len(label) > room:
            label = label[: room - 1] + self._glyphs.more
        self._put(line, start, label)
        return self._styled(line, head, event, start, start + len(label))

    def _arrow(self, event: Event, head: str, left: int, right: int, label: str) -> Text:
        line = self._blank(head)
        stroke = self._glyphs.line if event.kind in ("request", "reply") else self._glyphs.dots
        for column in range(left + 1, right):
            line[column] = stroke if line[column] != self._glyphs.life else self._glyphs.cross
        if self._at[event.source] < self._at[event.target]:
            line[right - 1] = self._glyphs.right
        else:
            line[left + 1] = self._glyphs.left
        self._put(line, left + 1 + (right - left - 1 - len(label)) // 2, label)
        return self._styled(line, head, event, left + 1, right)

    def _styled(self, line: list[str], head: str, event: Event, start: int, end: int) -> Text:
        text = Text("".join(line).rstrip())
        text.stylize("dim", 0, len(text))
        if head and event.leg is not None and head[-1:].isalpha():
            text.stylize(f"not dim {_leg_style(event.leg)}", len(head) - 1, len(head))
        text.stylize(_style(event) if event.retransmission else f"not dim {_style(event)}", start, end)
        return text

    @staticmethod
    def _put(line: list[str], start: int, text: str) -> None:
        for i, character in enumerate(text, start):
            if 0 <= i < len(line):
                line[i] = character


def _folded(name: str, room: int) -> list[str]:
    """The name of an endpoint in lines of at most `room` columns: the port goes first."""
    address, colon, port = name.rpartition(":")
    if len(name) <= room or not port.isdigit() or (address.count(":") and not address.endswith("]")):
        return textwrap.wrap(name, room)
    return [*textwrap.wrap(address, room), colon + port]


def _legend(events: list[Event], glyphs: Glyphs) -> Iterator[Text]:
    words = []
    if any(event.retransmission for event in events):
        words.append(f"{glyphs.again} retransmission")
    if any(event.copies > 1 for event in events):
        words.append(f"{glyphs.times}2 sent by two capture agents")
    if words:
        yield Text()
        yield Text("   ".join(words), style="dim")


def _message(event: Event, when: str, glyphs: Glyphs) -> Iterator[Text]:
    row = event.row
    protocol = {6: "TCP", 17: "UDP", 22: "TLS", 50: "WS", 132: "SCTP"}.get(row["proto_id"], "")
    ends = f"{row['src_ip']} {row['src_port']} {glyphs.arrow} {row['dst_ip']} {row['dst_port']}"
    yield Text()
    yield Text(f"{glyphs.line * 2} {when}  {ends}  {protocol}", style=f"{_style(event)} bold")
    text = (row["payload"] or b"").decode("utf-8", "backslashreplace").replace("\r\n", "\n")
    for line in text.rstrip("\n").split("\n"):
        yield Text(glyphs.safe(line))
