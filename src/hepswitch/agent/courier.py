"""Courier: a bounded queue, and the thread that carries what is in it along a way. The books of both.

    offer() ──▶ inbox ──▶ thread: way ──▶ far end

`offer` writes into the inbox and comes back; everything that can take time is the thread's. The thread begins with the
first packet, and again with the first packet in a forked child, which has a socket and books of its own; what the parent
had queued remains the parent's to deliver.
Not here: sockets (`ways`), and what the packets say (`sender`).
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import select
import signal
import threading
from collections.abc import Callable
from time import monotonic, sleep
from weakref import WeakSet

from hepswitch.agent.ways import Way
from hepswitch.books import Account, Snapshot
from hepswitch.destinations.outlet import Backoff
from hepswitch.wire.frames import Frames

log = logging.getLogger("hepswitch.agent")

THREAD = "hepswitch-agent"
"""Name of every courier's thread. What is logged there is about sending, and must not be sent (see `HepLogHandler`)."""

GATHER = 0.005
"""Seconds in which more packets may come before the first one is sent: a wake-up costs more than a packet."""

GOODBYE = 0.2
"""Seconds that the thread has to end after everything is delivered or the time for it is over."""


class Courier:
    """Carries packets to `url`, along ways that `make_way` makes, one for each process. At most `queue` bytes wait, here
    and unacknowledged. `drain`: seconds for `flush` and `close` unless they are given others.
    """

    def __init__(self, url: str, make_way: Callable[[], Way], queue: int, drain: float) -> None:
        self.url = url
        self._drain = drain
        self._make_way = make_way
        self._queue = queue
        self._closing = False
        self._deadline = math.inf
        self._begin()
        _couriers.add(self)

    def _begin(self) -> None:
        """Nothing has been sent by this process yet."""
        # Its lock is re-entrant: a signal handler, or a finalizer that logs, may come in while its own thread sends.
        self._changed = threading.Condition(threading.RLock())
        self._starting = threading.Lock()
        self._books = Account(state="closed" if self._closing else "idle")
        self._connects = self._replayed = 0
        self._inbox = Frames()
        self._held = 0  # bytes that have left the inbox and are not delivered
        self._awake = False
        self._thread: threading.Thread | None = None
        self._wake = -1
        self._way = self._make_way()

    # ── everybody's side ───────────────────────────────────────────────────────────────────────────────────────────

    @property
    def state(self) -> str:
        """idle (nothing sent yet), probing, active, inactive or closed."""
        return self._books.state

    def offer(self, packet: bytes) -> bool:
        """Queue a packet. False when it was refused, which is counted. Never waits."""
        with self._changed:
            if self._closing:
                return self.refuse("closed")
            if self._inbox.nbytes + self._held + len(packet) > self._queue:
                return self.refuse("queue full")
            if self._thread is None and not self._start():
                return self.refuse("no thread")
            self._inbox.push(packet)
            self._books.accepted += 1
            self._books.queued += 1
            if not self._awake and self._wake >= 0:  # below 0: see `_start`
                self._awake = True
                os.eventfd_write(self._wake, 1)
        return True

    def refuse(self, reason: str) -> bool:
        """Count a packet that is not accepted. False."""
        with self._changed:
            self._books.refused[reason] += 1
        return False

    def stats(self) -> Snapshot:
        """The books of this process."""
        with self._changed:
            more = {"reconnects": max(0, self._connects - 1), "replayed": self._replayed}
            return self._books.snapshot() | more

    def flush(self, timeout: float | None = None) -> bool:
        """See `HepSender`."""
        patience = self._drain if timeout is None else timeout
        with self._changed:
            goal = self._books.accepted
            return self._changed.wait_for(lambda: self._books.accepted - self._books.queued >= goal, patience)

    def close(self, timeout: float | None = None) -> bool:
        """See `HepSender`."""
        self.stop(timeout)
        with self._changed:
            thread = self._thread
            self._changed.wait_for(self._over, max(0.0, self._deadline - monotonic()))
        # The thread may be inside a look-up or a connection attempt, which cannot be hurried. Nobody waits for that.
        if thread is not None:
            thread.join(GOODBYE)
        return not self._books.queued and not self._books.discarded["shutdown"]

    def stop(self, timeout: float | None = None) -> None:
        """The beginning of `close`: it does not wait."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._deadline = monotonic() + (self._drain if timeout is None else timeout)
            if self._thread is None:
                self._finish()
            else:
                if self._wake >= 0:
                    os.eventfd_write(self._wake, 1)
                self._changed.notify_all()

    def _start(self) -> bool:
        """False when there can be no thread: the interpreter ends, or the system has no more of them, or of descriptors."""
        if not self._starting.acquire(blocking=False):
            return True  # a signal handler, come in below: what it sends is found by the thread that is started there
        try:
            return self._thread is not None or self._begin_thread()
        finally:
            self._starting.release()

    def _begin_thread(self) -> bool:
        # A daemon: else the interpreter would wait for it before `atexit` tells it to end.
        self._thread = threading.Thread(target=self._run, name=THREAD, daemon=True)
        self._awake = False
        self._books.state = "probing"
        try:
            self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            self._thread.start()
        except (OSError, RuntimeError):
            self._finish()
            return False
        return True

    def _finish(self) -> None:
        """There is no thread any more. What is left is lost at the end, else the next packet starts a thread for it."""
        with self._changed:
            if self._wake >= 0:
                os.close(self._wake)
            self._wake, self._thread = -1, None
            self._books.state = "inactive"
            if self._closing:
                if self._books.queued:
                    self._books.discarded["shutdown"] += self._books.queued
                self._books.queued = 0
                self._books.state = "closed"
            self._changed.notify_all()

    def begin_in_child(self) -> None:
        """This is a child that has just been forked, with the forking thread alone: begin anew."""
        way, wake = self._way, self._wake
        self._begin()
        way.abandon()
        if wake >= 0:
            os.close(wake)

    # ── the thread ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        """Connect and carry; after a break pause and connect again, until `close`."""
        # Signals are the program's, whose main thread they must interrupt. And SIGPIPE, where the program has not left it
        # ignored, would end it when the far end goes away.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        way, backoff = self._way, Backoff()
        try:
            while not self._over():
                try:
                    way.connect()
                    self._connected()
                    self._carry(way, backoff)
                except OSError as error:
                    way.broken(error)
                    self._publish(way)
                    self._away(error)
                    self._pause(backoff.next())
        finally:
            way.close()
            self._finish()

    def _over(self) -> bool:
        with self._changed:
            return self._closing and (not self._books.queued or monotonic() >= self._deadline)

    def _carry(self, way: Way, backoff: Backoff) -> None:
        """Send what is queued and what comes, until `close`. Raises OSError when the far end is away."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        while True:
            self._collect(way)
            delivered = way.delivered
            try:
                blocked = way.carry()
            finally:
                self._publish(way)
            if way.delivered > delivered:
                backoff.reset()
            if self._over():
                return
            poll.register(way.sock, select.POLLIN | (select.POLLOUT if blocked else 0))
            for descriptor, _ in poll.poll(self._patience(way)):
                if descriptor == self._wake:
                    os.eventfd_read(self._wake)
                    if not self._closing:
                        sleep(GATHER)

    def _patience(self, way: Way) -> int | None:
        """Milliseconds to wait for an event."""
        until_over = max(0.0, self._deadline - monotonic())
        seconds = min(way.patience, until_over)
        return None if seconds == math.inf else math.ceil(seconds * 1000)

    def _collect(self, way: Way) -> None:
        with self._changed:
            self._awake = False
            taken, self._inbox = self._inbox, Frames()
            self._held += taken.nbytes
        for frame in taken:
            way.frames.push(frame)

    def _publish(self, way: Way) -> None:
        with self._changed:
            self._books.delivered = way.delivered
            self._books.discarded = way.discarded.copy()
            self._books.queued = len(self._inbox) + way.queued
            self._replayed = way.replayed
            self._held = way.nbytes
            self._changed.notify_all()

    def _connected(self) -> None:
        with self._changed:
            before, self._books.state = self._books.state, "active"
            self._connects += 1
        if before == "inactive":
            log.info("%s is back", self.url)

    def _away(self, error: OSError) -> None:
        """Said once for each outage."""
        with self._changed:
            before, self._books.state = self._books.state, "inactive"
        if before != "inactive":
            reason = error.strerror or str(error)
            log.warning("%s is away: %s; packets wait, up to %d bytes of them", self.url, reason, self._queue)

    def _pause(self, seconds: float) -> None:
        """A stop ends the pause, so that there is one more attempt; during a stop the pause ends with it."""
        with self._changed:
            if self._closing:
                self._changed.wait(min(seconds, max(0.0, self._deadline - monotonic())))
            else:
                self._changed.wait_for(lambda: self._closing, seconds)


# ── every courier of the process ──────────────────────────────────────────────────────────────────────────────────────

_couriers: WeakSet[Courier] = WeakSet()


@atexit.register
def _close_all() -> None:
    """At the interpreter's exit: all at once, so that it takes as long as the slowest."""
    couriers = list(_couriers)
    for courier in couriers:
        courier.stop()
    for courier in couriers:
        courier.close()


def _forked() -> None:
    for courier in list(_couriers):
        courier.begin_in_child()


os.register_at_fork(after_in_child=_forked)
