"""Recordings as a source: read in order, followed, gone on with after a restart."""

from __future__ import annotations

import asyncio
import io
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from far_ends import until
from hepswitch.books import Listener
from hepswitch.lake.lake import Lake
from hepswitch.lake.query import Query
from hepswitch.sources import pcap
from hepswitch.sources.inlet import Patient
from hepswitch.sources.ways import WAYS, parse
from hepswitch.wire.batch import Batch
from hepswitch.wire.hep import Hep
from hepswitch.wire.ip import FrameBuilder
from hepswitch.wire.pcap import Writer
from running import running_switch

START = 1_700_000_000_000_000


def sip(number: int) -> bytes:
    return b"OPTIONS sip:bob@h SIP/2.0\r\nCall-ID: %d\r\nContent-Length: 0\r\n\r\n" % number


def recording(numbers: range, form: str = "pcapng", begin: bool = True, size: int = 0) -> bytes:
    """A capture with one message for each number; the number is its Call-ID and its second."""
    file, builder = io.BytesIO(), FrameBuilder()
    writer = Writer(file, form)  # type: ignore[arg-type]
    header = file.tell()
    for number in numbers:
        for made in builder.frames(17, "192.0.2.1", 5060, "192.0.2.2", 5060, sip(number) + bytes(size)):
            writer.write(START + number * 1_000_000, made)
    return file.getvalue()[0 if begin else header :]


class Taking:
    """A source of a path, and what it gave."""

    def __init__(self, path: Path, options: str = "", after: Callable[[], None] = lambda: None) -> None:
        self.listener = Listener("pcap:x")
        self.packets: list[Hep] = []
        self.source = pcap.PcapSource(
            pcap.settings(pcap.parse(f"pcap:{path}{options}")),
            self.listener,
            self.take,
            path.parent / "spool",
            after=after,
        )

    def take(self, batch: Batch) -> None:
        self.packets += [Hep(packet) for packet in batch]
        self.listener.packets += len(batch)

    @property
    def numbers(self) -> list[int]:
        return [int(hep.correlation_id or b"") for hep in self.packets]

    async def until(self, numbers: list[int]) -> None:
        """Wait until these came."""
        await until(lambda: len(self.packets) >= len(numbers), "packets")
        assert self.numbers == numbers

    def count_looks(self) -> list[None]:
        """Gets one more item with each look at the files from now on."""
        looks, due = list[None](), self.source._due
        self.source._due = lambda from_end: looks.append(None) or due(from_end)  # type: ignore[method-assign]
        return looks

    async def __aenter__(self) -> Taking:
        await self.source.start(asyncio.get_running_loop())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.source.stop()
        listener = self.listener
        assert listener.packets == len(self.packets) + listener.malformed + sum(listener.refused.values())


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pcap, "LOOK", 0.01)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "captures"
    found.mkdir()
    return found


@pytest.mark.parametrize("form", ["pcap", "pcapng"])
async def test_a_file_is_read_with_its_times_and_addresses(folder: Path, form: str) -> None:
    path = folder / "x.pcap"
    path.write_bytes(recording(range(3), form))
    async with Taking(path, "?follow=no&captagent_id=7&node_name=edge&ports=5060") as taking:
        await taking.until([0, 1, 2])
    hep = taking.packets[2]
    assert (hep.time_us, hep.src_ip, hep.captagent_id, hep.node_name) == (START + 2_000_000, "192.0.2.1", 7, "edge")
    assert taking.listener.frames == 3


@pytest.mark.parametrize("form", ["pcap", "pcapng"])
async def test_a_file_that_grows_byte_by_byte(folder: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pcap, "LOOK", 0)
    path = folder / "x.pcap"
    data = recording(range(2), form)
    path.write_bytes(data[:3])
    async with Taking(path) as taking:
        with path.open("ab", buffering=0) as file:
            for at in range(3, len(data), 7):
                file.write(data[at : at + 7])
                await asyncio.sleep(0)
        await taking.until([0, 1])
        with path.open("ab", buffering=0) as file:
            file.write(recording(range(2, 4), form, begin=False))
        await taking.until([0, 1, 2, 3])


async def test_a_folder_is_read_in_the_order_of_time_and_followed(folder: Path) -> None:
    (folder / "a").write_bytes(recording(range(4, 6)))
    (folder / "b").write_bytes(recording(range(4), "pcap"))
    (folder / "notes.txt").write_text("no capture")
    (folder / ".hidden").write_bytes(recording(range(9)))
    async with Taking(folder) as taking:
        await taking.until(list(range(6)))
        (folder / "0").write_bytes(recording(range(6, 8)))
        await taking.until(list(range(8)))


