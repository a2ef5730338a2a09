"""What the commands that read a store share: which store, which packets, text and times in, JSON and CSV out."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hepswitch.cli.options import config_option
from hepswitch.cli.terminal import json_line, safe
from hepswitch.units import parse_moment

if TYPE_CHECKING:
    from hepswitch.destinations.databases import DatabaseStore
    from hepswitch.destinations.lake import LakeStore
    from hepswitch.lake.query import Query
    from hepswitch.lake.reader import Reader
    from hepswitch.lake.remote import Remote
    from hepswitch.lake.remote_part import RemotePart

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_LAKE = Path("captures")


class TextType(click.ParamType[str]):
    """Text that is UTF-8, as questions to a lake must be."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail(f"{text!r} is not UTF-8 text", param, ctx)
        return text


class TimeType(click.ParamType[datetime]):
    """A moment: so long ago, or ISO 8601, which is UTC unless it says otherwise."""

    name = "2h|time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return parse_moment(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class LakeType(click.Path):
    """A lake's folder, or the URL of its files on object storage."""

    name = "folder|url"

    def __init__(self) -> None:
        super().__init__(path_type=Path, file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str) or "://" not in value:
            return super().convert(value, param, ctx)
        from hepswitch.lake.ranges import PATIENCE
        from hepswitch.lake.remote import Remote

        try:
            return Remote.parse(value, patience=PATIENCE / 2)
        except ValueError as error:
            self.fail(str(error), param, ctx)


TEXT, TIME = TextType(), TimeType()

_STORES = (
    click.option(
        "--store",
        type=TEXT,
        metavar="NAME",
        help="The store of the configuration. Without it: the default store, which is the first.",
    ),
    click.option(
        "--lake",
        type=LakeType(),
        envvar="HEPSWITCH_LAKE",
        help="A lake's folder, or s3://BUCKET[/PREFIX], instead of a configuration. Without both: ./captures.",
    ),
    config_option,
)


def store_options(command: Command) -> Command:
    """The options that say which store is asked; `open_store` opens it."""
    for option in reversed(_STORES):
        command = option(command)
    return command


_FILTERS = (
    click.option("--call-id", type=TEXT, help="Call-ID, or the call that RTCP and logs belong to."),
    click.option("--from", "from_user", type=TEXT, metavar="USER", help="User of From."),
    click.option("--to", "to_user", type=TEXT, metavar="USER", help="User of To."),
    click.option("--user", type=TEXT, help="User of From, To, request URI or P-Asserted-Identity."),
    click.option("--method", type=TEXT, help="Method of a request: INVITE, REGISTER …"),
    click.option("--status", type=TEXT, metavar="486|4xx", help="Status of a reply."),
    click.option("--ip", type=TEXT, metavar="ADDRESS", help="Source or destination address."),
    click.option("--user-agent", type=TEXT, metavar="TEXT", help="Some part of User-Agent or Server."),
    click.option("--since", type=TIME, help="From then on: ago, or ISO 8601 (UTC unless it says otherwise)."),
    click.option("--until", type=TIME, help="Before then."),
    click.option(
        "--filter",
        type=TEXT,
        metavar="CONDITION",
        help="What else must hold: 'src_ip in 10.0.0.0/8 and sip.status >= 500'.",
    ),
)


