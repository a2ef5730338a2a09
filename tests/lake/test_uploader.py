"""Uploading a lake: what goes, what stays, what is deleted where, and what an interruption leaves."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

from hepswitch import journal
from hepswitch.cli.stats import cli as stats
from hepswitch.destinations import figures
from hepswitch.destinations.figures import UPLOADS, UploaderFigures
from hepswitch.destinations.lake import LakeStore
from hepswitch.lake import keeper, layout, locks, parquet, stock, uploader
from hepswitch.lake.remote import WHOLE, Remote, RemoteError
from hepswitch.lake.uploader import Charge, Uploader
from hepswitch.lake.writer import claim, writer
from lakes import sealed, store
from object_storage import Bucket, bucket, s3  # noqa: F401
from running import running_switch, wait_for
from traffic import START, calls, hep

HOUR = int(START) // 3600

Charged = Callable[..., Charge]


def fill(root: Path, count: int = 1, hour: int = HOUR) -> list[Path]:
    """So many new files in the lake, of one hour."""
    before = set(root.glob("date=*/hour=*/*.parquet"))
    for _ in range(count):
        store(root, (hep(replace(each, time=hour * 3600.0)) for each in calls(2)))
    sealed(root)
    return sorted(set(root.glob("date=*/hour=*/*.parquet")) - before)


def age(paths: list[Path], seconds: float) -> None:
    """Let files have been written so long ago."""
    then = time.time() - seconds
    for path in paths:
        os.utime(path, (then, then))


def there(remote: Remote) -> list[str]:
    """The names of all files on the storage, superseded ones included."""
    found = [file for date in remote.dates() for hour in range(date, date + 24) for file in remote.listing(hour)]
    return sorted(file.path.rpartition("/")[2] for file in found)


def remote_of(charge: Charge) -> Remote:
    return Remote.parse(charge.remote, charge.access_key, charge.secret_key, patience=2.0)


def once(charge: Charge) -> UploaderFigures:
    """One round of a new uploader, and what it has written down."""
    each = Uploader(charge)
    each.once(threading.Event())
    each.save()
    return figures.read(Path(charge.path), UploaderFigures, UPLOADS)


def charge_of(root: Path, remote: dict[str, str], **more: Any) -> Charge:
    said = {
        "name": "lake", "path": str(root), "keep": None, "access_key": "", "secret_key": "", "node": "edge1",
        "upload_after": 0.0, "keep_local": None, "drain": 5.0,
    }  # fmt: skip
    return msgspec.convert(said | remote | more, Charge)


@pytest.fixture(params=["s3", "file"])
def charged(request: pytest.FixtureRequest, tmp_path: Path) -> Charged:
    """Makes the charge of an uploader whose storage is the test's own."""
    if request.param == "s3":
        place = request.getfixturevalue("bucket").table
    else:
        (tmp_path / "shared").mkdir()
        place = {"remote": f"file://{tmp_path}/shared"}
    return lambda **more: charge_of(tmp_path / "lake", place, **more)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "lake"


def test_what_is_old_enough_is_uploaded_once(charged: Charged, root: Path) -> None:
    old, young = fill(root, 2)
    age([old], 600)
    done = once(charged(upload_after=300.0))
    assert there(remote_of(charged())) == ["edge1-w0-000000000000.parquet"]
    assert (sum(done.uploads.counts), done.bytes, done.waiting_files) == (1, old.stat().st_size, 0)
    done = once(charged())
    assert there(remote_of(charged())) == ["edge1-w0-000000000000.parquet", "edge1-w0-000000000001.parquet"]
    assert (sum(done.uploads.counts), done.bytes) == (2, old.stat().st_size + young.stat().st_size)
    assert done.row() | {"bytes": 0} == {
        "files": 2, "bytes": 0, "waiting_files": 0, "waiting_bytes": 0, "lag": 0.0, "lost_files": 0, "lost_bytes": 0,
        "failures": 0, "state": "active",
    }  # fmt: skip
    remote = remote_of(charged())
    (first, _) = remote.files()
    assert remote.filesystem.open_input_file(first.path).read() == old.read_bytes()


