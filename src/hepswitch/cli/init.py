"""`hepswitch init`: files to start from, or those that say what a heplify-server.toml says."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

from hepswitch.cli.terminal import safe

CONFIG = "hepswitch.toml"
TEMPLATES = {CONFIG: "hepswitch.toml", "route.py": "route.py.txt"}


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
@click.option(
    "--from", "source", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="Instead: what this heplify-server.toml says. Names what has no counterpart.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
def cli(folder: Path, source: Path | None, force: bool) -> None:
    """Write hepswitch.toml and route.py into FOLDER (default: here), commented, ready to run.

    \b
    Example:
      hepswitch init /etc/hepswitch
      hepswitch run --config /etc/hepswitch/hepswitch.toml
      hepswitch init --from /etc/heplify-server.toml /etc/hepswitch
    """
    texts, secrets, notes = _templates() if source is None else _translated(source)
    folder.mkdir(parents=True, exist_ok=True)
    there = [name for name in (*texts, *secrets) if (folder / name).exists()]
    if there and not force:
        click.echo(f"{folder}: {', '.join(there)} is there already; --force overwrites", err=True)
        raise SystemExit(1)
    for name, text in secrets.items():
        _write_secret(folder / name, text)
        click.echo(f"wrote {folder / name} (readable by you alone)")
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
        click.echo(f"wrote {folder / name}")
    for note in notes:
        click.echo(note, err=True)
    if source is not None:
        _look(folder / CONFIG)
    click.echo(f"next: hepswitch check --config {folder / CONFIG}")


Written = tuple[dict[str, str], dict[str, str], list[str]]
"""Texts by the name of their file, secrets likewise, what to tell."""


def _templates() -> Written:
    folder = files("hepswitch.cli") / "templates"
    return {name: (folder / template).read_text(encoding="utf-8") for name, template in TEMPLATES.items()}, {}, []


def _translated(source: Path) -> Written:
    from hepswitch.cli.heplify import translate

    try:
        made = translate(source)
    except ValueError as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from None
    return {CONFIG: made.text}, made.secrets, made.notes


def _look(path: Path) -> None:
    """Say what cannot be in a configuration that was made of another: an address that is none, say."""
    from hepswitch.config import ConfigError, load

    try:
        load(path, {})
    except ConfigError as error:
        said = "\n".join(map(safe, str(error).split("\n")))
        click.echo(f"{said}\nmend that before you use it", err=True)
        raise SystemExit(1) from None


def _write_secret(path: Path, text: str) -> None:
    """A file that nobody else may read, not even for a moment."""
    path.unlink(missing_ok=True)
    path.touch(0o600, exist_ok=False)
    path.write_text(text, encoding="utf-8")
