"""The lake as a store: what it counts as delivered is in the journal, and a refusing disk loses nothing silently."""

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from pydantic import ValidationError

from hepswitch import journal
from hepswitch.destinations.journaled import BLOCK, JournaledOutlet
from hepswitch.destinations.lake import LakeStore
from hepswitch.destinations.remote_url import RemoteUrl
from hepswitch.journal import read_blocks, segments
from hepswitch.tables import REVEALED
from hepswitch.wire import record
from hepswitch.wire.hep import Hep


class Sender(NamedTuple):
    """The part of `routing.packet.Received` that the lake stores."""

    src_ip: str
    src_port: int


class Arrived(Hep):
    """A packet that knows who sent it."""

    received: Sender


def config(tmp_path: Path, **more: object) -> LakeStore:
    return LakeStore.model_validate({"url": f"lake:{tmp_path / 'captures'}", **more})


def packet(payload: bytes = b"OPTIONS sip:a SIP/2.0\r\n\r\n") -> Hep:
    return Hep.new(payload, src_ip="10.0.0.1", dst_ip="10.0.0.2", captagent_id=7)


def stored(tmp_path: Path, worker: int = 0) -> list[record.StoredPacket]:
    folder = tmp_path / "captures" / "journal" / f"w{worker}"
    return [
        record.read(frame) for segment in segments(folder) for block in read_blocks(segment.path) for frame in block
    ]


def balanced(outlet: JournaledOutlet) -> bool:
    row = outlet.account()
    return bool(row["accepted"] == row["delivered"] + row["queued"] + row["spooled"] + sum(row["discarded"].values()))


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (the condition is a file or a counter, nobody sets an event)
            await asyncio.sleep(0.005)


async def test_a_packet_is_delivered_soon_without_more_traffic(tmp_path: Path) -> None:
    outlet = config(tmp_path).build("lake", 0, tmp_path)
    await outlet.open()
    assert outlet.offer(packet())
    outlet.flush()
    assert outlet.account()["queued"] == 1
    await until(lambda: outlet.delivered == 1)
    assert outlet.account() == {
        "accepted": 1, "delivered": 1, "queued": 0, "spooled": 0, "discarded": {}, "refused": {}, "state": "active"
    }  # fmt: skip
    assert len(stored(tmp_path)) == 1
    await outlet.close(1.0)


async def test_much_is_written_at_once(tmp_path: Path) -> None:
    outlet = config(tmp_path, flush="10s").build("lake", 3, tmp_path)
    await outlet.open()
    for _ in range(2 * BLOCK // 1000):
        outlet.offer(packet(b"x" * 1000))
    outlet.flush()
    assert outlet.account()["queued"] == 0
    assert len(stored(tmp_path, worker=3)) == outlet.delivered == 2 * BLOCK // 1000
    await outlet.close(1.0)


async def test_the_record_says_who_sent_it_and_what_the_route_said(tmp_path: Path) -> None:
    outlet = config(tmp_path).build("lake", 0, tmp_path)
    await outlet.open()

    for ip, port in (("10.9.8.7", 1234), ("2001:db8::7", 65535), ("", 0)):
        hep = Arrived(bytes(packet()))
        hep.received = Sender(ip, port)
        assert outlet.offer(hep, table="t_%Y", custom_field2="ü\udcff", correlation_id=b"c1")
    assert outlet.offer(packet())
    await outlet.close(1.0)
    found = stored(tmp_path)
    assert [(row.sender_ip, row.sender_port) for row in found] == [
        ("10.9.8.7", 1234), ("2001:db8::7", 65535), ("", 0), ("", 0)
    ]  # fmt: skip
    assert found[0].meta == {"table": "t_%Y", "custom_field2": "ü\ufffd", "correlation_id": "c1"}
    assert found[3].meta is None
    assert found[3].hep == bytes(packet())


async def test_a_refusing_disk_costs_only_what_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outlet = config(tmp_path, queue="1MiB").build("lake", 0, tmp_path)
    pressed: list[bool] = []
    outlet.on_pressure = lambda: pressed.append(outlet.full)
    await outlet.open()
    real = os.pwritev

    def refuse(fd: int, parts: list[bytes], at: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journal.os, "pwritev", refuse)
    taken = 0
    for _ in range(2000):
        taken += outlet.offer(packet(b"y" * 1000))
        outlet.flush()
    row = outlet.account()
    assert 900 < taken < 1100
    assert (row["accepted"], row["delivered"], row["queued"], row["discarded"]) == (taken, 0, taken, {})
    assert row["refused"] == {"disk full": 2000 - taken}
    assert row["state"] == "disk full"
    assert balanced(outlet)
    assert pressed == [True]
    monkeypatch.setattr(journal.os, "pwritev", real)
    await until(lambda: outlet.delivered == taken)
    assert pressed == [True, False]
    assert outlet.account()["state"] == "active"
    assert outlet.offer(packet())
    await outlet.close(1.0)
    assert len(stored(tmp_path)) == taken + 1
    assert balanced(outlet)


async def test_closing_while_the_disk_refuses_counts_what_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outlet = config(tmp_path).build("lake", 0, tmp_path)
    await outlet.open()
    outlet.offer(packet())

    def refuse(fd: int, parts: list[bytes], at: int) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(journal.os, "pwritev", refuse)
    await outlet.close(0.1)
    assert outlet.account()["discarded"] == {"journal error": 1}
    assert balanced(outlet)


async def test_a_segment_is_closed_by_age(tmp_path: Path) -> None:
    outlet = config(tmp_path, seal_after="50ms", flush="1ms").build("lake", 0, tmp_path)
    await outlet.open()
    outlet.offer(packet())
    outlet.flush()
    folder = tmp_path / "captures" / "journal" / "w0"
    await until(lambda: any(segment.closed for segment in segments(folder)))
    outlet.offer(packet())
    outlet.flush()
    await until(lambda: sum(segment.closed for segment in segments(folder)) == 2)
    await outlet.close(1.0)
    assert len(stored(tmp_path)) == 2


async def test_numbers_go_on_after_the_sealed_ones_when_the_journal_is_lost(tmp_path: Path) -> None:
    hour = tmp_path / "captures" / "date=2026-11-23" / "hour=06"
    hour.mkdir(parents=True)
    for name in ("w0-000000000003-000000000009.parquet", "w1-000000000012.parquet", "w0-000000000001.parquet"):
        (hour / name).touch()
    outlet = config(tmp_path).build("lake", 0, tmp_path)
    await outlet.open()
    assert [segment.number for segment in segments(tmp_path / "captures" / "journal" / "w0")] == [10]
    await outlet.close(1.0)


async def test_two_switches_on_one_lake_are_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "LOCK_PATIENCE", 0.05)
    first, second = (config(tmp_path).build("lake", 0, tmp_path) for _ in range(2))
    await first.open()
    with pytest.raises(journal.JournalBusyError):
        await second.open()
    await first.close(1.0)


