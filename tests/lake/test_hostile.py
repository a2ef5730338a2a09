"""What strangers and broken disks do to a lake: it is sealed, merged, kept small and searched all the same."""

import os
import resource
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepswitch import journal
from hepswitch.destinations.figures import KeeperFigures
from hepswitch.destinations.lake import LakeStore
from hepswitch.destinations.records import Records
from hepswitch.destinations.spool import Spool
from hepswitch.lake import compaction, keeper, layout, locks, parquet, sealer, snapshot
from hepswitch.lake.lake import Lake
from hepswitch.lake.query import Query
from hepswitch.lake.reader import HOPS
from hepswitch.wire.frames import Frames
from hepswitch.wire.hep import Hep
from lakes import journal_of, records, sealed, store
from traffic import START, calls, hep

REQUEST = b"OPTIONS sip:a SIP/2.0\r\nCall-ID: %b\r\nCSeq: 1 OPTIONS\r\n%b\r\n"
PACKETS = [hep(message, captagent_id=number) for number, message in enumerate(calls(20))]
BIG_V1 = bytes([1, 16, 2, 17, 0x13, 0xC4, 0x13, 0xC5, 10, 0, 0, 1, 10, 0, 0, 2]) + (REQUEST % (b"big", b"")).ljust(
    65_491, b"x"
)


def sip(call_id: bytes, more: bytes = b"", **chunks: Any) -> bytes:
    return bytes(Hep.new(REQUEST % (call_id, more), src_ip="10.0.0.1", dst_ip="10.0.0.2", **{"time": START} | chunks))


# ── sealing and merging ──────────────────────────────────────────────────────────────────────────────────────────────

texts = st.binary(max_size=12).map(lambda text: text.translate(None, b"\r\n")) | st.sampled_from(
    [b"\x80a", "éb".encode()]
)
payloads = st.one_of(
    st.builds(lambda call_id: REQUEST % (call_id, b""), texts),
    st.just(b"OPTIONS sip:a SIP/2.0\r\nCSeq: 1 OPTIONS\r\n\r\n"),
    st.builds(
        lambda call_id: b'{"payload":"OPTIONS sip:a SIP/2.0\\r\\nCall-ID: %b\\r\\n\\r\\n"}' % call_id.hex().encode(),
        texts,
    ),
    st.just(b"a log line"),
)
packets = st.tuples(
    payloads,
    st.sampled_from([None, 0, 1, 5, 50, 100]),
    st.none() | texts,
    st.none() | st.text(max_size=6).map(lambda text: text.encode("utf-8", "replace").decode()),
    st.integers(0, 3),
)


