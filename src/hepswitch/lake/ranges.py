"""Byte ranges of files that are far away, many at once; who waits waits no longer than PATIENCE and can be called off.

Reading blocks in the client of the object storage, whose own time limits and attempts may come to minutes. So it is done by
threads of its own, daemons: a storage that hangs holds up neither an answer nor the end of the process.
Not here: which ranges are wanted (`tails`, `object_files`).
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

if TYPE_CHECKING:
    from pyarrow import NativeFile

    from hepswitch.lake.remote import Remote

K = TypeVar("K")
T = TypeVar("T")

Calls: TypeAlias = "queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]"

PATIENCE = 10.0
"""Seconds without anything from the storage after which it is taken to be away."""

THREADS = 24
"""Requests at once: a request takes its time to be answered, whatever it asks for."""

MOST_THREADS = 4 * THREADS
"""With those that wait for what nobody waits for any more: an answer that comes a byte a second comes for hours."""

AHEAD = 2 * THREADS
"""Requests that are made or wait to be, or whose answers wait to be taken."""

STACK = 1 << 20
"""Bytes of each thread's stack."""

MOST_OPEN = 256
"""Files that are remembered as open: opening one is a request of its own."""


class Range(NamedTuple):
    """`length` bytes of a file from `offset` on."""

    path: str
    offset: int
    length: int


class CalledOffError(Exception):
    """Nobody wants to know any more."""


class Ranges:
    """The files of `remote`. Everything raises OSError in words (TimeoutError after PATIENCE), or CalledOffError."""

    def __init__(self, remote: Remote, patience: float = PATIENCE) -> None:
        self._remote = remote
        self._patience = patience
        self._calls: Calls = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._left: list[threading.Thread] = []
        self._called_off: Future[None] = Future()
        self._opened: OrderedDict[str, NativeFile] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self) -> None:
        """A question begins: what was called off before does not concern it."""
        self._called_off = Future()

    def call_off(self) -> None:
        """Whoever waits gives up now, from any thread."""
        with contextlib.suppress(Exception):  # twice is once
            self._called_off.set_result(None)

    def check(self) -> None:
        """Raises CalledOffError when it was called off."""
        if self._called_off.done():
            raise CalledOffError

    def read(self, wanted: Range) -> bytes:
        """The bytes of one range."""
        return self.call(functools.partial(self.get, wanted))

    def call(self, function: Callable[[], T]) -> T:
        """What `function`, which asks the storage something, gives or raises."""
        future = self._begun(function)
        self._wait([future])
        return future.result()

    def call_many(self, functions: Mapping[K, Callable[[], T]]) -> Iterator[tuple[K, T | OSError]]:
        """What all of them give, by their keys, or the OSError that they raise, in the order in which they are done.

        Whoever takes it slowly is waited for: answers are memory.
        """
        left = iter(functions.items())
        waiting: dict[Future[T], K] = {}
        try:
            while True:
                for key, function in itertools.islice(left, AHEAD - len(waiting)):
                    waiting[self._begun(function)] = key
                if not waiting:
                    return
                for future in self._wait(waiting):
                    key = waiting.pop(future)
                    error = future.exception()
                    if error is not None and not isinstance(error, OSError):
                        raise error
                    yield key, future.result() if error is None else error
        finally:
            for future in waiting:
                future.cancel()

    def _wait(self, futures: Iterable[Future[Any]]) -> set[Future[Any]]:
        done, _ = wait([*futures, self._called_off], self._patience, FIRST_COMPLETED)
        if self._called_off in done:
            raise CalledOffError
        if not done:
            self._leave()
            raise TimeoutError(f"{self._remote}: no answer within {self._patience:g} s")
        return done

    def _begun(self, function: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        self._calls.put((future, function))
        if len(self._threads) < THREADS:
            self._start()
        return future

    def _start(self) -> None:
        thread = threading.Thread(target=_work, args=(self._calls,), name="remote", daemon=True)
        # Memory may be bounded, and a stack is memory.
        usual = threading.stack_size(STACK)
        try:
            thread.start()
        except RuntimeError as error:
            if not self._threads:
                raise MemoryError from error
        else:
            self._threads.append(thread)
        finally:
            threading.stack_size(usual)

    def _leave(self) -> None:
        """Let what is asked from now on not wait for these threads: they end when they have what they wait for."""
        self._left = [thread for thread in self._left if thread.is_alive()]
        if len(self._left) + len(self._threads) + THREADS > MOST_THREADS:
            return
        self._left += self._threads
        for _ in self._threads:
            self._calls.put(None)
        self._calls, self._threads = queue.SimpleQueue(), []

    def get(self, wanted: Range) -> bytes:
        """The bytes of one range, for functions that `call` and `call_many` call: it takes as long as it takes."""
        with self._remote.told():
            try:
                return _bytes(self._open(wanted.path), wanted)
            except FileNotFoundError:
                raise
            except OSError:
                # Of a file that was deleted since it was opened some storages say anything: opening it again says it. And
                # one that was replaced has another size.
                with self._lock:
                    self._opened.pop(wanted.path, None)
                return _bytes(self._open(wanted.path), wanted)

    def _open(self, path: str) -> NativeFile:
        with self._lock:
            if (known := self._opened.get(path)) is not None:
                self._opened.move_to_end(path)
                return known
        opened = self._remote.filesystem.open_input_file(path)
        with self._lock:
            self._opened[path] = opened
            if len(self._opened) > MOST_OPEN:
                self._opened.popitem(last=False)
        return opened


def _work(calls: Calls) -> None:
    while (call := calls.get()) is not None:
        future, function = call
        if not future.set_running_or_notify_cancel():
            continue
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001 (it is raised where somebody waits)
            future.set_exception(error)
        else:
            future.set_result(result)
        del future, function, call


def _bytes(file: NativeFile, wanted: Range) -> bytes:
    found = bytes(file.read_at(wanted.length, wanted.offset))  # type: ignore[call-arg]  # the stubs know no arguments
    if len(found) != wanted.length:
        raise OSError(f"{wanted.path} ends early")
    return found
