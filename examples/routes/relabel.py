"""One idea: give capture agents the number and name that the rest of the network knows them by."""

from hepswitch import hep_route

AGENTS = {  # address of the agent: number, name
    "192.0.2.1": (2001, "proxy-berlin"),
    "2001:db8::1": (2001, "proxy-berlin"),
    "192.0.2.30": (2030, "gateway-berlin"),
}


@hep_route
def relabel(hep):
    known = AGENTS.get(hep.received.src_ip)
    if known is None:
        return hep.drop("unknown agent")
    if hep.version < 3:
        hep.version = 3  # v1 and v2 have no room for a name
    hep.captagent_id, hep.node_name = known
    return hep.relay("homer")
