"""A process that is a Kafka cluster: librdkafka's mock, through ctypes, because the Python client shows little of it.

    python kafka_mock.py BROKERS

prints the brokers' addresses and then does what lines on standard input say, each answered with "ok" or the error:

    topic NAME PARTITIONS          make a topic (replicas: all brokers)
    down BROKER, up BROKER         a broker (1, 2, …) goes away, and comes back
    rtt BROKER MS                  how late it answers
    errors API CODE [COUNT]        the next COUNT answers to requests of that kind (`APIS`) are this error
    leader TOPIC PARTITION BROKER  who leads a partition

It is no broker: nothing is on disk, groups and offsets are simple. It ends with its standard input.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

APIS = {"produce": 0, "fetch": 1, "metadata": 3, "commit": 8, "create-topics": 19, "init-producer-id": 22}

PRODUCER = 0


def library() -> ctypes.CDLL:
    """The librdkafka that the client has brought along."""
    import confluent_kafka

    package = Path(confluent_kafka.__file__).parent
    (found,) = package.with_name("confluent_kafka.libs").glob("librdkafka*.so*")
    lib = ctypes.CDLL(str(found))
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_mock_cluster_new"):
        getattr(lib, name).restype = ctypes.c_void_p
    for name in ("rd_kafka_mock_cluster_bootstraps", "rd_kafka_err2name"):
        getattr(lib, name).restype = ctypes.c_char_p
    return lib


class Cluster:
    def __init__(self, brokers: int) -> None:
        self.lib = library()
        words = ctypes.create_string_buffer(512)
        conf = ctypes.c_void_p(self.lib.rd_kafka_conf_new())
        self.lib.rd_kafka_conf_set(conf, b"log_level", b"0", words, ctypes.c_size_t(len(words)))
        handle = self.lib.rd_kafka_new(PRODUCER, conf, words, ctypes.c_size_t(len(words)))
        assert handle, words.value.decode()
        self._brokers = brokers
        self._mock = ctypes.c_void_p(self.lib.rd_kafka_mock_cluster_new(ctypes.c_void_p(handle), brokers))
        assert self._mock, "no mock cluster"
        self.lib.rd_kafka_mock_group_initial_rebalance_delay_ms(self._mock, 100)  # 3 s unless said

    @property
    def servers(self) -> str:
        found: bytes = self.lib.rd_kafka_mock_cluster_bootstraps(self._mock)
        return found.decode()

    def do(self, what: str, *words: str) -> int:
        """Gives librdkafka's error code."""
        if what == "topic":
            name, partitions = words
            return int(self.lib.rd_kafka_mock_topic_create(self._mock, name.encode(), int(partitions), self._brokers))
        if what in ("down", "up"):
            call = self.lib.rd_kafka_mock_broker_set_down if what == "down" else self.lib.rd_kafka_mock_broker_set_up
            return int(call(self._mock, int(words[0])))
        if what == "rtt":
            return int(self.lib.rd_kafka_mock_broker_set_rtt(self._mock, int(words[0]), int(words[1])))
        if what == "leader":
            topic, partition, broker = words
            return int(
                self.lib.rd_kafka_mock_partition_set_leader(self._mock, topic.encode(), int(partition), int(broker))
            )
        if what == "errors":
            api, code, *rest = words
            count = int(rest[0]) if rest else 1
            codes = (ctypes.c_int * count)(*[int(code)] * count)
            self.lib.rd_kafka_mock_push_request_errors_array(
                self._mock, ctypes.c_int16(APIS[api]), ctypes.c_size_t(count), codes
            )
            return 0
        raise ValueError(f"unknown: {what}")


def main() -> None:
    cluster = Cluster(int(sys.argv[1]))
    print(cluster.servers, flush=True)
    for line in sys.stdin:
        try:
            code = cluster.do(*line.split())
            answer = "ok" if code == 0 else cluster.lib.rd_kafka_err2name(code).decode()
        except (TypeError, ValueError, KeyError) as error:
            answer = f"{type(error).__name__}: {error}"
        print(answer, flush=True)


if __name__ == "__main__":
    main()
