"""Treatment: what one destination does with its own copy of a packet before it is sent. Every other copy stays as it is.

    [destinations.partner]
    filter = 'sip.method in ["INVITE", "BYE"]'
    sample = 0.1
    mask = "partner"
    delete = ["node_name"]
    set = { auth_key = "env:PARTNER_KEY", captagent_id = 42, "0x1f" = { value = 7, type = "uint32", vendor = 3 } }
    payload = "deflate"
    rate = 500

In this order: filter, sample and rate look at the packet as the route left it; then its copy loses chunks, gets others, is
masked, and its payload inflated or deflated. Not here: the language of conditions (`filters`), masks (`masks`), and who
sends the copy (`treated`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from pydantic import Field, PlainSerializer, PlainValidator, field_validator

from hepswitch.tables import Secret, Table
from hepswitch.wire.hep import Hep

Condition = Callable[[Hep], bool]
Mask = Callable[[Hep], None]

FILTERED: Final = "filter"
SAMPLED_OUT: Final = "sample"
TOO_FAST: Final = "rate limit"
CANNOT_CARRY: Final = "cannot carry the edits"
"""Why a destination refuses a packet: counted under these words in its books."""

AUTH_KEY: Final = 0x0E


def _number_or_text(given: object) -> int | str | Secret:
    if isinstance(given, int | str | Secret) and not isinstance(given, bool):
        return given
    raise ValueError(f"a number or a text is expected, not {given!r}")


def _shown(value: int | str | Secret) -> int | str:
    return str(value) if isinstance(value, Secret) else value


class ChunkValue(Table):
    """What `set` writes into one chunk."""

    value: Annotated[int | str | Secret, PlainValidator(_number_or_text), PlainSerializer(_shown)] = Field(
        description="A number, a text, or a secret as env:NAME or file:PATH."
    )
    type: str | None = Field(None, description="The chunk's type; by name the specification's, by number utf8-string.")
    vendor: int | None = Field(None, ge=0, le=0xFFFF, description="The chunk's vendor; by name 0, by number 3.")

    def write(self, hep: Hep, chunk: str, value: int | str | bytes) -> None:
        """Set the chunk to `value`. ValueError when the packet or the type cannot hold it."""
        try:
            hep.set(chunk, value, type=self.type, vendor=self.vendor)
        except TypeError as error:
            raise ValueError(f"{chunk} cannot hold {value!r}: {error}") from error


class Treatment(Table):
    """The keys of a destination that say what becomes of its copies."""

    filter: str | None = Field(None, description="A condition: packets that do not fulfil it are not sent here.")
    sample: float | None = Field(
        None, gt=0, le=1, description="The share of calls that is sent here; all packets of a call go the same way."
    )
    rate: float | None = Field(
        None,
        gt=0,
        description="Packets a second that each worker sends here at most, with bursts of one second's worth.",
    )
    delete: list[str] = Field([], description="Chunks taken out, by name or number; by number of every vendor.")
    set: dict[str, ChunkValue] = Field(
        {},
        description="Chunks written, by name or number: a value, or { value, type, vendor }. "
        "A text env:NAME or file:PATH is a secret.",
    )
    mask: str | None = Field(None, description="The mask, by its name in [masks], that the copy gets.")
    payload: Literal["keep", "inflate", "deflate"] = Field(
        "keep",
        description='"inflate": a compressed payload (0x10) is sent plain; '
        '"deflate": a plain one is sent gzipped, if that is shorter.',
    )

    @field_validator("delete", mode="before")
    @classmethod
    def _numbers_too(cls, given: Any) -> Any:
        return [str(chunk) if type(chunk) is int else chunk for chunk in given] if isinstance(given, list) else given

    @field_validator("delete")
    @classmethod
    def _known(cls, chunks: list[str]) -> list[str]:
        for chunk in chunks:
            Hep.new().delete(chunk)
        return chunks

    @field_validator("set", mode="before")
    @classmethod
    def _values(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {chunk: value if isinstance(value, dict) else {"value": value} for chunk, value in given.items()}

    @field_validator("set")
    @classmethod
    def _can_be_written(cls, given: dict[str, ChunkValue]) -> dict[str, ChunkValue]:
        checked = {}
        for chunk, written in given.items():
            value = written.value
            if isinstance(value, str) and (_is_auth_key(chunk) or Secret(value).is_reference):
                value = Secret(value)
            written.write(Hep.new(), chunk, b"secret" if isinstance(value, Secret) else value)
            checked[chunk] = written.model_copy(update={"value": value})
        return checked

    @property
    def treats(self) -> bool:
        """Whether any of it is asked for; a destination without needs no treatment."""
        plain = Treatment()
        return any(getattr(self, name) != getattr(plain, name) for name in Treatment.model_fields)


def _is_auth_key(chunk: str) -> bool:
    """By name or by any way of writing its number."""
    probe = Hep.new(auth_key=b"x")
    return probe.delete(chunk) and probe.auth_key is None


class Treat:
    """The treatment of one destination, ready for use. Reads the secrets: ValueError when one cannot be read.

    `condition` is what `config.filter` says and `mask` what `config.mask` names: each is given exactly when its key is, so
    that no packet leaves unfiltered or unmasked by mistake (ValueError). With `version` 3 older packets become version 3
    before the edits, which they could not carry.
    """

    def __init__(
        self,
        config: Treatment,
        condition: Condition | None = None,
        mask: Mask | None = None,
        version: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if (config.filter is None) is not (condition is None) or (config.mask is None) is not (mask is None):
            raise ValueError("a condition goes with the key filter and a mask with the key mask: one is there alone")
        self._condition = condition
        self._share = config.sample
        self._bucket = Bucket(config.rate, clock) if config.rate is not None else None
        self._delete = tuple(config.delete)
        self._set = tuple((chunk, each, _revealed(each.value)) for chunk, each in config.set.items())
        self._mask = mask
        self._payload = config.payload
        self._version = version
        self._edits = bool(self._delete or self._set or mask or config.payload != "keep")

    def copy(self, packet: Hep) -> Hep | str:
        """The packet as this destination gets it (itself when nothing is edited), or the reason why it gets none."""
        if self._condition is not None and not self._condition(packet):
            return FILTERED
        if self._share is not None and not packet.sampled(self._share):
            return SAMPLED_OUT
        if self._bucket is not None and not self._bucket.take():
            return TOO_FAST
        if not self._edits:
            return packet
        copy = packet.copy()
        try:
            self._edit(copy)
        except ValueError:
            return CANNOT_CARRY
        return copy

    def _edit(self, copy: Hep) -> None:
        if self._version == 3:
            copy.version = 3
        for chunk in self._delete:
            copy.delete(chunk)
        for chunk, how, value in self._set:
            how.write(copy, chunk, value)
        if self._mask is not None:
            self._mask(copy)
        if self._payload == "inflate":
            copy.inflate()
        elif self._payload == "deflate":
            copy.compress()


class Bucket:
    """A token bucket: `rate` packets a second (a number above 0), bursts of as many as one second brings."""

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._room = max(1.0, rate)
        self._tokens = self._room
        self._clock = clock
        self._at = clock()

    def take(self) -> bool:
        """Whether one more packet may go now; if so, it is counted."""
        now = self._clock()
        self._tokens = min(self._room, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


def _revealed(value: int | str | Secret) -> int | str | bytes:
    return value.read() if isinstance(value, Secret) else value
