from hepswitch.buckets import Buckets

class Limit:
    """At most a rate of packets for each value of `by`: "source", "listener", "agent", or a chunk's name or number.

    `interval_ns` and `depth_ns` are `buckets.pace`'s. `marks`: what is too much is tagged "limited" instead of dropped.
    Packets without the chunk share one bucket. ValueError when no chunk is called `by`.
    """

    name: str
    exceeded: int
    marks: bool
    def __init__(
        self, name: str, by: str, interval_ns: int, depth_ns: int, buckets: Buckets, *, marks: bool = False
    ) -> None: ...
