"""Where a stream is: `nats://HOST[:4222][,HOST…]/STREAM[?OPTIONS]`, `kafka://HOST[:9092][,HOST…]/TOPIC[?OPTIONS]`.

`nats+tls://` and `kafka+tls://` are the same over TLS, with the options of `net.tls`. Of several hosts any will do: they are
one cluster. Not here: what other options a store or a listener has, connecting (`nats`, `kafka`).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from hepswitch.net.tls import check_options
from hepswitch.units import Endpoint

PORTS = {"nats": 4222, "kafka": 9092}
EXAMPLES = {"nats": "nats://n1:4222,n2:4222/HEP", "kafka": "kafka://k1:9092,k2:9092/hep"}
NAMES = {
    "nats": (re.compile(r"[A-Za-z0-9_-]{1,200}"), "a stream's name has letters, digits, - and _"),
    "kafka": (re.compile(r"[A-Za-z0-9._-]{1,249}"), "a topic's name has letters, digits, ., - and _"),
}


@dataclass(frozen=True, slots=True)
class StreamAddress:
    """A stream and the servers that have it. `str(address)` is its name in books and logs, without options.

    `kind`: nats or kafka; `name`: of the stream or the topic; `servers`: (host, port).
    """

    kind: str
    is_tls: bool
    servers: tuple[tuple[str, int], ...]
    name: str
    options: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def endpoints(self) -> list[Endpoint]:
        """Each server with the options, for `net.tls`."""
        scheme = f"{self.kind}+tls" if self.is_tls else self.kind
        return [Endpoint(scheme, host, port, self.options) for host, port in self.servers]

    def __str__(self) -> str:
        scheme = f"{self.kind}+tls" if self.is_tls else self.kind
        return f"{scheme}://{','.join(map(spelled, self.servers))}/{self.name}"


def spelled(server: tuple[str, int]) -> str:
    """HOST:PORT, an IPv6 address in brackets."""
    host, port = server
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_address(text: str, options: Collection[str] = ()) -> StreamAddress:
    """The address in a URL; `options`: those that it may have beside TLS's. Raises ValueError with what is wrong."""
    scheme, _, rest = text.partition("://")
    kind, plus, tls = scheme.partition("+")
    if kind not in PORTS or (plus and tls != "tls"):
        raise ValueError(f"{scheme}:// is no stream: write nats://, nats+tls://, kafka:// or kafka+tls://")
    if "@" in rest.partition("?")[0]:
        # It may be a secret: not repeated.
        raise ValueError("users do not belong into the URL of a stream: leave what stands before the @ away")
    hosts, slash, rest = rest.partition("/")
    name, _, query = rest.partition("?")
    servers = tuple(_server(each, kind, text) for each in hosts.split(","))
    allowed, rule = NAMES[kind]
    if not slash or not allowed.fullmatch(name):
        raise ValueError(f"{text!r} names no stream: {rule}; write for example {EXAMPLES[kind]}")
    given = dict(parse_qsl(query, keep_blank_values=True))
    check_options(given, options, bool(plus), f"write {kind}+tls://")
    return StreamAddress(kind, bool(plus), servers, name, given)


def _server(text: str, kind: str, url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{url!r} has no host in {text!r}: {error}") from None
    if not host or port == 0 or parts.query or parts.fragment:
        raise ValueError(f"{url!r} has no host in {text!r}: write for example {EXAMPLES[kind]}")
    return host, port or PORTS[kind]


@dataclass(frozen=True, slots=True)
class Login:
    """Who we are to the servers; what is empty is not shown. `credentials`: the path of a NATS .creds file."""

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    credentials: str = ""
