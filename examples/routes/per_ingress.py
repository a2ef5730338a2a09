"""One idea: what may come in where. Port 9060 is for our own network, port 9070 for partners, who must send version 3.

OpenSIPS: tests of `$hep_net(dst_port)`, `$hep_net(src_ip)` and `$HEPVERSION` before `hep_relay()`.

Configuration:

    listen = ["udp://0.0.0.0:9060", "udp://0.0.0.0:9070"]

    [hep_route]
    mode = "script"
    script = "per_ingress.py"

    [destinations.homer]
    urls = ["udp://10.1.1.1:9060"]

    [destinations.partners]
    urls = ["udp://10.1.1.2:9060"]
"""

from hepswitch import hep_route

PARTNERS = {"198.51.100.7": "acme", "198.51.100.8": "globex"}


@hep_route
def admit(hep):
    if hep.received.dst_port == 9060:
        return hep.relay("homer")
    partner = PARTNERS.get(hep.received.src_ip)
    if partner is None:
        return hep.drop("unknown partner")
    if hep.version < 3:
        return hep.drop("partner with an old version")
    hep.node_name = partner
    return hep.relay("partners")
