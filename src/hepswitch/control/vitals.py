"""How the switch itself is: its processes, its event loop, its sockets' buffers, its disks, and what those who tend stores
have left on disk. Not here: packets (`books`), who looks (`observer`), what becomes a metric of it (`metrics`).
"""

from __future__ import annotations

from msgspec import Struct, field

from hepswitch.destinations.figures import KeeperFigures, LoaderFigures, UploaderFigures


class Disk(Struct, frozen=True):
    """Bytes of a file system, and those of them that are free for us."""

    size: int
    free: int


class Vitals(Struct, frozen=True):
    """All of it; what is said of processes is by their kind.

    `cpu` (seconds) and `restarts` go on while a process is not running, and over its restarts; `memory` (bytes) and
    `descriptors` are of those that run. `buffers`: bytes of the receive buffer that each UDP listener was given, the
    smallest of its sockets'.
    """

    capturing: bool = True
    loop_lag: float = 0.0
    descriptor_limit: int = 0
    cpu: dict[str, float] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    descriptors: dict[str, int] = field(default_factory=dict)
    buffers: dict[str, int] = field(default_factory=dict)
    buffer_asked: int = 0
    disks: dict[str, Disk] = field(default_factory=dict)
    loaders: dict[str, LoaderFigures] = field(default_factory=dict)
    keepers: dict[str, KeeperFigures] = field(default_factory=dict)
    uploaders: dict[str, UploaderFigures] = field(default_factory=dict)