@settings(max_examples=60)
@given(st.lists(st.lists(packets, min_size=1, max_size=12), min_size=1, max_size=3))
def test_whatever_the_identities_all_rows_come_out_of_merging_in_order(segments: list[list[Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, count = Path(folder), 0
        for some in segments:
            with journal_of(root) as log:
                for payload, kind, correlation, said, second in some:
                    made = Hep.new(payload, time=START + second, captagent_id=count)
                    made.delete("proto_type") if kind is None else made.set("proto_type", kind)
                    if correlation is not None:
                        made.correlation_id = correlation
                    log.append(records([bytes(made)], None if said is None else {"correlation_id": said}))
                    count += 1
                log.roll()
        sealed(root)
        assert not layout.damaged(root)
        rows = [
            row
            for table in compaction.merged(sorted(root.glob("date=*/hour=*/*.parquet")))
            for row in table.to_pylist()
        ]
        assert sorted(row["captagent_id"] for row in rows) == list(range(count))
        keys = [
            (row["call_id"] if row["call_id"] is not None else row["correlation_id"] or "", row["ts"]) for row in rows
        ]
        assert keys == sorted(keys)
        for row in rows:
            assert (row["call_id"] is None) or row["proto_type"] == 1


def test_a_file_in_another_order_is_merged(tmp_path: Path) -> None:
    for _ in range(2):
        store(tmp_path, PACKETS)
    sealed(tmp_path)
    for path in tmp_path.glob("date=*/hour=*/*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.take(pa.array(reversed(range(len(table))))), path, store_schema=False)
    keeper.tidy(tmp_path, time.time() + 86400)
    (path,) = tmp_path.glob("date=*/hour=*/*.parquet")
    keys = [(row["call_id"], row["ts"]) for row in pq.read_table(path).to_pylist()]
    assert len(keys) == 2 * len(PACKETS)
    assert keys == sorted(keys)


def test_an_old_packet_that_is_too_big_for_version_3_is_a_row(tmp_path: Path) -> None:
    store(tmp_path, [BIG_V1, sip(b"good")])
    for _ in ("fresh", "sealed"):
        rows = Lake(tmp_path).search(Query())
        assert {(row["call_id"], row["hep_version"], row["src_port"]) for row in rows} == {
            ("big", 1, 5060),
            ("good", 3, None),
        }
        assert max(len(row["payload"]) for row in rows) == 65_491
        sealed(tmp_path)
    assert not layout.damaged(tmp_path)
    assert sorted(Hep(packet).sip.call_id for packet in Lake(tmp_path).packets(Query())) == ["big", "good"]


def test_a_record_of_which_no_row_can_be_made_is_left_out(tmp_path: Path) -> None:
    with journal_of(tmp_path) as log:
        log.append(records([sip(b"a")]))
        log.append(records([sip(b"b")], {"custom_field3": 7}))
        log.append(records([sip(b"c")], {"correlation_id": ["x"]}))
        log.append(records([sip(b"d")], {"table": "calls_\0_%Y"}))
        log.append(records([sip(b"e")], {"table": "t_%999999999d"}))
        log.append(records([sip(b"f")]))
        log.roll()
    for _ in ("fresh", "sealed"):
        rows = sorted(Lake(tmp_path).search(Query()), key=lambda row: str(row["call_id"]))
        assert [row["call_id"] for row in rows] == ["a", "d", "e", "f"]
        assert [row["store_table"] for row in rows] == [None, "calls_\0_%Y", "t_%999999999d", None]
        sealed(tmp_path)
    assert [path.suffix for path in (tmp_path / "journal" / "w0").iterdir() if path.suffix != ".open"] == [".damaged"]


def test_one_segment_that_cannot_be_sealed_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for begin in (0, 70):
        store(tmp_path, PACKETS[begin : begin + 70])
    real = sealer.seal

    def seal(root: Path, worker: int, segment: journal.Segment) -> sealer.Sealed:
        if segment.number == 0:
            raise ArithmeticError("something that nobody thought of")
        return real(root, worker, segment)

    monkeypatch.setattr(keeper, "seal", seal)
    assert sealed(tmp_path) == 2
    assert len(layout.damaged(tmp_path)) == 1
    assert sealed(tmp_path) == 0
    assert len(Lake(tmp_path).search(Query())) == 70


def test_batches_are_bounded_by_what_is_in_their_columns() -> None:
    agent = b"User-Agent: " + b"\xff" * 60_000 + b"\r\n"
    frames = records([sip(b"%d" % number, agent) for number in range(400)])
    made = Records()
    made.add(memoryview(frames), memoryview(frames.lengths()).cast("I"))
    batch, after = made.batch(0, 400)
    assert after == batch.num_rows < 400
    assert batch.nbytes < 70 << 20


def test_fresh_rows_may_be_read_again_and_by_several_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "BATCH", 16)
    store(tmp_path, PACKETS)
    expected = Lake(tmp_path).calls(Query())
    assert len(expected) == 20
    for room in (0, 40_000):
        monkeypatch.setattr(snapshot, "KEPT", room)
        assert Lake(tmp_path).calls(Query()) == expected
    with snapshot.snapshot(tmp_path) as seen:
        fresh = seen.fresh()
        found: list[int] = []
        readers = [threading.Thread(target=lambda: found.append(len(pa.table(fresh)))) for _ in range(4)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    assert found == [len(PACKETS)] * 4


# ── broken files ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _broken_lake(tmp_path: Path, break_it: Callable[[Path], None]) -> Path:
    """Two files, the second broken."""
    for begin in (0, 70):
        store(tmp_path, PACKETS[begin : begin + 70])
    sealed(tmp_path)
    path = sorted(tmp_path.glob("date=*/hour=*/*.parquet"))[1]
    break_it(path)
    return path


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4 : len(data) // 2] = bytes(len(data) // 2 - 4)
    path.write_bytes(data)


class Break(Protocol):
    def __call__(self, path: Path) -> None: ...


@pytest.mark.parametrize(
    "break_it", [_cut, _spoil, lambda path: path.write_bytes(b"")], ids=["cut", "spoiled", "empty"]
)
def test_a_broken_file_is_named_and_the_others_are_searched(tmp_path: Path, break_it: Break) -> None:
    path, said = _broken_lake(tmp_path, break_it), list[str]()
    lake = Lake(tmp_path, said.append)
    assert len(lake.search(Query())) == 70
    assert lake.sql("select count(*), max(octet_length(payload)) > 0 from messages")[1] == [(70, True)]
    assert said == [f"{path}: cannot be read and is left out"]


def test_a_cut_file_is_put_aside_when_the_keeper_starts(tmp_path: Path) -> None:
    path = _broken_lake(tmp_path, _cut)
    keeper.inspect(tmp_path)
    assert layout.damaged(tmp_path) == [path.with_suffix(layout.DAMAGED)]
    assert len(Lake(tmp_path).search(Query())) == 70


def test_a_spoiled_file_is_put_aside_when_it_cannot_be_merged(tmp_path: Path) -> None:
    path = _broken_lake(tmp_path, _spoil)
    keeper.tidy(tmp_path, time.time() + 86400)
    assert layout.damaged(tmp_path) == [path.with_suffix(layout.DAMAGED)]
    assert not list(tmp_path.glob("**/.*.tmp"))
    assert len(Lake(tmp_path).search(Query())) == 70


def test_what_was_put_aside_is_deleted_when_it_is_old(tmp_path: Path) -> None:
    path = _broken_lake(tmp_path, _cut)
    keeper.inspect(tmp_path)
    os.utime(path.with_suffix(layout.DAMAGED), (START, START))
    charge = keeper.Charge(f"lake:{tmp_path}", 3600.0, None)
    assert keeper.make_room(charge, KeeperFigures(), time.time())
    assert not layout.damaged(tmp_path)


def test_a_spool_whose_position_is_nonsense_is_sent_from_its_beginning(tmp_path: Path) -> None:
    for nonsense in (b"\0" * 20, b"-3", b"twelve", "²".encode()):
        folder = tmp_path / nonsense.hex()
        spool = Spool([folder], 1 << 20)
        spool.open()
        frames = Frames()
        for number in range(5):
            frames.push(b"%d" % number)
        spool.append(frames)
        spool.close()
        (folder / "position").write_bytes(nonsense)
        again = Spool([folder], 1 << 20)
        assert again.open() == 5
        again.close()


# ── the keeper's process ─────────────────────────────────────────────────────────────────────────────────────────────

QUICK_KEEPER = "from hepswitch.lake import keeper; keeper.PAUSE = keeper.POLL = 0.05; keeper.main()"


def test_a_full_disk_is_healed_by_retention(tmp_path: Path) -> None:
    """The kernel refuses whatever is longer than some bytes, so nothing can be sealed: what is old goes nevertheless."""
    store(tmp_path, PACKETS[:70])
    sealed(tmp_path)
    (old,) = tmp_path.glob("date=*/hour=*/*.parquet")
    os.utime(old, (START, START))
    store(tmp_path, PACKETS[70:])
    command = [sys.executable, "-c", QUICK_KEEPER]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    assert process.stdin is not None
    process.stdin.write(LakeStore(url=f"lake:{tmp_path}", keep="1h").model_dump_json().encode() + b"\n")
    process.stdin.flush()
    _wait_for(lambda: not old.exists())
    assert list(tmp_path.glob("journal/w0/*.seg"))
    # Folders go while one looks: os.walk passes over them.
    assert not [name for _, _, names in os.walk(tmp_path) for name in names if name.endswith(".parquet")]
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    _wait_for(lambda: not list(tmp_path.glob("journal/w0/*.seg")))
    process.stdin.close()
    assert process.wait(20) == 0
    assert len(Lake(tmp_path).search(Query())) == 70


def test_a_keeper_that_fails_says_why_and_does_not_abort(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    process = subprocess.Popen(
        [sys.executable, "-m", "hepswitch.lake.keeper"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(LakeStore(url=f"lake:{tmp_path / 'file'}").model_dump_json().encode() + b"\n")
    process.stdin.flush()
    said = process.stderr.read()
    assert process.wait(20) == 1
    assert b"FileExistsError" in said
    process.stdin.close()
    process.stderr.close()


def _wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_chain_of_legs_is_followed_so_far(tmp_path: Path) -> None:
    store(tmp_path, [sip(b"leg-%d" % number, b"X-CID: leg-%d\r\n" % (number - 1)) for number in range(30)])
    said: list[str] = []
    rows = Lake(tmp_path, said.append).call("leg-0")
    assert HOPS <= len(rows) < 30
    assert said == [f"leg-0: the chain of its legs goes on; legs more than {HOPS} steps away are not shown"]
    assert len(Lake(tmp_path, said.append).call("leg-15")) == 30
    assert len(said) == 1


def test_a_row_that_no_packet_can_carry_is_left_out(tmp_path: Path) -> None:
    huge = Hep(sip(b"huge"))
    huge.node_name = b"\xff" * 60_000
    store(tmp_path, [bytes(huge), sip(b"good")])
    reasons: list[ValueError] = []
    assert [Hep(packet).sip.call_id for packet in Lake(tmp_path).packets(Query(), reasons.append)] == ["good"]
    assert "do not fit" in str(reasons[0])
    with pytest.warns(UserWarning, match="do not fit"):
        assert len(list(Lake(tmp_path).packets(Query()))) == 1


def test_microseconds_beyond_a_second(tmp_path: Path) -> None:
    late = Hep(sip(b"late"))
    late.timestamp, late.timestamp_us = 0xFFFFFFFF, 0xFFFFFFFF
    assert late.time_us == 0xFFFFFFFF_000000 // 0x1000000 * 1_000_000 + 999_999
    store(tmp_path, [bytes(late)])
    (packet,) = Lake(tmp_path).packets(Query())
    assert Hep(packet).time_us == late.time_us


def test_nobody_else_reads_what_was_captured(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        root = tmp_path / "var" / "captures"
        store(root, PACKETS)
        sealed(root)
        with locks.holding(root, locks.KEEPER):
            pass
        spool = Spool([tmp_path / "spool" / "w0"], 1 << 20)
        spool.open()
        spool.close()
    finally:
        os.umask(before)
    modes = Counter((path.is_dir(), oct(path.stat().st_mode & 0o777)) for path in tmp_path.rglob("*"))
    assert set(modes) == {(True, "0o750"), (False, "0o640")}
    assert parquet.is_whole(next(root.glob("date=*/hour=*/*.parquet")))


def test_a_time_that_no_calendar_has_is_no_row() -> None:
    frames = records([bytes(Hep.new(b"x")), sip(b"a")])
    data = bytearray(memoryview(frames))
    struct.pack_into("<Q", data, 8, 2**63)
    made = Records()
    made.add(memoryview(data), memoryview(frames.lengths()).cast("I"))
    assert (len(made), made.damaged, made.fault) == (1, 1, f"ValueError: {2**63} µs is no time")
