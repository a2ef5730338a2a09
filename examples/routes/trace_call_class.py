"""One idea: everything about one class of calls goes to two more places, tied together by a correlation id of our own.

OpenSIPS: `trace("tid", "d", "sip|xlog|rest", $fu, "C", $avp(master_cid))`. The INVITE begins the trace; what belongs to its
dialog follows, whichever agent captured it: SIP in both directions on every hop, RTCP and logs, which carry the Call-ID as
correlation id. With flags="C" it would be the caller's side alone.

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
    spool = "1GiB"

    [traces.fraud]
    to = ["destination:fraud", "destination:archive"]
"""

from hepswitch import hep_route

CALLERS = {"alice", "+4930111"}


@hep_route
def trace(hep):
    hep.relay("homer")
    sip = hep.sip
    if sip and sip.method == "INVITE" and not sip.to_tag and sip.from_user in CALLERS:
        hep.trace("fraud", scope="dialog", types="sip|rtcp|log", correlation_id=f"{sip.from_user}/{sip.call_id}")