async def test_rings_of_files_begin_anew(folder: Path) -> None:
    path = folder / "ring.pcap"
    path.write_bytes(recording(range(3), "pcap"))
    async with Taking(folder) as taking:
        await taking.until([0, 1, 2])
        path.write_bytes(recording(range(3, 4), "pcap"))  # truncated, as tcpdump -W does
        await taking.until([0, 1, 2, 3])
        path.write_bytes(recording(range(4, 9), "pcap"))  # and longer than before
        await taking.until(list(range(9)))
        (folder / "fresh").write_bytes(recording(range(9, 10), "pcap"))  # replaced by another file
        (folder / "fresh").rename(path)
        await taking.until(list(range(10)))
        path.rename(folder / "ring.1")  # a name is only a name
        path.write_bytes(recording(range(10, 11), "pcap"))
        await taking.until(list(range(11)))


async def test_after_a_restart_it_goes_on(folder: Path) -> None:
    path = folder / "x.pcapng"
    path.write_bytes(recording(range(3)))
    async with Taking(folder) as taking:
        await taking.until([0, 1, 2])
    with path.open("ab") as file:
        file.write(recording(range(3, 5), begin=False)[:-3])
    async with Taking(folder) as taking:
        await taking.until([3])
    with path.open("ab") as file:
        file.write(recording(range(3, 5), begin=False)[-3:])
    async with Taking(folder) as taking:
        await taking.until([4])


async def test_a_note_that_cannot_be_read_means_from_the_start(folder: Path) -> None:
    (folder / "x").write_bytes(recording(range(2)))
    async with Taking(folder) as taking:
        await taking.until([0, 1])
    (note,) = (folder.parent / "spool").iterdir()
    for broken in (b"{", b'{"1:2": {"path": 1}}'):
        note.write_bytes(broken)
        async with Taking(folder) as taking:
            await taking.until([0, 1])


async def test_from_the_end_on(folder: Path) -> None:
    path = folder / "x.pcapng"
    path.write_bytes(recording(range(3)))
    async with Taking(folder, "?from=end") as taking:
        size = path.stat().st_size
        await until(lambda: [known.reader.fed for known in taking.source._recordings.values()] == [size], "the end")
        assert taking.packets == []
    with path.open("ab") as file:
        file.write(recording(range(3, 4), begin=False))
    async with Taking(folder, "?from=end") as taking:  # not its first start any more
        await taking.until([3])


async def test_files_wait_while_outlets_are_full(folder: Path) -> None:
    (folder / "x").write_bytes(recording(range(500), size=1000))
    held = asyncio.Event()

    def full() -> None:
        if not held.is_set():
            held.set()
            taking.source.pause()

    taking = Taking(folder, after=full)
    assert isinstance(taking.source, Patient)
    async with taking:
        await asyncio.wait_for(held.wait(), 10)
        for _ in range(20):
            await asyncio.sleep(0)
        assert 0 < len(taking.packets) < 500
        taking.source.resume()
        await taking.until(list(range(500)))


async def test_a_broken_recording_is_counted_once(folder: Path) -> None:
    path = folder / "x.pcap"
    path.write_bytes(recording(range(2), "pcap") + b"\xff" * 40)
    (folder / "y.pcap").write_bytes(recording(range(2, 3), "pcap"))
    async with Taking(folder) as taking:
        await taking.until([0, 1, 2])
        with path.open("ab") as file:
            file.write(bytes(50))
        (folder / "z.pcap").write_bytes(recording(range(3, 4), "pcap"))
        await taking.until([0, 1, 2, 3])
    assert taking.listener.malformed_reasons == {"frame length out of range": 1}


async def test_what_was_captured_long_ago_is_not_late_when_it_is_copied_slowly(folder: Path) -> None:
    file, builder = io.BytesIO(), FrameBuilder()
    writer = Writer(file)
    for part in (sip(1)[:30], sip(1)[30:]):
        for frame in builder.frames(6, "192.0.2.1", 5060, "192.0.2.2", 5060, part):
            writer.write(START, frame)
    data, path = file.getvalue(), folder / "x"
    path.write_bytes(data[:-8])
    async with Taking(path) as taking:
        await until(lambda: taking.listener.frames == 1, "the first part")
        looks = taking.count_looks()
        await until(lambda: len(looks) == 3, "looks at what is waiting")
        path.write_bytes(data)
        await taking.until([1])
    assert taking.packets[0].payload == sip(1)


async def test_times_that_no_clock_ever_says(folder: Path) -> None:
    """A resolution of whole seconds and the largest number: the frame is not lost in silence, and reading goes on."""
    (folder / "a").write_bytes(recording(range(1)))
    later = bytearray(recording(range(1, 2)))
    resolution = struct.pack("<HHB3xI", 9, 1, 0, 0)
    later[28:48] = struct.pack("<IIHHI", 1, 32, 1, 0, 0) + resolution + struct.pack("<I", 32)
    later[72:80] = b"\xff" * 8
    (folder / "b").write_bytes(later)
    async with Taking(folder) as taking:
        await until(lambda: taking.listener.malformed == 1, "the frame of no time")
        (folder / "c").write_bytes(recording(range(2, 3)))
        await taking.until([0, 2])
    assert taking.listener.malformed_reasons == {"time after 2106": 1}


