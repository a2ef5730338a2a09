"""Packets as text in files: the documented format byte for byte, rotation, and files that others move, fill or delete."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from far_ends import until
from hepswitch.destinations import rotating
from hepswitch.destinations.file import FileTarget, FileWriter
from hepswitch.destinations.rotating import Location, RotatingFile
from hepswitch.destinations.writer import Written
from hepswitch.wire.hep import Hep

OPTIONS = b"OPTIONS sip:a SIP/2.0\r\nCall-ID: c1\r\n\r\n"
ENDS = {"src_ip": "192.0.2.1", "src_port": 5060, "dst_ip": "192.0.2.2", "dst_port": 5062}
NOON = 1_795_003_200.25  # 2026-11-18 12:00:00 UTC


def packet(payload: bytes = OPTIONS, **chunks: object) -> Hep:
    return Hep.new(payload, **({"time": NOON} | ENDS | chunks))


def written(*packets: Hep) -> list[Written]:
    return [Written(each, 0) for each in packets]


def target(path: Path, query: str = "") -> FileTarget:
    return FileTarget.parse(f"file:{path}{query}")


def write(where: FileTarget, *packets: Hep) -> None:
    writer, rest = FileWriter(where), written(*packets)
    while rest:
        rest = rest[writer.write(rest) :]


def test_the_format(tmp_path: Path) -> None:
    path = tmp_path / "x.sip"
    six = {"src_ip": "2001:db8::1", "dst_ip": "2001:db8::2", "proto_id": 22}
    writer = FileWriter(target(path))
    writer.write([
        Written(packet(), 0), Written(packet(**six), 0, direction="out"), Written(packet(b"{}", proto_type=5), 0),
        Written(packet(b"line", proto_type=100), 0), Written(packet(b"?", proto_type=250), 0),
        Written(packet(b"\0\xff\r\n"), 0), Written(packet(None, src_ip=None, dst_ip=None, src_port=None), 0),
        Written(packet(b'{"payload": "OPTIONS sip:a SIP/2.0\\r\\n\\r\\n"}'), 0),
    ])  # fmt: skip
    from_to = b"2026-11-18 12:00:00 192.0.2.1:5060 -> 192.0.2.2:5062\n"
    assert path.read_bytes() == (
        b"in udp " + from_to + OPTIONS + b"\n\n"
        b"out tls 2026-11-18 12:00:00 [2001:db8::1]:5060 -> [2001:db8::2]:5062\n" + OPTIONS + b"\n\n"
        b"in rtcp " + from_to + b"{}\n\nin log " + from_to + b"line\n\nin 250 " + from_to + b"?\n\n"
        b"in udp " + from_to + b"\0\xff\r\n\n\nin udp 2026-11-18 12:00:00 0.0.0.0:0 -> 0.0.0.0:5062\n\n\n"
        b"in udp " + from_to + b"OPTIONS sip:a SIP/2.0\r\n\r\n\n\n"
    )


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5))
def test_any_payload_is_there_byte_for_byte(tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("f") / "x"
    packets = [packet(payload, proto_type=100) for payload in payloads]
    write(target(path), *packets)
    rest = path.read_bytes()
    for payload in payloads:
        head, _, rest = rest.partition(b"\n")
        assert re.fullmatch(rb"in log \d{4}-\d\d-\d\d \d\d:\d\d:\d\d 192\.0\.2\.1:5060 -> 192\.0\.2\.2:5062", head)
        assert rest.startswith(payload + b"\n\n")
        rest = rest[len(payload) + 2 :]
    assert rest == b""


def test_times_may_be_those_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC-5:30")
    time.tzset()
    try:
        write(target(tmp_path / "x", "?time=local"), packet())
    finally:
        monkeypatch.undo()
        time.tzset()
    assert b" 2026-11-18 17:30:00 " in (tmp_path / "x").read_bytes()


async def test_the_outlet_writes_and_counts(tmp_path: Path) -> None:
    outlet = target(tmp_path / "deep" / "x.sip").build(flush=0.001)
    await outlet.open()
    path = tmp_path / "deep" / "x.sip"
    assert path.stat().st_mode & 0o777 == 0o600
    for _ in range(3):
        assert outlet.offer(packet(), attrs="a", direction="out")
    outlet.flush()
    await until(lambda: outlet.account()["delivered"] == 3, "written")
    assert path.read_bytes().count(OPTIONS) == 3
    await outlet.close(1.0)


async def test_a_file_that_cannot_be_had_is_told_at_the_start(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "link"):
        with pytest.raises(OSError, match=str(path)):
            await target(path).build().open()


def test_a_file_of_somebody_else_is_neither_written_to_nor_put_aside(tmp_path: Path) -> None:
    """The API starts traces: nobody may add a line of SIP to keys, crontabs or the lake's journal by it."""
    path = tmp_path / "authorized_keys"
    for content in (b"ssh-ed25519 AAAA root\n", b"HSB1" + bytes(2 << 20), b"in the beginning\n"):
        path.write_bytes(content)
        for query in ("", "?rotate_size=1MiB&keep=0"):
            with pytest.raises(OSError, match="move it away"):
                FileWriter(target(path, query)).open()
            assert path.read_bytes() == content
            assert list(tmp_path.iterdir()) == [path]
    path.unlink()
    write(target(path), packet())
    write(target(path), packet())
    assert path.read_bytes().count(OPTIONS) == 2, "another writer of ours goes on with it"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of other users")
