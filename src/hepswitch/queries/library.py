"""The supervisor's side: questions go to a few reader processes, answers come back as bytes.

A process answers one question at a time, the others wait in a short queue. Processes start with the first question, so they
are never in the way of the switch's start, and stay. Whoever goes away while a question is answered cancels it, and so does
time: the process is interrupted, which ends the query at a database's server too, and killed when that takes too long.
Not here: what a question means (`answering`), what a process does (`process`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

import structlog
from msgspec import structs
from msgspec.json import encode

from hepswitch.destinations.databases import DatabaseStore
from hepswitch.destinations.lake import LakeStore
from hepswitch.logs import words
from hepswitch.queries.answers import Refusal
from hepswitch.queries.line import Charge, Head
from hepswitch.queries.questions import Question
from hepswitch.queries.reader import GoneError, ReaderProcess
from hepswitch.tables import REVEALED

log = structlog.get_logger("hepswitch.queries")

MOST_WAITING = 16
"""Questions that wait for a process; one more is refused."""


class Answer:
    """An answer on its way. `status` is HTTP's; an error's body is `{"error": words}`."""

    def __init__(self, head: Head, pieces: AsyncIterator[bytes]) -> None:
        self.status = head.status
        self.media_type = head.media_type
        self._file_name = head.file_name
        self._pieces = pieces

    @property
    def headers(self) -> dict[str, str]:
        """Headers beside the media type."""
        return {} if self._file_name is None else {"Content-Disposition": f'attachment; filename="{self._file_name}"'}

    def chunks(self) -> AsyncIterator[bytes]:
        """The body, piece by piece: the process goes on when a piece is taken. Raises GoneError when it breaks off."""
        return self._pieces


class Library:
    """The stores as they can be asked.

    `timeout`: seconds that a question may take until its answer begins, and each piece of it afterwards. `processes`: how
    many questions are answered at once. `memory`: bytes that each process may take for them. `log`: level and format.
    """

    def __init__(
        self,
        stores: Mapping[str, LakeStore | DatabaseStore],
        timeout: float = 30.0,
        processes: int = 2,
        memory: int = 1 << 30,
        log: tuple[str, str] = ("info", "console"),
    ) -> None:
        told = {name: store.model_dump(mode="json", context=REVEALED) for name, store in stores.items()}
        charge = Charge(told, memory)
        self._timeout = timeout
        self._free = [ReaderProcess(number, charge, log) for number in reversed(range(processes))]
        self._all = list(self._free)
        self._turns = asyncio.Semaphore(processes)
        self._waiting = 0
        self._closed = False
        self._returning: set[asyncio.Task[None]] = set()

    def processes(self) -> list[tuple[int, str]]:
        """The processes that there are: their ids and what they are."""
        return [(each.pid, each.name) for each in self._all if each.pid is not None]

    @contextlib.asynccontextmanager
    async def ask(self, question: Question) -> AsyncIterator[Answer]:
        """The answer to a question, whatever it is: what cannot be answered is an answer with words. Leaving cancels it."""
        if self._turns.locked() and self._waiting >= MOST_WAITING:
            yield _refused(503, "too many questions at once: ask again in a moment")
            return
        try:
            async with asyncio.timeout(self._timeout):
                await self._turn()
        except TimeoutError:
            yield _refused(503, f"too many questions at once: this one waited {self._timeout:g} s for its turn")
            return
        # The latest first: it is warm, and what nobody needs is never started.
        reader = self._free.pop()
        try:
            yield await self._answer(reader, question)
        finally:
            if reader.idle:
                self._take_back(reader)
            else:
                # In a task of its own: whoever goes away does not wait until the process has given up.
                task = asyncio.create_task(self._give_up(reader))
                self._returning.add(task)
                task.add_done_callback(self._returning.discard)

    async def close(self) -> None:
        """End the processes; what is asked from now on is refused."""
        self._closed = True
        await asyncio.gather(*(each.kill() for each in self._all))
        await asyncio.gather(*self._returning)

    async def __aenter__(self) -> Library:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _turn(self) -> None:
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1

    async def _answer(self, reader: ReaderProcess, question: Question) -> Answer:
        if self._closed:
            return _refused(503, "the switch is stopping")
        try:
            asked = encode([type(question).__name__, structs.asdict(question)])
        except UnicodeEncodeError:
            return _refused(400, "the question is not UTF-8 text")
        try:
            async with asyncio.timeout(self._timeout):
                head = await reader.ask(asked)
        except TimeoutError:
            return _refused(
                504, f"no answer within {self._timeout:g} s: ask about less time, or raise [control] query_timeout"
            )
        except GoneError as error:
            return _refused(503, str(error))
        return Answer(head, reader.pieces(self._timeout))

    async def _give_up(self, reader: ReaderProcess) -> None:
        try:
            await reader.finish()
        except OSError as error:
            log.error("a reader process cannot be stopped", process=reader.name, error=words(error))
        finally:
            self._take_back(reader)

    def _take_back(self, reader: ReaderProcess) -> None:
        self._free.append(reader)
        self._turns.release()


def _refused(status: int, words: str) -> Answer:
    return Answer(Head(status), _one(encode(Refusal(words))))


async def _one(piece: bytes) -> AsyncIterator[bytes]:
    yield piece
