"""Questions to a lake, sealed and fresh, while it is being written, sealed and merged."""

import random
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hepswitch.destinations.figures import KeeperFigures
from hepswitch.journal import recover
from hepswitch.lake import keeper
from hepswitch.lake.lake import Lake, QueryError
from hepswitch.lake.query import Query
from hepswitch.wire.hep import Hep
from lakes import journal_of, records, sealed, store
from traffic import START, Message, calls, hep

MESSAGES = list(calls(60, per_second=2.0))
PACKETS = [hep(message) for message in MESSAGES]


def sip(message: Message) -> object:
    return Hep(hep(message)).sip


@pytest.fixture(params=["sealed", "fresh", "both"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    half = len(PACKETS) // 2 if request.param == "both" else len(PACKETS)
    store(tmp_path, PACKETS[:half])
    if request.param != "fresh":
        sealed(tmp_path)
    if request.param == "both":
        store(tmp_path, PACKETS[half:])
    return Lake(tmp_path)


def wanted(**conditions: object) -> list[bytes]:
    found = []
    for message in MESSAGES:
        view = Hep(hep(message)).sip
        assert view is not None
        if all(getattr(view, name) == value for name, value in conditions.items()):
            found.append(message.payload)
    return found


def payloads(lake: Lake, **conditions: object) -> list[bytes]:
    rows = lake.search(Query(**conditions))  # type: ignore[arg-type]
    assert [row["ts"] for row in rows] == sorted(row["ts"] for row in rows)
    return [row["payload"] for row in rows]


def test_by_call_id(lake: Lake) -> None:
    call_id = Hep(PACKETS[77]).sip.call_id
    assert len(wanted(call_id=call_id)) == 7
    assert payloads(lake, call_id=call_id) == wanted(call_id=call_id)
    assert payloads(lake, call_id="nobody") == []


def test_by_user_and_method_and_status(lake: Lake) -> None:
    view = Hep(PACKETS[0]).sip
    assert payloads(lake, from_user=view.from_user) == wanted(from_user=view.from_user)
    assert payloads(lake, to_user=view.to_user, method="invite") == wanted(to_user=view.to_user, method="INVITE")
    assert payloads(lake, user=view.from_user) == wanted(from_user=view.from_user)
    assert payloads(lake, from_user=view.from_user[:8] + "*" + view.from_user[-2:]) == wanted(from_user=view.from_user)
    assert payloads(lake, status=180) == wanted(status=180)
    assert len(payloads(lake, status="2xx")) == 120
    with pytest.raises(ValueError, match="4xx"):
        lake.search(Query(status="busy"))


def test_by_address_agent_and_time(lake: Lake) -> None:
    source = MESSAGES[0].source[0]
    expected = [message.payload for message in MESSAGES if source in (message.source[0], message.target[0])]
    assert payloads(lake, ip=source) == expected
    assert len(payloads(lake, user_agent="linksys/spa")) == sum(b"Linksys" in message.payload for message in MESSAGES)
    since = datetime.fromtimestamp(MESSAGES[100].time, UTC)
    until = since + timedelta(seconds=10)
    expected = [m.payload for m in MESSAGES if since.timestamp() <= round(m.time, 6) < until.timestamp()]
    assert payloads(lake, since=since, until=until) == expected
    assert payloads(lake, since=datetime(2100, 1, 1, tzinfo=UTC)) == []
    assert payloads(lake, limit=5) == [message.payload for message in MESSAGES[-5:]]
    assert lake.search(Query(limit=1), columns=["method", "from_user"])[0].keys() == {"method", "from_user"}


def test_values_are_never_sql(lake: Lake) -> None:
    for evil in ("' or true --", "'; drop view messages; --", "\\", "%", '"'):
        assert payloads(lake, call_id=evil) == []
        assert payloads(lake, from_user=evil, user_agent=evil, ip=evil, method=evil) == []


def test_free_sql_reads_only(lake: Lake, tmp_path: Path) -> None:
    names, rows = lake.sql("select cseq_method, count(*) as n from messages group by all order by all")
    assert names == ["cseq_method", "n"]
    assert rows == [("ACK", 60), ("BYE", 120), ("INVITE", 240)]
    assert lake.sql("select min(ts) from messages")[1][0][0].timestamp() == START
    before = sorted(tmp_path.rglob("*"))
    outside = tmp_path.parent / "secret.csv"
    outside.write_text("a,b\n1,2\n")
    for wrong in (
        f"copy messages to '{tmp_path}/out.csv'",
        "drop view messages",
        "select 1; select 2",
        "set enable_external_access = true",
        f"attach '{tmp_path}/x.db'",
        f"select * from read_csv('{outside}')",
        f"select * from '{outside}'",
        f"select * from read_text('{tmp_path}/**')",
        "install httpfs",
        "selekt",
        "",
    ):
        with pytest.raises(QueryError):
            lake.sql(wrong)
    assert sorted(tmp_path.rglob("*")) == before


def test_packets_come_back_as_they_were(lake: Lake) -> None:
    call_id = Hep(PACKETS[50]).sip.call_id
    before = [Hep(packet) for packet in PACKETS if Hep(packet).sip.call_id == call_id]
    after = [Hep(packet) for packet in lake.packets(Query(call_id=call_id))]
    names = ("src_ip", "dst_ip", "src_port", "dst_port", "time", "proto_type", "captagent_id", "node_name", "payload")
    assert [[getattr(p, name) for name in names] for p in after] == [
        [getattr(p, name) for name in names] for p in before
    ]


def test_a_call_with_its_legs_reports_and_logs(tmp_path: Path) -> None:
    def message(at: float, payload: bytes) -> Message:
        return Message(START + at, ("10.0.0.1", 5060), ("10.0.0.2", 5060), payload)

    def invite(call_id: bytes, more: bytes = b"") -> bytes:
        return b"INVITE sip:b@c SIP/2.0\r\nCall-ID: " + call_id + b"\r\nCSeq: 1 INVITE\r\n" + more + b"\r\n"

    parts = [
        hep(message(0, invite(b"leg-a")), correlation_id=b"corr-1"),
        hep(message(1, invite(b"leg-b")), correlation_id=b"corr-1"),
        hep(message(2, invite(b"leg-c", b"X-CID: leg-b\r\n"))),
        hep(message(3, b'{"packets": 1}'), correlation_id=b"leg-a", proto_type=5),
        hep(message(4, b"routed to carrier 3"), correlation_id=b"corr-1", proto_type=100),
        hep(message(5, invite(b"leg-d")), correlation_id=b"corr-2"),
        hep(message(6, b"another log"), correlation_id=b"leg-d", proto_type=100),
        hep(message(7, b"no correlation"), proto_type=100),
    ]
    store(tmp_path, parts[::2])
    sealed(tmp_path)
    store(tmp_path, parts[1::2])
    lake = Lake(tmp_path)
    for start in ("leg-a", "leg-b", "leg-c", "corr-1"):
        assert [row["ts"].timestamp() - START for row in lake.call(start)] == [0, 1, 2, 3, 4]
    assert [row["proto_type"] for row in lake.call("leg-d")] == [1, 100]
    assert lake.call("nobody") == []
    assert [row["proto_type"] for row in lake.search(Query(call_id="leg-a"))] == [1, 5]


def test_no_lake_and_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no lake"):
        Lake(tmp_path / "none").search(Query())
    assert Lake(tmp_path).search(Query(call_id="x")) == []
    assert Lake(tmp_path).sql("select count(*) from messages")[1] == [(0,)]
    assert len(Lake(tmp_path).sql("describe messages")[1]) > 40


def test_a_quote_in_the_path(tmp_path: Path) -> None:
    root = tmp_path / "o'brien"
    store(root, PACKETS[:10])
    sealed(root)
    assert len(Lake(root).search(Query())) == 10


def test_a_segment_that_is_being_written(tmp_path: Path) -> None:
    with journal_of(tmp_path) as log:
        log.append(records(PACKETS[:10]))
        assert len(Lake(tmp_path).search(Query())) == 10
        log.append(records(PACKETS[10:20]))
        assert len(Lake(tmp_path).search(Query())) == 20


def test_each_packet_once_while_the_lake_moves(tmp_path: Path) -> None:
    """Sealing, merging and writing go on while it is asked: what was stored before a question is found once."""
    stop = threading.Event()
    stored = 0
    failures: list[Exception] = []

    def write() -> None:
        nonlocal stored
        try:
            with journal_of(tmp_path, segment_bytes=20_000) as log:
                number = 0
                while not stop.is_set():
                    packets = [hep(MESSAGES[number % len(MESSAGES)], captagent_id=number + i) for i in range(5)]
                    log.append(records(packets))
                    number += len(packets)
                    stored = number
                    time.sleep(0.002)
        except Exception as error:  # noqa: BLE001 (whatever it is, the test shows it)
            failures.append(error)

    def tend() -> None:
        late = time.time() + 86400.0
        try:
            while not stop.is_set():
                keeper.seal_closed(tmp_path, KeeperFigures())
                keeper.tidy(tmp_path, late)
        except Exception as error:  # noqa: BLE001 (whatever it is, the test shows it)
            failures.append(error)

    tmp_path.joinpath("journal").mkdir()
    threads = [threading.Thread(target=write), threading.Thread(target=tend)]
    for thread in threads:
        thread.start()
    try:
        questions = 0
        while not failures and not (questions >= 20 and stored > 200 and any(tmp_path.glob("date=*/hour=*/*"))):
            before = stored
            _, rows = Lake(tmp_path).sql("select captagent_id from messages")
            found = Counter(number for (number,) in rows)
            assert set(found.values()) <= {1}
            assert set(range(before)) <= found.keys()
            questions += 1
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures


WRITER = """
import struct, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from lakes import journal_of, records
from traffic import calls, hep
messages = list(calls(20))
number = int(sys.argv[2])
with journal_of(Path(sys.argv[1]), segment_bytes=100_000) as log:
    while True:
        packets = [hep(messages[(number + i) % 140], captagent_id=number + i) for i in range(1 + number % 13)]
        log.append(records(packets))
        number += len(packets)
        sys.stdout.buffer.write(struct.pack("<Q", number))
        sys.stdout.buffer.flush()
"""


def test_kill_9_of_writer_and_keeper(tmp_path: Path) -> None:
    """Whatever was confirmed before the kill is there once, after recovery, sealing and merging."""
    dice = random.Random(3)
    tests = str(Path(__file__).parent.parent)
    number = 0
    for _ in range(3):
        keeper_process = subprocess.Popen(
            [sys.executable, "-c", TENDER, str(tmp_path)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(number), tests], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        assert keeper_process.stdout is not None
        keeper_process.stdout.readline()
        said = writer.stdout.read(8)
        deadline = time.monotonic() + dice.uniform(0.1, 0.3)
        while time.monotonic() < deadline:
            said += writer.stdout.read(8)
        keeper_process.kill()
        writer.kill()
        said += writer.stdout.read()
        writer.wait()
        keeper_process.wait()
        writer.stdout.close()
        keeper_process.stdout.close()
        confirmed = struct.unpack("<Q", said[len(said) // 8 * 8 - 8 : len(said) // 8 * 8])[0]
        _, number = recover(tmp_path / "journal" / "w0")
        assert number >= confirmed
        assert _numbers(tmp_path) == Counter(range(number))
    keeper.clean(tmp_path)
    keeper.seal_closed(tmp_path, KeeperFigures())
    keeper.tidy(tmp_path, time.time() + 86400.0)
    assert _numbers(tmp_path) == Counter(range(number))


TENDER = """
import sys, time
from pathlib import Path
from hepswitch.lake import keeper
root = Path(sys.argv[1])
keeper.clean(root)
print("ready", flush=True)
while True:
    keeper.seal_closed(root, KeeperFigures())
    keeper.tidy(root, time.time() + 86400.0)
    time.sleep(0.01)
"""


def _numbers(root: Path) -> Counter[int]:
    return Counter(number for (number,) in Lake(root).sql("select captagent_id from messages")[1])
