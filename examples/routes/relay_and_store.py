"""One idea: signalling is kept here, a table a day, and goes to the collector as well; all else goes somewhere else.

OpenSIPS: `hep_resume_sip()`, then `sip_capture("sip_capture_call_%Y%m%d", $hep_net(src_ip))` and `hep_relay()` in both
`route` and `onreply_route`. Here requests and replies meet in one SIP route.

Configuration:

    [hep_route]
    mode = "script"
    script = "relay_and_store.py"

    [destinations.homer]
    urls = ["udp://10.1.1.1:9060"]

    [destinations.media]
    urls = ["udp://10.1.1.9:9060"]

    [stores.lake]
    url = "lake:./captures"
"""

from hepswitch import hep_route, sip_route


@hep_route
def sort(hep):
    if hep.sip:
        return hep.resume_sip()
    return hep.relay("media")


@sip_route
def signalling(msg):
    msg.store(table="sip_capture_call_%Y%m%d", custom_field1=msg.received.src_ip)
    msg.relay("homer")
