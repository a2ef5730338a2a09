from collections.abc import Sequence

from hepswitch.wire.batch import Batch
from hepswitch.wire.envelopes import Envelopes
from hepswitch.wire.pcap import CapturedFrame

class Intake:
    """Captured frames in, HEP packets out: `add` frames, give `batch()` to the flow, `clear()`.

    SIP from or to a port within `ports` (ranges, ends included; without any, all ports) becomes type 1 with its Call-ID as
    correlation id; with `rtcp`, RTCP on any port that a call's SDP named becomes type 5 (JSON) with that call's; with `hep`,
    HEP packets inside come out as they are. Everything else from or to such a port, and what was not captured whole, is
    counted in the listener of `envelopes` (a `books.Listener`); frames of other traffic only as `frames`.
    """

    def __init__(
        self, envelopes: Envelopes, ports: Sequence[tuple[int, int]] = (), *, rtcp: bool = True, hep: bool = False
    ) -> None:
        """ValueError for a range that is none."""
    def add(self, frame: CapturedFrame, vlan: int = -1) -> None:
        """Take one frame. `vlan`: the VLAN id that came beside it, when the frame does not say it itself."""
    def expire(self, time_us: int) -> None:
        """Give up what has waited too long at this time of capture (µs). `add` sees to it; when no frame comes, call it."""
    def finish(self) -> None:
        """The capture is over: what is still waiting comes out as far as it is there, or is counted."""
    def batch(self) -> Batch:
        """The packets made since the last `clear`. Views that live until the next `add` or `clear`."""
    def clear(self) -> None:
        """Forget the packets."""
    def __len__(self) -> int: ...

def looks_like_hep(data: bytes) -> bool:
    """Whether a datagram begins like HEP: v3 by its magic (or gzip, which some agents pack it in), v1/v2 by the header."""
