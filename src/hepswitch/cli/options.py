"""Options that several commands share, so that they are spelled and read alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def config_file(words: str) -> Callable[[Command], Command]:
    """`--config`: the configuration file, for what `words` say."""
    return click.option(
        "-c", "--config", type=click.Path(path_type=Path, dir_okay=False), envvar="HEPSWITCH_CONFIG", help=words
    )


config_option = config_file("The configuration file (TOML). Without it: the defaults.")
