"""One idea: calls go into a database, each tenant's into a table of its own, a table a day.

OpenSIPS: `sip_capture("sip_capture_acme_%Y%m%d")` under an `if ($rd == "example.org")` for each tenant. A name that is made
of what packets say would let a stranger make tables, so the tenants are listed here; all others share one table.

Configuration:

    [hep_route]
    mode = "script"
    script = "tables_by_tenant.py"

    [stores.calls]
    url = "postgresql://hepswitch@127.0.0.1/voip"
    [stores.calls.opensips]
    table = "sip_capture_%Y%m%d"
    report_table = "report_capture_%Y%m%d"
"""

from hepswitch import hep_route, sip_route

TENANTS = {"example.org": "acme", "example.net": "globex"}


@hep_route
def sort(hep):
    if hep.sip:
        return hep.resume_sip()
    hep.store("calls")  # RTCP, logs, reports: into report_table


@sip_route
def calls(msg):
    tenant = TENANTS.get(msg.to_domain) or TENANTS.get(msg.from_domain)  # the same in requests and replies
    msg.store("calls", table=f"sip_capture_{tenant}_%Y%m%d" if tenant else None)
