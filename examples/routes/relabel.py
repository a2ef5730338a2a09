"""One idea: give capture agents the number and name that the rest of the network knows them by, and their site.

OpenSIPS: `hep_set("captagent_id", …)`, `hep_set("0x0030", "fra1", "utf8-string", "3")`, and `hep_del("0x000e")` so that the
password goes no further. The last crashes there when a packet has no extra chunk; here it is false.

Configuration:

    [hep_route]
    mode = "script"
    script = "relabel.py"

    [destinations.homer]
    urls = ["udp://10.1.1.1:9060"]
"""

from hepswitch import hep_route

AGENTS = {  # address of the agent: number, name, site
    "192.0.2.1": (2001, "proxy-berlin", "ber1"),
    "2001:db8::1": (2001, "proxy-berlin", "ber1"),
    "192.0.2.30": (2030, "gateway-frankfurt", "fra1"),
}


@hep_route
def relabel(hep):
    known = AGENTS.get(hep.received.src_ip)
    if known is None:
        return hep.drop("unknown agent")
    if hep.version < 3:
        hep.version = 3  # v1 and v2 have no room for a name
    hep.captagent_id, hep.node_name, site = known
    hep.set(0x30, site, type="utf8-string", vendor=3)  # a chunk of our own
    hep.delete("auth_key")
    return hep.relay("homer")
