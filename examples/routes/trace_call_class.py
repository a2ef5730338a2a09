"""One idea: everything about one class of calls goes to two more places, tied together by a correlation id of our own.

OpenSIPS: `trace("tid", "d", "sip|xlog|rest", $fu, "C", $avp(master_cid))`. Here the INVITE puts its call on a list; what
belongs to a call on the list follows it: SIP in both directions, RTCP and logs, which carry the Call-ID as correlation id.

Configuration:

    [hep_route]
    mode = "script"
    script = "trace_call_class.py"

    [destinations.homer]
    urls = ["tcp://10.1.1.1:9060"]

    [destinations.fraud]
    urls = ["tcp://10.1.1.2:9060"]

    [destinations.archive]
    urls = ["tcp://10.1.1.3:9060"]
"""

from hepswitch import hep_route, table

CALLERS = {"alice", "+4930111"}

traced = table("traced", ttl="4h", size=100_000)  # call: our correlation id; the oldest call is forgotten first


@hep_route
def trace(hep):
    hep.relay("homer")
    call, sip = hep.call_identity, hep.sip
    if sip and sip.method == "INVITE" and not sip.to_tag and sip.from_user in CALLERS and call not in traced:
        traced[call] = f"{sip.from_user}/{sip.call_id}"
    if call in traced:
        if hep.version < 3:
            hep.version = 3  # v1 and v2 have no room for a correlation id
        hep.correlation_id = traced[call]
        hep.relay("fraud")
        hep.relay("archive")