def test_what_another_user_put_into_tmp_is_not_written_to(tmp_path: Path) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    path, link, aim = folder / "x", folder / "y", tmp_path / "aim"
    path.touch()
    os.chown(path, 65_534, 65_534)
    aim.touch()
    link.symlink_to(aim)
    os.chown(link, 65_534, 65_534, follow_symlinks=False)
    for planted in (path, link):
        with pytest.raises(OSError, match="another user"):
            FileWriter(target(planted)).open()
    assert (path.stat().st_size, aim.stat().st_size) == (0, 0)
    os.chown(path, 0, 0)
    write(target(path), packet())
    assert path.stat().st_size > 0


def test_a_file_that_cannot_be_made_anew_is_closed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closed twice it would be, in a process with other threads, the file or connection of somebody else."""
    writer = FileWriter(target(tmp_path / "x", "?rotate_size=1MiB"))
    writer.write(written(packet(bytes(60_000), proto_type=100)))
    monkeypatch.setattr(RotatingFile, "_is_over", lambda *_: monkeypatch.setattr(rotating, "_lock", refuse) or True)

    def refuse(fd: int, path: str) -> bool:
        raise OSError(errno.EACCES, "Permission denied", path)

    closed: list[int] = []
    close = os.close
    monkeypatch.setattr(rotating.os, "close", lambda fd: (closed.append(fd), close(fd)))
    with pytest.raises(PermissionError):
        writer.write(written(packet()))
    assert len(closed) == len(set(closed)) == 2


def test_the_mode_is_the_configured_one_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        write(target(tmp_path / "x", "?mode=0664"), packet())
    finally:
        os.umask(old)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o664
    (tmp_path / "y").touch(0o640)
    (tmp_path / "y").chmod(0o640)
    write(target(tmp_path / "y"), packet())
    assert (tmp_path / "y").stat().st_mode & 0o777 == 0o640, "what somebody else made keeps its mode"


def test_packets_go_where_their_own_time_says(tmp_path: Path) -> None:
    day = 86_400
    write(target(tmp_path / "x-%Y%m%d.sip"), packet(), packet(time=NOON - day), packet(time=NOON - day), packet())
    sizes = {path.name: path.read_bytes().count(OPTIONS) for path in tmp_path.iterdir()}
    assert sizes == {"x-20261118.sip": 2, "x-20261117.sip": 2}


def test_a_file_that_was_moved_or_deleted_is_made_anew(tmp_path: Path) -> None:
    path, moved = tmp_path / "x", tmp_path / "x.1"
    writer = FileWriter(target(path))
    writer.write(written(packet()))
    path.rename(moved)
    writer.write(written(packet()))
    assert path.read_bytes() == moved.read_bytes() != b""
    path.unlink()
    writer.write(written(packet()))
    assert path.read_bytes() == moved.read_bytes()


def test_a_file_that_is_moved_while_it_is_being_locked_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, moved = tmp_path / "x", tmp_path / "x.1"
    real = rotating.fcntl.flock

    def flock(fd: int, how: int) -> None:
        if not moved.exists():
            path.rename(moved)
        real(fd, how)

    monkeypatch.setattr(rotating.fcntl, "flock", flock)
    write(target(path), packet())
    assert moved.read_bytes() == b""
    assert path.read_bytes().count(OPTIONS) == 1


def test_a_full_disk_leaves_no_half_of_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    writer = FileWriter(target(path))
    writer.write(written(packet()))
    before = path.read_bytes()
    real = os.write
    left = [100]

    def refuse(fd: int, data: memoryview) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = real(fd, data[: left[0]])
        left[0] -= count
        return count

    monkeypatch.setattr(rotating.os, "write", refuse)
    with pytest.raises(OSError, match="No space"):
        writer.write(written(packet(), packet(), packet()))
    assert path.read_bytes() == before
    left[0] = 10_000
    writer.write(written(packet()))
    assert path.read_bytes() == before * 2


def rotated(tmp_path: Path) -> list[Path]:
    return sorted(path for path in tmp_path.iterdir() if re.search(r"\.\d{8}T\d{12}Z\b", path.name))


def test_rotation_by_size_keeps_the_newest(tmp_path: Path) -> None:
    (tmp_path / "fraud.sip.bak").touch()
    (tmp_path / "fraud-2.sip").touch()
    writer = FileWriter(target(tmp_path / "fraud.sip", "?rotate_size=1MiB&keep=2"))
    for i in range(60):
        writer.write(written(packet(b"%03d" % i + bytes(60_000), proto_type=100)))
    old = rotated(tmp_path)
    assert len(old) == 2
    assert [path.suffix for path in old] == [".sip", ".sip"]
    files = [*old, tmp_path / "fraud.sip"]
    assert all(path.stat().st_size <= 1 << 20 for path in files)
    numbers = [int(found) for path in files for found in re.findall(rb"\n(\d{3})\0", path.read_bytes())]
    assert numbers == list(range(numbers[0], 60)), "nothing is missing, and the oldest are gone"
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in files} | {
        "fraud.sip.bak",
        "fraud-2.sip",
    }
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files)


def test_dated_files_are_removed_too(tmp_path: Path) -> None:
    (tmp_path / "x-2026111.sip").touch()
    where = target(tmp_path / "x-%Y%m%d.sip", "?keep=1")
    for day in range(4):
        write(where, packet(time=NOON + day * 86_400))
        stamp = 1_000_000_000 + day
        for path in tmp_path.iterdir():
            os.utime(path, (stamp, stamp)) if path.name.endswith(f"{18 + day}.sip") else None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x-2026111.sip", "x-20261120.sip", "x-20261121.sip"]


def test_all_files_may_be_kept(tmp_path: Path) -> None:
    where = target(tmp_path / "x-%S.sip", "?keep=all")
    write(where, *(packet(time=NOON + second) for second in range(30)))
    assert len(list(tmp_path.iterdir())) == 30


def test_a_file_of_an_earlier_day_is_put_aside(tmp_path: Path) -> None:
    where = target(tmp_path / "x", "?rotate_every=1d")
    write(where, packet())
    write(where, packet())
    assert rotated(tmp_path) == []
    yesterday = time.time() // 86_400 * 86_400 - 1
    os.utime(tmp_path / "x", (yesterday, yesterday))
    write(where, packet())
    (old,) = rotated(tmp_path)
    assert old.read_bytes().count(OPTIONS) == 2
    assert (tmp_path / "x").read_bytes().count(OPTIONS) == 1


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for i in range(20):
        write(FileTarget.parse("file:x?rotate_size=1MiB&keep=0"), packet(b"%d" % i + bytes(60_000), proto_type=100))
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").stat().st_size > 60_000


def test_workers_share_a_file(tmp_path: Path) -> None:
    """Two writers with their own descriptors, as two processes have: each batch is whole and none is lost."""
    first, second = (RotatingFile(Location(str(tmp_path / "x"), rotate_size=1 << 20, keep=None)) for _ in range(2))
    block = bytes(99_999) + b"\n"
    for _ in range(20):
        first.append(str(tmp_path / "x"), block)
        second.append(str(tmp_path / "x"), block)
    files = list(tmp_path.iterdir())
    assert len(files) == 4
    assert sum(path.stat().st_size for path in files) == 40 * len(block)


@pytest.mark.parametrize(
    ("text", "name", "url"),
    [
        ("file:/var/log/x.sip", "file:/var/log/x.sip", "file:/var/log/x.sip"),
        ("file:///var/log/x.sip", "file:/var/log/x.sip", "file:/var/log/x.sip"),
        ("file:/var/./log//x.sip?keep=10&mode=600", "file:/var/log/x.sip", "file:/var/log/x.sip"),
        (
            "file:x-%Y.sip?rotate_size=1GiB&rotate_every=1h&keep=all&mode=0640&time=local",
            "file:x-%Y.sip",
            "file:x-%Y.sip?mode=0640&rotate_size=1073741824&rotate_every=3600.0&keep=all&time=local",
        ),
        ("file:x?time=local", "file:x", "file:x?time=local"),
    ],
)
def test_targets(text: str, name: str, url: str) -> None:
    found = FileTarget.parse(text)
    assert (str(found), found.url) == (name, url)
    assert FileTarget.parse(url) == found
    absolute: Callable[[Path], Path] = lambda path: Path("/base") / path  # noqa: E731
    assert str(found.anchored(absolute)) == (name if name.startswith("file:/") else f"file:/base/{name[5:]}")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("pcap:/x", "names no file"),
        ("file:", "names no file"),
        ("file:/var/log/", "names no file"),
        ("file://host/x", "names a host"),
        ("file:/%Y/x", "date fields in its folder"),
        ("file:/x-%B", "the field %B"),
        ("file:/x?rotate=1d", "unknown option 'rotate'; known here: mode, rotate_size, rotate_every, keep, time"),
        ("file:/x?mode=0999", "is no file mode"),
        ("file:/x?rotate_size=1k", "too small"),
        ("file:/x?rotate_size=big", "is not a size"),
        ("file:/x?rotate_every=1s", "too short"),
        ("file:/x?keep=-1", "is no number of files"),
        ("file:/x?time=cet", "write utc or local"),
    ],
)
def test_mistakes_are_explained(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(hint)):
        FileTarget.parse(text)
