"""`[access]`, `[[limits]]` and `[duplicates]`: who may send, how much, and what is the same message twice.

Not here: the work, which is done packet by packet in `gate`, `limits` and `duplicates`.
"""

from __future__ import annotations

import operator
import types
from collections.abc import Callable, Mapping, Sequence
from mmap import mmap
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from hepswitch.buckets import Buckets, pace
from hepswitch.networks import Networks
from hepswitch.routing.duplicates import Duplicates, room
from hepswitch.routing.gate import Access, Gate
from hepswitch.routing.limits import Limit
from hepswitch.routing.replays import Replays
from hepswitch.tables import Duration, Secret, Table
from hepswitch.units import PORTS, Endpoint
from hepswitch.wire.chunks import ProtoType, by_name
from hepswitch.wire.hep import Hep
from hepswitch.wire.sip import Sip

KEYS_FOR_LIMITS = 65536
"""Buckets of all limits together."""

NUMBERED = {"tcp", "tls"}
"""Schemes of listeners whose senders may number their packets: over UDP nothing is sent again."""


def _networks(items: list[str]) -> list[str]:
    Networks(items)
    return items


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


NetworkList = Annotated[list[str], BeforeValidator(_listed), AfterValidator(_networks)]


class AccessTable(Table):
    """`[access]`: who may send. A listener's own `?allow=10.0.0.0/8,192.0.2.1&deny=…` replaces both lists for it."""

    allow: NetworkList = Field([], description="Networks and addresses that may send. Empty: everyone.")
    deny: NetworkList = Field([], description="Networks and addresses that may not, also when they are in `allow`.")
    auth_key: Annotated[list[Secret], BeforeValidator(_listed)] = Field(
        [],
        description="HEP authentication keys (chunk 0x0e): a packet must carry one of them. Each as text, `env:NAME` or "
        "`file:PATH`. HEP sends them in plain text with every packet: whoever can listen has them, so use TLS as well.",
    )
    forward_auth_key: bool = Field(
        False, description="Let a key that was checked go on with the packet; otherwise it ends here."
    )
    auth_key_optional_for: NetworkList = Field(
        [],
        description="Senders whose packets may come without a key: agents that speak HEPv1 or v2, which has none. A wrong "
        "key is refused from them too.",
    )

    @model_validator(mode="after")
    def _optional_needs_a_key(self) -> AccessTable:
        if self.auth_key_optional_for and not self.auth_key:
            raise ValueError(
                "auth_key_optional_for says who needs no key, but no auth_key is set: add one or remove it"
            )
        return self


class LimitTable(Table):
    """`[[limits]]`: how many packets of one kind may come. Several may be given; a packet must be within all."""

    name: str = Field("", description="What the limit is called in the books; otherwise `by` and `rate`.")
    by: str = Field(
        "source",
        description='What is counted apart: "source" (the sender\'s address), "agent" (its capture id), "node_name", '
        '"listener", or any chunk by name or number. Packets without the chunk are counted together.',
    )
    rate: str = Field(
        description='"1000/s", "60/m", "5/h" or "1/d". Of several workers each allows its share, as datagrams are spread '
        "evenly; connections are not, so a single sender over TCP gets one worker's share.",
    )
    burst: int | None = Field(
        None,
        ge=1,
        description="How many may come at once (packets are read every few ms). By default the number in `rate`.",
    )
    action: Literal["drop", "mark"] = Field(
        "drop", description='"drop": refused as "rate limit"; "mark": the packet gets the tag "limited".'
    )

    @model_validator(mode="after")
    def _means_something(self) -> LimitTable:
        self.limit(Buckets(1), 1)
        return self

    def limit(self, buckets: Buckets, workers: int) -> Limit:
        """One worker's share of it."""
        interval, depth = pace(self.rate, self.burst, workers)
        return Limit(
            self.name or f"{self.by} {self.rate}", self.by, interval, depth, buckets, marks=self.action == "mark"
        )


