"""Plain SIP to a far end: the text of each SIP message that a packet holds, over UDP or TCP, without HEP.

    sip:10.0.0.11:5060    sip:[2001:db8::11];transport=tcp

Over UDP a message goes as it was captured. Over TCP its Content-Length must say where it ends (RFC 3261 section 18.3): it
is added where it is missing and corrected where the capture lost the end of a body; a message whose start line was cut, or
of more than 65,535 bytes, would end the connection and is refused. SIP that an agent wrapped in JSON, or compressed, goes
in its own form. What is no SIP is refused. Queue, spool and state are those of a HEP node; there are no probes, for SIP has
no packet that means nothing, and what the far end answers is thrown away.

Not here: the URI (`uris`), queues and connections (`hep`), the text (`wire.plain_sip`).
"""

from __future__ import annotations

from dataclasses import replace

from hepswitch.destinations.hep import HepDestination, HepOutlet
from hepswitch.destinations.hep_node import Settings
from hepswitch.units import Endpoint
from hepswitch.wire.plain_sip import Plain


class SipOutlet(HepOutlet):
    """The destination of a `sip:` URI (`uris.parse_sip`); takes what a HepOutlet takes."""

    def _settings(self, endpoint: Endpoint, config: HepDestination) -> Settings:
        settings = super()._settings(endpoint, config)
        version = Plain.DATAGRAM if endpoint.scheme == "udp" else Plain.STREAM
        return replace(settings, version=version, mark=0, probe=0.0)

    def leads_to(self, ip: str | None, port: int | None) -> bool:
        """Whether what is sent here goes to this address."""
        return any(node.peer == (ip, port) for node in self._rows)
