"""Which module reaches the far end of a store, and carries batches there. Drivers are loaded when needed.

Not here: the configuration (`destinations.databases`, `destinations.streams`).
"""

from __future__ import annotations

import importlib
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING

from hepswitch.databases.carrier import Carrier
from hepswitch.databases.stream_carrier import Publisher, StreamCarrier
from hepswitch.destinations.databases import DatabaseStore
from hepswitch.destinations.loaded import LoadedStore
from hepswitch.destinations.streams import StreamStore

if TYPE_CHECKING:  # it speaks of Arrow, which an edge that only publishes does without
    from hepswitch.databases.server import Server

FAR_ENDS = {
    "PostgresStore": ("postgres", "PostgresServer"),
    "MysqlStore": ("mysql", "MysqlServer"),
    "SqliteStore": ("sqlite", "SqliteServer"),
    "ClickhouseStore": ("clickhouse", "ClickhouseServer"),
    "NatsStore": ("nats", "NatsPublisher"),
    "KafkaStore": ("kafka", "KafkaPublisher"),
}
"""By the class of the store's table: the module here, and its class: a `Server` or a `Publisher`."""


def module_of(store: LoadedStore) -> ModuleType:
    """The module of the store's kind of far end. ImportError with words when its driver is not installed."""
    name, _ = FAR_ENDS[type(store).__name__]
    try:
        return importlib.import_module(f"hepswitch.databases.{name}")
    except ModuleNotFoundError as error:
        driver = (error.name or name).partition(".")[0]
        raise ImportError(f"{driver} is not installed: pip install 'hepswitch[{name}]'") from error


def server(store: DatabaseStore) -> Server:
    """A connection to a database, not open yet."""
    made: Server = getattr(module_of(store), FAR_ENDS[type(store).__name__][1])(store)
    return made


def publisher(store: StreamStore) -> Publisher:
    """A connection to the servers of a stream, not open yet."""
    made: Publisher = getattr(module_of(store), FAR_ENDS[type(store).__name__][1])(store)
    return made


def carrier(store: LoadedStore) -> Carrier:
    """What brings batches to the store's far end. ImportError as above; ValueError and OSError for what is wrong with it."""
    if isinstance(store, StreamStore):
        return StreamCarrier(partial(publisher, store), store.packets)
    from hepswitch.databases.row_carrier import RowCarrier  # with Arrow

    assert isinstance(store, DatabaseStore)
    return RowCarrier(partial(server, store))


def ddl(store: LoadedStore) -> str:
    """The statements that make the store's tables, or the command that makes its stream."""
    text: str = module_of(store).ddl(store)
    return text
