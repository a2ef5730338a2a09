"""`hepswitch replay`: recorded traffic as HEP to a switch, at its own pace or at a given one.

Not here: what the files hold (`cli.recordings`), and connections that must survive breaks (`destinations.hep`): a replay
that cannot deliver stops and says so.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from hepswitch.cli.options import config_option
from hepswitch.cli.selection import TEXT, TIME, open_store
from hepswitch.units import Endpoint, parse_endpoint

if TYPE_CHECKING:
    from hepswitch.cli.recordings import Recorded
    from hepswitch.lake.reader import Reader
    from hepswitch.wire.frames import Frames

TICK = 0.0005
"""Shortest sleep, seconds: at high rates what falls due meanwhile goes out in one batch."""
BATCH = 256
"""Most packets in one batch, so that a late start does not become one burst."""
_TIMEOUT = 10.0


class _EndpointType(click.ParamType[Endpoint]):
    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Endpoint:
        try:
            return value if isinstance(value, Endpoint) else parse_endpoint(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _RateType(click.ParamType[float]):
    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            rate = float("inf") if value == "max" else float(str(value).removesuffix("/s"))
        except ValueError:
            rate = 0.0
        if not rate > 0:
            self.fail(f"{value!r} is not a rate: write for example 5000, 40000/s or max", param, ctx)
        return rate


@click.command("replay")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True, allow_dash=True), metavar="[FILE]…")
@click.option(
    "--to", "target", required=True, type=_EndpointType(), help="Where to: udp://, tcp:// or tls://HOST[:PORT]."
)
@click.option(
    "--version", type=click.IntRange(1, 3), help="HEP version to send. Default: as recorded, 3 for SIP captures."
)
@click.option("--rate", type=_RateType(), help="Packets a second (or max) instead of the recorded distances.")
@click.option("--speed", type=click.FloatRange(min=0, min_open=True), help="Times the recorded speed.  [default: 1]")
@click.option("--loop", type=click.IntRange(min=1), default=1, show_default=True, help="How many times.")
@click.option("--capture-id", type=click.IntRange(0, 0xFFFFFFFF), help="Capture agent id to send.")
@click.option("--now", "shift", is_flag=True, help="Shift the times to the present, keeping their distances.")
@click.option(
    "--since", type=TIME, help="From a store: packets from then on: ago, or ISO 8601 (UTC unless it says otherwise)."
)
@click.option("--until", type=TIME, help="From a store: packets before then.")
@click.option("--call-id", type=TEXT, help="From a store: packets of this call.")
@click.option(
    "--store", type=TEXT, metavar="NAME", help="A store of the configuration, after the files if there are any."
)
@config_option
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON.")
def cli(
    files: tuple[Path, ...],
    target: Endpoint,
    version: int | None,
    rate: float | None,
    speed: float | None,
    loop: int,
    capture_id: int | None,
    shift: bool,
    since: datetime | None,
    until: datetime | None,
    call_id: str | None,
    store: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Send recorded traffic as HEP.

    A FILE is a pcap or pcapng with SIP and RTCP (wrapped in HEP, RTCP under its call's Call-ID) or with HEP, a file of HEP
    packets, the folder of a lake, or - for standard input. Exit status 1 when something could not be read or sent.

    \b
    Example:
      hepswitch replay calls.pcapng --to udp://127.0.0.1:9060
      hepswitch replay calls.pcapng --to tcp://homer:9060 --rate 5000 --loop 10 --now
      hepswitch replay ./captures --since 2h --to tls://new-homer:9061?ca=ca.pem --rate max
      hepswitch replay --config switch.toml --store homer --since 2h --to udp://127.0.0.1:9060
    """
    from hepswitch.cli.recordings import Selection
    from hepswitch.wire.errors import WireError

    if not files and store is None:
        raise click.UsageError("name a FILE, the folder of a lake, or a store with --store")
    if rate is not None and speed is not None:
        raise click.UsageError("--rate and --speed exclude each other: a rate replaces the recorded distances")
    if version == 1 and capture_id is not None:
        raise click.UsageError("HEPv1 carries no capture id: use --version 2 or 3")
    if loop > 1 and Path("-") in files:
        raise click.UsageError("standard input cannot be read twice: --loop needs files")
    selection = Selection(
        version=version, capture_id=capture_id, since=since, until=until, call_id=call_id, shift=shift
    )
    summary = Summary()
    failure: str | None = None
    started = time.monotonic()
    try:
        with _stored(store, config) as stored, _connect(target) as link, _Progress(files, loop, stored) as progress:
            passes = (selection.read(files, stored) for _ in range(loop))
            _send_all(_due(passes, rate, speed or 1.0), link, summary, progress)
    except WireError as error:
        failure = str(error)
    except (OSError, ValueError) as error:
        failure = f"{target}: {error}" if isinstance(error, OSError) and error.filename is None else str(error)
    except KeyboardInterrupt:
        failure = "interrupted"
    summary.seconds = time.monotonic() - started
    summary.skipped = selection.skipped
    _report(summary, failure, as_json)
    raise SystemExit(0 if failure is None else 1)


@dataclass(slots=True)
class Summary:
    """What was sent. `skipped`: no SIP, RTCP of a known call, or HEP; broken; or not expressible in the wanted version."""

    packets: int = 0
    bytes: int = 0
    seconds: float = 0.0
    skipped: int = 0


