from collections.abc import Callable
from typing import Any

from hepswitch.routing.gate import Gate
from hepswitch.routing.packet import Context, Message, MeterBase, Packet
from hepswitch.wire.batch import Batch

class Flow:
    """Calls the routes for each packet of a batch. `flow(batch)` never raises.

    `hep_route` (Packet → ignored) may be None: then `sip_route` (Message → ignored) alone runs, and without either every
    packet goes to the default store. `on_error(packet, error)` is told of a route that raised, whatever it raised, and acts
    on the packet. What `gate` refuses never gets to a route; None lets everything in. `meter` sees what does.
    What the gate cannot judge yet is left in the batch, with all that follows (`Batch.busy`).
    """

    hep_route: Callable[[Packet], Any] | None
    sip_route: Callable[[Message], Any] | None
    gate: Gate | None
    meter: MeterBase | None
    def __init__(
        self,
        context: Context,
        on_error: Callable[[Packet, BaseException], None],
        hep_route: Callable[[Packet], Any] | None = None,
        sip_route: Callable[[Message], Any] | None = None,
        gate: Gate | None = None,
    ) -> None: ...
    def __call__(self, batch: Batch) -> None: ...
