"""Questions to a lake of which a part is on object storage: the folder and the storage together hold each packet once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import lakes
import object_storage
from hepswitch.lake import compaction, layout, writer
from hepswitch.lake.lake import Lake
from hepswitch.lake.query import Query
from hepswitch.lake.remote import Remote
from hepswitch.lake.remote_part import RemotePart
from hepswitch.lake.warm import WarmLake
from hepswitch.wire.hep import Hep
from object_storage import Bucket
from traffic import START, calls, hep

s3, bucket = object_storage.s3, object_storage.bucket

MESSAGES = list(calls(60))
PACKETS = [hep(message) for message in MESSAGES]
THIRD = len(PACKETS) // 3
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
    lakes.store(root, packets)
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
    for start in (0, THIRD):
        stored(other, PACKETS[start : start + THIRD])
    parts = upload(other, remote, "edge2")
    asked = read()
    assert asked.payloads() == expected(*PACKETS[: 2 * THIRD])  # what was listed and fetched is known now
    ((hour, folder),) = layout.folders(other)
    compaction.compact(layout.files(hour, folder))
    upload(other, remote, "edge2")
    for path in parts:
        remote.delete(path)
    assert asked.payloads() == expected(*PACKETS[: 2 * THIRD])
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
    packets = [hep(message) for message in calls(3000, seed=2)]
    stored(other, packets)
    upload(other, bucket.remote(), "edge2")
    asked = Read(own, bucket)
    assert len(asked.lake.search(Query(call_id=call_id(packets[0])))) == 7
    with bucket.storage.fault("503 GET"):
        assert asked.payloads() == expected(*PACKETS[:THIRD])
        assert "what is remote is missing" in asked.said[0]


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
