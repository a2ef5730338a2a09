"""One idea: old agents send HEP v1 and v2, everything behind the switch gets v3.

OpenSIPS: `hep_relay()` cannot; the work-around parses the SIP and traces it again, so that time and capture id become the
switch's own. Here the captured time and the capture id stay. v1 knows neither: the time of arrival is written in, and a
number for its agent. Without the number no script is needed: `version = 3` in the destination.

Configuration:

    [hep_route]
    mode = "script"
    script = "convert_v2.py"

    [destinations.homer]
    urls = ["udp://10.1.1.1:9060"]
"""

from hepswitch import hep_route


@hep_route
def convert(hep):
    if hep.version < 3:
        hep.version = 3
        if hep.captagent_id is None:
            hep.captagent_id = 9
    hep.relay("homer")
