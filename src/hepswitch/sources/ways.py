"""The ways in, by the scheme of a listener's URL. A new one is a module in this folder and a line here.

Not here: what any of them does.
"""

from __future__ import annotations

from hepswitch.sources import hep, kafka, mirror, nats, pcap, sip
from hepswitch.sources.inlet import Way
from hepswitch.units import Endpoint

WAYS: dict[str, Way] = {
    "udp": hep, "tcp": hep, "tls": hep, "sip": sip, "mirror": mirror, "ipip": mirror, "pcap": pcap,
    "nats": nats, "nats+tls": nats, "kafka": kafka, "kafka+tls": kafka,
}  # fmt: skip


def parse(url: str) -> Endpoint:
    """The listener that `url` speaks of. ValueError with a hint."""
    way = WAYS.get(url.partition(":")[0])
    if way is None:
        known = ", ".join(f"{scheme}:" for scheme in WAYS)
        raise ValueError(f"{url!r} does not start with one of {known}: write for example udp://0.0.0.0:9060")
    return way.parse(url)
