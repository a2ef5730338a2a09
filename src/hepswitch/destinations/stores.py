"""The kinds of stores: `[stores.NAME] url` says which. Each has its table beside its code.

Not here: what a store does (`lake`, `sqlite`).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from hepswitch.destinations.lake import LakeStore
from hepswitch.destinations.sqlite import SqliteStore

KINDS: dict[str, type[LakeStore] | type[SqliteStore]] = {"lake": LakeStore, "sqlite": SqliteStore}
"""By the scheme of their URL."""


def _kind(table: Any) -> str:
    """The kind that a table of the file means; a lake when its URL says nothing that is known."""
    url = table.get("url") if isinstance(table, dict) else getattr(table, "url", None)
    scheme = str(url).partition(":")[0]
    return scheme if scheme in KINDS else "lake"


Store = Annotated[
    Annotated[LakeStore, Tag("lake")] | Annotated[SqliteStore, Tag("sqlite")],
    Discriminator(_kind),
]
"""`[stores.NAME]`."""
