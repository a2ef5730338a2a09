"""One idea: old agents send HEP v1 and v2, everything behind the switch gets v3.

v1 knows no time and no agent: the time of arrival is written in, and the agent's number if it has none.
"""

from hepswitch import hep_route


@hep_route
def convert(hep):
    if hep.version < 3:
        arrived = hep.time_us
        hep.version = 3
        hep.timestamp, hep.timestamp_us = divmod(arrived, 1_000_000)
        if hep.captagent_id is None:
            hep.captagent_id = 9
    hep.relay("homer")
