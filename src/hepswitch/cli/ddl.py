"""`hepswitch ddl`: what makes the far end of a store: the tables of a database, a stream."""

from __future__ import annotations

from pathlib import Path

import click

from hepswitch.cli.options import config_option


@click.command("ddl")
@config_option
@click.option("--store", "name", metavar="NAME", help="The store; without it the first that is no lake.")
def cli(config: Path | None, name: str | None) -> None:
    """Print the statements that make a store's tables, for somebody who has the rights that the switch should not have.

    They are the ones that the switch runs itself unless `create = false`. The database is not asked. Tables whose names have
    dates, and partitions, are those of today. Of a stream it is the command of NATS' or Kafka's own tools that makes it.

    \b
    Example:
      hepswitch ddl --config hepswitch.toml --store homer | psql homer_data
    """
    from hepswitch.config import ConfigError, load
    from hepswitch.databases import kinds
    from hepswitch.destinations.loaded import LoadedStore

    try:
        stores = load(config).stores
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from None
    made = {each: store for each, store in stores.items() if isinstance(store, LoadedStore)}
    if name is None and made:
        name = next(iter(made))
    if name not in made:
        click.echo(_why_not(name, list(stores), list(made)), err=True)
        raise SystemExit(2)
    try:
        click.echo(kinds.ddl(made[name]), nl=False)
    except ImportError as error:
        click.echo(str(error), err=True)
        raise SystemExit(1) from None


def _why_not(name: str | None, stores: list[str], made: list[str]) -> str:
    """Why there are no statements for this store, and for which there are."""
    known = f"databases and streams here: {', '.join(made)}" if made else "none of these is a database or a stream"
    if name is None:
        return f"stores: {', '.join(stores)}; {known}"
    if name in stores:
        return f"stores.{name} is a lake, a folder that needs no tables; {known}"
    return f"there is no store {name}; {known}"
