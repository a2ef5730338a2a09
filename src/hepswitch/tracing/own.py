"""The destinations that belong to traces alone, by the scheme of their URI.

    file:PATH   pcap:PATH   syslog[:FACILITY[:LEVEL]]   sip:HOST[:PORT][;transport=tcp]   hep:HOST[:PORT][;transport=udp]

Nothing is spooled for them: what does not fit in memory while a far end is away is refused and counted. Who needs more
names a `[destinations.NAME]`. Not here: what each of them does (`destinations`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

from hepswitch.destinations import uris
from hepswitch.destinations.file import FileTarget
from hepswitch.destinations.hep import HepOutlet
from hepswitch.destinations.pcap import PcapTarget
from hepswitch.destinations.sip import SipOutlet
from hepswitch.destinations.syslog import SyslogTarget
from hepswitch.net.resolve import Resolver
from hepswitch.net.sockets import is_local
from hepswitch.units import Endpoint, parse_endpoint

WRITTEN: dict[str, type[FileTarget] | type[PcapTarget] | type[SyslogTarget]] = {
    "file": FileTarget,
    "pcap": PcapTarget,
    "syslog": SyslogTarget,
}
"""Those that are written by blocking calls, and may have a path in them."""

SENT = {"sip": (uris.parse_sip, SipOutlet), "hep": (uris.parse_hep, HepOutlet)}
"""Those that are sent over the network, as they are or as the SIP in them."""

USAGE = "store:NAME, destination:NAME, sip:HOST:PORT, hep:HOST:PORT, file:PATH, pcap:PATH or syslog:FACILITY:LEVEL"


@dataclass(frozen=True, slots=True)
class OwnTarget:
    """A target as its URI says it. `name` is its name in the books, `url` says its options too; `relays`: it knows no more
    than packets.

    `build` makes its outlet, with who resolves names and the switch's id (`HepOutlet`).
    """

    name: str
    url: str
    relays: bool
    build: Callable[[Resolver | None, int], Any]


def parse_own(text: str) -> OwnTarget:
    """The target that a URI means. ValueError with what can be written."""
    scheme = _scheme(text)
    if scheme in WRITTEN:
        target = WRITTEN[scheme].parse(text)
        return OwnTarget(str(target), target.url, False, lambda *_: target.build())
    if scheme in SENT:
        parse, outlet = SENT[scheme]
        far_end = parse(text)
        name, config = far_end
        return OwnTarget(name, name, True, lambda resolver, id: outlet(name, config, resolver=resolver, switch_id=id))
    raise ValueError(f"{text!r} is no target: write {USAGE}")


def leads_to(text: str, listeners: Iterable[Endpoint]) -> Endpoint | None:
    """The one of `listeners` (of this machine) that what goes to this target would come back to; None when there is none.

    HEP that bears the trail may: it is recognised there. Names other than localhost are not looked up.
    """
    if _scheme(text) not in SENT:
        return None
    parse, _ = SENT[_scheme(text)]
    config = parse(text).config
    if _scheme(text) == "hep" and config.mark:
        return None
    to = parse_endpoint(config.urls[0])
    for listener in listeners:
        kind = listener.scheme if _scheme(text) == "hep" else listener.options.get("transport", "udp")
        is_sip = listener.scheme == "sip"
        if (
            is_sip is (_scheme(text) == "sip")
            and (kind, listener.port) == (to.scheme, to.port)
            and _meets(to, listener)
        ):
            return listener
    return None


def _meets(to: Endpoint, listener: Endpoint) -> bool:
    ends = [_address(end.host) for end in (to, listener)]
    if None in ends:
        return to.host == listener.host
    here, there = ends
    return here == there or (there is not None and there.is_unspecified and is_local(str(here)))


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return None


def anchored(text: str, absolute: Callable[[Path], Path]) -> str:
    """The URI with the path in it made absolute."""
    target = WRITTEN.get(_scheme(text))
    return text if target is None else target.parse(text).anchored(absolute).url


def _scheme(text: str) -> str:
    return text.partition(":")[0].partition("@")[0]
