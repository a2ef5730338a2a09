"""`hepswitch check --run`: what the route would do with the packets of recordings, without sending or storing anything.

Rules, script, lists, masks and each destination's treatment are real; destinations and stores take everything. Guards are
left out: a recording does not tell who sent its packets to us. Not here: what recordings hold (`cli.recordings`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from hepswitch.config import Config
    from hepswitch.testing import Outcome
    from hepswitch.wire.hep import Hep

NOTHING = "nothing: counted as unrouted"


def dry_run(settings: Config, files: tuple[Path, ...], as_json: bool) -> None:
    """Run the route over the packets of `files`; print a table, or a JSON object a packet.

    Exit status 1 when the route raised, 2 when it cannot be loaded or a recording cannot be read.
    """
    from hepswitch.cli.recordings import Selection
    from hepswitch.routing.script import ScriptError
    from hepswitch.state import ListError
    from hepswitch.testing import RouteTest
    from hepswitch.wire.errors import WireError
    from hepswitch.wire.hep import Hep

    counts: Counter[tuple[str, str]] = Counter()
    errors: Counter[str] = Counter()
    selection = Selection()
    try:
        route = RouteTest.of(settings)
        for recorded in selection.read(files):
            hep = Hep(recorded.packet)
            outcome = route.run(recorded.packet)
            counts[_kind(hep), _words(outcome)] += 1
            if outcome.error is not None:
                errors[f"{type(outcome.error).__name__}: {outcome.error}"] += 1
            if as_json:
                _print(hep, outcome)
    except (ScriptError, ListError, OSError, WireError) as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from None
    if not as_json:
        _table(counts)
        hits = route.routes.rules.hits if route.routes.rules is not None else {}
        for name, count in hits.items():
            click.echo(f"  rule {name}: {count} packets")
        if selection.skipped:
            click.echo(f"{selection.skipped} skipped: no SIP, HEP or RTCP of a call")
    for words, count in errors.most_common():
        click.echo(f"the route raised {count} times: {words}", err=True)
    if errors:
        raise SystemExit(1)


def _kind(hep: Hep) -> str:
    """What a packet is, in a word or two: INVITE, 200 (INVITE), RTCP."""
    sip = hep.sip
    if sip is None:
        kind = hep.proto_type
        return "no type" if kind is None else str(kind)
    return sip.method or f"{sip.status} ({sip.cseq_method or '?'})"


def _words(outcome: Outcome) -> str:
    return ", ".join(_acts(outcome)) or NOTHING


def _acts(outcome: Outcome) -> Iterator[str]:
    for name in outcome.relayed_to:
        yield f"relay {name}"
    for stored in outcome.stored:
        table = stored.options.get("table")
        yield f"store {stored.name}" + (f" ({table})" if table else "")
    for id in outcome.traced_by:
        yield f"trace {id}"
    for name in outcome.refused:
        yield f"refused by {name}"
    if outcome.dropped is not None:
        yield f"drop: {outcome.dropped}"
    if outcome.error is not None:
        yield f"raises {type(outcome.error).__name__}"


def _table(counts: Counter[tuple[str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from hepswitch.cli.drawing import ASCII, UNICODE

    console = Console()
    if not console.is_terminal:
        console = Console(width=10_000)
    glyphs = UNICODE if "utf" in console.encoding else ASCII
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("packets", justify="right")
    table.add_column("what")
    table.add_column("the route would")
    for (kind, words), count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        table.add_row(str(count), Text(glyphs.safe(kind)), Text(glyphs.safe(words)))
    console.print(table)


def _print(hep: Hep, outcome: Outcome) -> None:
    from hepswitch.cli.selection import print_json

    row: dict[str, Any] = {
        "time": hep.time,
        "what": _kind(hep),
        "call": hep.call_identity,
        "relayed": outcome.relayed_to,
        "stored": outcome.stored_in,
        "traced": outcome.traced_by,
        "refused": outcome.refused,
        "dropped": outcome.dropped,
        "tags": sorted(outcome.tags),
        "error": None if outcome.error is None else str(outcome.error),
    }
    print_json([row])
