"""Kafka brokers for tries without Kafka: librdkafka's mock cluster, in a process of its own.

    python examples/fleet/mock_brokers.py --topic hep --partitions 32

Prints {"bootstrap": "127.0.0.1:…,…"}, then does what each line on standard input says (a JSON object), and answers it with
{}; it ends with its input:

    {"fail": "produce", "codes": [7, 19, -195]}     the next requests of that kind fail so (-195: the connection is closed)
    {"down": 2}, {"up": 2}                          a broker is away, and back

These are no brokers: all is in memory, and of each partition only the latest 5 MiB. Not here: what a real cluster does when
one of its nodes dies (other nodes lead its partitions then; here they are away).
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
from pathlib import Path
from typing import Any

import confluent_kafka  # loads the library that is called below

REQUESTS = {"produce": 0, "fetch": 1, "offset_commit": 8}
"""Numbers of kinds of requests (Kafka's protocol guide, API keys)."""

PRODUCER = 0
"""rd_kafka_type_t: the kind of client that the cluster hangs on."""


class MockBrokers:
    """`count` brokers with one topic."""

    def __init__(self, count: int, topic: str, partitions: int) -> None:
        maps = Path("/proc/self/maps").read_text().splitlines()
        self._library = library = ctypes.CDLL(next(line.split()[-1] for line in maps if "librdkafka" in line))
        for name in ("rd_kafka_new", "rd_kafka_mock_cluster_new"):
            getattr(library, name).restype = ctypes.c_void_p
        library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        error = ctypes.create_string_buffer(512)
        client = library.rd_kafka_new(PRODUCER, None, error, ctypes.c_size_t(len(error)))
        if not client:
            raise OSError(f"librdkafka gives no client: {error.value.decode()}")
        cluster = library.rd_kafka_mock_cluster_new(ctypes.c_void_p(client), count)
        if not cluster:
            raise OSError("librdkafka gives no mock cluster")
        self._cluster = ctypes.c_void_p(cluster)
        self._call("topic_create", topic.encode(), partitions, count)

    @property
    def bootstrap(self) -> str:
        """The addresses of the brokers."""
        text: bytes = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster)
        return text.decode()

    def fail(self, request: str, codes: list[int]) -> None:
        """Let the next requests of this kind fail with these errors (rd_kafka_resp_err_t), one each."""
        errors = (ctypes.c_int * len(codes))(*codes)
        self._library.rd_kafka_mock_push_request_errors_array(
            self._cluster, ctypes.c_int16(REQUESTS[request]), ctypes.c_size_t(len(codes)), errors
        )

    def down(self, broker: int) -> None:
        """Close the broker's connections and take no more."""
        self._call("broker_set_down", broker)

    def up(self, broker: int) -> None:
        """Let the broker be there again."""
        self._call("broker_set_up", broker)

    def _call(self, name: str, *arguments: Any) -> None:
        error: int = getattr(self._library, f"rd_kafka_mock_{name}")(self._cluster, *arguments)
        if error:
            raise OSError(f"{name}: {confluent_kafka.KafkaError(error)}")


def main() -> None:
    parser = argparse.ArgumentParser(description="librdkafka's mock cluster as a process")
    parser.add_argument("--brokers", type=int, default=3)
    parser.add_argument("--topic", default="hep")
    parser.add_argument("--partitions", type=int, default=32)
    wanted = parser.parse_args()
    brokers = MockBrokers(wanted.brokers, wanted.topic, wanted.partitions)
    print(json.dumps({"bootstrap": brokers.bootstrap}), flush=True)
    for line in sys.stdin:
        match json.loads(line):
            case {"fail": request, "codes": codes}:
                brokers.fail(request, codes)
            case {"down": broker}:
                brokers.down(broker)
            case {"up": broker}:
                brokers.up(broker)
        print("{}", flush=True)


if __name__ == "__main__":
    main()
