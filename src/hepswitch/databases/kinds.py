"""Which module keeps the contract of `server` for a store, and which layout its rows have. Drivers are loaded when needed.

Not here: the configuration (`destinations.databases`).
"""

from __future__ import annotations

import importlib
from types import ModuleType

from hepswitch.databases.server import Server
from hepswitch.destinations.databases import DatabaseStore

SERVERS = {
    "PostgresStore": ("postgres", "PostgresServer"),
    "MysqlStore": ("mysql", "MysqlServer"),
    "SqliteStore": ("sqlite", "SqliteServer"),
    "ClickhouseStore": ("clickhouse", "ClickhouseServer"),
}
"""By the class of the store's table: the module here, and its class."""


def module_of(store: DatabaseStore) -> ModuleType:
    """The module of the store's kind of server. ImportError with words when its driver is not installed."""
    name, _ = SERVERS[type(store).__name__]
    try:
        return importlib.import_module(f"hepswitch.databases.{name}")
    except ModuleNotFoundError as error:
        raise ImportError(f"{error.name} is not installed: pip install 'hepswitch[{name}]'") from error


def server(store: DatabaseStore) -> Server:
    """A connection, not open yet."""
    made: Server = getattr(module_of(store), SERVERS[type(store).__name__][1])(store)
    return made


def ddl(store: DatabaseStore) -> str:
    """The statements that make the store's tables."""
    text: str = module_of(store).ddl(store)
    return text
