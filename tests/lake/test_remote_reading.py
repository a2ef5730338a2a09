"""Questions to a lake of which a part is on object storage: the folder and the storage together hold each packet once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

import lakes
import object_storage
from hepswitch.lake import compaction, layout, writer
from hepswitch.lake.lake import Lake, QueryError
from hepswitch.lake.query import Query
from hepswitch.lake.ranges import MOST_THREADS, THREADS, Ranges
from hepswitch.lake.remote import Remote, RemoteError
from hepswitch.lake.remote_part import NOTHING, RemotePart
from hepswitch.lake.tails import Tails, tails_of
from hepswitch.lake.warm import WarmLake
from hepswitch.wire.hep import Hep
from object_storage import Bucket
from traffic import START, calls, hep

s3, bucket = object_storage.s3, object_storage.bucket

MESSAGES = list(calls(60))
PACKETS = [hep(message) for message in MESSAGES]
THIRD = len(PACKETS) // 3
MANY = [hep(message) for message in calls(800, seed=2)]
"""More than comes with the end of a file."""

SINCE = datetime.fromtimestamp(START, UTC)
MEMORY = 256 << 20


def call_id(packet: bytes) -> str:
    view = Hep(packet).sip
    assert view is not None
    assert view.call_id is not None
    return view.call_id


def upload(root: Path, remote: Remote, node: str) -> list[str]:
    """Put all sealed files of a lake where node `node` puts its own; their paths."""
    paths = []
    for hour, folder in layout.folders(root):
        for file in layout.files(hour, folder):
            path = remote.path_of(node, file)
            with file.path.open("rb") as source:
                remote.put(source, file.path.stat().st_size, path, node)
            paths.append(path)
    return paths


def stored(root: Path, packets: list[bytes]) -> None:
    """Some packets in a sealed file of a lake."""
    with lakes.journal_of(root, segment_bytes=64 << 20) as log:
        log.append(lakes.records(packets))
        log.roll()
    lakes.sealed(root)


class Read:
    """A lake that is asked, with all that it said."""

    def __init__(self, root: Path, bucket: Bucket, kind: type[Lake] = Lake) -> None:
        self.said: list[str] = []
        writer.writer(root, "edge1")
        self.part = RemotePart(bucket.remote(), root, self.said.append, patience=2.0)
        if kind is WarmLake:
            self.lake: Lake = WarmLake(root, MEMORY, self.said.append, self.part)
        else:
            self.lake = Lake(root, self.said.append, self.part)

    def payloads(self, call_id: str | None = None) -> list[bytes]:
        if isinstance(self.lake, WarmLake):
            self.lake.begin()
        return sorted(row["payload"] for row in self.lake.search(Query(call_id=call_id, since=SINCE)))


def expected(*packets: bytes) -> list[bytes]:
    return sorted(Hep(packet).payload for packet in packets)


@pytest.fixture(params=[Lake, WarmLake], ids=["lake", "warm"])
def read(request: pytest.FixtureRequest, tmp_path: Path, bucket: Bucket) -> Iterator[Callable[[], Read]]:
    (tmp_path / "lake").mkdir()
    opened = []

    def opener() -> Read:
        opened.append(Read(tmp_path / "lake", bucket, request.param))
        return opened[-1]

    yield opener
    for each in opened:
        each.lake.close()


def test_the_folder_and_the_files_of_two_nodes_are_one_lake(
    tmp_path: Path, bucket: Bucket, read: Callable[[], Read]
) -> None:
    own, other = tmp_path / "lake", tmp_path / "other"
    stored(own, PACKETS[:THIRD])
    upload(own, bucket.remote(), "edge1")  # here and there
    stored(other, PACKETS[THIRD : 2 * THIRD])
    upload(other, bucket.remote(), "edge2")  # the same name of a file, by somebody else
    lakes.store(own, PACKETS[2 * THIRD :])  # not sealed yet
    asked = read()
    assert asked.payloads() == expected(*PACKETS)
    for each in (0, THIRD, len(PACKETS) - 1):
        whole = [packet for packet in PACKETS if call_id(packet) == call_id(PACKETS[each])]
        assert asked.payloads(call_id=call_id(PACKETS[each])) == expected(*whole)
        assert len(asked.lake.call(call_id(PACKETS[each]))) == len(whole)
    assert len(asked.lake.calls(Query(since=SINCE))) == 60
    assert asked.said == []
    # What is here is not fetched.
    assert not any("GET" in line and "edge1-" in line for line in bucket.storage.requests() if bucket.name in line)


def test_what_went_from_the_folder_is_there_all_the_same(
    tmp_path: Path, bucket: Bucket, read: Callable[[], Read]
) -> None:
    own = tmp_path / "lake"
    for start in (0, THIRD):
        stored(own, PACKETS[start : start + THIRD])
    asked = read()
    assert asked.payloads() == expected(*PACKETS[: 2 * THIRD])
    # Uploaded and deleted between two questions that follow closely: the first one's listing must not hold.
    upload(own, bucket.remote(), "edge1")
    next(own.glob("date=*/*/*00.parquet")).unlink()
    assert asked.payloads() == expected(*PACKETS[: 2 * THIRD])
    assert asked.said == []


def test_a_merged_file_covers_its_parts_wherever_they_are(
    tmp_path: Path, bucket: Bucket, read: Callable[[], Read]
) -> None:
    own = tmp_path / "lake"
    for start in (0, THIRD, 2 * THIRD):
        stored(own, PACKETS[start : start + THIRD])
    upload(own, bucket.remote(), "edge1")
    ((hour, folder),) = layout.folders(own)
    compaction.compact(layout.files(hour, folder)[:2])
    asked = read()
    assert asked.payloads() == expected(*PACKETS)  # merged here, parts there
    upload(own, bucket.remote(), "edge1")
    for file in layout.files(hour, folder):
        file.path.unlink()
    asked.part.look_again()
    assert asked.payloads() == expected(*PACKETS)  # all of it there, parts and merged


def test_files_that_their_node_merges_meanwhile_are_looked_for_again(
    tmp_path: Path, bucket: Bucket, read: Callable[[], Read]
) -> None:
    other, remote = tmp_path / "other", bucket.remote()
    half = len(MANY) // 2
    for some in (MANY[:half], MANY[half:]):
        stored(other, some)
    parts = upload(other, remote, "edge2")
    asked = read()
    whole = [packet for packet in MANY if call_id(packet) == call_id(MANY[0])]
    assert asked.payloads(call_id(MANY[0])) == expected(*whole)  # what was listed and fetched is known now
    ((hour, folder),) = layout.folders(other)
    compaction.compact(layout.files(hour, folder))
    upload(other, remote, "edge2")
    for path in parts:
        remote.delete(path)
    assert asked.payloads() == expected(*MANY)
    assert asked.said == []


@pytest.mark.parametrize("fault", ["503", "hang", "cut"])
def test_without_the_storage_the_rest_is_the_answer_and_says_so(tmp_path: Path, bucket: Bucket, fault: str) -> None:
    own, other = tmp_path / "lake", tmp_path / "other"
    stored(own, PACKETS[:THIRD])
    stored(other, PACKETS[THIRD:])
    upload(other, bucket.remote(), "edge2")
    with bucket.storage.fault(fault):
        asked = Read(own, bucket)
        for _ in range(3):
            assert asked.payloads() == expected(*PACKETS[:THIRD])
        assert asked.said == [asked.said[0]]
        assert asked.said[0].startswith("what is remote is missing from this answer: s3://")


def test_a_storage_that_goes_away_while_it_is_read(tmp_path: Path, bucket: Bucket) -> None:
    own, other = tmp_path / "lake", tmp_path / "other"
    stored(own, PACKETS[:THIRD])
    stored(other, MANY)
    upload(other, bucket.remote(), "edge2")
    asked = Read(own, bucket)
    assert len(asked.lake.search(Query(call_id=call_id(MANY[0])))) == 7
    with bucket.storage.fault("503 GET"):
        assert asked.payloads() == expected(*PACKETS[:THIRD])
        assert "what is remote is missing" in asked.said[0]


def test_an_answer_that_has_begun_breaks_off_with_words(tmp_path: Path, bucket: Bucket) -> None:
    other = tmp_path / "other"
    stored(other, MANY)
    upload(other, bucket.remote(), "edge2")
    (tmp_path / "lake").mkdir()
    lake = Read(tmp_path / "lake", bucket).lake

    def found(connection: duckdb.DuckDBPyConnection) -> Iterator[int]:
        yield 1
        connection.execute("select max(payload) from messages").fetchall()

    rows = lake._stream(found, Query())
    assert next(rows) == 1
    with bucket.storage.fault("503"), pytest.raises(RemoteError, match="the answer broke off: s3://"):
        next(rows)


def test_a_damaged_file_is_left_out_and_named(tmp_path: Path, bucket: Bucket, read: Callable[[], Read]) -> None:
    remote = bucket.remote()
    paths = []
    for number, node in enumerate(("edge2", "edge3", "edge4")):
        stored(tmp_path / node, PACKETS[number * THIRD : (number + 1) * THIRD])
        paths += upload(tmp_path / node, remote, node)
    (file,) = (tmp_path / "edge2").glob("date=*/*/*.parquet")
    whole = file.read_bytes()
    with remote.filesystem.open_output_stream(paths[0]) as stream:
        stream.write(whole[:-1000])
    (file,) = (tmp_path / "edge3").glob("date=*/*/*.parquet")
    whole = file.read_bytes()
    with remote.filesystem.open_output_stream(paths[1]) as stream:
        stream.write(whole[:100] + bytes(8000) + whole[8100:])
    asked = read()
    assert asked.payloads() == expected(*PACKETS[2 * THIRD :])
    assert sorted(asked.said) == [f"{path}: cannot be read and is left out" for path in paths[:2]]


def gets(bucket: Bucket) -> list[str]:
    """What was read of files, so far."""
    return [line for line in bucket.storage.requests() if line.startswith(f"GET /{bucket.name}/") and "bytes=" in line]


def test_a_call_is_looked_up_by_the_ends_of_files_which_are_fetched_once(tmp_path: Path, bucket: Bucket) -> None:
    own, other, remote = tmp_path / "lake", tmp_path / "other", bucket.remote()
    own.mkdir()
    parts = [[hep(message) for message in calls(200, seed=seed)] for seed in range(4)]
    for part in parts:
        stored(other, part)
    paths = upload(other, remote, "edge2")
    assert len(paths) == 4
    wanted = call_id(parts[2][0])
    asked = Read(own, bucket)
    assert len(asked.lake.call(wanted)) == 7
    # One request for the end of each, and some for the rows of the one that has the call.
    asked_of = Counter(line.split()[1].removeprefix("/") for line in gets(bucket))
    assert [asked_of[path] for path in paths if path != paths[2]] == [1, 1, 1]
    assert 2 <= asked_of[paths[2]] <= 4
    before = len(gets(bucket))
    # Another process finds them on the disk.
    again = Read(own, bucket)
    assert again.lake.call("nobody@nowhere.example") == []
    assert len(gets(bucket)) == before
    assert len(again.lake.call(wanted)) == 7
    assert all(paths[2] in line for line in gets(bucket)[before:])
    kept = list((own / "tails").iterdir())
    assert len(kept) == 4
    assert all(path.stat().st_mode & 0o777 == 0o640 for path in kept)
    assert asked.said == again.said == []


def test_ends_that_were_fetched_first_give_way(tmp_path: Path, bucket: Bucket) -> None:
    other, remote = tmp_path / "other", bucket.remote()
    for start in (0, THIRD, 2 * THIRD):
        stored(other, PACKETS[start : start + THIRD])
    upload(other, remote, "edge2")
    files = remote.files()
    ranges = Ranges(remote)
    small = Tails(tmp_path / "tails", "here", ranges, room=files[0].size + files[1].size)
    for number, file in enumerate(files):
        assert small.fetch([file]) == {}
        for path in (tmp_path / "tails").iterdir():
            os.utime(path, (number, number)) if path.stat().st_mtime > 10 else None
    assert small.read(files[0], 0, 4) is None
    assert small.read(files[2], 0, 4) == b"PAR1"


@pytest.mark.parametrize("left", [b"", b"\0" * 5, b"\0" * 12, b"\0" * 7 + b"\1" * 30])
def test_ends_that_a_crash_left_half_written_are_fetched_again(tmp_path: Path, bucket: Bucket, left: bytes) -> None:
    own, other = tmp_path / "lake", tmp_path / "other"
    own.mkdir()
    stored(other, PACKETS)
    upload(other, bucket.remote(), "edge2")
    asked = Read(own, bucket)
    whole = asked.payloads(call_id(PACKETS[0]))
    assert len(whole) == 7
    (tail,) = (own / "tails").iterdir()
    tail.write_bytes(left)
    assert Read(own, bucket).payloads(call_id(PACKETS[0])) == whole


def test_where_the_folder_cannot_be_written_ends_are_in_the_users_cache_or_in_memory(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = bucket.remote()
    stored(tmp_path / "other", PACKETS)
    upload(tmp_path / "other", remote, "edge2")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert tails_of(None) == tmp_path / "cache" / "hepswitch" / "tails"
    assert tails_of(tmp_path) == tmp_path / "tails"
    with monkeypatch.context() as root:
        # What root made there, the lake's owner might not be able to read.
        root.setattr(os, "geteuid", lambda: os.getuid() + 1)
        assert tails_of(tmp_path) == tails_of(None)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    part = RemotePart(remote, None, pytest.fail)
    for _ in range(2):
        assert len(Lake(None, pytest.fail, part).search(Query(since=SINCE))) == len(PACKETS)
    assert len(gets(bucket)) == 1


def test_without_a_time_and_a_call_the_last_day_alone_is_looked_through(
    tmp_path: Path, bucket: Bucket, read: Callable[[], Read]
) -> None:
    own, other = tmp_path / "lake", tmp_path / "other"
    stored(own, PACKETS[:THIRD])
    stored(other, PACKETS[THIRD:])
    upload(other, bucket.remote(), "edge2")
    asked = read()
    assert sorted(row["payload"] for row in asked.lake.search(Query())) == expected(*PACKETS[:THIRD])
    assert len(asked.said) == 1
    assert "looked through since" in asked.said[0]
    asked.said.clear()
    asked.part.begin()
    assert asked.lake.sql("select count(*) from messages")[1] == [(len(PACKETS),)]
    last = datetime.fromtimestamp(START + 86400, UTC)
    assert sorted(row["payload"] for row in asked.lake.search(Query(until=last))) == expected(*PACKETS)


def test_free_sql_reaches_no_other_files(tmp_path: Path, bucket: Bucket, read: Callable[[], Read]) -> None:
    stored(tmp_path / "other", PACKETS)
    paths = upload(tmp_path / "other", bucket.remote(), "edge2")
    with bucket.remote().filesystem.open_output_stream(f"{bucket.name}/secret.parquet") as stream:
        stream.write(next((tmp_path / "other").glob("date=*/*/*.parquet")).read_bytes())
    asked = read()
    assert asked.lake.sql("select count(*) from messages")[1] == [(len(PACKETS),)]
    for wrong in (
        f"select * from read_parquet('remote://{bucket.name}/secret.parquet')",
        f"select * from 'remote://{bucket.name}/secret.parquet'",
        f"select * from read_parquet('s3://{bucket.name}/secret.parquet')",
        f"select * from read_parquet('s3://{paths[0]}')",
        f"select * from read_text('remote://{bucket.name}/../../etc/passwd')",
        f"copy messages to 'remote://{bucket.name}/out.parquet'",
        "select * from read_text('/etc/passwd')",
        "set enable_external_access = true",
    ):
        with pytest.raises(QueryError):
            asked.lake.sql(wrong)
    files = (
        asked.lake.sql(f"select * from glob('remote://{bucket.name}/**')")[1]
        if isinstance(asked.lake, WarmLake)
        else []
    )
    assert files == []


def test_a_folder_of_another_disk_is_a_remote_part(tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    remote = Remote.parse(f"file://{tmp_path}/mount")
    stored(tmp_path / "other", PACKETS)
    (path,) = upload(tmp_path / "other", remote, "edge2")
    said: list[str] = []
    (tmp_path / "lake").mkdir()
    part = RemotePart(remote, tmp_path / "lake", said.append)
    lake = Lake(tmp_path / "lake", said.append, part)
    assert len(lake.search(Query(since=SINCE))) == len(PACKETS)
    Path(path).unlink()
    part.look_again()
    assert lake.search(Query(since=SINCE)) == []
    assert said == []
    (tmp_path / "mount").rename(tmp_path / "gone")
    lake = Lake(tmp_path / "lake", said.append, RemotePart(remote, tmp_path / "lake", said.append))
    assert lake.search(Query(since=SINCE)) == []
    assert said == [
        f"what is remote is missing from this answer: {remote}: there is no such folder: mount it, or make it"
    ]


def test_without_fsspec_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "hepswitch.lake.object_files")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(OSError, match=re.escape("pip install 'hepswitch[s3]'")):
        RemotePart(Remote.parse(f"file://{tmp_path}"), None, pytest.fail)


CANCELLED = """
import os, signal, socket, sys, threading, time
from pathlib import Path
from hepswitch.destinations.lake import LakeStore
from hepswitch.lake import interrupts
from hepswitch.lake.query import Query
from hepswitch.queries import line, process
from hepswitch.queries.answering import Asking

