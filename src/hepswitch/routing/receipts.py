"""Receipts: when numbered packets that were taken are safe, so that they need not come again (`replays`).

A packet is safe once each store has written what it had taken by then, and the nodes of destinations hold nothing of that
time in memory alone: they have delivered it or put it on disk. A node that is slow is not waited for longer than PATIENCE.

    took ──▶ note: before a store writes, the numbers go into the file `numbers.wN`, with the journals' next frames to be
         ──▶ settle: that is what they are now: the numbers are safe, in the file `numbers`, which all workers map

A block of a journal is there as a whole or not at all. So when a process is killed, `open` sees by the next frames of the
journals which of the noted packets they have: nothing that was written is taken again, and nothing that was not is refused.
When packets were on their way to a node as well they are taken again, for what it held is gone. So are packets that some
stores had written and others not. Not here: recognising packets, and which worker may (`replays`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import mmap
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
import structlog

from hepswitch.destinations.hep_node import HepNode
from hepswitch.destinations.journaled import JournaledOutlet
from hepswitch.destinations.outlet import LONGEST_PAUSE
from hepswitch.journal import FILE_MODE, create, make_folder
from hepswitch.logs import Throttle
from hepswitch.routing.replays import ROOM, Replays, Run

log = structlog.get_logger("hepswitch.replays")

FILE = "numbers"

SETTLE = 0.02
"""Seconds between two looks whether what was taken is safe."""
RENEW = 1.0
"""Seconds between two signs of life to the other workers."""
PATIENCE = 5.0
"""Seconds that a node is waited for."""
MOST_NOTES = 64
"""Notes that wait: what comes then joins the latest."""
LARGEST = 1 << 20
"""Bytes added to the file of notes after which it is written anew, without those that are settled."""


class Note(msgspec.Struct):
    """Packets that were taken together. `upto`: the next frame of each store's journal when it has written them; `relayed`:
    nodes held packets in memory."""

    runs: list[Run]
    upto: dict[str, int]
    relayed: bool


Tell = Callable[[int, int], None]
"""Takes queue and number of a packet that is safe, with all that came before it on the same connection."""


class _Waiting:
    """A note that is not settled, what nodes have `promised`, until when they are waited for, and whom to tell."""

    def __init__(
        self, note: Note, promises: list[tuple[HepNode, int]], deadline: float, asking: dict[Tell, tuple[int, int]]
    ) -> None:
        self.note = note
        self.promises = promises
        self.deadline = deadline
        self.asking = asking


def shared_memory(folder: Path) -> mmap.mmap:
    """The file in `folder` that all workers of a switch map, made if need be. When it cannot be kept there, memory of this
    process alone: a warning says so."""
    path = folder / FILE
    try:
        make_folder(folder)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)  # another worker may be making it
            if os.fstat(fd).st_size != ROOM:
                os.ftruncate(fd, 0)
                os.posix_fallocate(fd, 0, ROOM)  # a full disk shows now, not when a page is written
            fcntl.flock(fd, fcntl.LOCK_UN)  # the map would hold it
            return mmap.mmap(fd, ROOM)
        finally:
            os.close(fd)
    except OSError as error:
        log.warning("numbers of packets cannot be kept; some may come twice", file=str(path), reason=error.strerror)
        return mmap.mmap(-1, ROOM)


def _joined(runs: list[Run]) -> list[Run]:
    """The same packets in as few runs as may be."""
    found: list[Run] = []
    for queue, first, last in sorted(runs):
        if found and (found[-1][0], found[-1][2] + 1) == (queue, first):
            found[-1] = queue, found[-1][1], last
        else:
            found.append((queue, first, last))
    return found


def _tell(asking: dict[Tell, tuple[int, int]]) -> None:
    for tell, (queue, number) in asking.items():
        tell(queue, number)


class Receipts:
    """Those of one worker. `stores` by name; `promises` gives what each node promises that holds anything in memory."""

    def __init__(
        self,
        replays: Replays,
        folder: Path,
        worker: int,
        stores: Mapping[str, JournaledOutlet],
        promises: Callable[[], list[tuple[HepNode, int]]],
    ) -> None:
        self._replays = replays
        self._path = folder / f"{FILE}.w{worker}"
        self._stores = stores
        self._promises = promises
        self._waiting: deque[_Waiting] = deque()
        self._asking: dict[Tell, tuple[int, int]] = {}
        self._file = -1
        self._size = 0
        self._kept = 0  # of that, what was there when the file was written anew
        self._timer: asyncio.TimerHandle | None = None
        self._renewed = 0.0
        self._throttle = Throttle(LONGEST_PAUSE)

    # ── life ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def open(self) -> None:
        """Learn what a process that was killed had written; the stores are open. From now on packets may come."""
        self._loop = asyncio.get_running_loop()
        for note in self._left():
            if not note.relayed and all(
                name in self._stores and self._stores[name].written_to >= frame for name, frame in note.upto.items()
            ):
                self._replays.safe(note.runs)
        self._replays.begin()
        for store in self._stores.values():
            store.before_write = self.note
        self._keep()

    def _left(self) -> Iterator[Note]:
        """The notes that are on disk. One that is not whole was never acted upon."""
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning(
                "notes cannot be read; some packets may come twice", file=str(self._path), reason=error.strerror
            )
            return
        for line in text.splitlines():
            with contextlib.suppress(msgspec.DecodeError):
                yield msgspec.json.decode(line, type=Note)

    def close(self) -> None:
        """The outlets are closed: what they hold now they hold for good. What a store could not write may come again."""
        self.note()
        for waiting in self._waiting:
            waiting.promises = []
        self._look()
        if self._timer is not None:
            self._timer.cancel()
        if self._file >= 0:
            os.close(self._file)

    # ── the flow's side ────────────────────────────────────────────────────────────────────────────────────────────

    def ask(self, tell: Tell) -> None:
        """`tell` when the numbered packets that the flow has just had from one connection are safe."""
        if (answered := self._replays.answered()) is not None:
            self._asking[tell] = answered

    def note(self) -> None:
        """Write down what was taken since the last time, before anybody acts upon it."""
        runs = self._replays.taken()
        asking, self._asking = self._asking, {}
        if not runs:
            if self._waiting:
                self._waiting[-1].asking |= asking
            else:
                _tell(asking)
            return
        promises = self._promises()
        note = Note(runs, {name: store.taken_to for name, store in self._stores.items()}, bool(promises))
        self._append(note)
        latest = _Waiting(note, promises, self._loop.time() + PATIENCE, asking)
        if len(self._waiting) >= MOST_NOTES:
            last = self._waiting.pop()
            before = last.note
            latest.note = Note(_joined(before.runs + runs), note.upto, note.relayed or before.relayed)
            latest.asking = last.asking | asking
        self._waiting.append(latest)
        if self._timer is None:
            self._renewed = self._loop.time()
            self._timer = self._loop.call_later(SETTLE, self._settle)

    def _settle(self) -> None:
        self._timer = None
        self._look()
        if not self._waiting:
            return
        now = self._loop.time()
        if now - self._renewed >= RENEW:
            self._replays.renew()
            self._renewed = now
        self._timer = self._loop.call_later(SETTLE, self._settle)

    def _look(self) -> None:
        """Tell all workers of what is safe."""
        while self._waiting and self._is_safe(self._waiting[0]):
            done = self._waiting.popleft()
            self._replays.safe(done.note.runs)
            _tell(done.asking)
        if not self._waiting and self._size:
            self._keep()

    def _is_safe(self, waiting: _Waiting) -> bool:
        if any(self._stores[name].written_to < frame for name, frame in waiting.note.upto.items()):
            return False
        # One that waits for long would keep other workers from taking over its senders.
        return all(node.kept(count) for node, count in waiting.promises) or self._loop.time() >= waiting.deadline

    # ── on disk ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _append(self, note: Note) -> None:
        line = msgspec.json.encode(note) + b"\n"
        if self._size - self._kept > LARGEST:
            self._keep()
        try:
            written = os.pwrite(self._file, line, self._size)
        except OSError as error:
            self._complain(error)
            return
        if written == len(line):
            self._size += written
        else:  # the next one is written over it
            self._complain(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    def _keep(self) -> None:
        """Write the file anew, with the notes that wait."""
        try:
            if self._waiting or self._file < 0:
                new = self._path.with_name(f".{self._path.name}.new")
                with create(new) as stream:
                    stream.write(b"".join(msgspec.json.encode(each.note) + b"\n" for each in self._waiting))
                new.replace(self._path)
                fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
                if self._file >= 0:
                    os.close(self._file)
                self._file = fd
            else:
                os.ftruncate(self._file, 0)
            self._size = self._kept = os.fstat(self._file).st_size
        except OSError as error:
            self._complain(error)

    def _complain(self, error: OSError) -> None:
        if (unsaid := self._throttle.due("note")) is not None:
            log.error("notes cannot be kept; if the switch is killed now some packets may come twice", file=str(self._path),
                      error=str(error), not_logged=unsaid)  # fmt: skip
