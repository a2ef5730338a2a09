"""Edits of chunks that are written in the configuration: what rules and destinations may `set` and `delete`.

    set = { captagent_id = 42, auth_key = "env:HOMER_KEY", 0x30 = { value = "fra1", vendor = 3 } }
    delete = ["vlan_id"]

By name a value has the specification's type, by number it is utf8-string of vendor 3 unless it says otherwise, as in
`Hep.set`. They are tried once when the configuration is read. Not here: who is edited when (`routing.rules`,
`destinations.treatment`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, Strict, model_validator

from hepswitch.tables import Secret, Table
from hepswitch.wire.chunks import by_name
from hepswitch.wire.hep import Hep

Kind = Literal[
    "uint8", "uint16", "uint32", "uint64", "inet4-addr", "inet6-addr", "utf8-string", "octet-string"
]  # fmt: skip


class ChunkValue(Table):
    """The value of a chunk, with type and vendor if they are not the usual ones."""

    value: Annotated[int, Strict()] | str | None = Field(None, description="A number or text.")
    secret: Secret | None = Field(None, description="Instead: text that is not shown, env:NAME or file:PATH.")
    type: Kind | None = Field(None, description="By number utf8-string, by name the specification's.")
    vendor: Annotated[int, Field(ge=0, le=0xFFFF)] | None = Field(None, description="By number 3, by name 0.")

    @model_validator(mode="after")
    def _one_value(self) -> ChunkValue:
        if (self.value is None) == (self.secret is None):
            raise ValueError("give value, or secret (env:NAME, file:PATH)")
        return self

    @property
    def plain(self) -> int | str:
        """What is written into the packet."""
        if self.secret is not None:
            return str(self.secret.get_secret_value())
        assert self.value is not None
        return self.value


def _spelled_out(values: Any) -> Any:
    """`name = 42` is `name = { value = 42 }`; an authentication key is a secret."""
    return {name: _table(name, value) for name, value in values.items()} if isinstance(values, Mapping) else values


def _table(name: str, given: Any) -> Any:
    if isinstance(given, ChunkValue):
        return given
    table = dict(given) if isinstance(given, Mapping) else {"value": given}
    if table.get("value") is not None and _is_auth_key(name):
        table["secret"] = table.pop("value")
    return table


def _is_auth_key(name: str) -> bool:
    """By its name or by any way of writing its number."""
    probe = Hep.new(auth_key=b"x")
    try:
        return probe.delete(name) and probe.auth_key is None
    except ValueError:  # no chunk at all: told where the value is tried
        return False


def _possible(values: dict[str, ChunkValue]) -> dict[str, ChunkValue]:
    trial = Hep.new(b"")
    for name, value in values.items():
        try:
            trial.set(name, value.plain, value.type, value.vendor)
        except ValueError:
            if value.secret is None:
                raise
            known = by_name.get(name)
            kind = value.type or (known.type if known else "utf8-string")
            raise ValueError(f"{name}: the secret is no {kind}, as the chunk is") from None
    return values


def _chunk(name: Any) -> str:
    Hep.new(b"").delete(name)
    return str(name)


ChunkValues = Annotated[dict[str, ChunkValue], BeforeValidator(_spelled_out), AfterValidator(_possible)]
ChunkName = Annotated[str, BeforeValidator(_chunk)]
"""A chunk by name or number: "vlan_id", "0x30", 48."""


class Edits:
    """Edits as `delete` and `set` say, in that order, for any packet."""

    def __init__(self, values: Mapping[str, ChunkValue], deleted: Sequence[str]) -> None:
        self._values = [(name, value.plain, value.type, value.vendor) for name, value in values.items()]
        self._deleted = list(deleted)

    @property
    def changes(self) -> list[str]:
        """Names of the chunks that are changed; a chunk by number is named by it."""
        return [name for name, *_ in self._values] + self._deleted

    def apply(self, hep: Hep) -> None:
        """Change `hep`; a HEPv1 or HEPv2 packet becomes version 3 when it cannot carry the edits otherwise.

        Raises ValueError when the packet would become too large.
        """
        try:
            self._apply(hep)
        except ValueError:
            if hep.version == 3:
                raise
            hep.version = 3
            self._apply(hep)

    def _apply(self, hep: Hep) -> None:
        for name in self._deleted:
            hep.delete(name)
        for name, value, kind, vendor in self._values:
            hep.set(name, value, kind, vendor)
