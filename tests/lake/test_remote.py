"""Files of lakes on S3-compatible storage and in a shared folder: what is there, what counts, what goes wrong, in words."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from hepswitch.lake.layout import LakeFile
from hepswitch.lake.remote import WHOLE, Remote, RemoteError, RemoteFile, UnreadableError, counting
from object_storage import Bucket, ObjectStorage, bucket, s3  # noqa: F401

HOUR = 498_611
"""2026-11-18, 11 o'clock."""


def put(remote: Remote, node: str, worker: int, first: int, last: int, size: int = 10, hour: int = HOUR) -> str:
    name = f"w{worker}-{first:012d}.parquet" if first == last else f"w{worker}-{first:012d}-{last:012d}.parquet"
    path = remote.path_of(node, LakeFile(Path(name), hour, worker, first, last))
    remote.put(io.BytesIO(b"x" * size), size, path, node)
    return path


@pytest.fixture(params=["s3", "file"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Remote:
    if request.param == "s3":
        return request.getfixturevalue("bucket").remote()  # type: ignore[no-any-return]
    return Remote.parse(f"file://{tmp_path}")


def test_what_was_put_is_there(remote: Remote) -> None:
    assert remote.files() == [] == remote.dates()
    path = put(remote, "edge1", 0, 3, 5, 1000)
    assert path.endswith("date=2026-11-18/hour=11/edge1-w0-000000000003-000000000005.parquet")
    put(remote, "edge.2", 1, 4, 4, hour=HOUR + 24)
    one, two = remote.files()
    assert (one.path, one.hour, one.node, one.worker, one.first, one.last, one.size) == (
        path, HOUR, "edge1", 0, 3, 5, 1000,
    )  # fmt: skip
    assert (two.node, two.hour, two.first, two.last) == ("edge.2", HOUR + 24, 4, 4)
    assert remote.files(lambda hour: hour == HOUR) == [one] == remote.listing(HOUR)
    assert remote.files(lambda hour: hour == HOUR + 1) == []
    assert len(remote.dates()) == 2
    assert remote.filesystem.open_input_file(path).read() == b"x" * 1000
    remote.delete(path)
    remote.delete(path)
    assert remote.files() == [two]


def test_a_big_file_goes_by_another_name(remote: Remote) -> None:
    path = put(remote, "edge1", 0, 1, 1, WHOLE + 1)
    (found,) = remote.files()
    assert (found.path, found.size) == (path, WHOLE + 1)


def test_nobody_else_reads_a_shared_folder(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = put(Remote.parse(f"file://{tmp_path}"), "edge1", 0, 1, 1)
    finally:
        os.umask(before)
    assert Path(path).stat().st_mode & 0o777 == 0o640
    assert Path(path).parent.stat().st_mode & 0o777 == 0o750


def test_a_covered_file_does_not_count_within_its_node_and_worker(remote: Remote) -> None:
    for node, worker, first, last in (
        ("a", 0, 1, 1), ("a", 0, 2, 2), ("a", 0, 1, 2), ("a", 1, 1, 1), ("b", 0, 1, 1),
    ):  # fmt: skip
        put(remote, node, worker, first, last)
    found = [(file.node, file.worker, file.first, file.last) for file in remote.files()]
    assert found == [("a", 0, 1, 2), ("a", 1, 1, 1), ("b", 0, 1, 1)]
    assert len(remote.listing(HOUR)) == 5


def test_other_files_are_nobodys(remote: Remote) -> None:
    remote.write("nodes/a.json", b"{}")
    remote.write("date=2026-11-18/hour=11/notes.txt", b"hello")
    remote.write("date=2026-11-18/hour=11/w0-000000000001.parquet", b"no node")
    remote.write("date=today/hour=11/a-w0-000000000001.parquet", b"no date")
    remote.write("date=2026-11-18/copy/date=2026-11-18/hour=11/a-w0-000000000001.parquet", b"not here")
    assert remote.files() == []
    assert remote.read("nodes/a.json") == b"{}"
    assert remote.read("nodes/b.json") is None


def test_hours_of_a_date_are_listed_together(bucket: Bucket) -> None:  # noqa: F811
    remote = bucket.remote()
    date = HOUR - HOUR % 24
    for hour in (date, date + 5, date + 23):
        remote.write(f"{remote.folder(hour).removeprefix(remote.url.root)[1:]}/a-w0-000000000001.parquet", b"")
    before = len(bucket.storage.requests())
    found = remote.files(lambda hour: date < hour < date + 24)
    assert [file.hour for file in found] == [date + 5, date + 23]
    assert len(bucket.storage.requests()) - before == 2


def test_hours_apart_count_apart() -> None:
    one = RemoteFile("p", HOUR, "a", 0, 1, 9, 1, 0.0)
    two = RemoteFile("q", HOUR + 1, "a", 0, 2, 2, 1, 0.0)
    assert counting([two, one]) == [one, two]


def test_what_it_costs_in_requests(bucket: Bucket) -> None:  # noqa: F811
    """As docs/howto/object-storage.md says."""
    remote = bucket.remote()
    said = bucket.storage.requests

    def asked(what: Callable[[], object]) -> list[str]:
        before = len(said())
        what()
        return [line.split()[0] for line in said()[before:]]

    assert asked(lambda: put(remote, "a", 0, 1, 1)) == ["PUT", "HEAD"]
    big = asked(lambda: put(remote, "a", 0, 2, 2, WHOLE + (4 << 20)))
    assert big == ["POST", "PUT", "PUT", "POST", "HEAD", "PUT", "HEAD"]
    one, two = remote.files()
    assert asked(lambda: remote.delete(one.path)) == ["HEAD", "DELETE", "PUT"]
    assert asked(remote.files) == ["GET", "GET"]
    assert asked(lambda: remote.listing(HOUR)) == ["GET"]
    assert remote.files() == [two]


class Torn(io.BytesIO):
    """A file whose disk gives up."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > 5:
            raise OSError(5, "Input/output error")
        return super().read(size)


@pytest.mark.parametrize("size", [2 << 20, WHOLE + (2 << 20)])
def test_what_cannot_be_read_whole_does_not_appear(remote: Remote, size: int) -> None:
    path = remote.path_of("a", LakeFile(Path("w0-000000000001.parquet"), HOUR, 0, 1, 1))
    for source in (Torn(b"x" * size), io.BytesIO(b"x" * (size - 1))):
        with pytest.raises(UnreadableError):
            remote.put(source, size, path, "a")
    assert remote.files() == []


@pytest.mark.parametrize(("fault", "size"), [("503 PUT", WHOLE + (4 << 20)), ("cut PUT", 10)])
def test_an_upload_that_fails_does_not_appear(bucket: Bucket, fault: str, size: int) -> None:  # noqa: F811
    remote = bucket.remote(patience=1.0)
    with bucket.storage.fault(fault), pytest.raises(RemoteError):
        put(remote, "a", 0, 1, 1, size)
    assert remote.files() == []
    put(remote, "a", 0, 1, 1, size)
    assert [file.size for file in remote.files()] == [size]


def test_a_storage_that_hangs_is_waited_for_no_longer_than_patience_says(bucket: Bucket) -> None:  # noqa: F811
    remote = bucket.remote(patience=1.0)
    with bucket.storage.fault("hang"), pytest.raises(RemoteError, match="too slow"):
        remote.files()
    assert remote.files() == []


def test_a_certificate_of_our_own(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    for number, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(tmp_path / "cert.pem", append=number > 0)
    storage = ObjectStorage(tmp_path, tmp_path / "cert.pem", tmp_path / "key.pem")
    try:
        url = f"s3://none-such/x?endpoint={storage.endpoint}&region=x"
        with pytest.raises(RemoteError, match="there is no such bucket"):
            Remote.parse(f"{url}&ca={tmp_path}/ca.pem", "hep", "x", 2.0).files()
        with pytest.raises(RemoteError, match="certificate"):
            Remote.parse(url, "hep", "x", 2.0).files()
    finally:
        storage.stop()


def test_words(bucket: Bucket, tmp_path: Path) -> None:  # noqa: F811
    def said(remote: Remote) -> str:
        with pytest.raises(RemoteError) as caught:
            remote.files()
        with pytest.raises(RemoteError):
            put(remote, "a", 0, 1, 1)
        return str(caught.value)

    endpoint = bucket.storage.endpoint
    at = f"s3://{bucket.name}/captures at {endpoint}: "
    assert said(Remote.parse(bucket.url, "wrong", "x")) == at + "access denied: the storage does not know access_key"
    other = Remote.parse(f"s3://none-such/x?endpoint={endpoint}", "hep", "x")
    assert said(other) == f"s3://none-such/x at {endpoint}: there is no such bucket: make it, or write its name right"
    nobody = Remote.parse("s3://bucket?endpoint=http://127.0.0.1:1&region=x", "hep", "x")
    assert "Could not connect to server" in said(nobody)
    missing = Remote.parse(f"file://{tmp_path}/none")
    assert said(missing) == f"file://{tmp_path}/none: there is no such folder: mount it, or make it"
