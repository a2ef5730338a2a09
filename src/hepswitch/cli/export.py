"""`hepswitch export`: calls as a capture file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

import click

from hepswitch.cli.selection import TEXT, make_query, open_store, query_options, store_options

if TYPE_CHECKING:
    from hepswitch.lake.reader import Reader, Row
    from hepswitch.lake.remote import Remote


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
    lake: Path | Remote | None,
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
    from hepswitch.lake import captures

    query = make_query(filters)
    with open_store(store, lake, config) as asked:
        rows = _calls(asked, call_ids) if call_ids else asked.search(query)
    if not any(map(captures.fits, rows)):
        click.echo(f"no SIP found in {asked.place}; nothing was written", err=True)
        raise SystemExit(1)
    with click.open_file(output, "wb") as file:
        form: Literal["pcap", "pcapng"] = "pcap" if output.endswith(".pcap") else "pcapng"
        written, left_out = captures.write(cast(BinaryIO, file), rows, form)
    click.echo(f"{output}: {written} messages", err=True)
    for reason, count in sorted(left_out.items()):
        click.echo(f"left out: {count} {reason}", err=True)


def _calls(asked: Reader, call_ids: Iterable[str]) -> list[Row]:
    """The packets of the calls; ends the command when there is no such call."""
    from hepswitch.lake.reader import UnknownCallError

    try:
        return list(asked.whole(call_ids))
    except UnknownCallError as error:
        click.echo(str(error), err=True)
        raise SystemExit(1) from None
