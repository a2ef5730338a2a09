"""What every table of the configuration shares: unknown keys are mistakes, sizes and durations have units."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from hepswitch.units import parse_duration, parse_size

Size = Annotated[int, BeforeValidator(parse_size), Field(ge=0)]
"""Bytes; "64MiB" in the file."""

Duration = Annotated[float, BeforeValidator(parse_duration), Field(ge=0)]
"""Seconds; "10s", "7d" in the file."""


class Table(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
