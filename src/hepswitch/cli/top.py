"""`hepswitch top`: a running switch on one screen, again and again.

Not here: the picture (`top_picture`), the books as a list (`stats`).
"""

from __future__ import annotations

import contextlib
import select
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import click

from hepswitch.cli.remote import Remote, remote_options

API = "/api/v1"


@click.command("top")
@click.option(
    "--interval", type=click.FloatRange(min=0.1), default=1.0, show_default=True, metavar="SECONDS",
    help="Seconds between two pictures; rates are those since the one before.",
)  # fmt: skip
@click.option("--once", is_flag=True, help="Print one picture, after one interval, and end.")
@remote_options
def cli(remote: Remote, interval: float, once: bool) -> None:
    """Watch a running switch: packets a second by listener and by what became of them, destinations with what waits for
    them, stores, capture agents, processes, and the latest warnings and errors. The key q ends it, or Ctrl-C.

    \b
    Example:
      hepswitch top
      hepswitch top --once --interval 5
    """
    from rich.console import Console

    from hepswitch.cli.top_picture import Shot, picture

    def shoot() -> Shot:
        said = {name: remote.get(f"{API}/{name}") for name in Shot.PARTS}
        return Shot(time.monotonic(), **said)

    console = Console(highlight=False, emoji=False)
    try:
        if once:
            before = shoot()
            time.sleep(interval)
            console.print(picture(shoot(), before, console.width, None))
        else:
            _watch(console, shoot, picture, interval)
    except KeyboardInterrupt:
        return


def _watch(console: Any, shoot: Callable[[], Any], picture: Callable[..., Any], interval: float) -> None:
    from rich.live import Live

    before = shoot()
    with (
        _keys() as key,
        Live(picture(before, before, *console.size), console=console, screen=True, auto_refresh=False) as live,
    ):
        while key(interval) not in ("q", "Q"):
            shot = shoot()
            live.update(picture(shot, before, *console.size), refresh=True)
            before = shot


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], str | None]]:
    """A function that waits so many seconds for a key and gives it. Where nobody has a keyboard it only waits."""
    if sys.stdin is None or not sys.stdin.isatty():
        yield time.sleep
        return
    import termios
    import tty

    def key(seconds: float) -> str | None:
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        return sys.stdin.read(1) if ready else None

    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield key
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
