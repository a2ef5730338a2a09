"""Recordings: the SIP in a pcap or pcapng file, or in a folder of them, also while they are being written.

    listen = ["pcap:/var/spool/captures", "pcap:trunk.pcapng?follow=no&ports=5060-5090"]

    ports=5060-5090,5160   SIP from or to these ports; otherwise from and to all
    follow=yes             go on with what is appended, and with new files of a folder; no: read what is there
    from=start             or end: at the first start leave out what is there already
    rtcp=yes               RTCP of the calls becomes type 5
    hep=yes                HEP in the recording comes out as it is
    captagent_id=2001      capture id of the packets made here
    node_name=NAME         their node name

Files are read in the order of their first frames. A frame that is half written waits for its rest; a file that is replaced
or begins anew (rings of tcpdump and dumpcap) is read from its start. While outlets are full no file is read: files can wait.
How far each was read is noted in `spool_dir`, so a restart goes on there. The note is written once a second, after the
packets were handed on: a crash repeats at most what came since (at least once).

Not here: the format (`wire.pcap`), the note (`sources.recordings`), and what is in a frame (`wire.intake`).
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import structlog

from hepswitch.books import Listener
from hepswitch.logs import words
from hepswitch.sources.inlet import Idle, Inlet, Source
from hepswitch.sources.options import check_known, choice, number, ports, told, yes
from hepswitch.sources.recordings import HEAD, PIECE, Recording, first_time, note, recall
from hepswitch.units import Endpoint
from hepswitch.wire.batch import Batch
from hepswitch.wire.envelopes import Envelopes
from hepswitch.wire.errors import WireError
from hepswitch.wire.intake import Intake
from hepswitch.wire.pcap import Reader, is_capture

log = structlog.get_logger("hepswitch.sources")

KEYLESS = True

OPTIONS = ("captagent_id", "follow", "from", "hep", "node_name", "ports", "rtcp")

LOOK = 0.5
"""Seconds between two looks for what was appended."""
BATCH = 256
"""Packets handed on at once."""
REMEMBER = 1.0
"""Seconds between two notes of how far the files were read …"""
SPARING = 20
"""… and how many times as long as writing one took: a folder may have many files."""
MOST_COMPLAINTS = 1000
"""That are remembered, not to be repeated."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a listener's URL says."""

    path: Path
    ports: tuple[tuple[int, int], ...]
    is_followed: bool
    from_end: bool
    rtcp: bool
    hep: bool
    captagent_id: int
    node_name: str | None

    def envelopes(self, listener: Listener) -> Envelopes:
        return Envelopes(listener, self.captagent_id, self.node_name)


def parse(url: str) -> Endpoint:
    """See `Way`. The path is the endpoint's host."""
    where, _, query = url.removeprefix("pcap:").partition("?")
    try:
        endpoint = Endpoint("pcap", where, 0, told(query))
        settings(endpoint)
    except ValueError as error:
        raise ValueError(f"{url!r}: {error}") from None
    return endpoint


def settings(endpoint: Endpoint) -> Settings:
    """What the options mean. ValueError with a hint."""
    options = endpoint.options
    check_known(options, OPTIONS)
    if not endpoint.host.strip("/") or "\0" in endpoint.host:
        raise ValueError("names no file: write for example pcap:/var/spool/captures")
    made = Settings(
        path=Path(endpoint.host),
        ports=ports(options["ports"]) if "ports" in options else (),
        is_followed=yes(options, "follow"),
        from_end=choice(options, "from", ("start", "end")) == "end",
        rtcp=yes(options, "rtcp"),
        hep=yes(options, "hep"),
        captagent_id=number(options, "captagent_id", 2001, 0xFFFFFFFF),
        node_name=options.get("node_name"),
    )
    made.envelopes(Listener(endpoint.scheme))
    return made


def name(endpoint: Endpoint, sockets: list[socket.socket]) -> str:  # noqa: ARG001
    """See `Way`."""
    return f"pcap:{endpoint.host}"


