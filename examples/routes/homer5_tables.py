"""One idea: the tables of HOMER 5. Calls, registrations and the rest apart, a table a day; logs and statistics in their own.

OpenSIPS: the public HOMER 5 configuration, with `sip_capture("sip_capture_registration_%Y%m%d")` by class of method and
`report_capture($var(c), "logs_capture", 100)` for logs, whose table argument is broken since 3.0.

Configuration:

    [hep_route]
    mode = "script"
    script = "homer5_tables.py"

    [stores.lake]
    url = "lake:./captures"
"""

from hepswitch import hep_route, sip_route

CALL = {"INVITE", "UPDATE", "BYE", "ACK", "PRACK", "REFER", "CANCEL", "INFO"}
REPORTS = {"LOG": "logs_capture", "REPORT": "report_capture", "RTCP": "rtcp_capture"}


@hep_route
def reports(hep):
    if hep.sip:
        return hep.resume_sip()
    if not hep.correlation_id:
        return hep.drop("no correlation id")
    return hep.report(hep.correlation_id, table=REPORTS.get(str(hep.proto_type), "other_capture"))


@sip_route
def tables(msg):
    method = msg.cseq_method  # of replies too
    if method in CALL or (method == "NOTIFY" and (msg.header("Event") or "").startswith("refer")):
        kind = "call"
    elif method == "REGISTER":
        kind = "registration"
    else:
        kind = "rest"
    msg.store(table=f"sip_capture_{kind}_%Y%m%d")
