"""The contract between those who publish packets to a stream and those who consume them: what a message is.

A message holds HEPv3 packets end to end; each says how long it is. All of them are of one partition, which follows from the
call, so the packets of a call stay together. A message has an id that never changes, by which a consumer knows one that it
has had: `JOURNAL-FIRST-LAST-DIGEST`, where JOURNAL is the name of the journal that the packets were in (32 hex digits),
FIRST up to, but not including, LAST the numbers of its frames, and DIGEST the XXH3-64 of the body. With the digest a
publisher whose settings have changed since a crash may send packets twice, but never loses any for being known already.

Not here: making the body of records, and packets of a body (`packing`), servers (`nats`, `kafka`).
"""

from __future__ import annotations

from typing import NamedTuple

import xxhash

BATCH = "Hepswitch-Batch"
"""The header with the id; in Kafka, whose headers have small letters by custom, `KAFKA_BATCH`. In NATS the id is in
`Nats-Msg-Id` as well: there the server itself leaves out what comes again soon."""

KAFKA_BATCH = "hepswitch-batch"

MOST_PACKETS = 500
"""Packets in a message, unless the store says otherwise."""

MOST_BYTES = 512 << 10
"""Bytes of a body; a server may take fewer. One packet has 65,535 at most."""

MOST_PARTITIONS = 1024


class Message(NamedTuple):
    """What is published at once. `first`: the number of its first frame; `key`: the partition's number as text, or the call
    of the only packet."""

    partition: int
    first: int
    id: str
    key: bytes
    body: bytes
    packets: int


def mark(identity: str, body: bytes) -> bytes:
    """What a store remembers of a message that it has: 16 bytes. `identity`: the message's id, or the place of one without
    an id (`nats:STREAM:SEQUENCE`, `kafka:TOPIC:PARTITION:OFFSET`).

    The body is in it, too: somebody else's ids may begin anew, as places do with a stream that is made again, and what is
    another message must not be taken for one that is there.
    """
    state = xxhash.xxh3_128(identity.encode("utf-8", "surrogateescape"))
    state.update(body)
    return state.digest()
