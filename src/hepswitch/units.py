"""Words with units in configuration and on the command line: sizes, durations, rates and endpoint URLs.

Not here: what the endpoints mean. A source or destination reads the options that it knows.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

PORTS = {"udp": 9060, "tcp": 9060, "tls": 9061, "sip": 5060}
"""Port of an endpoint whose URL names none, by scheme. `sip` is plain SIP, the others carry HEP."""

NAMING = ("transport", "group", "share")
"""Options that tell listeners apart."""

_SIZE = re.compile(r"(?i)\s*(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?)b?|b)?\s*")
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|s|m|h|d|w)")
_RATE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*/\s*([smhd])\s*")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


MOST_BYTES = 2**63 - 1
MOST_SECONDS = 100 * 365 * 86400.0


def parse_size(text: object) -> int:
    """Bytes from "64MiB", "1.5 GB", "512k" or a plain number. KiB is 1024, kB and k are 1000.

    Raises ValueError with what is wrong, whatever it was given.
    """
    size = -1.0
    if isinstance(text, int) and not isinstance(text, bool):
        size = text
    elif isinstance(text, str) and (match := _SIZE.fullmatch(text)):
        number, prefix, binary = match.groups()
        base = 1024 if binary else 1000
        size = float(number) * (base ** _POWERS[prefix.lower()] if prefix else 1)
    if not 0 <= size <= MOST_BYTES:
        raise ValueError(f"{text!r} is not a size: write for example 512MiB, 1GiB or 4096")
    return int(size)


LONGEST_DURATION = 100
"""Characters of a duration: what is longer is none, and is not searched for one."""


def parse_duration(text: object) -> float:
    """Seconds from "250ms", "10s", "1h30m", "7d" or a plain number of seconds; a hundred years at most.

    Raises ValueError with what is wrong, whatever it was given.
    """
    seconds = -1.0
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        seconds = text
    elif isinstance(text, str) and len(text) <= LONGEST_DURATION:
        compact = text.replace(" ", "").lower()
        parts = _DURATION.findall(compact)
        if re.fullmatch(r"\d+(\.\d+)?", compact):
            seconds = float(compact)
        elif parts and "".join(number + unit for number, unit in parts) == compact:
            seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if not 0 <= seconds <= MOST_SECONDS:
        raise ValueError(f"{text!r} is not a duration: write for example 500ms, 10s, 1h30m or 7d")
    return float(seconds)


def parse_moment(text: str) -> datetime:
    """A moment, in UTC: so long ago ("30m", "2h", "7d"), or ISO 8601, which is UTC unless it says otherwise.

    Raises ValueError with what is wrong.
    """
    with contextlib.suppress(ValueError):
        return datetime.now(UTC) - timedelta(seconds=parse_duration(text))
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time: write 30m, 2h, 7d (ago) or 2026-11-23T07:30") from None


def parse_rate(text: object) -> tuple[float, float]:
    """(number, seconds) from "1000/s", "60/m", "5/h", or from a plain number a second.

    Raises ValueError with what is wrong, also for less than one a day or more than ten million a second.
    """
    number, seconds = 0.0, 1.0
    if isinstance(text, str):
        match = _RATE.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a rate: write for example 1000/s or 60/m")
        number, seconds = float(match[1]), _SECONDS[match[2]]
    elif isinstance(text, (int, float)) and not isinstance(text, bool):
        number = text
    if not 1 / _SECONDS["d"] <= number / seconds <= 1e7:
        raise ValueError(f"{text!r} is out of range: a rate is 1/d to 10000000/s")
    return number, seconds


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One `scheme://host:port?key=value` address. `str(endpoint)` gives `scheme://host:port`, its name in the books.

    Options of NAMING are part of the name: the same port may be there over UDP and over TCP. A file or a stream is all in
    `host`, which has a slash in it then; there is no port.
    A host that begins with an underscore is the name of a service (SRV, RFC 2782): the DNS says its hosts and their
    ports, so `port` is 0 and `str(endpoint)` shows none.
    """

    scheme: str
    host: str
    port: int
    options: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def is_service(self) -> bool:
        """True when `host` is an SRV name."""
        return self.host.startswith("_")

    @property
    def domain(self) -> str:
        """What a certificate must be for: the host, or the domain that was asked for a service.

        The target of an SRV record will not do: who forges the answer would choose it (RFC 6125, section 6.2.1).
        """
        labels = self.host.split(".")
        while labels[0].startswith("_"):
            del labels[0]
        return ".".join(labels)

    def __str__(self) -> str:
        if self.is_service:
            return f"{self.scheme}://{self.host}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        address = self.host if "/" in self.host else f"{host}:{self.port}"
        named = "&".join(f"{key}={self.options[key]}" for key in NAMING if key in self.options)
        return f"{self.scheme}://{address}" + (f"?{named}" if named else "")


def parse_endpoint(text: str, schemes: tuple[str, ...] = ("udp", "tcp", "tls")) -> Endpoint:
    """An Endpoint from "udp://10.0.0.1:9060", "tcp://[2001:db8::1]", "tls://host:9061?cert=…", "tcp://_hep._tcp.example.net".

    The port defaults to that of PORTS; a service (SRV) has none. Raises ValueError with what is wrong.
    """
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no URL: {error}") from None
    if parts.username is not None or parts.password is not None:
        # It may be a secret: not repeated.
        raise ValueError("an endpoint knows no users: leave what stands before the @ away")
    if parts.scheme not in schemes:
        known = ", ".join(f"{scheme}://" for scheme in schemes)
        raise ValueError(
            f"{text!r} does not start with one of {known}: write for example {schemes[0]}://10.0.0.1:{PORTS[schemes[0]]}"
        )
    if not parts.hostname:
        raise ValueError(f"{text!r} names no host: write for example {parts.scheme}://10.0.0.1:{PORTS[parts.scheme]}")
    if parts.path not in ("", "/") or parts.fragment:
        raise ValueError(f"{text!r} has a path; an endpoint is only {parts.scheme}://host:port")
    try:
        port = parts.port
    except ValueError:
        raise ValueError(f"{text!r} has a port outside 0..65535") from None
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.hostname.startswith("_"):
        _check_service(text, parts.hostname, port)
        return Endpoint(parts.scheme, parts.hostname, 0, options)
    return Endpoint(parts.scheme, parts.hostname, PORTS[parts.scheme] if port is None else port, options)


def _check_service(text: str, name: str, port: int | None) -> None:
    if port is not None:
        raise ValueError(
            f"{text!r} has a port, but {name} is the name of a service (SRV): the DNS says the ports. Leave :{port} away"
        )
    if all(label.startswith("_") for label in name.split(".")):
        raise ValueError(f"{text!r} names a service of no domain: write for example tcp://_hep._tcp.example.net")


def local_address(url: str) -> tuple[str, str, int]:
    """(transport, address, port) of a listener, from its URL in the books; ("mirror", "", 0) for what is no port."""
    scheme = url.partition(":")[0]
    if scheme not in PORTS:
        return scheme, "", 0
    endpoint = parse_endpoint(url, (scheme,))
    transport = endpoint.options.get("transport", "udp") if scheme == "sip" else scheme
    return transport, endpoint.host, endpoint.port
