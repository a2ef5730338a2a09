"""The kinds of stores: `[stores.NAME] url` says which. Each has its table beside its code.

Not here: what a store does (`lake`, `databases`, `streams`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Discriminator, Tag, TypeAdapter

from hepswitch.destinations.databases import ClickhouseStore, DatabaseStore, MysqlStore, PostgresStore, SqliteStore
from hepswitch.destinations.lake import LakeStore
from hepswitch.destinations.loaded import LoadedStore
from hepswitch.destinations.streams import KafkaStore, NatsStore

KINDS: dict[str, type[LakeStore] | type[LoadedStore]] = {
    "lake": LakeStore,
    "sqlite": SqliteStore,
    "postgresql": PostgresStore,
    "mysql": MysqlStore,
    "clickhouse": ClickhouseStore,
    "nats": NatsStore,
    "kafka": KafkaStore,
}
"""By their name."""

SCHEMES = {"lake": "lake"} | {
    scheme: kind for kind, model in KINDS.items() if issubclass(model, LoadedStore) for scheme in model.schemes
}
"""The kind by the scheme of the URL."""


def _kind(table: Any) -> str:
    """The kind that a table of the file means; a lake when its URL says nothing that is known."""
    url = table.get("url") if isinstance(table, dict) else getattr(table, "url", None)
    return SCHEMES.get(str(url).partition(":")[0], "lake")


Store = Annotated[
    Annotated[LakeStore, Tag("lake")]
    | Annotated[SqliteStore, Tag("sqlite")]
    | Annotated[PostgresStore, Tag("postgresql")]
    | Annotated[MysqlStore, Tag("mysql")]
    | Annotated[ClickhouseStore, Tag("clickhouse")]
    | Annotated[NatsStore, Tag("nats")]
    | Annotated[KafkaStore, Tag("kafka")],
    Discriminator(_kind),
]
"""`[stores.NAME]`."""

_STORE: TypeAdapter[Any] = TypeAdapter(Store)


def searchable(stores: Mapping[str, LakeStore | LoadedStore]) -> dict[str, LakeStore | DatabaseStore]:
    """Those of the stores that can be asked: through a stream packets only pass."""
    return {name: store for name, store in stores.items() if isinstance(store, (LakeStore, DatabaseStore))}


def uploading(stores: Mapping[str, LakeStore | LoadedStore]) -> dict[str, Path]:
    """The folders of the lakes that an uploader brings to a storage."""
    return {
        name: store.path for name, store in stores.items() if isinstance(store, LakeStore) and store.remote is not None
    }


def searchable_store_of(table: dict[str, Any]) -> LakeStore | DatabaseStore:
    """The store, a lake or a database, of a table as another process of ours wrote it. Raises ValueError."""
    store: LakeStore | DatabaseStore = _STORE.validate_python(table)
    return store


def kind_of(store: LakeStore | LoadedStore) -> str:
    """The name of a store's kind."""
    return next(name for name, model in KINDS.items() if isinstance(store, model))


def store_of(table: dict[str, Any]) -> LoadedStore:
    """The store of a table as another process of ours wrote it. Raises ValueError."""
    store: LoadedStore = _STORE.validate_python(table)
    return store
