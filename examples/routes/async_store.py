"""One idea: storing never waits, and the script learns at once whether the store took the packet.

OpenSIPS: `async(sip_capture(), stored); route[stored] { if ($rc < 0) xlog("insert failed"); }`, which drops retransmissions
of a known transaction and has no timer that flushes a batch. Here every `store()` is asynchronous: True means that the
packet is in the store's queue, False that the queue is full. What is lost later is in the books with its reason.

Configuration:

    [hep_route]
    mode = "script"
    script = "async_store.py"

    [destinations.spare]
    urls = ["tcp://10.1.1.2:9060"]
    spool = "1GiB"

    [stores.lake]
    url = "lake:./captures"
"""

from hepswitch import hep_route


@hep_route
def keep(hep):
    if not hep.store() and not hep.relay("spare"):
        hep.drop("store and spare are full")
