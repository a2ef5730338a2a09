"""The marks of messages: what is written is known after every kind of end, whoever closes the segment."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepswitch import journal
from hepswitch.destinations import marks
from hepswitch.destinations.marks import Marks, keep_marks
from hepswitch.journal import Journal, recover, segments
from hepswitch.wire import record
from hepswitch.wire.frames import Frames
from hepswitch.wire.hep import Hep

HEP = Hep.new(b"OPTIONS sip:a SIP/2.0\r\n\r\n", src_ip="10.0.0.1", dst_ip="10.0.0.2")


def mark(number: int) -> bytes:
    return number.to_bytes(16, "big")


def message(number: int, packets: int = 3) -> Frames:
    """The records of a message."""
    frames = Frames()
    for place in range(packets):
        record.write(frames, HEP, meta={"table": "t"} if place else None, mark=None if place else mark(number))
    return frames


def known(found: Marks, *numbers: int) -> list[bool]:
    return [mark(number) in found for number in numbers]


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=20))
def test_marks_are_found_in_records_and_change_nothing_else(kinds: list[tuple[bool, bool]]) -> None:
    frames, expected = Frames(), []
    for number, (is_marked, has_meta) in enumerate(kinds):
        record.write(
            frames, HEP, "10.9.8.7", 5, {"table": "t"} if has_meta else None, mark(number) if is_marked else None
        )
        expected += [mark(number)] * is_marked
    lengths = memoryview(frames.lengths()).cast("I")
    assert record.marks_in(memoryview(frames), lengths) == expected
    for frame, (_, has_meta) in zip(frames, kinds, strict=True):
        stored = record.read(frame)
        assert (stored.meta, stored.hep, stored.sender_ip) == (
            {"table": "t"} if has_meta else None,
            bytes(HEP),
            "10.9.8.7",
        )


def test_a_mark_has_sixteen_bytes() -> None:
    with pytest.raises(ValueError, match="16 bytes, not 3"):
        record.write(Frames(), HEP, mark=b"abc")


def test_what_is_no_record_bears_no_mark() -> None:
    data = b"\xff" * 40
    assert record.marks_in(memoryview(data), memoryview(b"\x28\0\0\0").cast("I")) == []
    with pytest.raises(ValueError, match="longer than the data"):
        record.marks_in(memoryview(data), memoryview(b"\x29\0\0\0").cast("I"))


def test_the_marks_of_a_segment_are_on_disk_before_it_is_closed(tmp_path: Path) -> None:
    with Journal(tmp_path / "w0", closing=keep_marks) as log:
        log.append(message(1))
        log.append(message(2))
        assert not (tmp_path / "w0" / marks.NAME).exists()
        log.roll()
    assert (tmp_path / "w0" / marks.NAME).read_bytes() == mark(1) + mark(2)
    assert known(Marks(tmp_path / "w0"), 1, 2, 3) == [True, True, False]


def test_whoever_closes_what_a_killed_writer_left_keeps_the_marks(tmp_path: Path) -> None:
    folder = tmp_path / "w0"
    with Journal(folder) as log:
        log.append(message(1))
    with segments(folder)[-1].path.open("ab") as stream:
        stream.write(b"HSB1torn")
    recover(folder, closing=keep_marks)
    for segment in segments(folder):
        segment.path.unlink(missing_ok=not segment.closed)
    assert known(Marks(folder), 1, 2) == [True, False]


def test_a_segment_whose_marks_cannot_be_kept_stays_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "w0"
    found: list[Marks] = []
    with Journal(folder, closing=lambda segment: found[0].save() if found else keep_marks(segment)) as log:
        found.append(Marks(folder))
        log.append(message(1))
        found[0].add([mark(1)])
        with monkeypatch.context() as patch:

            def refuse(fd: int, data: bytes, at: int) -> int:
                raise OSError(errno.ENOSPC, "No space left on device")

            patch.setattr(marks.os, "pwrite", refuse)
            with pytest.raises(OSError, match="No space left"):
                log.roll()
        assert [segment.closed for segment in segments(folder)] == [False]
        log.roll()
        assert [segment.closed for segment in segments(folder)] == [True, False]
    assert known(Marks(folder), 1) == [True]


def test_the_marks_of_the_other_workers_are_known_open_or_closed(tmp_path: Path) -> None:
    with Journal(tmp_path / "w0", closing=keep_marks) as log:
        log.append(message(1))
        log.roll()
        log.append(message(2))
        Journal(tmp_path / "w1").close()
        assert known(Marks(tmp_path / "w1"), 1, 2, 3) == [True, True, False]


def test_a_torn_tail_of_the_file_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / marks.NAME).write_bytes(mark(1) + mark(2)[:9])
    found = Marks(tmp_path)
    found.add([mark(3)])
    found.save()
    found.save()
    assert (tmp_path / marks.NAME).read_bytes() == mark(1) + mark(3)


def test_a_disk_that_takes_half_of_it_leaves_no_half_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    found = Marks(tmp_path)
    found.add([mark(1), mark(2)])

    def half(fd: int, data: bytes, at: int) -> int:
        if at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data[:24], at)

    with monkeypatch.context() as patch:
        patch.setattr(marks.os, "pwrite", half)
        with pytest.raises(OSError, match="No space left"):
            found.save()
    assert (tmp_path / marks.NAME).read_bytes() == mark(1)
    found.save()
    assert known(Marks(tmp_path), 1, 2) == [True, True]


def test_only_the_last_are_remembered_and_the_file_stays_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "MOST", 10)
    found = Marks(tmp_path)
    for number in range(95):
        found.add([mark(number)])
        found.save()
        assert (tmp_path / marks.NAME).stat().st_size <= 20 * 16
    for remembered in (found, Marks(tmp_path)):
        assert len(remembered) == 10
        assert known(remembered, 84, 85, 94) == [False, True, True]
    assert [path.name for path in tmp_path.iterdir()] == [marks.NAME]


def test_a_journal_has_its_file_beside_the_segments_and_readers_do_not_mind(tmp_path: Path) -> None:
    with Journal(tmp_path / "w0", closing=keep_marks) as log:
        log.append(message(7))
        log.roll()
    assert {path.suffix for path in (tmp_path / "w0").iterdir()} == {journal.OPEN, journal.CLOSED, ""}
    assert [segment.number for segment in segments(tmp_path / "w0")] == [0, 1]
