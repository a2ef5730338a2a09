"""Treatment: what one destination does with its own copy of a packet before it is sent. Every other copy stays as it is.

    [destinations.partner]
    filter = 'sip.method in ["INVITE", "BYE"]'
    sample = 0.1
    mask = "partner"
    delete = ["node_name"]
    set = { auth_key = "env:PARTNER_KEY", captagent_id = 42, "0x1f" = { value = 7, type = "uint32", vendor = 3 } }
    payload = "deflate"
    rate = "500/s"

In this order: filter, sample and rate look at the packet as the route left it; then its copy loses chunks, gets others, is
masked, and its payload inflated or deflated. Not here: the language of conditions (`filters`), masks (`masks`), and who
sends the copy (`balance`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from hepswitch.buckets import Buckets, pace
from hepswitch.edits import ChunkName, ChunkValues, Edits
from hepswitch.references import Condition, MaskName
from hepswitch.tables import Table
from hepswitch.wire.hep import Hep

FILTERED: Final = "filter"
SAMPLED_OUT: Final = "sample"
TOO_FAST: Final = "rate limit"
CANNOT_CARRY: Final = "cannot carry the edits"
CANNOT_MASK: Final = "cannot be masked"
"""Why a destination refuses a packet: counted under these words in its books."""


def _rate(value: Any) -> Any:
    pace(value)
    return value


class Treatment(Table):
    """The keys of a destination that say what becomes of its copies."""

    filter: Condition | None = Field(None, description="A condition: packets that do not fulfil it are not sent here.")
    sample: float | None = Field(
        None, gt=0, le=1, description="The share of calls that is sent here; all packets of a call go the same way."
    )
    rate: Annotated[str | float, AfterValidator(_rate)] | None = Field(
        None,
        description='Packets sent here at most: "500/s", "60/m", with bursts of as many. Each of several workers sends '
        "its share.",
    )
    delete: list[ChunkName] = Field([], description="Chunks taken out, by name or number; by number of every vendor.")
    set: ChunkValues = Field(
        {},
        description="Chunks written, by name or number: a value, or { value, type, vendor }. "
        "auth_key is a secret: text, env:NAME or file:PATH.",
    )
    mask: MaskName | None = Field(None, description="The mask, by its name in [masks], that the copy gets.")
    payload: Literal["keep", "inflate", "deflate"] = Field(
        "keep",
        description='"inflate": a compressed payload (0x10) is sent plain; '
        '"deflate": a plain one is sent gzipped, if that is shorter.',
    )

    @property
    def treats(self) -> bool:
        """Whether any of it is asked for; a destination without needs no treatment."""
        plain = Treatment()
        return any(getattr(self, name) != getattr(plain, name) for name in Treatment.model_fields)


class Treat:
    """The treatment of one destination, ready for use.

    `condition` is what `config.filter` says and `mask` what `config.mask` names: each is given exactly when its key is, so
    that no packet leaves unfiltered or unmasked by mistake (ValueError). `workers` share the rate; `clock` is monotonic
    (ns).
    """

    def __init__(
        self,
        config: Treatment,
        condition: Callable[[Hep], bool] | None = None,
        mask: Callable[[Hep], object] | None = None,
        workers: int = 1,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        if (config.filter is None) is not (condition is None) or (config.mask is None) is not (mask is None):
            raise ValueError("a condition goes with the key filter and a mask with the key mask: one is there alone")
        self._condition = condition
        self._share = config.sample
        self._pace = None if config.rate is None else pace(config.rate, None, workers)
        self._bucket = Buckets(1)
        self._clock = clock
        self._edits = Edits(config.set, config.delete) if config.set or config.delete else None
        self._mask = mask
        self._payload = config.payload

    def __call__(self, packet: Hep) -> Hep | str:
        """The packet as this destination gets it (itself when nothing is edited), or the reason why it gets none."""
        if self._condition is not None and not self._condition(packet):
            return FILTERED
        if self._share is not None and not packet.sampled(self._share):
            return SAMPLED_OUT
        if self._pace is not None and not self._bucket.take("", *self._pace, self._clock()):
            return TOO_FAST
        if self._edits is None and self._mask is None and self._payload == "keep":
            return packet
        copy = packet.copy()
        try:
            masked = self._edit(copy)
        except ValueError:
            return CANNOT_CARRY
        return copy if masked else CANNOT_MASK

    def _edit(self, copy: Hep) -> bool:
        """Make the copy what it should be; False when it should have been masked and could not."""
        if self._edits is not None:
            self._edits.apply(copy)
        if self._mask is not None and self._mask(copy) is False:
            return False
        if self._payload == "inflate":
            copy.inflate()
        elif self._payload == "deflate":
            copy.compress()
        return True