def test_what_is_there_is_not_sent_again(bucket: Bucket, root: Path) -> None:  # noqa: F811
    fill(root, 2)
    charge = charge_of(root, bucket.table)
    once(charge)
    before = len(bucket.storage.requests())
    each = Uploader(charge)
    for _ in range(3):
        each.once(threading.Event())
    asked = [line for line in bucket.storage.requests()[before:] if line.startswith(("PUT", "POST", "DELETE"))]
    assert asked == []
    listed = [line for line in bucket.storage.requests()[before:] if "prefix=captures%2Fdate" in line]
    assert len(listed) == 1, "an hour is listed at the start, and known from then on"


def test_a_merged_file_replaces_those_that_went_into_it(charged: Charged, root: Path) -> None:
    fill(root, 3)
    once(charged())
    other = charged(path=str(root.with_name("other")), node="edge2")
    fill(Path(other.path))
    once(other)
    keeper.tidy(root, time.time() + keeper.QUIET + 1)
    assert len(list(root.glob("date=*/hour=*/*.parquet"))) == 1
    once(charged())
    assert there(remote_of(charged())) == [
        "edge1-w0-000000000000-000000000002.parquet",
        "edge2-w0-000000000000.parquet",
    ]


def test_what_a_killed_uploader_left_is_swept(charged: Charged, root: Path) -> None:
    """It had brought the merged file, and not deleted the others."""
    fill(root, 2)
    charge, remote = charged(), remote_of(charged())
    once(charge)
    keeper.tidy(root, time.time() + keeper.QUIET + 1)
    (merged,) = root.glob("date=*/hour=*/*.parquet")
    file = layout.file_of(merged)
    assert file is not None
    with merged.open("rb") as stream:
        remote.put(stream, merged.stat().st_size, remote.path_of("edge1", file), "edge1")
    assert len(there(remote)) == 3
    assert sum(once(charge).uploads.counts) == 2
    assert there(remote) == ["edge1-w0-000000000000-000000000001.parquet"]


def test_keep_local_deletes_what_is_there(charged: Charged, root: Path) -> None:
    paths = fill(root, 3)
    age(paths[:2], 7200)
    charge = charged(keep_local=3600.0)
    done = once(charge)
    assert [path.exists() for path in paths] == [False, False, True]
    assert done.released_files == 2
    assert len(there(remote_of(charge))) == 3
    # It is not taken for lost, nor sent again.
    done = once(charge)
    assert (done.lost_files, sum(done.uploads.counts), done.released_files) == (0, 3, 2)


def test_keep_local_leaves_no_gaps(charged: Charged, root: Path) -> None:
    """Of 1, 2 and 3 with 2 gone, 1 and 3 would be merged to a file that covers 2, and 2 would be deleted there, too."""
    paths = fill(root, 3)
    age([paths[1]], 7200)
    once(charged(keep_local=3600.0))
    assert all(path.exists() for path in paths)


def test_what_the_storage_has_lost_stays_here(charged: Charged, root: Path) -> None:
    paths = fill(root, 2)
    age(paths, 7200)
    charge, remote = charged(keep_local=3600.0), remote_of(charged())
    each = Uploader(msgspec.structs.replace(charge, keep_local=None))
    each.once(threading.Event())
    for file in remote.files():
        remote.delete(file.path)
    each._charge = charge
    each.once(threading.Event())
    assert all(path.exists() for path in paths)
    each.once(threading.Event())
    assert len(there(remote)) == 2


def test_keep_local_leaves_the_last_file_of_a_worker(charged: Charged, root: Path) -> None:
    """Should the journal be lost, its name says which numbers are taken: the storage has files with them."""
    paths = fill(root, 2)
    age(paths, 7200)
    once(charged(keep_local=3600.0))
    assert [path.exists() for path in paths] == [False, True]
    shutil.rmtree(root / "journal")
    assert LakeStore(url=f"lake:{root}").build("lake", 0, root)._least_segment() == 2


def test_nothing_is_deleted_under_the_hands_of_the_keeper(charged: Charged, root: Path) -> None:
    paths = fill(root, 2)
    age(paths, 7200)
    with locks.pruning(root):
        once(charged(keep_local=3600.0))
    assert paths[0].exists()
    once(charged(keep_local=3600.0))
    assert not paths[0].exists()


