"""`hepswitch decode`: HEP as JSON lines, nothing hidden.

Not here: decoding itself (`wire.hep`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

if TYPE_CHECKING:
    from hepswitch.wire.hep import Hep


@click.command("decode")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True), metavar="FILE…")
def cli(files: tuple[Path, ...]) -> None:
    """Print HEP packets as JSON, one object a line.

    A FILE holds HEPv3 packets end to end, or one HEPv1 or v2 packet, or is a pcap or pcapng with HEP in it; - is standard
    input. Octets that are no UTF-8 text stand under NAME_base64. Exit status 1 when something could not be decoded.

    \b
    Example:
      hepswitch decode trace.hep
      tcpdump -w - udp port 9060 | hepswitch decode - | jq .correlation_id
    """
    from hepswitch.cli.terminal import json_line
    from hepswitch.wire.errors import WireError
    from hepswitch.wire.hep import Hep

    failed = False
    out = sys.stdout.buffer
    with ExitStack() as stack:
        for path in files:
            try:
                file = sys.stdin.buffer if str(path) == "-" else stack.enter_context(path.open("rb"))
                for at, data in _packets(file):
                    try:
                        line = json_line(describe(Hep(data)))
                    except WireError as error:
                        failed = True
                        click.echo(f"{path}: byte {at + error.offset}: {error.reason}", err=True)
                    else:
                        out.write(line + b"\n")
            except WireError as error:
                failed = True
                click.echo(f"{path}: byte {error.offset}: {error.reason}; what follows cannot be read", err=True)
            except OSError as error:
                failed = True
                click.echo(f"{path}: {error.strerror}", err=True)
            out.flush()
    raise SystemExit(1 if failed else 0)


def describe(hep: Hep) -> dict[str, Any]:
    """A packet as a JSON object: fields by name, then every chunk in order.

    A chunk that no field shows (of a vendor, unknown, or repeated) carries its value too. HEPv1 and v2 have no chunks.
    """
    from hepswitch.wire.chunks import GENERIC

    record: dict[str, Any] = {"version": hep.version}
    for name in dict.fromkeys(chunk.name for chunk in GENERIC):
        value = getattr(hep, name)
        if value is not None:
            _put(record, name, value)
    shown: set[int] = set()
    chunks: list[dict[str, Any]] = []
    for chunk in hep.chunks() if hep.version == 3 else ():
        entry: dict[str, Any] = {"vendor": chunk.vendor, "type": chunk.id, "length": chunk.size + 6}
        if not chunk.name or chunk.id in shown:
            _put(entry, "value", chunk.value)
        if chunk.name:
            shown.add(chunk.id)
        chunks.append(entry)
    record["chunks"] = chunks
    return record


def _put(record: dict[str, Any], name: str, value: Any) -> None:
    if isinstance(value, bytes):
        try:
            record[name] = value.decode()
        except UnicodeDecodeError:
            record[f"{name}_base64"] = value  # msgspec writes bytes as base64
    elif isinstance(value, str):
        try:
            value.encode()
            record[name] = value
        except UnicodeEncodeError:
            record[f"{name}_base64"] = value.encode("utf-8", "surrogateescape")
    else:
        record[name] = int(value)


def _packets(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """(offset in the file, packet). In a capture the offset is the packet's own."""
    from hepswitch.cli.captures import HEAD, hep_packets
    from hepswitch.wire import ip, pcap
    from hepswitch.wire.errors import WireError
    from hepswitch.wire.intake import looks_like_hep

    head = file.read(HEAD)
    if not pcap.is_capture(head):
        yield from hep_packets(file, head)
        return
    decoder = ip.Decoder()
    found = False
    for frame in pcap.read(file, head):
        for datagram in decoder.decode(frame):
            if looks_like_hep(datagram.payload):
                found = True
                yield 0, datagram.payload
    if not found:
        raise WireError(0, "a capture without HEP (replay wraps SIP in HEP)")
