"""The command line: one file a command, imported when it is called, so that `--help` answers at once.

Exit status: 0 done, 1 it did not work, 2 wrong use or wrong configuration.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import threading
from typing import Any, NoReturn

import click

COMMANDS = {
    "run": "Run the switch.",
    "check": "Check a configuration and its route without running it.",
    "init": "Write a commented configuration and a route to start from.",
    "ddl": "Print the statements that make a store's tables.",
    "replay": "Send pcap, pcapng, HEP files or a store's packets as HEP.",
    "decode": "Print HEP packets as JSON lines.",
    "search": "Find calls and messages in a store.",
    "ladder": "Draw a call's flow.",
    "export": "Write calls as pcapng or pcap.",
    "ctl": "Change a running switch: reload, nodes, traces, capturing.",
    "tail": "Show packets as they go by in a running switch.",
    "top": "Watch a running switch: rates, destinations, agents, errors.",
    "stats": "Show the books of a running switch.",
    "user": "Add, list and remove users of the control listener.",
}


class _Commands(click.Group):
    def __call__(self, *args: Any, **more: Any) -> Any:
        """The command as a process."""
        try:
            return super().__call__(*args, **more)
        except SystemExit as end:
            if any(thread.name == "remote" for thread in threading.enumerate()):  # `lake.ranges`
                _end_now(end.code)
            raise

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"hepswitch.cli.{cmd_name}").cli
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list from COMMANDS, so that help imports no command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _end_now(status: object) -> NoReturn:
    """End without the farewells: Arrow's waits for whatever an object storage still owes, deaf to signals."""
    for stream in (sys.stdout, sys.stderr):
        # A reader that has gone was told of before.
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hepswitch", prog_name="hepswitch")
def main() -> None:
    """hepswitch: a HEP switch and SIP capture node.

    \b
    Example:
      hepswitch run                        # HEP on 127.0.0.1:9060, stored in ./captures
      hepswitch search --from alice --since 2h
      hepswitch ladder CALL-ID
    """
