"""One idea: two collectors get everything, each with its own queue, spool and books.

OpenSIPS: `$du = …; hep_relay();` twice. A slow or dead collector holds nothing up, and what it missed waits for it on disk.
Without a script: one destination with both URLs and policy = "all".

Configuration:

    [hep_route]
    mode = "script"
    script = "fork.py"

    [destinations.homer]
    urls = ["tcp://10.1.1.1:9060"]
    spool = "4GiB"

    [destinations.fraud]
    urls = ["udp://10.1.1.2:9060"]
"""

from hepswitch import hep_route


@hep_route
def fork(hep):
    hep.relay("homer")
    hep.relay("fraud")