async def test_a_file_is_another_when_only_its_first_frame_tells(folder: Path) -> None:
    """Names of systems stand before it, and the inode of a file that was removed is used again."""
    comment = struct.pack("<HH", 1, 200) + bytes(200) + bytes(4)
    section = struct.pack("<IIIHHq", 0x0A0D0D0A, 28 + len(comment), 0x1A2B3C4D, 1, 0, -1) + comment
    section += struct.pack("<I", 28 + len(comment))
    path = folder / "x"
    path.write_bytes(section + recording(range(2))[28:])
    async with Taking(folder) as taking:
        await taking.until([0, 1])
        looks = taking.count_looks()
        await until(lambda: looks, "a look: nobody has the file open")
        path.write_bytes(section + recording(range(5, 8))[28:])
        await taking.until([0, 1, 5, 6, 7])


async def test_a_file_that_is_as_it_was_is_not_opened_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "x").write_bytes(recording(range(1)))
    (folder / "y").write_bytes(b"no capture")
    async with Taking(folder) as taking:
        await taking.until([0])
        looks = taking.count_looks()
        await until(lambda: looks, "a look")
        monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("opened"))
        await until(lambda: len(looks) > 3, "more looks")
        monkeypatch.undo()


async def test_what_may_not_be_looked_at_is_said_and_reading_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a").write_bytes(recording(range(1)))
    (folder / "b").write_bytes(recording(range(1, 2)))
    stat = Path.stat

    def refuse(self: Path, **how: bool) -> os.stat_result:
        if self.name == "a":
            raise PermissionError(13, "Permission denied")
        return stat(self, **how)

    monkeypatch.setattr(Path, "stat", refuse)
    with structlog.testing.capture_logs() as logs:
        async with Taking(folder) as taking:
            await taking.until([1])
    assert [(entry["file"], entry["reason"]) for entry in logs] == [(str(folder / "a"), "Permission denied")]


async def test_when_it_cannot_be_noted_how_far_it_was_read(folder: Path) -> None:
    (folder.parent / "spool").write_text("in the way")
    (folder / "a").write_bytes(recording(range(1)))
    with structlog.testing.capture_logs() as logs:
        async with Taking(folder) as taking:
            await taking.until([0])
    assert logs[-1]["event"] == "how far recordings were read cannot be noted"


async def test_only_the_first_worker_reads(folder: Path) -> None:
    endpoint = parse(f"pcap:{folder}")
    assert WAYS["pcap"].bind(endpoint, 3, 0) == [[], [], []]
    assert WAYS["pcap"].name(endpoint, []) == f"pcap:{folder}"


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("pcap:", "names no file"),
        ("pcap://", "names no file"),
        ("pcap:x\0y", "names no file"),
        ("pcap:x?ports=5060&ports=5070", "says ports more than once"),
        ("pcap:x?node_name=" + 256 * "n", "node_name has 256 bytes"),
        ("pcap:x?follow=maybe", "write yes or no"),
        ("pcap:x?from=middle", "write start or end"),
        ("pcap:x?ports=0", "is no port and no range"),
        ("pcap:x?captagent_id=-1", "write a number"),
        ("pcap:x?speed=9", "unknown options: speed; known here: captagent_id"),
    ],
)
def test_what_is_wrong_with_a_url_is_said(url: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        parse(url)


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="name a file or folder that hepswitch may read"):
        pcap.bind(parse(f"pcap:{tmp_path}/missing"), 1, 0)


def test_a_running_switch_stores_recordings_once(folder: Path, tmp_path: Path) -> None:
    (folder / "1.pcap").write_bytes(recording(range(40), "pcap"))
    config = f"""
listen = ["pcap:{folder.name}?captagent_id=7"]
workers = 2
spool_dir = "spool"
[stores.lake]
url = "lake:./lake"
"""
    with running_switch(tmp_path, config) as switch:
        assert switch.urls == [f"pcap:{folder}"]
        switch.wait_stats(lambda book: book["stores"]["lake"]["delivered"] == 40, "what was there is stored")
        (folder / "2.pcapng").write_bytes(recording(range(40, 50)))
        book = switch.wait_stats(lambda book: book["stores"]["lake"]["delivered"] == 50, "what is new is stored")
        row = book["received"][f"pcap:{folder}"]
        assert (book["balanced"], row["packets"], row["frames"]) == (True, 50, 50)
    with (folder / "1.pcap").open("ab") as file:
        file.write(recording(range(50, 51), "pcap", begin=False))
    with running_switch(tmp_path, config) as switch:
        switch.wait_stats(lambda book: book["stores"]["lake"]["delivered"] == 1, "what was appended is stored")
        assert switch.stats()["routed"]["packets"] == 1
    packets = Lake(tmp_path / "lake").packets(Query())
    assert sorted(int(Hep(packet).correlation_id or b"") for packet in packets) == list(range(51))
