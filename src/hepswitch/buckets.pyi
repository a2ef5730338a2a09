from collections.abc import Hashable

class Buckets:
    """At most `size` token buckets (rounded up to a power of two, ≥ 8), each known by a key.

    A bucket that has filled up again is the same as one that never was, so it gives way for nothing. When a new key finds
    no such place, the bucket nearest to full gives way (`evicted`): of a flood of new keys, those of the flood.
    """

    evicted: int
    def __init__(self, size: int = 65536) -> None: ...
    def take(self, key: Hashable, interval_ns: int, depth_ns: int, now_ns: int) -> bool:
        """One token of the bucket `key` at the time `now_ns` (monotonic). False when it is empty.

        A token comes every `interval_ns`; the bucket holds `depth_ns // interval_ns` of them.
        """
    def limit(self, key: Hashable, rate: str | float, burst: float | None = None) -> bool:
        """True when one more of `key` is within `rate` ("100/s", "60/m", or a number a second), False when it is too much.

        `burst` (default: the number in the rate) may come at once. Any hashable value is a key: an address, a user, a
        tuple. The same key with another rate is the same bucket. ValueError for what is no rate.
        """

def pace(rate: str | float, burst: float | None = None, share: int = 1) -> tuple[int, int]:
    """(interval_ns, depth_ns) of one of `share` workers that together keep to `rate` and `burst`. ValueError."""