def test_keep_deletes_our_own_files_there(charged: Charged, root: Path) -> None:
    fill(root, 2)
    fill(root, 1, HOUR + 24)
    other = charged(path=str(root.with_name("other")), node="edge2")
    fill(Path(other.path))
    once(other)
    once(charged())
    keeper.retain(root, 0.0, None, time.time() + 1)
    newest = max(file.mtime for file in remote_of(other).files())
    wait_for(lambda: time.time() > newest + 1.1, "a second: S3 knows no fractions")
    each = Uploader(charged(keep=0.001))
    for _ in range(3):
        each.once(threading.Event())
    each.save()
    assert there(remote_of(other)) == ["edge2-w0-000000000000.parquet"]
    done = figures.read(root, UploaderFigures, UPLOADS)
    assert (done.deleted_files, done.lost_files) == (3, 0)


def test_a_clock_that_goes_wrong_deletes_nothing_there(
    charged: Charged, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(root)
    once(charged())
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + 80 * 365 * 86400.0)
    each = Uploader(charged(keep=86400.0))
    for _ in range(3):
        each.once(threading.Event())
    assert there(remote_of(charged())) == ["edge1-w0-000000000000.parquet"]


def test_a_name_belongs_to_one_lake(charged: Charged, root: Path) -> None:
    fill(root)
    once(charged())
    other = charged(path=str(root.with_name("other")))
    fill(Path(other.path))
    with pytest.raises(
        RemoteError, match=r'the name "edge1" belongs to another lake, on .* give this one another node = '
    ):
        once(other)
    assert len(there(remote_of(other))) == 1
    with pytest.raises(RemoteError, match=r'uploaded as edge1, .* write node = "edge1"'):
        once(charged(node="edge9"))
    once(charged(node=None))


def test_an_older_copy_of_a_lake_uploads_nothing(charged: Charged, root: Path) -> None:
    fill(root, 2)
    once(charged())
    backup = shutil.copytree(root, root.with_name("backup"))
    fill(root, 3)
    keeper.tidy(root, time.time() + keeper.QUIET + 1)
    once(charged())
    before = there(remote_of(charged()))
    assert before == ["edge1-w0-000000000000-000000000004.parquet"]
    copy = charged(path=str(backup))
    (new,) = fill(backup)  # has the number of another one, which the storage has
    with pytest.raises(RemoteError, match='"edge1" has come further there than this folder, which is a copy of it'):
        once(copy)
    fill(backup, 4)  # now it has come as far, and is a copy all the same
    with pytest.raises(RemoteError, match='the name "edge1" belongs to another lake'):
        once(copy)
    assert there(remote_of(copy)) == before
    assert new.exists()
    once(charged())


def test_what_makes_no_sense_is_told(charged: Charged, root: Path) -> None:
    remote = remote_of(charged())
    remote.write("nodes/edge1.json", b"not ours")
    with pytest.raises(RemoteError, match=r"nodes/edge1.json makes no sense .* look who wrote it"):
        once(charged())
    (root / "writer").write_bytes(b"")
    with pytest.raises(OSError, match=r"writer makes no sense"):
        Uploader(charged())
    (root / "writer").unlink()
    (root / "waiting").write_bytes(b"[]")
    with capture_logs() as said:
        Uploader(charged())
    assert [entry["event"] for entry in said] == ["what waits for its upload is reckoned anew"]


def test_a_host_has_a_name_that_a_node_may_have(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "-sbc-1.example.net")
    assert writer(root, None).node == "sbc_1.example.net"
    monkeypatch.setattr("socket.gethostname", lambda: "other")
    assert writer(root, None).node == "sbc_1.example.net", "the lake remembers"


def test_what_was_deleted_before_it_was_uploaded_is_counted(charged: Charged, root: Path) -> None:
    paths = fill(root, 3)
    once(charged(upload_after=3600.0))
    sizes = [path.stat().st_size for path in paths]
    paths[0].unlink()
    layout.put_aside(paths[1])  # the keeper has said so already
    with capture_logs() as said:
        done = once(charged(upload_after=3600.0))
    assert (done.lost_files, done.lost_bytes) == (1, sizes[0])
    assert [entry["event"] for entry in said] == ["file deleted before it was uploaded"]
    assert once(charged()).lost_files == 1
    keeper.retain(root, 0.0, None, time.time() + 1)
    assert once(charged()).lost_files == 1, "the others were uploaded"


