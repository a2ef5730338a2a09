"""One idea: trace ids and scopes. International calls whole, with their RTCP; registrations as transactions; failures alone.

OpenSIPS: `trace("calls", "d", "sip", $fU)`, `trace("registrations", "t")`, `trace("failures", "m")`, and a `trace_id` for
each target. Everything is stored besides; a trace only adds copies.

Configuration:

    [hep_route]
    mode = "script"
    script = "trace_calls.py"

    [stores.lake]
    url = "lake:./captures"

    [stores.traces]
    url = "sqlite:traces-%Y%m.db"

    [traces.calls]
    to = ["store:traces", "pcap:calls-%Y%m%d.pcapng"]

    [traces.registrations]
    to = ["file:registrations.sip"]

    [traces.failures]
    to = ["file:failures.sip", "store:traces"]
"""

from hepswitch import hep_route


@hep_route
def trace(hep):
    hep.store()
    msg = hep.sip
    if msg is None:
        return  # RTCP of a traced call is traced by itself
    if msg.method == "INVITE" and not msg.to_tag and (msg.ruri_user or "").startswith(("00", "+")):
        hep.trace("calls", scope="dialog", types="sip|rtcp", attrs=msg.from_user)
    elif msg.method == "REGISTER":
        hep.trace("registrations", scope="transaction")
    elif msg.status is not None and msg.status >= 400 and msg.status not in (401, 407):
        hep.trace("failures", scope="message", attrs=str(msg.status))
