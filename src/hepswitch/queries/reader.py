"""One reader process as the supervisor sees it, over all its restarts: asked, interrupted, killed.

Whatever it says or does, the worst that comes of it is a GoneError. Not here: whose turn it is (`library`).
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import AsyncIterator

import structlog
from msgspec import MsgspecError
from msgspec.json import decode

from hepswitch.logs import words
from hepswitch.queries import line
from hepswitch.queries.line import Charge, Head

log = structlog.get_logger("hepswitch.queries")

PATIENCE = 2.0
"""Seconds that a process which was interrupted may take to give up."""


class GoneError(Exception):
    """The process ended, or never began, while somebody waited for its answer. Says so to a person."""


class ReaderProcess:
    """The process. It is started when it is asked and does not run."""

    def __init__(self, number: int, charge: Charge, log: tuple[str, str]) -> None:
        self.name = f"reader {number}"
        self._charge = line.message(line.QUESTION, charge)
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None
        self._ready = self._answering = False
        self._stalled: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """Its process id; None while there is no process."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    @property
    def idle(self) -> bool:
        """Whether it waits for a question, or does not run."""
        return not self._answering and (self._ready or self._process is None)

    async def ask(self, question: bytes) -> Head:
        """The head of the answer. Raises GoneError."""
        try:
            if self.pid is None or not self._ready:
                await self._start()
            assert self._writer is not None
            self._answering = True
            self._writer.write(line.frame(line.QUESTION, question))
            await self._writer.drain()
            kind, body = await line.read(self._reader)
            if kind == line.HEAD:
                return decode(body, type=Head)
            reason = body.decode("utf-8", "replace") if kind == line.BROKEN else "it says what nobody asked"
        except (OSError, EOFError, MsgspecError) as error:
            reason = words(error) if isinstance(error, OSError) and not isinstance(error, ConnectionError) else ""
        raise await self._gone(reason)

    async def pieces(self, timeout: float) -> AsyncIterator[bytes]:  # noqa: ASYNC109 (of each piece, made and taken)
        """The rest of the answer. Raises GoneError when it breaks off: too slowly made, or too slowly taken."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout(timeout):
                    kind, body = await line.read(self._reader)
            except TimeoutError:
                raise GoneError(f"the answer broke off: nothing came for {timeout:g} s") from None
            except (OSError, EOFError):
                raise await self._gone("") from None
            if kind == line.DATA:
                # Who does not take it must not hold the process for ever.
                self._stalled = loop.call_later(timeout, self._interrupt)
                yield body
                self._stalled.cancel()
                continue
            self._answering = False
            if kind == line.END:
                return
            raise GoneError(f"the answer broke off: {body.decode('utf-8', 'replace') or 'it was taken too slowly'}")

    async def finish(self) -> None:
        """Make the process ready for another question: what is still being answered is given up."""
        if self._stalled is not None:
            self._stalled.cancel()
        if not self._ready:  # it was given up while it began
            await self.kill()
        if not self._answering:
            return
        try:
            async with asyncio.timeout(PATIENCE):
                self._interrupt()
                while (kind := (await line.read(self._reader))[0]) in (line.HEAD, line.DATA):
                    pass
            gave_up = kind == line.CANCELLED
        except TimeoutError:
            log.warning("a reader process does not give up; killed", process=self.name, after=PATIENCE)
            gave_up = False
        except (OSError, EOFError):
            gave_up = False
        self._answering = False
        if not gave_up:
            # It may have answered just before it was interrupted, and would take that for the next question's.
            await self.kill()

    async def kill(self) -> int | None:
        """End the process; its exit status."""
        if self._writer is not None:
            self._writer.close()
        if self._process is None:
            return None
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        status = await self._process.wait()
        self._process = None
        self._ready = self._answering = False
        return status

    def _interrupt(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGINT)

    async def _start(self) -> None:
        await self.kill()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "hepswitch.queries.process", str(theirs.fileno()), *self._log,
                    pass_fds=[theirs.fileno()], stdin=asyncio.subprocess.DEVNULL,
                )  # fmt: skip
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        self._reader, self._writer = await asyncio.open_connection(sock=ours, limit=line.PIECE)
        self._writer.write(self._charge)
        kind, _ = await line.read(self._reader)
        self._ready = kind == line.READY

    async def _gone(self, reason: str) -> GoneError:
        if self._process is not None:
            # Whoever signals a process that has just ended may take its status from under asyncio, which then says 255.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self._process.wait()
        status = await self.kill()
        log.error("a reader process ended", process=self.name, status=status, reason=reason or None)
        why = reason or ("it was killed" if status == -signal.SIGKILL else f"exit status {status}")
        return GoneError(f"the process that answers questions ended ({why}): ask again")
