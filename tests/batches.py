"""Record batches for tests of layouts and servers: what the loader makes of packets that were stored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from hepswitch.destinations.record_queue import RecordQueue
from hepswitch.destinations.records import Records
from hepswitch.wire.hep import Hep

ARRIVAL = 1_795_000_100.5


def batch_of(packets: Iterable[bytes | Hep], extras: Iterable[str] = (), **said: Any) -> pa.RecordBatch:
    """The batch of HEP packets, in their order. `said`: what a route or a trace says of them (`RecordQueue.offer`)."""
    queue = RecordQueue(1 << 30)
    for packet in packets:
        assert queue.offer(packet if isinstance(packet, Hep) else Hep(packet, ARRIVAL), **said)
    records = Records(extras)
    records.add(memoryview(queue.pending), memoryview(queue.pending.lengths()).cast("I"))
    batch, end = records.batch(0, len(records))
    assert (end, records.damaged) == (len(queue.pending), 0), records.fault
    return batch
