"""What must hold for many nodes: the checks `fleet` and `kafka` of `mustshow`, by the example in examples/fleet.

Two edges, a stream of three servers and two storing nodes on this machine; an edge, a server of the stream and a storing
node are killed under load and start again: every packet that an edge accepted is in the lake once.
Not here: the fleet itself.
"""

from __future__ import annotations

import json
import sys

import harness
from harness import Figures

sys.path.insert(0, str(harness.ROOT / "examples"))
from fleet.drive import Plan, drive


def fleet(rate: int = 10_000, seconds: float = 300.0, away: float = 5.0) -> Figures:
    """Over NATS JetStream, three servers, each message on all of them."""
    return _driven(Plan("nats", rate, seconds, away))


def kafka(rate: int = 5_000, seconds: float = 60.0, away: float = 3.0) -> Figures:
    """Over librdkafka's mock of three Kafka brokers, which keeps 5 MiB of a partition; requests fail, a broker is away."""
    return _driven(Plan("kafka", rate, seconds, away))


def _driven(plan: Plan) -> Figures:
    with harness.workplace() as folder:
        books = drive(plan, folder, lambda line: print(line, file=sys.stderr, flush=True))
    if books.wrong:
        raise AssertionError(f"{'; '.join(books.wrong)}: {json.dumps(books.figures)}")
    return {"rate": plan.rate, "seconds": plan.seconds, **books.figures}
