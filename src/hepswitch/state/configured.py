"""`[lists.NAME]`: lists that the configuration names, for conditions (`user in @fraud`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from hepswitch.state.lists import AnyList, ListError
from hepswitch.state.registry import KINDS, State
from hepswitch.tables import Table


class ListTable(Table):
    """`[lists.NAME]`: a list in a file, one entry a line; `#` begins a comment. Read again within 10 s of a change."""

    file: Path = Field(description="The file (UTF-8). Relative to the configuration file.")
    kind: Literal["numbers", "prefixes", "networks", "words"] = Field(
        description='"numbers": telephone numbers; "prefixes": `prefix[,value]`, the longest counts; '
        '"networks": CIDR; "words": any text.',
    )


def load_lists(tables: Mapping[str, ListTable], state: State) -> dict[str, AnyList]:
    """The lists of the configuration by name, kept up to date by `state`. ListError names every one that cannot be read."""
    lists: dict[str, AnyList] = {}
    mistakes = []
    for name, table in tables.items():
        try:
            lists[name] = state.file_list(KINDS[table.kind], table.file)
        except ListError as error:
            mistakes.append(f"lists.{name}: {error}")
    if mistakes:
        raise ListError("\n".join(mistakes))
    return lists
