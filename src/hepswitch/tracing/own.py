"""The destinations that belong to traces alone, by the scheme of their URI.

    file:PATH   pcap:PATH   syslog[:FACILITY[:LEVEL]]   sip:HOST[:PORT][;transport=tcp]   hep:HOST[:PORT][;transport=udp]

Not here: what each of them does (`destinations`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hepswitch.net.resolve import Resolver


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an outlet may need to know: which of how many workers it is in, and who resolves names."""

    workers: int = 1
    worker: int = 0
    resolver: Resolver | None = None


@dataclass(frozen=True, slots=True)
class OwnTarget:
    """A target as its URI says it. `name` is its name in the books; `relays`: it knows no more than packets.

    `build` makes its outlet.
    """

    name: str
    relays: bool
    build: Callable[[Surroundings], Any]


def parse_own(text: str) -> OwnTarget:
    """The target that a URI means. ValueError with what can be written."""
    scheme = text.partition(":")[0].partition("@")[0]
    read = KINDS.get(scheme)
    if read is None:
        raise ValueError(
            f"{text!r} is no target: write store:NAME, destination:NAME, "
            + ", ".join(("sip:HOST:PORT", "hep:HOST:PORT", "file:PATH", "pcap:PATH", "syslog:FACILITY:LEVEL"))
        )
    return read(text)


def anchored(text: str, absolute: Callable[[Path], Path]) -> str:
    """The URI with the path in it made absolute."""
    scheme, _, rest = text.partition(":")
    if scheme not in WITH_PATH:
        return text
    path, question, options = rest.partition("?")
    return f"{scheme}:{absolute(Path(path))}{question}{options}"


WITH_PATH = {"file", "pcap"}
KINDS: dict[str, Callable[[str], OwnTarget]] = {}
