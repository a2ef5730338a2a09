"""Metrics of the switch itself: version, processes, buffers, disks."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from hepswitch import __version__
from hepswitch.books import Snapshot
from hepswitch.control.metrics.families import Group
from hepswitch.control.vitals import Vitals

SWITCH = Group("The switch")
BUILD = SWITCH.gauge("hepswitch_build_info", "1; the label says which version this is.", "version")
UPTIME = SWITCH.gauge("hepswitch_uptime_seconds", "Seconds since the switch started.")
BALANCED = SWITCH.gauge("hepswitch_books_balanced", "1 when every packet is accounted for.")
CAPTURING = SWITCH.gauge("hepswitch_capturing", "1 while packets are put into stores, 0 while that is switched off.")
LOOP_LAG = SWITCH.gauge(
    "hepswitch_event_loop_lag_seconds", "How late the supervisor came to its work, at the worst of the last minute."
)

PROCESSES = Group(
    "Processes",
    "Label `process` is `supervisor`, `worker N`, `keeper of STORE`, `loader of STORE` and so on. Of one that is not "
    "running, memory and descriptors are not told.",
)
CPU = PROCESSES.counter(
    "hepswitch_process_cpu_seconds_total", "CPU time, user and system, over all restarts of the process.", "process"
)
MEMORY = PROCESSES.gauge("hepswitch_process_resident_memory_bytes", "Memory that it has now.", "process")
DESCRIPTORS = PROCESSES.gauge("hepswitch_process_open_fds", "Descriptors that it has open.", "process")
DESCRIPTOR_LIMIT = PROCESSES.gauge("hepswitch_process_max_fds", "Descriptors that each process may have open.")
RESTARTS = PROCESSES.counter("hepswitch_process_restarts_total", "How often it was started again.", "process")

SYSTEM = Group("Buffers and disks", "Label `place` is `spool`, or `store NAME` of a lake.")
BUFFER = SYSTEM.gauge(
    "hepswitch_receive_buffer_bytes",
    "Receive buffer that the kernel gave to the sockets of a UDP listener (the smallest).", "listener",
)  # fmt: skip
BUFFER_ASKED = SYSTEM.gauge("hepswitch_receive_buffer_asked_bytes", "Receive buffer that the configuration asks for.")
DISK_FREE = SYSTEM.gauge("hepswitch_disk_free_bytes", "Room on the file system.", "place")
DISK_SIZE = SYSTEM.gauge("hepswitch_disk_size_bytes", "Size of the file system.", "place")


def collect(book: Snapshot, vitals: Vitals) -> Iterator[Metric]:
    """All of them."""
    yield BUILD.of([((__version__,), 1.0)])
    yield UPTIME.alone(book["uptime"])
    yield BALANCED.alone(float(book["balanced"]))
    yield CAPTURING.alone(float(vitals.capturing))
    yield LOOP_LAG.alone(vitals.loop_lag)
    yield CPU.each(vitals.cpu)
    yield MEMORY.each(vitals.memory)
    yield DESCRIPTORS.each(vitals.descriptors)
    yield DESCRIPTOR_LIMIT.alone(vitals.descriptor_limit)
    yield RESTARTS.each(vitals.restarts)
    yield BUFFER.each(vitals.buffers)
    yield BUFFER_ASKED.alone(vitals.buffer_asked)
    yield DISK_FREE.of(((place,), disk.free) for place, disk in vitals.disks.items())
    yield DISK_SIZE.of(((place,), disk.size) for place, disk in vitals.disks.items())
