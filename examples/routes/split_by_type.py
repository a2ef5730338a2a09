"""One idea: signalling, media quality and logs go to different places; OPTIONS pings go nowhere.

Configuration:

    [hep_route]
    mode = "script"
    script = "split_by_type.py"

    [destinations.homer]
    urls = ["udp://10.1.1.1:9060"]

    [destinations.quality]
    urls = ["udp://10.1.1.2:9060"]

    [stores.lake]
    url = "lake:./captures"
"""

from hepswitch import hep_route, sip_route


@hep_route
def split(hep):
    if hep.proto_type == "SIP":
        return hep.resume_sip()
    if hep.proto_type in ("RTCP", "MOS-full", "MOS-short"):
        return hep.relay("quality")
    return hep.store()


@sip_route
def signalling(msg):
    if (msg.method or msg.cseq_method) == "OPTIONS":
        return msg.drop("ping")
    msg.relay("homer")
    return msg.store(table=f"sip_{(msg.cseq_method or 'other').lower()}_%Y%m%d")