class Hanging(Asking):
    def _answer(self, question, out):
        with self._reader(None) as lake:
            asked = Path(sys.argv[2]) / "requests"
            before = asked.read_text().count("GET")
            if sys.argv[3] == "read":
                assert lake.search(Query(call_id="nobody")) == []
            Path(sys.argv[2], "fault").write_text("hang GET")
            before = asked.read_text().count("GET")
            def cancel():
                while asked.read_text().count("GET") == before:
                    time.sleep(0.01)
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            threading.Thread(target=cancel).start()
            lake.sql("select max(payload) from messages")

ours, theirs = socket.socketpair()
ours.sendall(line.message(line.QUESTION, ["Stores", {}]))
ours.shutdown(socket.SHUT_WR)
asking = Hanging({"lake": LakeStore(**eval(sys.argv[1]))}, 1 << 30)
with interrupts.heeded(asking.interrupt):
    process.serve(line.Line(theirs), asking)
assert ours.recv(1 << 16) == line.frame(line.CANCELLED)
print("cancelled", flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("stage", ["list", "read"])
def test_a_question_that_waits_for_the_storage_is_cancelled_at_once(tmp_path: Path, bucket: Bucket, stage: str) -> None:
    other = tmp_path / "other"
    stored(other, MANY)
    upload(other, bucket.remote(), "edge2")
    (tmp_path / "lake").mkdir()
    table = bucket.table | {"url": f"lake:{tmp_path / 'lake'}"}
    try:
        command = [sys.executable, "-c", CANCELLED, repr(table), str(bucket.storage.folder), stage]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    finally:
        (bucket.storage.folder / "fault").unlink(missing_ok=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "cancelled\n", "")


def test_a_place_where_nothing_is_is_told(bucket: Bucket) -> None:
    said: list[str] = []
    assert Lake(None, said.append, RemotePart(bucket.remote(), None, said.append)).search(Query(since=SINCE)) == []
    assert said == [f"{bucket.remote()}: {NOTHING}"]


def test_what_answers_and_is_no_storage_is_told(tmp_path: Path, bucket: Bucket) -> None:
    stored(tmp_path / "lake", PACKETS)
    asked = Read(tmp_path / "lake", bucket)
    with bucket.storage.fault("page"):
        assert asked.payloads() == expected(*PACKETS)
    (said,) = asked.said
    assert said.startswith("what is remote is missing from this answer: ")
    assert said.endswith(" gives what is not there: it is no storage that answers")


def test_what_nobody_waits_for_any_more_holds_up_nothing(bucket: Bucket) -> None:
    ranges = Ranges(bucket.remote(), patience=0.2)
    comes = threading.Event()
    others = threading.active_count()
    try:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                dict(ranges.call_many(dict.fromkeys(range(2 * THREADS), comes.wait)))
            assert ranges.call(lambda: "an answer") == "an answer"
        for _ in range(2):
            with pytest.raises(TimeoutError):
                dict(ranges.call_many(dict.fromkeys(range(2 * THREADS), comes.wait)))
        assert threading.active_count() - others <= MOST_THREADS
    finally:
        comes.set()
    assert ranges.call(lambda: "an answer") == "an answer"
