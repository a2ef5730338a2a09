"""What every table of the configuration shares: unknown keys are mistakes, sizes and durations have units, secrets stay
secret."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    SerializationInfo,
    ValidationInfo,
    field_validator,
)

from hepswitch.units import parse_duration, parse_size

Size = Annotated[int, BeforeValidator(parse_size), Field(ge=0)]
"""Bytes; "64MiB" in the file."""

Duration = Annotated[float, BeforeValidator(parse_duration), Field(ge=0)]
"""Seconds; "10s", "7d" in the file."""

REVEALED = {"secrets": "revealed"}
"""Context for `model_dump(mode="json")` to another process of ours: secrets are written so that they can be read again."""


def _secret(value: Any, info: ValidationInfo) -> SecretStr:
    # Only ValueErrors, and never the value in them: whatever the file says here may be a secret in the wrong place.
    if isinstance(value, SecretStr):
        return value
    if not isinstance(value, str):
        raise ValueError('a secret is a text, "env:NAME" or "file:PATH"')  # noqa: TRY004 (pydantic would print the value)
    kind, colon, rest = value.partition(":")
    match kind if colon else "":
        case "env":
            text = os.environ.get(rest, "")
            if not text:
                raise ValueError(f"the environment variable {rest} is not set: set it where hepswitch is started")
        case "file":
            path = Path((info.context or {}).get("base", ".")) / Path(rest).expanduser()
            try:
                text = path.read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
                raise ValueError(f"{path} cannot be read: {reason}") from None
            if not text:
                raise ValueError(f"{path} is empty: write the secret into it")
        case "text":
            text = rest
        case _:
            text = value
    if not text:
        raise ValueError('a secret must not be empty: write a text, "env:NAME" or "file:PATH"')
    return SecretStr(text)


def _write_secret(secret: SecretStr, info: SerializationInfo) -> str:
    return f"text:{secret.get_secret_value()}" if info.context == REVEALED else str(secret)


Secret = Annotated[SecretStr, BeforeValidator(_secret), PlainSerializer(_write_secret, when_used="json")]
"""A secret: as text, "env:NAME" or "file:PATH" (relative to the validation context's `base`; without the line's end).
"text:…" is a text that begins like one of these. Prints as asterisks; `get_secret_value()` gives it."""


def revealed(secret: SecretStr | None) -> str:
    """What a secret is; empty when there is none."""
    return "" if secret is None else secret.get_secret_value()


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types and values that an annotation is made of."""
    parts = get_args(annotation)
    if not parts:
        yield annotation
    for part in parts:
        yield from _kinds(part)


class Table(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, bool):
            return value
        kinds = list(_kinds(cls.model_fields[info.field_name or ""].annotation))
        is_number = any(each is int or each is float or type(each) is int for each in kinds)  # the last: of a Literal
        if is_number and not any(each is bool for each in kinds):
            raise ValueError(f"{str(value).lower()} is no number")
        return value
