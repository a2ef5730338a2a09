"""Everything that can be known to be wrong before a socket is opened: what `run` and `check` do first.

The configuration by itself (`config.load`), then what it speaks of: TLS files, users, lists, the route file, folders
and storage of stores, what layouts of databases want. Not here: addresses, which only binding them can try, and servers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from hepswitch import state
from hepswitch.config import Config, ConfigError, Places, load
from hepswitch.control.users import Users, UsersError
from hepswitch.databases import kinds
from hepswitch.destinations.databases import POSTGRES_FILES
from hepswitch.destinations.lake import LakeStore
from hepswitch.destinations.remote_url import RemoteUrl
from hepswitch.destinations.streams import StreamStore
from hepswitch.logs import words
from hepswitch.means import Means
from hepswitch.net.tls import FILE_OPTIONS, client_context, server_context
from hepswitch.routes import load_routes
from hepswitch.routing.script import ScriptError
from hepswitch.sources.stream import reads
from hepswitch.sources.ways import WAYS
from hepswitch.state import ListError
from hepswitch.streams.address import PORTS
from hepswitch.units import Endpoint, parse_endpoint

Mistake = tuple[tuple[str, ...], str]
"""A key of the configuration, and what is wrong with it."""


def examine(path: Path | None) -> Config:
    """The configuration in the file `path` (None: the defaults), tried as far as that can be done without running.

    The route file is run, as every worker will. Raises ConfigError with every mistake, one line each.
    """
    config = load(path)
    places = Places(path, path.read_text(encoding="utf-8") if path else "")
    looks = (_tls, _streams, _users, _folders, _remotes, _far_ends, _circles)
    mistakes = [places.said(*mistake) for look in looks for mistake in look(config)]
    try:
        load_routes(config, Means(config, state.current()).lists)
    except ScriptError as error:
        mistakes.append(places.said(error.key, str(error)) if error.key else str(error))
    except ListError as error:
        mistakes.append(str(error))
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return config


def _tls(config: Config) -> Iterator[Mistake]:
    for number, endpoint in enumerate(config.endpoints):
        yield from _context(("listen", str(number)), endpoint, server=True)
    for listener in config.control.listeners:
        yield from _context(("control", "listen"), listener.endpoint, server=True)
    for name, table in config.destinations.items():
        for number, url in enumerate(table.urls):
            yield from _context(("destinations", name, "urls", str(number)), parse_endpoint(url), server=False)


def _context(key: tuple[str, ...], endpoint: Endpoint, *, server: bool) -> Iterator[Mistake]:
    if endpoint.scheme not in ("tls", "https"):
        return
    try:
        server_context(endpoint) if server else client_context(endpoint)
    except (OSError, ValueError) as error:
        yield key, words(error)


def _streams(config: Config) -> Iterator[Mistake]:
    """Binding a listener on a stream binds nothing, but looks for its files, secrets and driver."""
    for number, endpoint in enumerate(config.endpoints):
        if endpoint.scheme.removesuffix("+tls") in PORTS:
            try:
                WAYS[endpoint.scheme].bind(endpoint, config.workers, config.receive_buffer)
            except OSError as error:
                yield ("listen", str(number)), words(error)


def _users(config: Config) -> Iterator[Mistake]:
    if config.control.users is not None:
        try:
            Users(config.control.users).check()
        except UsersError as error:
            for line in str(error).splitlines():
                yield ("control", "users"), line


def _folders(config: Config) -> Iterator[Mistake]:
    taken: dict[Path, str] = {}
    for name, table in config.stores.items():
        if not isinstance(table, LakeStore):
            continue
        other = taken.setdefault(table.path, name)
        if other != name:
            yield ("stores", name, "url"), f"{table.path} belongs to the store {other} already: give it its own"


def _remotes(config: Config) -> Iterator[Mistake]:
    """What is wrong with the storage of a lake, as far as that can be seen without it; the uploader says the rest."""
    taken: dict[tuple[str, str | None], str] = {}
    for name, table in config.stores.items():
        if not isinstance(table, LakeStore) or table.remote is None:
            continue
        url = RemoteUrl.parse(table.remote)
        other = taken.setdefault((f"{url.endpoint} {url.root}", table.node), name)
        if other != name:
            yield ("stores", name, "remote"), f"the store {other} has the same: give each a node of its own"
        if url.is_folder and Path(url.root).is_relative_to(table.path.absolute()):
            yield ("stores", name, "remote"), f"{url.root} is in the lake's own folder: take another one"
        if url.ca:
            try:
                Path(url.ca).open("rb").close()
            except OSError as error:
                yield ("stores", name, "remote"), f"ca: {words(error)}"


def _far_ends(config: Config) -> Iterator[Mistake]:
    """What only the driver and the layout of a store know: a loader that cannot start would be late to say it."""
    for name, table in config.stores.items():
        if isinstance(table, LakeStore):
            continue
        try:
            kinds.carrier(table)
        except (ImportError, ValueError, OSError) as error:
            yield ("stores", name), words(error)
        for option, value in parse_qsl(urlsplit(table.url).query):
            if option in (*FILE_OPTIONS, *POSTGRES_FILES):
                try:
                    Path(value).open("rb").close()
                except OSError as error:
                    yield ("stores", name, "url"), f"{option}: {words(error)}"


def _circles(config: Config) -> Iterator[Mistake]:
    """A stream whose packets go back into it: it would have them once more each time."""
    name, table = next(iter(config.stores.items()))
    if not isinstance(table, StreamStore) or config.hep_route.mode != "store" or config.rule:
        return
    for number, endpoint in enumerate(config.endpoints):
        if reads(endpoint, table):
            yield (
                ("listen", str(number)),
                f"its packets would go back into the stream, which is the default store, {name}: put another store first, "
                "or say in rules or a script which packets go where",
            )
