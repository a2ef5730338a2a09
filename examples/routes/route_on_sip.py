"""One idea: a tenant's calls go to the tenant's collector, by what is inside: captured address and SIP domain.

OpenSIPS: in `route`, `if ($si == "192.0.2.7" || $rd =~ "example[.]net$") $du = …`; non-SIP cannot be told apart there. Here
it goes by the domain of its correlation id, which usually is the Call-ID.

Configuration:

    [hep_route]
    mode = "script"
    script = "route_on_sip.py"

    [destinations.tenant]
    urls = ["udp://10.1.1.1:9060"]

    [destinations.everyone]
    urls = ["udp://10.1.1.2:9060"]
"""

from hepswitch import hep_route, sip_route

ADDRESS, DOMAIN = "192.0.2.7", "example.net"


def collector(hep, domain):
    ours = hep.src_ip == ADDRESS or domain == DOMAIN or domain.endswith(f".{DOMAIN}")
    return "tenant" if ours else "everyone"


@hep_route
def by_correlation(hep):
    if hep.sip:
        return hep.resume_sip()
    identity = (hep.correlation_id or b"").decode(errors="replace")
    return hep.relay(collector(hep, identity.rpartition("@")[2]))


@sip_route
def by_domain(msg):
    return msg.relay(collector(msg.hep, (msg.ruri_domain or msg.to_domain or "").lower()))
