"""What every table of the configuration shares: unknown keys are mistakes, sizes, durations and secrets have their forms."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from hepswitch.units import parse_duration, parse_size

Size = Annotated[int, BeforeValidator(parse_size), Field(ge=0)]
"""Bytes; "64MiB" in the file."""

Duration = Annotated[float, BeforeValidator(parse_duration), Field(ge=0)]
"""Seconds; "10s", "7d" in the file."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret: "env:NAME", "file:PATH", or the secret itself, which then nothing shows.

    `str()`, `repr()` and JSON give the reference, or … in place of the secret itself.
    """

    source: str = field(repr=False)

    @property
    def is_reference(self) -> bool:
        """Whether the file says where the secret is, instead of the secret."""
        return self.source.startswith(("env:", "file:"))

    def read(self) -> bytes:
        """The secret; of a file without the line end behind it. ValueError when there is none, naming the place."""
        kind, _, name = self.source.partition(":")
        if not self.is_reference:
            found = self.source.encode()
        elif kind == "env":
            found = os.environb.get(name.encode(), b"")
        else:
            try:
                found = Path(name).read_bytes().rstrip(b"\r\n")
            except OSError as error:
                raise ValueError(f"{self} cannot be read: {error.strerror}") from error
        if not found:
            raise ValueError(f"{self} is empty: a secret is expected there")
        return found

    def anchored(self, absolute: Callable[[Path], Path]) -> Secret:
        """The same secret with the path of its file made absolute."""
        if not self.source.startswith("file:"):
            return self
        return Secret(f"file:{absolute(Path(self.source.removeprefix('file:')))}")

    def __str__(self) -> str:
        return self.source if self.is_reference else "…"

    def __repr__(self) -> str:
        return f"Secret({str(self)!r})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._parse, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def _parse(cls, given: object) -> Secret:
        if isinstance(given, Secret):
            return given
        if not isinstance(given, str) or not given:
            raise ValueError('a secret is a text: write "env:NAME", "file:PATH" or the secret itself')
        return cls(given)


class Table(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