def test_a_merged_file_that_waits_is_not_lost(charged: Charged, root: Path) -> None:
    fill(root, 3)
    once(charged(upload_after=3600.0))
    keeper.tidy(root, time.time() + keeper.QUIET + 1)
    assert once(charged(upload_after=3600.0)).lost_files == 0
    assert sum(once(charged()).uploads.counts) == 1


def test_a_damaged_file_is_not_uploaded(charged: Charged, root: Path) -> None:
    bad, good = fill(root, 2)
    bad.write_bytes(bad.read_bytes()[:-3])
    each = Uploader(charged())
    with capture_logs() as said:
        each.once(threading.Event())
        each.once(threading.Event())
    assert [entry["event"] for entry in said] == ["file damaged: not uploaded"]
    assert there(remote_of(charged())) == [f"edge1-{good.name}"]


def test_a_file_that_goes_away_meanwhile_is_no_error(
    charged: Charged, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = fill(root, 2)

    def gone(path: Path) -> bool:
        paths[0].unlink(missing_ok=True)
        return True

    monkeypatch.setattr(parquet, "is_whole", gone)
    assert once(charged()).troubles.errors == 0
    assert there(remote_of(charged())) == [f"edge1-{paths[1].name}"]


# ── interrupted ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Charge], None]]:
    """Starts an uploader in a thread."""
    monkeypatch.setattr(uploader, "POLL", 0.05)
    monkeypatch.setattr(uploader, "LONGEST_PAUSE", 0.2)
    gone = threading.Event()
    threads: list[threading.Thread] = []

    def start(charge: Charge) -> None:
        threads.append(threading.Thread(target=Uploader(charge).run, args=[gone]))
        threads[-1].start()

    yield start
    gone.set()
    for each in threads:
        each.join()


@pytest.mark.parametrize("fault", ["503 PUT", "cut"])
def test_a_storage_that_is_away_for_a_while(
    bucket: Bucket,  # noqa: F811
    root: Path,
    thread: Callable[[Charge], None],
    fault: str,
) -> None:
    fill(root, 3)
    charge = charge_of(root, bucket.table)

    def now() -> UploaderFigures:
        return figures.read(root, UploaderFigures, UPLOADS)

    with capture_logs() as said, bucket.storage.fault(fault):
        thread(charge)
        wait_for(lambda: now().troubles.errors >= 2, "two attempts")
        row = now().row()
        assert row["waiting_files"] == 3
        assert row["lag"] > 0
        assert row["state"] != "active"
        assert [entry["event"] for entry in said] == ["cannot upload"], "it is said once"
    wait_for(lambda: sum(now().uploads.counts) == 3, "the uploads")
    wait_for(lambda: now().state == "active", "the end of the trouble")
    assert now().waiting_files == 0
    assert len(there(bucket.remote())) == 3


def test_a_wrong_key_is_told_in_words(bucket: Bucket, root: Path, thread: Callable[[Charge], None]) -> None:  # noqa: F811
    fill(root)
    with capture_logs() as said:
        thread(charge_of(root, bucket.table, access_key="wrong", secret_key="hidden-secret"))
        wait_for(lambda: said, "the log")
    assert said[0]["error"].endswith("access denied (HeadObject): the key is unknown, or may not do this")
    wait_for(lambda: "access denied" in figures.read(root, UploaderFigures, UPLOADS).state, "the figures")
    assert "hidden-secret" not in f"{said}{figures.read(root, UploaderFigures, UPLOADS)}"


def start(charge: Charge) -> subprocess.Popen[bytes]:
    """The process."""
    process = subprocess.Popen([sys.executable, "-m", "hepswitch.lake.uploader"], stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(charge) + b"\n")
    process.stdin.flush()
    return process


def big(root: Path) -> Path:
    """A file that goes in several requests."""
    (path,) = fill(root)
    path.write_bytes(parquet.MAGIC + os.urandom(WHOLE + (4 << 20)) + parquet.MAGIC)
    return path


def is_putting(bucket: Bucket) -> bool:  # noqa: F811
    return any("partNumber" in line and bucket.name in line for line in bucket.storage.requests())


def test_killed_in_the_middle_it_is_done_again(bucket: Bucket, root: Path) -> None:  # noqa: F811
    path = big(root)
    charge, remote = charge_of(root, bucket.table), bucket.remote()
    claim(remote, root, "edge1", stock.last_segments(stock.local_files(root)))  # the fault lets nothing be put
    with bucket.storage.fault("hang PUT"):
        process = start(charge)
        wait_for(lambda: is_putting(bucket), "the upload")
        assert f"{charge.secret_key}".encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert remote.files() == []
    process = start(charge)
    wait_for(lambda: remote.files(), "the upload")
    process.communicate()
    assert process.returncode == 0
    (file,) = remote.files()
    assert remote.filesystem.open_input_file(file.path).read() == path.read_bytes()
    assert sum(figures.read(root, UploaderFigures, UPLOADS).uploads.counts) == 1


def test_an_upload_that_takes_too_long_is_left_at_the_end(bucket: Bucket, root: Path) -> None:  # noqa: F811
    big(root)
    charge = charge_of(root, bucket.table, drain=0.2)
    claim(bucket.remote(), root, "edge1", stock.last_segments(stock.local_files(root)))
    with bucket.storage.fault("hang PUT"):
        process = start(charge)
        wait_for(lambda: is_putting(bucket), "the upload")
        process.communicate(timeout=5)
    assert process.returncode == 0
    assert bucket.remote().files() == []


def test_one_uploader_at_a_time(root: Path) -> None:
    with locks.holding(root, locks.UPLOADER) as held:
        assert held
        gone = threading.Event()
        gone.set()
        assert locks.waited_for(root, locks.UPLOADER, gone) is None
    held_now = locks.waited_for(root, locks.UPLOADER, threading.Event())
    assert held_now is not None
    held_now.close()


def test_journals_are_not_pruned(root: Path) -> None:
    """The lock of the folder is not that of a journal in it."""
    with locks.pruning(journal_root(root)), journal.unheld(root / "journal" / "w0") as free:
        assert free


def journal_root(root: Path) -> Path:
    fill(root)
    return root


def test_hours_are_forgotten_with_their_files(charged: Charged, root: Path) -> None:
    fill(root)
    remote = remote_of(charged())
    known = stock.Stock(remote, "edge1")
    assert known.stale([HOUR, HOUR + 1]) == [HOUR + 1, HOUR]
    known.learn(HOUR)
    assert known.stale([HOUR, HOUR + 1]) == [HOUR + 1]
    assert known.knows(HOUR)
    assert known.stale([]) == []
    assert not known.knows(HOUR)


def test_the_switch_uploads(bucket: Bucket, tmp_path: Path) -> None:  # noqa: F811
    keys = "\n".join(f'{key} = "{value}"' for key, value in bucket.table.items())
    text = f"""
        listen = ["udp://127.0.0.1:0"]
        [stores.lake]
        url = "lake:lake"
        node = "sbc"
        seal_after = "200ms"
        upload_after = "0s"
        {keys}
    """
    with running_switch(tmp_path, text) as switch:
        switch.send_udp(*(hep(each) for each in calls(3)))
        book = switch.wait_stats(lambda book: book["stores"]["lake"]["uploads"]["files"] > 0, "an upload")
        assert book["balanced"]
        assert book["stores"]["lake"]["uploads"]["state"] == "active"
        assert 'hepswitch_upload_up{store="lake"} 1.0' in switch.get("/metrics")
        processes = json.loads(switch.get("/api/v1/status"))["processes"]
        assert "uploader of lake" in [each["kind"] for each in processes]
        assert bucket.table["secret_key"] not in str(switch.log) + switch.get("/api/v1/config")
        shown = CliRunner().invoke(stats, ["--url", switch.control], catch_exceptions=False).output
        assert re.search(r"uploaded +\d+ +files, [0-9,]+ bytes \(active\)", shown), shown
    assert all(name.startswith("sbc-w0-") for name in there(bucket.remote()))


def test_a_merged_file_does_not_replace_what_was_damaged_here(charged: Charged, root: Path) -> None:
    """The good copy of a file that was put aside is the one that is there."""
    files = fill(root, 5)
    once(charged())
    files[2].write_bytes(files[2].read_bytes()[:-1])
    keeper.tidy(root, time.time() + keeper.QUIET + 1)
    once(charged())
    assert there(remote_of(charged())) == [
        "edge1-w0-000000000000-000000000001.parquet",
        "edge1-w0-000000000002.parquet",
        "edge1-w0-000000000003-000000000004.parquet",
    ]
