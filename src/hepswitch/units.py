"""Words with units in configuration and on the command line: sizes, durations, rates and endpoint URLs.

Not here: what the endpoints mean. A source or destination reads the options that it knows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

HEP_PORT = 9060
"""Port of HEP over UDP and TCP when a URL names none; one more for TLS."""

_SIZE = re.compile(r"(?i)\s*(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?)b?|b)?\s*")
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|s|m|h|d|w)")
_RATE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*/\s*([smhd])\s*")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def parse_size(text: str | int) -> int:
    """Bytes from "64MiB", "1.5 GB", "512k" or a plain number. KiB is 1024, kB and k are 1000.

    Raises ValueError with what is wrong.
    """
    if isinstance(text, int):
        return text
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a size: write for example 512MiB, 1GiB or 4096")
    number, prefix, binary = match.groups()
    base = 1024 if binary else 1000
    return int(float(number) * (base ** _POWERS[prefix.lower()] if prefix else 1))


def parse_duration(text: str | float) -> float:
    """Seconds from "250ms", "10s", "1h30m", "7d" or a plain number of seconds.

    Raises ValueError with what is wrong.
    """
    if isinstance(text, (int, float)):
        return float(text)
    compact = text.replace(" ", "").lower()
    if re.fullmatch(r"\d+(\.\d+)?", compact):
        return float(compact)
    parts = _DURATION.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise ValueError(f"{text!r} is not a duration: write for example 500ms, 10s, 1h30m or 7d")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def parse_rate(text: str | float) -> tuple[float, float]:
    """(number, seconds) from "1000/s", "60/m", "5/h", or from a plain number a second.

    Raises ValueError with what is wrong, also for less than one a day or more than ten million a second.
    """
    if isinstance(text, str):
        match = _RATE.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a rate: write for example 1000/s or 60/m")
        number, seconds = float(match[1]), _SECONDS[match[2]]
    else:
        number, seconds = float(text), 1.0
    if not 1 / _SECONDS["d"] <= number / seconds <= 1e7:
        raise ValueError(f"{text!r} is out of range: a rate is 1/d to 10000000/s")
    return number, seconds


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One `scheme://host:port?key=value` address. `str(endpoint)` gives `scheme://host:port`, its name in the books.

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
        return f"{self.scheme}://{host}:{self.port}"


def parse_endpoint(text: str, schemes: tuple[str, ...] = ("udp", "tcp", "tls")) -> Endpoint:
    """An Endpoint from "udp://10.0.0.1:9060", "tcp://[2001:db8::1]", "tls://host:9061?cert=…", "tcp://_hep._tcp.example.net".

    The port defaults to 9060 (udp, tcp) or 9061 (tls); a service (SRV) has none. Raises ValueError with what is wrong.
    """
    parts = urlsplit(text)
    if parts.scheme not in schemes:
        known = ", ".join(f"{scheme}://" for scheme in schemes)
        raise ValueError(
            f"{text!r} does not start with one of {known}: write for example {schemes[0]}://10.0.0.1:{HEP_PORT}"
        )
    if not parts.hostname:
        raise ValueError(f"{text!r} names no host: write for example {parts.scheme}://10.0.0.1:{HEP_PORT}")
    if parts.path not in ("", "/") or parts.fragment:
        raise ValueError(f"{text!r} has a path; an endpoint is only {parts.scheme}://host:port")
    try:
        port = parts.port
    except ValueError:
        raise ValueError(f"{text!r} has a port outside 0..65535") from None
    if parts.hostname.startswith("_"):
        _check_service(text, parts.hostname, port)
        return Endpoint(parts.scheme, parts.hostname, 0, dict(parse_qsl(parts.query)))
    default = HEP_PORT + 1 if parts.scheme == "tls" else HEP_PORT
    return Endpoint(parts.scheme, parts.hostname, default if port is None else port, dict(parse_qsl(parts.query)))


def _check_service(text: str, name: str, port: int | None) -> None:
    if port is not None:
        raise ValueError(
            f"{text!r} has a port, but {name} is the name of a service (SRV): the DNS says the ports. Leave :{port} away"
        )
    if all(label.startswith("_") for label in name.split(".")):
        raise ValueError(f"{text!r} names a service of no domain: write for example tcp://_hep._tcp.example.net")