def query_options(command: Command) -> Command:
    """The options that say which packets are meant. `*` and `?` make a pattern of Call-IDs, users, addresses, methods."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def make_query(filters: dict[str, Any], limit: int | None = None) -> Query:
    """The Query of the options of `query_options`. Wrong ones end the command with exit status 2."""
    from hepswitch.lake.query import Query

    query = Query(**filters, limit=limit)
    try:
        query.condition()
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return query


@contextlib.contextmanager
def open_store(store: str | None, lake: Path | Remote | None, config: Path | None) -> Iterator[Reader]:
    """The store that is meant. Ends the command with exit status 1 when there is none, or none that may be read."""
    if lake is not None and store is not None:
        if _said("lake"):
            raise click.UsageError("--lake and --store exclude each other: a lake needs no configuration")
        lake = None  # the environment's: what is said here counts
    if lake is None and config is not None:
        from hepswitch.destinations.databases import DatabaseStore

        name, table = _configured(store, config)
        if isinstance(table, DatabaseStore):
            with _database(name, table) as reader:
                yield reader
            return
        with _lake(table.path, table) as reader:
            yield reader
        return
    if store is not None:
        raise click.UsageError(f"--store {store} is a name of a configuration: say which with --config")
    with _lake(lake or DEFAULT_LAKE) as reader:
        yield reader


def _said(option: str) -> bool:
    source = click.get_current_context().get_parameter_source(option)
    return source is click.core.ParameterSource.COMMANDLINE


@contextlib.contextmanager
def _lake(place: Path | Remote, store: LakeStore | None = None) -> Iterator[Reader]:
    """The lake in that place, with what `store` says of its remote part."""
    from hepswitch.lake import interrupts
    from hepswitch.lake.lake import Lake
    from hepswitch.lake.remote import RemoteError

    remote = _remote_part(place, store)
    lake = Lake(_folder(place, remote) if isinstance(place, Path) else None, warn, remote)
    try:
        with contextlib.nullcontext() if remote is None else interrupts.heeded(remote.call_off):
            yield lake
    except RemoteError as error:
        click.echo(safe(str(error)), err=True)
        raise SystemExit(1) from None
    except Exception as error:
        if interrupts.is_one(error):
            raise KeyboardInterrupt from error
        raise


def _remote_part(place: Path | Remote, store: LakeStore | None) -> RemotePart | None:
    if isinstance(place, Path) and (store is None or store.remote is None):
        return None
    # Late: it loads Arrow's file systems.
    from hepswitch.lake.remote_part import RemotePart

    try:
        if not isinstance(place, Path):
            return RemotePart(place, None, warn, warn)
        return None if store is None else RemotePart.of(store, warn, warn)
    except OSError as error:
        click.echo(str(error), err=True)
        raise SystemExit(1) from None


def _folder(path: Path, remote: RemotePart | None) -> Path | None:
    """The lake's folder when it is there; ends the command when there is no other part of it."""
    if not path.is_dir():
        if remote is None:
            click.echo(f"no lake at {path}: name its folder with --lake, or a configuration with --config", err=True)
            raise SystemExit(1)
        warn(f"no lake at {path}: {remote} alone is looked through")
        return None
    if not os.access(path, os.R_OK | os.X_OK):
        click.echo(f"you may not read the lake at {path}: search as a user who is in its group", err=True)
        raise SystemExit(1)
    TEXT.convert(path, None, None)
    return path


@contextlib.contextmanager
def _database(name: str, store: DatabaseStore) -> Iterator[Reader]:
    from hepswitch.databases.reading import DatabaseReader, StoreError

    try:
        with DatabaseReader(name, store, warn) as reader:
            yield reader
    except StoreError as error:
        click.echo(f"store {name}: {safe(str(error))}", err=True)
        raise SystemExit(1) from None


def _configured(name: str | None, path: Path) -> tuple[str, LakeStore | DatabaseStore]:
    from hepswitch.config import ConfigError, load
    from hepswitch.destinations.stores import searchable

    try:
        stores = load(path).stores
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from None
    known = searchable(stores)
    name = next(iter(known or stores)) if name is None else name
    if name not in stores:
        raise click.UsageError(f"{path} has no store {name!r}; it has {', '.join(stores)}")
    if name not in known:
        raise click.UsageError(
            f"the store {name} is a stream: packets only pass through it; search a node that stores them"
        )
    return name, known[name]


def warn(message: str) -> None:
    """Say what is missing from an answer, where it does not get into the answer."""
    click.echo(safe(message), err=True)


def print_json(rows: Iterable[dict[str, Any]]) -> None:
    """One JSON object a line."""
    from hepswitch.lake.rows import plain

    for row in rows:
        click.echo(json_line(plain(row)))


def print_csv(names: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """A line of names, then one a row (RFC 4180); on a terminal without control characters."""
    import csv

    from hepswitch.lake.rows import plain

    writer = csv.writer(sys.stdout)
    seen = safe if sys.stdout.isatty() else str
    writer.writerow([seen(name) for name in names])
    for row in rows:
        cells = (plain(value) for value in row)
        writer.writerow([seen(cell) if isinstance(cell, str) else cell for cell in cells])
