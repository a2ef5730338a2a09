"""One idea: keep signalling and logs, throw RTCP and one noisy agent away.

OpenSIPS: a `hep_route` that calls `hep_get("proto_type", …)` and `hep_get("captagent_id", …)`, and `exit`s.
Here what was thrown away is counted by its reason.

Configuration:

    [hep_route]
    mode = "script"
    script = "filter_by_chunk.py"

    [destinations.homer]
    urls = ["udp://10.1.1.1:9060"]
"""

from hepswitch import hep_route


@hep_route
def keep(hep):
    if hep.proto_type == "RTCP":
        return hep.drop("RTCP")
    if hep.captagent_id == 999:
        return hep.drop("agent 999")
    return hep.relay("homer")
