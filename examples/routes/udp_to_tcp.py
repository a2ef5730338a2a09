"""One idea: a bridge from UDP to TLS, with version 1 and 2 left on UDP as they are.

OpenSIPS: `$HEPVERSION` decides between two `$du`, for `hep_relay()` sends old versions over UDP only. Here they need not
stay behind: what goes to a TCP or TLS destination becomes version 3 by itself.

Configuration:

    [hep_route]
    mode = "script"
    script = "udp_to_tcp.py"

    [destinations.collector]
    urls = ["tls://collector.example:9061"]
    spool = "4GiB"

    [destinations.old]
    urls = ["udp://collector.example:9060"]
"""

from hepswitch import hep_route


@hep_route
def bridge(hep):
    hep.relay("collector" if hep.version == 3 else "old")