def _stored(name: str | None, config: Path | None) -> AbstractContextManager[Reader | None]:
    return nullcontext() if name is None else open_store(name, None, config)


class Link(Protocol):
    """A connection that packets go out on."""

    def send(self, frames: Frames) -> None:
        """Send all of `frames` and empty it; waits for the far end. Raises OSError."""


class _UdpLink:
    def __init__(self, sock: socket.socket) -> None:
        from hepswitch.net.udp import UdpSender

        self._sock = sock
        self._sender = UdpSender(sock)

    def send(self, frames: Frames) -> None:
        while True:
            self._sender.send(frames)
            if not len(frames):
                break
            if not select.select((), (self._sock,), (), _TIMEOUT)[1]:
                raise TimeoutError("the socket takes no more packets")
        if self._sender.oversized:
            raise OSError("a packet is too big for UDP: use tcp://")


class _StreamLink:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def send(self, frames: Frames) -> None:
        with memoryview(frames) as data:
            self._sock.sendall(data)
        frames.clear()


class _Connection(AbstractContextManager[Link]):
    def __init__(self, sock: socket.socket, link: Link) -> None:
        self._sock, self._link = sock, link

    def __enter__(self) -> Link:
        return self._link

    def __exit__(self, *_: object) -> None:
        self._sock.close()


def _connect(target: Endpoint) -> _Connection:
    if target.scheme == "udp":
        family, kind, proto, _, address = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_DGRAM)[0]
        sock = socket.socket(family, kind, proto)
        sock.setblocking(False)
        try:
            sock.connect(address)
            return _Connection(sock, _UdpLink(sock))
        except BaseException:
            sock.close()
            raise
    sock = socket.create_connection((target.host, target.port), timeout=_TIMEOUT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if target.scheme == "tls":
        from hepswitch.net.tls import client_context

        try:
            sock = client_context(target).wrap_socket(sock, server_hostname=target.host)
        except BaseException:
            sock.close()
            raise
    sock.settimeout(None)  # a switch whose outlets are full stops reading: waiting is right
    return _Connection(sock, _StreamLink(sock))


def _send_all(due_packets: Iterator[tuple[float, Recorded]], link: Link, summary: Summary, progress: _Progress) -> None:
    from hepswitch.wire.frames import Frames

    frames = Frames()
    for due, recorded in due_packets:
        now = time.monotonic()
        if due > now or len(frames) == BATCH:
            if len(frames):
                _flush(frames, link, summary)
                progress.update(summary.packets, recorded.place)
                now = time.monotonic()
            if due > now:
                time.sleep(max(due - now, TICK))
        frames.push(recorded.packet)
    if len(frames):
        _flush(frames, link, summary)


def _flush(frames: Frames, link: Link, summary: Summary) -> None:
    count, size = len(frames), frames.nbytes
    link.send(frames)
    summary.packets += count
    summary.bytes += size


def _due(passes: Iterator[Iterator[Recorded]], rate: float | None, speed: float) -> Iterator[tuple[float, Recorded]]:
    """When (monotonic clock) each packet is to be sent. Packets that lie back in time go at once."""
    start = time.monotonic()
    number = 0
    for packets in passes:
        first: int | None = None
        for recorded in packets:
            if rate is not None:
                yield start + number / rate, recorded
                number += 1
                continue
            if first is None:
                first, start = recorded.time_us, time.monotonic()
            yield start + max(recorded.time_us - first, 0) / 1e6 / speed, recorded


class _Progress(AbstractContextManager["_Progress"]):
    """A bar on a terminal, nothing elsewhere. It counts bytes of the files read, which are known beforehand."""

    def __init__(self, files: tuple[Path, ...], loop: int, stored: Reader | None) -> None:
        sizes = [path.stat().st_size for path in files if path.is_file()]
        self._total = sum(sizes) * loop if len(sizes) == len(files) and stored is None else None
        self._bar: Any = nullcontext()
        self._next = 0.0

    def __enter__(self) -> _Progress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            columns = BarColumn(), TextColumn("{task.fields[packets]:,} packets"), TimeElapsedColumn()
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("replay", total=self._total, packets=0)
        self._bar.__enter__()
        return self

    def update(self, packets: int, place: int) -> None:
        now = time.monotonic()
        if now >= self._next and not isinstance(self._bar, nullcontext):
            self._next = now + 0.1
            self._bar.update(self._task, completed=place if self._total else None, packets=packets)

    def __exit__(self, *problem: Any) -> None:
        self._bar.__exit__(*problem)


def _report(summary: Summary, failure: str | None, as_json: bool) -> None:
    rate = summary.packets / summary.seconds if summary.seconds else 0.0
    if as_json:
        import msgspec

        record = {
            "packets": summary.packets,
            "bytes": summary.bytes,
            "seconds": round(summary.seconds, 6),
            "rate": round(rate, 1),
            "skipped": summary.skipped,
            "error": failure,
        }
        click.echo(msgspec.json.encode(record))
    else:
        reason = "no SIP, RTCP of a call, or HEP; broken; or not possible in that version"
        skipped = f"; {summary.skipped:,} skipped ({reason})" if summary.skipped else ""
        click.echo(f"sent {summary.packets:,} packets in {summary.seconds:.2f} s, {rate:,.0f}/s{skipped}")
    if failure is not None and not as_json:
        click.echo(failure, err=True)
