"""The journal: what append promised is read back, once, whatever happened in between."""

import os
import random
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hepswitch import journal
from hepswitch.journal import HEADER, Journal, JournalBusyError, read_blocks, recover, segments
from hepswitch.wire.frames import Frames


def frames(*items: bytes) -> Frames:
    made = Frames()
    for item in items:
        made.push(item)
    return made


def read(path: Path) -> list[bytes]:
    return [bytes(frame) for segment in segments(path) for block in read_blocks(segment.path) for frame in block]


def test_frames_come_back_in_order_with_their_numbers(tmp_path: Path) -> None:
    with Journal(tmp_path) as log:
        log.append(frames(b"one", b"", b"three"))
        log.append(frames(b"four"))
        assert log.next_frame == 4
        (segment,) = log.segments()
        blocks = list(read_blocks(segment.path))
    assert [(block.first, block.count, list(map(bytes, block))) for block in blocks] == [
        (0, 3, [b"one", b"", b"three"]),
        (3, 1, [b"four"]),
    ]
    assert blocks[0].end == blocks[1].offset
    assert [bytes(frame) for block in read_blocks(segment.path, blocks[1].offset) for frame in block] == [b"four"]


def test_appending_nothing_writes_nothing(tmp_path: Path) -> None:
    with Journal(tmp_path) as log:
        size = log.size
        log.append(Frames())
        assert log.size == size
        log.roll()
        assert log.number == 0


def test_a_full_segment_is_closed_and_the_next_begun(tmp_path: Path) -> None:
    with Journal(tmp_path, segment_bytes=100) as log:
        for number in range(6):
            log.append(frames(b"x" * 60, bytes([number])))
        kinds = [(segment.number, segment.first, segment.closed) for segment in log.segments()]
    assert kinds == [(0, 0, True), (1, 2, True), (2, 4, True), (3, 6, True), (4, 8, True), (5, 10, False)]


def test_numbers_go_on_after_a_restart_even_when_all_segments_are_gone(tmp_path: Path) -> None:
    with Journal(tmp_path) as log:
        log.append(frames(b"a", b"b"))
        log.roll()
        for segment in log.segments():
            if segment.closed:
                segment.path.unlink()
    with Journal(tmp_path) as log:
        assert (log.number, log.next_frame) == (1, 2)
    with Journal(tmp_path, least_segment=7) as log:
        assert (log.number, log.next_frame) == (7, 2)
        assert [segment.number for segment in log.segments()] == [7]


def test_restart_closes_what_was_open(tmp_path: Path) -> None:
    with Journal(tmp_path) as log:
        log.append(frames(b"a"))
    with Journal(tmp_path) as log:
        assert [(segment.number, segment.closed) for segment in log.segments()] == [(0, True), (1, False)]
        log.append(frames(b"b"))
    assert read(tmp_path) == [b"a", b"b"]


@pytest.mark.parametrize("torn", [1, HEADER.size - 1, HEADER.size, HEADER.size + 5, HEADER.size + 4 + 20])
def test_a_torn_tail_is_cut(tmp_path: Path, torn: int) -> None:
    with Journal(tmp_path) as log:
        log.append(frames(b"whole"))
        size = log.size
        log.append(frames(b"y" * 40))
        path = log.segments()[0].path
    os.truncate(path, size + torn)
    assert read(tmp_path) == [b"whole"]
    with Journal(tmp_path) as log:
        assert log.next_frame == 1
        log.append(frames(b"next"))
    assert read(tmp_path) == [b"whole", b"next"]


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    with Journal(tmp_path) as log:
        log.append(frames(b"first"))
        size = log.size
        log.append(frames(b"second"))
        path = log.segments()[0].path
    data = bytearray(path.read_bytes())
    for place in range(size, len(data)):
        damaged = data.copy()
        damaged[place] ^= 1
        path.write_bytes(damaged)
        assert [bytes(frame) for block in read_blocks(path) for frame in block] in ([b"first"], [b"first", b"second"])
        # Only the reserved field's neighbours may differ without harm: none, for the header is hashed as well.
        assert sum(block.count for block in read_blocks(path)) == 1


