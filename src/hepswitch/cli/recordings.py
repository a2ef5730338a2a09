"""What `replay` sends: the HEP packets that recordings hold, or that are made of the SIP and RTCP in them.

Not here: sending and its pace (`cli.replay`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

from hepswitch.cli.captures import HEAD, hep_packets, looks_like_hep
from hepswitch.cli.selection import warn
from hepswitch.wire import ip, pcap, rtcp
from hepswitch.wire.errors import WireError
from hepswitch.wire.hep import Hep
from hepswitch.wire.sip import Sip, looks_like_sip

SIP, RTCP = 1, 5
CAPTURE_ID = 2001
"""Of packets made from a capture, unless told otherwise; what capture agents usually have."""
MOST_MEDIA = 65_536
"""RTCP addresses that are remembered; the oldest is forgotten first."""


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
    _media: dict[tuple[str, int], str] = field(default_factory=dict)

    def read(self, files: tuple[Path, ...]) -> Iterator[Recorded]:
        """The packets of all files. Raises WireError (the file's name in its reason) and OSError."""
        self._offset_us = None
        for path in files:
            try:
                for hep in self._packets(path):
                    try:
                        yield self._finished(hep)
                    except ValueError as error:
                        self._skip(error)
            except WireError as error:
                raise WireError(error.offset, f"{path}: {error.reason}") from None

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

    def _packets(self, path: Path) -> Iterator[Hep]:
        if path.is_dir():
            yield from self._lake(path)
        elif str(path) == "-":
            yield from self._file(sys.stdin.buffer)
        else:
            with path.open("rb") as file:
                yield from self._file(file)

    def _lake(self, path: Path) -> Iterator[Hep]:
        from hepswitch.lake.query import Lake, Query

        query = Query(since=self.since, until=self.until, call_id=self.call_id)
        for packet in Lake(path, warn).packets(query, self._skip):
            yield Hep(packet)

    def _skip(self, _: ValueError) -> None:
        self.skipped += 1

    def _file(self, file: BinaryIO) -> Iterator[Hep]:
        head = file.read(HEAD)
        before = self._read
        if pcap.is_capture(head):
            decoder = ip.Decoder()
            for frame in pcap.read(file, head):
                self._read += len(frame.data)
                yield from self._wrapped(decoder.decode(frame))
            yield from self._wrapped(decoder.finish())
        else:
            for at, packet in hep_packets(file, head):
                self._read = before + at + len(packet)
                yield _hep(at, packet)

    def _wrapped(self, datagrams: Iterator[ip.Datagram]) -> Iterator[Hep]:
        for datagram in datagrams:
            try:
                hep = self._wrap(datagram)
            except ValueError as error:  # broken, or more or later than HEP can say
                self._skip(error)
                continue
            if hep is not None:
                yield hep

    def _wrap(self, datagram: ip.Datagram) -> Hep | None:
        """The datagram as HEP; None when it is neither SIP, nor HEP, nor RTCP of a call seen before."""
        payload = datagram.payload
        if looks_like_sip(payload):
            sip = Sip(payload)
            call_id = sip.call_id
            if call_id is not None:
                self._learn(sip, call_id)
            return self._new(datagram, SIP, payload, call_id)
        if looks_like_hep(payload):
            return Hep(payload, datagram.time_us / 1e6)
        call_id = self._media.get((datagram.dst_ip, datagram.dst_port))
        call_id = call_id or self._media.get((datagram.src_ip, datagram.src_port))
        report = rtcp.encode(payload) if call_id is not None else None
        if report is not None:
            return self._new(datagram, RTCP, report, call_id)
        if payload.strip(b"\r\n\0"):  # else a keep-alive
            self.skipped += 1
        return None

    def _learn(self, sip: Sip, call_id: str) -> None:
        sdp = sip.sdp
        for address in sdp.rtcp_addresses if sdp is not None else ():
            self._media.pop(address, None)
            self._media[address] = call_id
            if len(self._media) > MOST_MEDIA:
                del self._media[next(iter(self._media))]

    def _new(self, datagram: ip.Datagram, kind: int, payload: bytes, call_id: str | None) -> Hep:
        seconds, microseconds = divmod(datagram.time_us, 1_000_000)
        identity = None if call_id is None else call_id.encode("utf-8", "surrogateescape")
        return Hep.new(
            payload,
            proto_id=datagram.proto_id,
            src_ip=datagram.src_ip,
            dst_ip=datagram.dst_ip,
            src_port=datagram.src_port,
            dst_port=datagram.dst_port,
            timestamp=seconds,
            timestamp_us=microseconds,
            proto_type=kind,
            captagent_id=CAPTURE_ID,
            correlation_id=identity,
        )


def _hep(at: int, packet: bytes) -> Hep:
    try:
        return Hep(packet)
    except WireError as error:
        raise WireError(at + error.offset, error.reason) from None