def test_the_table_of_the_configuration() -> None:
    store = LakeStore()
    assert (store.path, store.keep, store.max_size) == (Path("captures"), 7 * 86400.0, None)
    assert (store.segment, store.seal_after, store.flush, store.queue) == (32 << 20, 60.0, 0.01, 64 << 20)
    assert LakeStore.model_validate_json(store.model_dump_json()) == store
    assert LakeStore.model_validate({"keep": "forever", "max_size": "1GiB"}).keep is None
    for wrong in ({"url": "postgresql://x"}, {"keep": "seven days"}, {"segment": "1k"}, {"quue": "1MiB"}):
        with pytest.raises(ValidationError):
            LakeStore.model_validate(wrong)


@pytest.mark.parametrize(
    "url",
    [
        "s3://KEY:h1d/den@bucket/x", "s3://KEY:h1d/den/", "s3:///x?secret_key=h1dden", "s3://b/../x?secret_key=h1dden",
        "s3://b?endpoint=http://u:h1dden@host", "gs://KEY:h1dden@bucket", "s3://b?h1dden", "s3://b/h1d%0Aden",
        "s3://b?endpoint=http://h/h1dden",
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_remote_is_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="write") as caught:
        RemoteUrl.parse(url)
    assert "h1d" not in str(caught.value)


def test_a_remote_is_anchored_and_survives_the_way_to_a_process() -> None:
    store = LakeStore.model_validate(
        {
            "url": "lake:captures", "remote": "s3://b/a b/?ca=ca.pem&endpoint=https://h:9000&region=eu",
            "access_key": "k", "secret_key": "s", "keep_local": "1d",
        }
    )  # fmt: skip
    there = store.anchored(lambda path: Path("/etc") / path)
    assert there.remote == "s3://b/a%20b?endpoint=https://h:9000&region=eu&ca=/etc/ca.pem"
    url = RemoteUrl.parse(there.remote)
    assert (url.scheme, url.root, url.endpoint, url.region, url.ca) == (
        "s3", "b/a b", "https://h:9000", "eu", "/etc/ca.pem",
    )  # fmt: skip
    assert LakeStore.model_validate(there.model_dump(mode="json", context=REVEALED)) == there
    assert "h1dden" not in LakeStore(remote="s3://b", access_key="k", secret_key="h1dden").model_dump_json()
    assert LakeStore(remote="file:///mnt/nfs").anchored(Path).remote == "file:///mnt/nfs"
    assert LakeStore.model_validate(LakeStore().model_dump(mode="json")) == LakeStore()
