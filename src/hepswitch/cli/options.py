"""Options that several commands share, so that they are spelled and read alike."""

from __future__ import annotations

from pathlib import Path

import click

config_option = click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="HEPSWITCH_CONFIG",
    help="The configuration file (TOML). Without it: the defaults.",
)
