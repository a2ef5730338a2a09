class Calls:
    """SIP transactions and calls in memory that worker processes share."""

    active: int
    """Answered calls that this worker found among its part of the entries, in the last whole round of sweeps."""
    evicted: int

def room(entries: int) -> int:
    """Bytes of memory in which that many transactions and calls fit."""