def bind(endpoint: Endpoint, workers: int, receive_buffer: int) -> list[list[socket.socket]]:  # noqa: ARG001
    """See `Way`. There is nothing to bind, but the file or folder must be there."""
    path = Path(endpoint.host)
    if not (path.is_dir() or path.is_file()) or not os.access(path, os.R_OK):
        code = errno.EACCES if path.exists() else errno.ENOENT
        raise OSError(code, f"pcap:{path}: {os.strerror(code)}: name a file or folder that hepswitch may read")
    return [[] for _ in range(workers)]


def source(inlet: Inlet) -> Source:
    """See `Way`. One worker reads; the others have nothing to do."""
    if inlet.worker != inlet.reader:
        return Idle()
    return PcapSource(settings(inlet.endpoint), inlet.listener, inlet.flow, inlet.folder, after=inlet.after)


class PcapSource:
    """Reads the recordings of `settings` and calls `flow(batch)`, which must not raise, and `after()` behind each piece.

    `folder`: where it is noted how far the files were read.
    """

    def __init__(
        self,
        settings: Settings,
        listener: Listener,
        flow: Callable[[Batch], None],
        folder: Path,
        *,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._flow = flow
        self._after = after
        self._note = folder / f"pcap-{hashlib.sha256(os.fsencode(settings.path)).hexdigest()[:16]}.json"
        self._intake = Intake(
            settings.envelopes(listener), settings.ports, rtcp=settings.rtcp, hep=settings.hep,
        )  # fmt: skip
        self._recordings: dict[str, Recording] = {}
        self._seen: dict[str, tuple[int, int]] = {}  # size and time of change of every file at the last look
        self._captured_us = 0
        self._read_at = 0.0
        self._reading = asyncio.Event()
        self._reading.set()
        self._stopping = asyncio.Event()
        self._next_note = 0.0
        self._complaints: set[str] = set()
        self._task: asyncio.Task[None]

    async def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to read."""
        self._task = loop.create_task(self._run())
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Stop reading; what was not read yet is read after the next start."""
        self._stopping.set()
        self._reading.set()
        await asyncio.wait([self._task])

    def pause(self) -> None:
        """Read nothing; the files wait."""
        self._reading.clear()

    def resume(self) -> None:
        """Go on reading."""
        self._reading.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("recordings are not read any more", listener=self._listener.url, exc_info=error)

    # ── the files ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _run(self) -> None:
        is_first = not self._recall()
        while not self._stopping.is_set():
            for recording in await asyncio.to_thread(self._due, is_first and self._settings.from_end):
                if self._stopping.is_set():
                    break
                await self._read(recording)
            is_first = False
            if not self._settings.is_followed:
                break
            # By the clock of the recordings: what was captured last year is not late when it is copied here now.
            self._intake.expire(self._captured_us + int((time.monotonic() - self._read_at) * 1e6))
            if self._hand_on():
                self._after()
            try:
                await asyncio.wait_for(self._stopping.wait(), LOOK)
            except TimeoutError:
                continue
        self._intake.finish()
        if self._hand_on():
            self._after()
        await self._remember()

    def _due(self, from_end: bool) -> list[Recording]:
        """The files that have something to be read, by the time of their first frames. Forgets those that are gone."""
        found, seen, due = {}, {}, []
        for path, status in self._files():
            if self._stopping.is_set():
                return []
            key = f"{status.st_dev}:{status.st_ino}"
            seen[key] = (status.st_size, status.st_mtime_ns)
            recording = self._recordings.get(key)
            if self._seen.get(key) != seen[key]:
                try:
                    with path.open("rb") as file:
                        recording = self._known(path, file, recording)
                except OSError as error:
                    self._complain(path, words(error))
                    del seen[key]
            if recording is None:
                continue
            recording.path = path
            found[key] = recording
            if from_end:
                recording.left_out = status.st_size
            if status.st_size > recording.reader.fed and not recording.is_broken:
                due.append(recording)
        self._recordings, self._seen = found, seen
        return sorted(due, key=lambda recording: (recording.began_us, recording.path))

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        path = self._settings.path
        try:
            paths = [path]
            if path.is_dir():
                paths = sorted(
                    (found for found in path.iterdir() if found.name[0] != "."), key=lambda found: found.name
                )
        except OSError as error:
            self._complain(path, words(error))
            return
        for path in paths:
            try:
                status = path.stat()
            except OSError as error:
                self._complain(path, words(error))
                continue
            if stat.S_ISREG(status.st_mode):
                yield path, status

    def _known(self, path: Path, file: BinaryIO, known: Recording | None) -> Recording | None:
        """What is `known` of the file; nothing yet when it is new or began anew, None while it is no capture."""
        beginning = file.read(PIECE)
        if known is None or os.fstat(file.fileno()).st_size < known.reader.fed or not known.begins_with(beginning):
            if not is_capture(beginning):
                if len(beginning) >= 4:
                    self._complain(path, "is neither pcap nor pcapng")
                return None
            known = Recording(path, b"", Reader())
        known.head, known.began_us = beginning[:HEAD], known.began_us or first_time(beginning)
        return known

    async def _read(self, recording: Recording) -> None:
        """To the end that the file has now."""
        try:
            file = await asyncio.to_thread(recording.opened)
        except OSError as error:
            self._complain(recording.path, words(error))
            return
        if file is None:
            return  # another file by now: the next look will tell
        with file:
            while not recording.is_broken:
                await self._reading.wait()
                if self._stopping.is_set():
                    return
                try:
                    data = await asyncio.to_thread(file.read, PIECE)
                except OSError as error:
                    self._complain(recording.path, words(error))
                    return
                if not data:
                    return
                self._take(recording, data)
                if time.monotonic() > self._next_note:
                    await self._remember()

    def _take(self, recording: Recording, data: bytes) -> None:
        reader = recording.reader
        reader.feed(data)
        self._read_at = time.monotonic()
        try:
            for frame in reader.frames():
                self._captured_us = frame.time_us
                if reader.at > recording.left_out:
                    self._intake.add(frame)
                    if len(self._intake) >= BATCH:
                        self._hand_on()
        except WireError as error:
            recording.is_broken = True
            self._listener.packets += 1
            self._listener.malformed += 1
            self._listener.malformed_reasons[error.reason] += 1
            log.error("recording is broken", file=str(recording.path), offset=error.offset, reason=error.reason)
        self._hand_on()
        self._after()

    def _hand_on(self) -> bool:
        """The packets made so far to the flow; False when there are none."""
        batch = self._intake.batch()
        found = len(batch) > 0
        if found:
            self._flow(batch)
        self._intake.clear()
        return found

    def _complain(self, path: Path, what: str, of: str = "no recording to read") -> None:
        """Once about each file and fault."""
        if len(self._complaints) >= MOST_COMPLAINTS:
            self._complaints.clear()
        if f"{path}: {what}" not in self._complaints:
            self._complaints.add(f"{path}: {what}")
            log.warning(of, file=str(path), reason=what)

    # ── how far they were read ─────────────────────────────────────────────────────────────────────────────────────

    def _recall(self) -> bool:
        """Go on where the last process was. False at the first start."""
        try:
            self._recordings = recall(self._note)
        except FileNotFoundError:
            return False
        except (OSError, ValueError) as error:
            log.warning("note of recordings cannot be read: all are read again", file=str(self._note), error=str(error))
        return True

    async def _remember(self) -> None:
        begun = time.monotonic()
        try:
            # Nobody else changes the recordings: this task alone does, and it waits here.
            await asyncio.to_thread(note, self._note, self._recordings)
        except OSError as error:
            self._complain(self._note, words(error), "how far recordings were read cannot be noted")
        took = time.monotonic() - begun
        self._next_note = begun + max(REMEMBER, SPARING * took)