class DuplicatesTable(Table):
    """`[duplicates]`: the same message captured by several agents is let in once, a retransmission always.

    A packet is a copy when another agent (capture id, node name or address differ) delivered the same key as often before.
    """

    window: Duration = Field(
        0.0,
        description='How far apart the agents\' times of capture may be: more than their clocks differ, "500ms" with NTP. '
        "0: copies are not looked for.",
    )
    lag: Duration = Field(5.0, description="How far apart copies may arrive here.")
    key: Annotated[list[str], BeforeValidator(_listed)] = Field(
        ["payload"],
        min_length=1,
        description='What is the same in copies: names of chunks and SIP fields, such as "sip.call_id", "sip.cseq", '
        '"sip.method", "sip.status", "src_ip".',
    )
    proto_types: Annotated[list[str], BeforeValidator(_listed)] = Field(
        ["SIP"],
        description="Types of packets that are looked at, by name or number; others pass, for two agents may "
        "log the same line. Empty: all.",
    )
    keep: int = Field(1, ge=1, le=4, description="How many agents' copies pass.")
    action: Literal["drop", "mark"] = Field(
        "drop", description='"drop": refused as "duplicate"; "mark": the packet gets the tag "duplicate".'
    )
    size: int = Field(
        131_072,
        ge=100,
        le=1 << 24,
        description="Packets remembered, about 51 bytes each: at least those of `lag`, from all agents together.",
    )

    @field_validator("key")
    @classmethod
    def _known_fields(cls, key: list[str]) -> list[str]:
        for name in key:
            _check_field(name)
        return key

    @field_validator("proto_types")
    @classmethod
    def _known_types(cls, names: list[str]) -> list[str]:
        for name in names:
            _proto_type(name)
        return names

    @property
    def room(self) -> int:
        """Bytes of memory that all workers share; 0 when copies are not looked for."""
        return room(self.size) if self.window else 0


def listener_access(endpoint: Endpoint, table: AccessTable) -> Access | None:
    """Who may send to a listener; None when anybody may. ValueError for options that are no networks.

    Nobody sends to one that captures (a mirror, a file): what it reads has passed elsewhere.
    """
    if endpoint.scheme not in PORTS:
        return None
    own = {option: endpoint.options[option].split(",") for option in ("allow", "deny") if option in endpoint.options}
    lists = own or {"allow": table.allow, "deny": table.deny}
    sets = [lists.get("allow"), lists.get("deny"), table.auth_key_optional_for]
    return Access(*(Networks(items) if items else None for items in sets)) if any(sets) else None


def build_gate(
    access: AccessTable,
    limits: Sequence[LimitTable],
    duplicates: DuplicatesTable,
    listeners: Mapping[str, Endpoint],
    *,
    workers: int = 1,
    switch_id: int = 0,
    memory: bytearray | memoryview | mmap | None = None,
    replays: Replays | None = None,
) -> Gate | None:
    """One worker's gate; None when there is nothing to guard.

    `listeners`: the endpoints as configured, by the name that each has in the books. `memory`: `duplicates.room` bytes that
    all workers share; without, this worker looks for duplicates among its own packets. `replays`: the numbered packets that
    were here before.
    """
    buckets = Buckets(KEYS_FOR_LIMITS)
    doors = {
        url: door for url, endpoint in listeners.items() if (door := listener_access(endpoint, access)) is not None
    }
    keys = [key.get_secret_value().encode() for key in access.auth_key]
    shares = [limit.limit(buckets, workers) for limit in limits]
    sightings = _duplicates(duplicates, memory) if duplicates.window else None
    if not (doors or keys or shares or sightings or switch_id or replays):
        return None
    streams = [] if replays is None else [url for url, endpoint in listeners.items() if endpoint.scheme in NUMBERED]
    return Gate(doors, keys, shares, sightings, switch_id, access.forward_auth_key, replays, streams)


def _duplicates(table: DuplicatesTable, memory: bytearray | memoryview | mmap | None) -> Duplicates:
    return Duplicates(
        bytearray(table.room) if memory is None else memory,
        round(table.window * 1e6),
        round(table.lag * 1e6),
        keep=table.keep,
        key_of=None if table.key == ["payload"] else _key_of(table.key),
        proto_types=[_proto_type(name) for name in table.proto_types],
        marks=table.action == "mark",
    )


def _proto_type(name: str) -> int:
    number = int(name) if name.isdecimal() else int(ProtoType.named(name))
    if number > 255:
        raise ValueError(f"protocol types are numbers 0..255, not {name}")
    return number


def _key_of(names: Sequence[str]) -> Callable[[Hep], bytes | None]:
    """A function that gives the values of all fields as one key; None for a packet that has none of them, or no SIP although
    SIP is asked for."""
    values = operator.attrgetter(*names)
    absent = None if len(names) == 1 else (None,) * len(names)
    needs_sip = any(name.startswith("sip.") for name in names)

    def key(hep: Hep) -> bytes | None:
        if needs_sip and hep.sip is None:
            return None
        found = values(hep)
        return None if found == absent else repr(found).encode()

    return key


def _check_field(name: str) -> None:
    field = name.removeprefix("sip.")
    if name == field and name not in by_name:
        raise ValueError(f'no chunk is called "{name}": write a name such as payload, src_ip or sip.call_id')
    if name != field and not isinstance(getattr(Sip, field, None), types.GetSetDescriptorType):
        raise ValueError(f'SIP has no field "{field}": write for example sip.call_id, sip.cseq, sip.method, sip.status')
