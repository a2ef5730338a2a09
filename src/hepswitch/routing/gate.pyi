from collections.abc import Collection, Mapping, Sequence

from hepswitch.books import Snapshot
from hepswitch.networks import Networks
from hepswitch.routing.duplicates import Duplicates
from hepswitch.routing.limits import Limit
from hepswitch.routing.replays import Replays

class Access:
    """Who may send to one listener: those in `allow` (None: everyone) that are not in `deny`.

    `keyless`: those whose packets may come without an authentication key.
    """

    allow: Networks | None
    deny: Networks | None
    keyless: Networks | None
    def __init__(
        self, allow: Networks | None = None, deny: Networks | None = None, keyless: Networks | None = None
    ) -> None: ...
    def permits(self, ip: str) -> bool:
        """May a sender at this address send? IPv4-mapped IPv6 counts as IPv4; what is no address is in no network."""

class Gate:
    """What a packet must pass before the route gets it. A refused one is counted in `listener.refused` by its reason.

    `access` is asked by listener URL; a listener that is not among them lets everyone in. `auth_keys`: one of them must
    be in the packet, and goes no further unless `forward_keys`. `switch_id`: packets that have been here, or in too many
    switches, are refused; 0 looks for none. `replays` knows the numbered packets that came to the listeners `numbered`.
    """

    access: Mapping[str, Access]
    limits: Sequence[Limit]
    duplicates: Duplicates | None
    replays: Replays | None
    def __init__(
        self,
        access: Mapping[str, Access] = ...,
        auth_keys: Sequence[bytes] = (),
        limits: Sequence[Limit] = (),
        duplicates: Duplicates | None = None,
        switch_id: int = 0,
        forward_keys: bool = False,
        replays: Replays | None = None,
        numbered: Collection[str] = (),
    ) -> None: ...
    def account(self) -> Snapshot:
        """What the guards found, dropped or only marked; `evicted` and `forgotten` say that their tables are too small."""
