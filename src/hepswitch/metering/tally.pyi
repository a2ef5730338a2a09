UNKNOWN: str
"""Homer's name for the traffic of no target."""

BOUNDS: tuple[tuple[float, ...], ...]
"""Upper bounds of the buckets, seconds: of setup, registration and duration."""