def test_a_hostile_length_reads_nothing(tmp_path: Path) -> None:
    path = tmp_path / "000000000000.seg"
    path.write_bytes(HEADER.pack(b"HSB1", 0xFFFFFFFF, 0xFFFFFFFF, 0, 0, 0) + b"x" * 100)
    assert list(read_blocks(path)) == []


def test_a_short_write_stores_nothing_and_is_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal(tmp_path) as log:
        log.append(frames(b"before"))
        real = os.pwritev
        monkeypatch.setattr(journal.os, "pwritev", lambda fd, parts, at: real(fd, [bytes(parts[0]), b"cut"], at))
        with pytest.raises(OSError, match="could be written"):
            log.append(frames(b"lost" * 100))
        monkeypatch.setattr(journal.os, "pwritev", real)
        assert log.next_frame == 1
        log.append(frames(b"after"))
    assert read(tmp_path) == [b"before", b"after"]


def test_a_full_disk_stores_nothing(tmp_path: Path) -> None:
    # RLIMIT_FSIZE stands in for a full disk: the kernel writes what fits and refuses the rest.
    script = f"""
import resource, signal
from pathlib import Path
from hepswitch.journal import Journal
from hepswitch.wire.frames import Frames
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
log = Journal(Path({str(tmp_path)!r}))
block = Frames(); block.push(b"x" * 2000)
log.append(block); log.append(block)
for attempt in range(3):
    try:
        log.append(block)
    except OSError:
        print("refused", log.next_frame, log.size < 5000)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["refused 2 True"] * 3
    assert read(tmp_path) == [b"x" * 2000] * 2


def test_one_writer_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "LOCK_PATIENCE", 0.05)
    with Journal(tmp_path), pytest.raises(JournalBusyError, match="another process"):
        Journal(tmp_path)
    Journal(tmp_path).close()


def test_crash_between_the_steps_of_rolling(tmp_path: Path) -> None:
    with Journal(tmp_path) as log:
        log.append(frames(b"a"))
    (tmp_path / "000000000001.new").write_bytes(b"half")
    assert recover(tmp_path) == (1, 1)
    with Journal(tmp_path) as log:
        log.append(frames(b"b"))
    # The next segment is there, the full one not renamed yet.
    journal._create(tmp_path, 2, 2)
    assert recover(tmp_path) == (2, 2)
    assert read(tmp_path) == [b"a", b"b"]
    assert [segment.closed for segment in segments(tmp_path)] == [True, True, False]


def test_an_open_segment_without_its_first_block(tmp_path: Path) -> None:
    with Journal(tmp_path) as log:
        log.append(frames(b"a"))
        log.roll()
    (tmp_path / "000000000001.open").write_bytes(b"")
    assert recover(tmp_path) == (2, 1)
    assert read(tmp_path) == [b"a"]


WRITER = """
import random, struct, sys
from pathlib import Path
from hepswitch.journal import Journal
from hepswitch.wire.frames import Frames
path, seed = Path(sys.argv[1]), int(sys.argv[2])
dice = random.Random(seed)
log = Journal(path, segment_bytes=20_000)
number = log.next_frame
out = sys.stdout.buffer
while True:
    block = Frames()
    for _ in range(dice.randrange(1, 40)):
        block.push(struct.pack("<Q", number) * dice.randrange(1, 100))
        number += 1
    log.append(block)
    out.write(struct.pack("<Q", number))
    out.flush()
"""


def test_kill_9_loses_nothing_that_append_confirmed(tmp_path: Path) -> None:
    dice = random.Random(7)
    confirmed = 0
    for round_number in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(round_number)], stdout=subprocess.PIPE, bufsize=0
        )
        assert writer.stdout is not None
        said = writer.stdout.read(8)
        deadline = time.monotonic() + dice.uniform(0.0, 0.05)
        while time.monotonic() < deadline:
            said += writer.stdout.read(8)
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.read()
        writer.wait()
        writer.stdout.close()
        confirmed = struct.unpack("<Q", said[len(said) // 8 * 8 - 8 : len(said) // 8 * 8])[0]
        _, next_frame = recover(tmp_path)
        assert next_frame >= confirmed
        stored = read(tmp_path)
        assert [struct.unpack("<Q", frame[:8])[0] for frame in stored] == list(range(next_frame))
    assert confirmed > 100
