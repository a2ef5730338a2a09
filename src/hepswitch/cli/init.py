"""`hepswitch init`: files to start from."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

TEMPLATES = {"hepswitch.toml": "hepswitch.toml", "route.py": "route.py.txt"}


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
def cli(folder: Path, force: bool) -> None:
    """Write hepswitch.toml and route.py into FOLDER (default: here), commented, ready to run.

    \b
    Example:
      hepswitch init /etc/hepswitch
      hepswitch run --config /etc/hepswitch/hepswitch.toml
    """
    folder.mkdir(parents=True, exist_ok=True)
    there = [name for name in TEMPLATES if (folder / name).exists()]
    if there and not force:
        click.echo(f"{folder}: {', '.join(there)} is there already; --force overwrites", err=True)
        raise SystemExit(1)
    for name, template in TEMPLATES.items():
        text = (files("hepswitch.cli") / "templates" / template).read_text(encoding="utf-8")
        (folder / name).write_text(text, encoding="utf-8")
        click.echo(f"wrote {folder / name}")
    click.echo(f"next: hepswitch check --config {folder / 'hepswitch.toml'}")
