"""Arrow in a process beside the workers: one thread, little memory. Not here: what is made with it."""

from __future__ import annotations

import pyarrow as pa


def bound() -> None:
    """To be called before Arrow does anything."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    # Arrow's own allocator keeps half again as much as is needed.
    pa.set_memory_pool(pa.system_memory_pool())
