"""For Python applications: send HEP to a switch, or to any other capture node. A program that speaks SIP traces itself.

    from hepswitch.agent import HepLogHandler, HepSender, call

    sender = HepSender("udp://127.0.0.1:9060", captagent_id=2001)
    logging.getLogger().addHandler(HepLogHandler(sender))

    sender.sip(message, src=("10.0.0.1", 5060), dst=("10.0.0.2", 5060))
    with call(call_id):
        log.info("no route to %s", user)         # found with the call's messages

HepSender       a bounded queue and a thread of its own; UDP, TCP or TLS; never blocks, never raises for the far end's sake
HepLogHandler   a `logging.Handler`: log lines as HEP type 100 with the call's correlation id
call            the call that a thread or task is working for

Nothing here needs a running event loop, a configuration file or a switch on this machine. Importing it loads neither
pydantic nor pyarrow. Not here: capturing from the wire, and receiving (`hepswitch run`).
"""

from hepswitch.agent.calls import call, current_call
from hepswitch.agent.handler import HepLogHandler
from hepswitch.agent.sender import HepSender

__all__ = ["HepLogHandler", "HepSender", "call", "current_call"]
