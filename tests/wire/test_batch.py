"""Batches: what tests and tools make of packets."""

from __future__ import annotations

import pytest

from hepswitch.wire.batch import Batch


def test_a_batch_of_packets_holds_copies() -> None:
    packets = [b"one", b"", b"three"]
    batch = Batch.of(packets, "listener", ("192.0.2.1", 4000))
    assert list(batch) == packets
    assert (len(batch), batch[1], batch[-1]) == (3, b"", b"three")
    assert (batch.listener, batch.peer, batch.arrival_us) == ("listener", ("192.0.2.1", 4000), 0)
    with pytest.raises(IndexError, match="there are 3 packets"):
        batch[3]


def test_it_grows_with_what_is_put_in() -> None:
    packets = [b"%d" % i for i in range(5000)]
    assert list(Batch.of(packets, None)) == packets
