"""Stores that are streams, NATS JetStream and Kafka: their tables in the configuration, `[stores.NAME]`.

    [stores.bus]
    url = "nats://n1:4222,n2:4222,n3:4222/HEP"
    replicas = 3

What is in a message says `streams.message`. Not here: publishing (`databases.stream_carrier`), consuming (`sources`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from hepswitch.destinations.loaded import LoadedStore, anchored_url
from hepswitch.streams import kafka
from hepswitch.streams.address import Login, StreamAddress, parse_address
from hepswitch.streams.message import MOST_PACKETS, MOST_PARTITIONS
from hepswitch.tables import Duration, Secret, Size, revealed

PACKETS = "Packets in a message, at most (and 512 KiB). 1: each packet is a message of its own."
KEEP = "How long {0} that is made keeps messages, read or not: longer than all who read it may be away."


class StreamStore(LoadedStore):
    """What every store has that is a stream."""

    flush: Annotated[Duration, Field(gt=0, le=60)] = Field(
        0.5, description="How long a packet may wait for others to be published with."
    )
    batch: int = Field(10_000, ge=1, le=100_000, description="So many packets do not wait for more.")
    connections: int = Field(2, ge=1, le=32, description="Batches that are published at the same time.")
    packets: int = Field(MOST_PACKETS, ge=1, le=10_000, description=PACKETS)
    replicas: int = Field(
        1, ge=1, le=5, description="Servers that have a copy of each message, when the stream is made."
    )
    user: str = Field("", description="The user, where the servers want one.")
    password: Secret | None = Field(None, description='The password: a text, "env:NAME" or "file:PATH".')

    @property
    def address(self) -> StreamAddress:
        """The servers and the stream."""
        return parse_address(self.url, kafka.OPTIONS)

    @property
    def login(self) -> Login:
        """Who we are, secrets revealed."""
        return Login(self.user, revealed(self.password))


def _nats_url(text: str) -> str:
    parse_address(text)
    return text


class NatsStore(StreamStore):
    """`[stores.NAME]`: a stream of NATS JetStream."""

    schemes = ("nats", "nats+tls")

    url: Annotated[str, AfterValidator(_nats_url)] = Field(
        description="nats://HOST[:4222][,HOST…]/STREAM; nats+tls:// encrypts. ?ca=FILE: who signed the servers' "
        "certificates, else the system's authorities; verify=no: any will do; cert=FILE&key=FILE: a certificate of our own."
    )
    subject: str = Field(
        "hep",
        pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$",
        description="Messages have the subject SUBJECT.PARTITION.",
    )
    partitions: int = Field(
        16,
        ge=1,
        le=MOST_PARTITIONS,
        description="Subjects that calls are spread over: as many nodes may share the stream.",
    )
    create: bool = Field(True, description="Make the stream when it is missing. Without it: `hepswitch ddl` says how.")
    keep: Annotated[Duration, Field(ge=600)] = Field(86400.0, description=KEEP.format("a stream"))
    max_size: Annotated[Size, Field(ge=1 << 20)] | None = Field(
        None,
        description="Bytes that a stream that is made may have. A full one takes no more until `keep` has made room, and "
        "packets wait here. Without: what the servers allow.",
    )
    compression: Literal["none", "s2"] = Field(
        "s2", description="How a stream that is made is compressed on the servers' disks."
    )
    token: Secret | None = Field(None, description="A token, where the servers want one: a secret as the password.")
    credentials: Path | None = Field(None, description="A file with a NATS user's credentials (.creds).")

    @model_validator(mode="after")
    def _one_login(self) -> NatsStore:
        given = [name for name in ("user", "token", "credentials") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other: the servers know us by one of them")
        if self.password is not None and not self.user:
            raise ValueError("a password needs a user: add user")
        return self

    @property
    def login(self) -> Login:
        """Who we are, secrets revealed."""
        return Login(self.user, revealed(self.password), revealed(self.token), str(self.credentials or ""))

    def anchored(self, absolute: Callable[[Path], Path]) -> NatsStore:
        """The same with absolute paths."""
        credentials = absolute(self.credentials) if self.credentials is not None else None
        return self.model_copy(update={"url": anchored_url(self.url, absolute), "credentials": credentials})


def _kafka_url(text: str) -> str:
    kafka.check(parse_address(text, kafka.OPTIONS))
    return text


class KafkaStore(StreamStore):
    """`[stores.NAME]`: a topic of Kafka."""

    schemes = ("kafka", "kafka+tls")

    url: Annotated[str, AfterValidator(_kafka_url)] = Field(
        description="kafka://HOST[:9092][,HOST…]/TOPIC; kafka+tls:// encrypts. ?ca=FILE: who signed the brokers' "
        "certificates, else the system's authorities; verify=no: any will do; cert=FILE&key=FILE: a certificate of our "
        "own; sasl=plain, scram-sha-256 or scram-sha-512: how user and password are shown, plain unless given."
    )
    partitions: int = Field(
        16, ge=1, le=MOST_PARTITIONS, description="Partitions of a topic that is made: as many nodes may share it."
    )
    create: bool = Field(True, description="Make the topic when it is missing. Without it: `hepswitch ddl` says how.")
    keep: Annotated[Duration, Field(ge=600)] = Field(86400.0, description=KEEP.format("a topic"))
    compression: Literal["none", "lz4", "zstd", "snappy", "gzip"] = Field(
        "lz4", description="How messages are compressed on their way and on the brokers' disks."
    )

    @model_validator(mode="after")
    def _whole_login(self) -> KafkaStore:
        if bool(self.user) != (self.password is not None):
            raise ValueError("user and password come together: give both")
        return self

    def anchored(self, absolute: Callable[[Path], Path]) -> KafkaStore:
        """The same with the files of TLS absolute."""
        return self.model_copy(update={"url": anchored_url(self.url, absolute)})
