"""The destinations that belong to traces alone, by the scheme of their URI.

    file:PATH   pcap:PATH   syslog[:FACILITY[:LEVEL]]   sip:HOST[:PORT][;transport=tcp]   hep:HOST[:PORT][;transport=udp]

Not here: what each of them does (`destinations`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hepswitch.destinations.file import FileTarget
from hepswitch.destinations.pcap import PcapTarget
from hepswitch.destinations.syslog import SyslogTarget
from hepswitch.net.resolve import Resolver


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an outlet may need to know: which worker it is in, and who resolves names."""

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
    read = KINDS.get(_scheme(text))
    if read is None:
        raise ValueError(
            f"{text!r} is no target: write store:NAME, destination:NAME, "
            + ", ".join(("sip:HOST:PORT", "hep:HOST:PORT", "file:PATH", "pcap:PATH", "syslog:FACILITY:LEVEL"))
        )
    return read(text)


def anchored(text: str, absolute: Callable[[Path], Path]) -> str:
    """The URI with the path in it made absolute."""
    target = WRITTEN.get(_scheme(text))
    return text if target is None else target.parse(text).anchored(absolute).url


def _scheme(text: str) -> str:
    return text.partition(":")[0].partition("@")[0]


def _file(text: str) -> OwnTarget:
    target = FileTarget.parse(text)
    return OwnTarget(str(target), False, lambda around: target.of_worker(around.worker).build())


def _pcap(text: str) -> OwnTarget:
    target = PcapTarget.parse(text)
    return OwnTarget(str(target), False, lambda around: target.of_worker(around.worker).build())


def _syslog(text: str) -> OwnTarget:
    target = SyslogTarget.parse(text)
    return OwnTarget(str(target), False, lambda _: target.build())


WRITTEN: dict[str, type[FileTarget] | type[PcapTarget] | type[SyslogTarget]] = {
    "file": FileTarget,
    "pcap": PcapTarget,
    "syslog": SyslogTarget,
}
"""Those that are written by blocking calls, and may have a path in them."""

KINDS: dict[str, Callable[[str], OwnTarget]] = {"file": _file, "pcap": _pcap, "syslog": _syslog}
