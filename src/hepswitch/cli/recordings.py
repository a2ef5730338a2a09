"""What `replay` sends: the HEP packets that recordings hold, or that are made of the SIP and RTCP in them.

Not here: sending and its pace (`cli.replay`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from hepswitch.books import Listener
from hepswitch.cli.captures import HEAD, hep_packets
from hepswitch.cli.selection import warn
from hepswitch.wire import pcap
from hepswitch.wire.envelopes import Envelopes
from hepswitch.wire.errors import WireError
from hepswitch.wire.hep import Hep
from hepswitch.wire.intake import Intake

if TYPE_CHECKING:
    from hepswitch.lake.reader import Reader


class Recorded(NamedTuple):
    """A HEP packet to send. `place`: bytes of the recordings read so far."""

    time_us: int
    packet: bytes
    place: int


@dataclass(slots=True)
class Selection:
    """What to read and how to change it; see the options of `replay`. `skipped` counts what was no use."""

    version: int | None = None
    capture_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    call_id: str | None = None
    shift: bool = False
    skipped: int = 0
    _read: int = 0
    _offset_us: int | None = None

    def read(self, files: Sequence[Path], store: Reader | None = None) -> Iterator[Recorded]:
        """The packets of all files, then those of a store. Raises WireError (the file's name in its reason) and OSError.

        Captures are one: a connection or a call may begin in one file and end in the next.
        """
        self._offset_us = None
        listener = Listener("replay")
        intake = Intake(Envelopes(listener), hep=True)
        try:
            for path in files:
                try:
                    yield from self._usable(self._packets(path, intake))
                except WireError as error:
                    raise WireError(error.offset, f"{path}: {error.reason}") from None
            intake.finish()
            yield from self._usable(self._made(intake, 0))
            if store is not None:
                yield from self._usable(self._stored(store))
        finally:
            self.skipped += listener.malformed + listener.refused.total() - listener.refused["keep-alive"]

    def _usable(self, packets: Iterator[Hep]) -> Iterator[Recorded]:
        for hep in packets:
            try:
                yield self._finished(hep)
            except ValueError as error:
                self._skip(error)

    def _finished(self, hep: Hep) -> Recorded:
        """As it is to be sent. ValueError when the wanted version cannot carry it (RTCP in HEPv2, for one)."""
        time_us = hep.time_us  # before HEPv1 forgets it
        if self.version is not None:
            hep.version = self.version
        if self.capture_id is not None:
            hep.captagent_id = self.capture_id
        if self.shift and hep.version != 1:
            if self._offset_us is None:
                self._offset_us = time.time_ns() // 1000 - time_us
            hep.timestamp, hep.timestamp_us = divmod(time_us + self._offset_us, 1_000_000)
        return Recorded(time_us, bytes(hep), self._read)

    def _packets(self, path: Path, intake: Intake) -> Iterator[Hep]:
        if path.is_dir():
            from hepswitch.lake.lake import Lake

            yield from self._stored(Lake(path, warn))
        elif str(path) == "-":
            yield from self._file(sys.stdin.buffer, intake)
        else:
            with path.open("rb") as file:
                yield from self._file(file, intake)

    def _stored(self, store: Reader) -> Iterator[Hep]:
        from hepswitch.lake.query import Query

        query = Query(since=self.since, until=self.until, call_id=self.call_id)
        for packet in store.packets(query, self._skip):
            yield Hep(packet)

    def _skip(self, _: ValueError) -> None:
        self.skipped += 1

    def _file(self, file: BinaryIO, intake: Intake) -> Iterator[Hep]:
        head = file.read(HEAD)
        before = self._read
        if pcap.is_capture(head):
            for frame in pcap.read(file, head):
                self._read += len(frame.data)
                intake.add(frame)
                yield from self._made(intake, frame.time_us)
        else:
            for at, packet in hep_packets(file, head):
                self._read = before + at + len(packet)
                yield _hep(at, packet)

    def _made(self, intake: Intake, time_us: int) -> Iterator[Hep]:
        """The packets that are there, captured at `time_us` if they do not say it (HEPv1)."""
        if not len(intake):
            return
        packets = list(intake.batch())
        intake.clear()
        for packet in packets:
            try:
                yield Hep(packet, time_us / 1e6)
            except WireError as error:  # looks like HEP, and is none
                self._skip(error)


def _hep(at: int, packet: bytes) -> Hep:
    try:
        return Hep(packet)
    except WireError as error:
        raise WireError(at + error.offset, error.reason) from None
