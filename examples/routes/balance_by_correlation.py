"""One idea: several collectors, and everything of one call on one of them: its SIP, its RTCP and its logs.

OpenSIPS: `hep_get("0x0011", …, $avp(corr))` and `ds_select_dst(1, 7)` over the avp; SIP has to be parsed in another route
(`ds_select_dst(1, 0)`) to find its Call-ID. Here the policy "call" takes the Call-ID, else the correlation id, else the two
endpoints; a node that leaves moves only its own calls.

Configuration:

    [hep_route]
    mode = "script"
    script = "balance_by_correlation.py"

    [destinations.homer]
    urls = ["udp://10.1.1.1:9060", "udp://10.1.1.2:9060", "udp://10.1.1.3:9060?weight=2"]
    policy = "call"
"""

from hepswitch import hep_route


@hep_route
def balance(hep):
    hep.relay("homer")
