"""SQLite: rows and their mark in one transaction, files by date, every message byte for byte, and trouble."""

from __future__ import annotations

import asyncio
import datetime
import re
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from batches import batch_of
from hepswitch.databases import sqlite as module
from hepswitch.databases import sqlite_file
from hepswitch.databases.layouts.opensips import EXTRAS
from hepswitch.databases.server import ContentError, Mark
from hepswitch.databases.sqlite import SqliteServer, ddl
from hepswitch.destinations.databases import SqliteStore
from hepswitch.wire.hep import Hep

INVITE = (
    b"INVITE sip:bob@example.com SIP/2.0\r\nFrom: <sip:alice@example.com>;tag=ft\r\nTo: <sip:bob@example.com>\r\n"
    b"Call-ID: c1\r\nCSeq: 1 INVITE\r\n\r\n"
)
NOON = 1_795_003_200.25
DAY = 86_400
JOURNAL = "0123456789abcdef" * 2


def packet(payload: bytes = INVITE, **chunks: object) -> Hep:
    ends = {"src_ip": "192.0.2.1", "src_port": 5060, "dst_ip": "192.0.2.2", "dst_port": 5062}
    return Hep.new(payload, **({"time": NOON} | ends | chunks))


def batch(*packets: Hep, **said: Any) -> pa.RecordBatch:
    return batch_of(packets or [packet()], EXTRAS, **said)


def mark(first: int, last: int | None = None, done: int = 0, journal: str = JOURNAL) -> Mark:
    return Mark(journal, first, first + 1 if last is None else last, done)


def store(path: Path, **more: object) -> SqliteStore:
    return SqliteStore.model_validate({"url": f"sqlite:{path}", **more})


def rows(path: Path, sql: str = "SELECT * FROM sip_capture ORDER BY id") -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(sql).fetchall()


def count(path: Path, table: str = "sip_capture") -> int:
    found: int = rows(path, f'SELECT count(*) FROM "{table}"')[0][0]
    return found


def names(folder: Path, pattern: str = "*") -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


@asynccontextmanager
async def opened(path: Path, **more: object) -> AsyncIterator[SqliteServer]:
    server = SqliteServer(store(path, **more))
    await server.open()
    try:
        yield server
    finally:
        await server.close()


# ── rows ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_rows_of_every_table_are_stored_and_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "calls.db"
    async with opened(path) as server:
        assert not path.exists(), "opening changes nothing"
        await server.load(batch(packet(), packet(b"\0{}", proto_type=5)), mark(0, 2))
        await server.load(batch(attrs="fraud", direction="out"), mark(2))
        found = await server.rows("SELECT * FROM sip_capture WHERE callid = ?", ["c1"])
        assert len(found) == 1
        moment = datetime.datetime(2026, 11, 18, 12)
        assert (found[0]["id"], found[0]["date"], found[0]["msg"]) == (1, moment, INVITE)
        assert (found[0]["micro_ts"], found[0]["from_user"]) == (int(NOON * 1_000_000), "alice")
        assert [(row["msg"], row["type"]) for row in await server.rows("SELECT * FROM report_capture")] == [
            (b"\0{}", 5)
        ]
        traced = await server.rows("SELECT time_stamp, trace_attrs, direction, time_us, msg FROM sip_trace")
        assert [tuple(row.values()) for row in traced] == [(moment, "fraud", "out", int(NOON * 1_000_000), INVITE)]
        assert await server.rows("SELECT * FROM sip_capture WHERE callid = 'x'") == []
        for name in ("calls.db", "calls.db-wal", "calls.db-shm"):
            assert (path.parent / name).stat().st_mode & 0o777 == 0o600
    assert rows(path, "SELECT date, msg FROM sip_capture") == [("2026-11-18 12:00:00", INVITE.decode())]
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]
    assert names(path.parent) == ["calls.db"], "closed in order"


async def test_indexes_are_those_of_the_layout(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    async with opened(path, opensips={"indexes": ["callid", "from_user"], "columns": {"callid": "select"}}) as server:
        await server.load(batch(), mark(0))
        assert [row["select"] for row in await server.rows("SELECT * FROM sip_capture")] == ["c1"]
    listed = rows(path, "PRAGMA index_list(sip_capture)")
    assert {rows(path, f"PRAGMA index_info({row[1]})")[0][2] for row in listed} == {"select", "from_user"}


async def test_the_printed_statements_make_what_is_made(tmp_path: Path) -> None:
    made, printed = tmp_path / "made.db", tmp_path / "printed.db"
    async with opened(made) as server:
        await server.load(batch(packet(), packet(b"{}", proto_type=5)), mark(0, 2))
        await server.load(batch(direction="in"), mark(2))
    text = ddl(store(printed))
    assert text.endswith(";\n")
    with closing(sqlite3.connect(printed)) as database:
        database.executescript(text)
    schema = "SELECT type, name, sql FROM sqlite_master ORDER BY name"
    assert rows(printed, schema) == rows(made, schema)
    async with opened(printed, create=False) as server:
        await server.load(batch(), mark(0))
    assert count(printed) == 1


texts = st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(
    ["'); DROP TABLE sip_capture; --", "\0", '"']
)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5), st.binary(max_size=30), texts)
def test_any_message_comes_back(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[bytes], call_id: bytes, field: str
) -> None:
    path = tmp_path_factory.mktemp("s") / "x.db"
    messages = [b"OPTIONS sip:a SIP/2.0\r\nCall-ID: " + call_id + b"\r\n\r\n" + body for body in bodies]
    records = batch_of([packet(message) for message in messages], EXTRAS, custom_field1=field)

    async def through() -> list[dict[str, Any]]:
        async with opened(path) as server:
            await server.load(records, mark(0, len(messages)))
            return await server.rows("SELECT *, typeof(msg) AS kind FROM sip_capture ORDER BY id")

    found = asyncio.run(through())
    assert [row["msg"] for row in found] == messages
    assert [row["custom_field1"] for row in found] == [field] * len(messages)
    expected = [text or "" for text in records.column("call_id").to_pylist()]
    assert [row["callid"] for row in found] == expected
    assert [row[0] for row in rows(path, "SELECT CAST(msg AS BLOB) FROM sip_capture ORDER BY id")] == messages
    for message, row in zip(messages, found, strict=True):
        assert row["kind"] == ("blob" if b"\0" in message or not _is_utf_8(message) else "text")


HOSTILE = {
    "quotes": b"'); DROP TABLE sip_capture; --\"\\'\\",
    "nuls": b"\0a\0\0",
    "no UTF-8": b"\xff\xfe\xed\xa0\x80\xc0\xaf",
    "emoji": "☎ 👩‍👩‍👧 \u202e\ufeff".encode(),
    "60 KiB": bytes(range(256)) * 240,
}


@pytest.mark.parametrize("evil", HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_content_comes_back_in_every_table(tmp_path: Path, evil: bytes) -> None:
    message = INVITE.replace(b"alice", evil[:40].translate(None, b"\r\n")).replace(b"c1", b"c" + evil[:9]) + evil
    readable = evil[:1000].decode("utf-8", "replace")
    async with opened(tmp_path / "t.db") as server:
        await server.load(batch(packet(message), packet(evil, proto_type=100, correlation_id=evil[:1000])), mark(0, 2))
        await server.load(batch(packet(message), direction="in", attrs=readable), mark(2))
        for table, expected in (("sip_capture", message), ("report_capture", evil), ("sip_trace", message)):
            assert [row["msg"] for row in await server.rows(f"SELECT msg FROM {table}")] == [expected]
        (traced,) = await server.rows("SELECT trace_attrs, callid FROM sip_trace")
        (stored,) = await server.rows("SELECT callid FROM sip_capture WHERE callid = ?", [traced["callid"]])
        (report,) = await server.rows("SELECT correlation_id FROM report_capture")
    assert traced["trace_attrs"] == readable[:255]
    assert report["correlation_id"] == readable[:256]
    assert stored == {"callid": traced["callid"]}


def _is_utf_8(data: bytes) -> bool:
    return data.decode("utf-8", "replace").encode() == data


# ── marks ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_batch_is_stored_once(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    async with opened(path) as server:
        for _ in range(3):
            await server.load(batch(packet(), packet()), mark(0, 2))
        await server.load(batch(), mark(1, 2))
    async with opened(path) as server:
        await server.load(batch(packet(), packet()), mark(0, 2))
        await server.load(batch(), mark(2))
        await server.load(batch(), mark(0, journal="f" * 32))
        assert count(path) == 4
        marks = "SELECT journal, first, last FROM hepswitch_loaded ORDER BY first, journal"
        assert rows(path, marks) == [(JOURNAL, 0, 2), ("f" * 32, 0, 1), (JOURNAL, 2, 3)]
        await server.load(batch(), mark(3, done=3))
    assert rows(path, marks) == [("f" * 32, 0, 1), (JOURNAL, 3, 4)]


async def test_a_batch_over_midnight_is_stored_once_in_each_file(tmp_path: Path) -> None:
    """What the second file refused comes again in halves; the first file has its rows already."""
    first, second = tmp_path / "t-18.db", tmp_path / "t-19.db"
    days = [packet(time=NOON), packet(time=NOON + DAY), packet(time=NOON), packet(time=NOON + DAY)]
    async with opened(tmp_path / "t-%d.db") as server:
        await server.load(batch(days[1]), mark(0))
        with closing(sqlite3.connect(second)) as other:
            other.execute("CREATE TRIGGER no BEFORE INSERT ON sip_capture BEGIN SELECT RAISE(ABORT, 'not today'); END")
        with pytest.raises(ContentError, match=r"t-19.db: not today"):
            await server.load(batch(*days), mark(1, 5))
        assert (count(first), count(second)) == (2, 1)
        await server.load(batch(days[0]), mark(1, 2))
        with pytest.raises(ContentError, match="not today"):
            await server.load(batch(*days[1:3]), mark(2, 4))
        with closing(sqlite3.connect(second)) as other:
            other.execute("DROP TRIGGER no")
        await server.load(batch(*days[1:3]), mark(2, 4))
        await server.load(batch(days[3]), mark(4))
    assert (count(first), count(second)) == (2, 3)


def test_a_killed_writer_leaves_nothing_half(tmp_path: Path) -> None:
    """Killed within the transaction, after its rows and its mark were written."""
    path = tmp_path / "t.db"

    async def load(number: int) -> None:
        async with opened(path) as server:
            await server.load(batch(), mark(number))

    asyncio.run(load(0))
    script = f"""
import os, signal, sqlite3
database = sqlite3.connect({str(path)!r}, isolation_level=None)
database.execute("BEGIN IMMEDIATE")
database.execute("INSERT INTO sip_capture (date, msg) VALUES ('x', 'y')")
database.execute("INSERT INTO hepswitch_loaded (journal, first, last) VALUES ('{JOURNAL}', 1, 2)")
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    asyncio.run(load(1))
    assert count(path) == 2


# ── files and tables ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_files_and_tables_follow_the_packets_time(tmp_path: Path) -> None:
    async with opened(tmp_path / "t-%Y%m.db", opensips={"table": "capture_%d"}) as server:
        moments = [NOON + days * DAY for days in (0, 1, 0, 13, 400, 0)]
        await server.load(batch(*(packet(time=moment, captagent_id=i) for i, moment in enumerate(moments))), mark(0, 6))
        await server.load(batch(table="calls_%Y%m%d"), mark(6))
        assert [path.name for path in server.files()] == ["t-202611.db", "t-202612.db", "t-202712.db"]
        found = {
            (path.name, name): [int(row[0]) for row in rows(path, f'SELECT node FROM "{name}" ORDER BY id') if row[0]]
            for path in server.files()
            for (name,) in rows(
                path, "SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'hepswitch_loaded'"
            )
        }
        tables = await server.rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'ca%' ORDER BY 1")
    assert found == {
        ("t-202611.db", "capture_18"): [0, 2, 5],
        ("t-202611.db", "capture_19"): [1],
        ("t-202611.db", "calls_20261118"): [],
        ("t-202612.db", "capture_01"): [3],
        ("t-202712.db", "capture_23"): [4],
    }
    assert [row["name"] for row in tables] == [
        "calls_20261118", "capture_18", "capture_19", "capture_01", "capture_23",
    ]  # fmt: skip


async def test_many_files_are_not_all_open(tmp_path: Path) -> None:
    async with opened(tmp_path / "t-%S.db") as server:
        await server.load(batch(*(packet(time=NOON + second) for second in range(20))), mark(0, 20))
        assert len(names(tmp_path, "*.db-wal")) == module.MOST_OPEN, "an open database has one beside it"
        assert len(server.files()) == 20
    assert len(names(tmp_path)) == 20


async def test_a_file_that_nothing_comes_for_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path / "t-%d.db") as server:
        await server.load(batch(), mark(0))
        monkeypatch.setattr(module, "IDLE", 0.0)
        await server.load(batch(packet(time=NOON + DAY)), mark(1))
        assert names(tmp_path, "*.db-wal") == []


async def test_a_deleted_file_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    async with opened(path) as server:
        await server.load(batch(), mark(0))
        for name in ("t.db", "t.db-wal", "t.db-shm"):
            (tmp_path / name).unlink()
        await server.load(batch(packet(), packet()), mark(1, 3))
    assert count(path) == 2


async def test_a_dropped_table_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    async with opened(path) as server:
        await server.load(batch(), mark(0))
        with closing(sqlite3.connect(path)) as other:
            other.execute("DROP TABLE sip_capture")
        with pytest.raises(OSError, match="no such table: sip_capture"):
            await server.load(batch(), mark(1))
        await server.load(batch(), mark(1))
    assert count(path) == 1


OF_OPENSIPS = """
    CREATE TABLE sip_capture (id INTEGER PRIMARY KEY AUTOINCREMENT, date DATETIME NOT NULL, micro_ts BIGINT DEFAULT 0,
        callid CHAR(100) DEFAULT '' NOT NULL, MSG TEXT NOT NULL)
"""


async def test_a_table_of_opensips_gets_the_columns_that_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute(OF_OPENSIPS)
        other.execute("INSERT INTO sip_capture (date, msg) VALUES ('2020-01-01 00:00:00', 'old')")
        other.commit()
    async with opened(path) as server:
        await server.load(batch(custom_field3="x"), mark(0))
    found = rows(path, "SELECT id, msg, callid, ruri_domain, custom_field3 FROM sip_capture ORDER BY id")
    assert found == [(1, "old", "", "", None), (2, INVITE.decode(), "c1", "example.com", "x")]
    missing = r"t.db: the table sip_capture has no method, .*ruri_domain.*; `hepswitch ddl` prints what it should be"
    other_path = tmp_path / "u" / "t.db"
    other_path.parent.mkdir()
    with closing(sqlite3.connect(other_path)) as other:
        other.execute(OF_OPENSIPS)
        tables = [
            line for line in ddl(store(other_path)).splitlines() if "report_capture" in line or "sip_trace" in line
        ]
        other.executescript("\n".join(tables))
    server = SqliteServer(store(other_path, create=False))
    with pytest.raises(OSError, match="the table sip_capture has no method") as caught:
        await server.open()
    await server.close()
    assert re.search(missing, f"{caught.value.filename}: {caught.value.strerror}")


async def test_reports_may_share_the_table_of_sip(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    async with opened(path) as server:
        await server.load(batch(packet(b"{}", proto_type=5), table="all"), mark(0))
        await server.load(batch(packet(), packet(b"[]", proto_type=5), table="all"), mark(1, 3))
    assert rows(path, 'SELECT type, callid, msg FROM "all" ORDER BY id') == [
        (5, "", "{}"), (1, "c1", INVITE.decode()), (5, "", "[]"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("table", "text"), [("mine", "has no date, .*: it is no sip_capture; name another"), ("view", "no date")]
)
async def test_a_foreign_table_is_left_alone(tmp_path: Path, table: str, text: str) -> None:
    """The packet that a route sends there is at fault, and holds up no other."""
    path = tmp_path / "t.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE mine (a, b)")
        other.execute("CREATE VIEW view AS SELECT 1 AS x")
    async with opened(path) as server:
        with pytest.raises(ContentError, match=text):
            await server.load(batch(table=table), mark(0))
        await server.load(batch(), mark(0))
    own = SqliteServer(store(path, opensips={"table": table}))
    with pytest.raises(OSError, match=text):
        await own.open()
    await own.close()
    assert count(path) == 1
    assert rows(path, "SELECT * FROM mine") == []


async def test_a_view_that_a_route_named_is_content(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    async with opened(path) as server:
        await server.load(batch(packet()), mark(0))
        rows(path, "CREATE VIEW seen AS SELECT * FROM sip_capture")
        rows(path, "CREATE VIEW few AS SELECT id FROM sip_capture")
        for table in ("seen", "few"):
            with pytest.raises(ContentError) as caught:
                await server.load(batch(packet(), table=table), mark(1))
            assert caught.value.table == table
        await server.load(batch(packet()), mark(1))
    assert count(path) == 2


async def test_what_is_missing_is_said_when_nothing_may_be_made(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    server = SqliteServer(store(path, create=False))
    with pytest.raises(OSError, match="there is no such database, and create = false"):
        await server.open()
    with pytest.raises(OSError, match="unable to open database file"):
        await server.load(batch(), mark(0))
    assert not path.exists()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE x (y)")
    with pytest.raises(OSError, match="there is no table sip_capture; `hepswitch ddl` prints what makes it"):
        await server.load(batch(), mark(0))
    await server.close()
    assert count(path, "x") == 0


# ── trouble ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_locked_database_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "PATIENCE", 0.01)
    path = tmp_path / "t.db"
    async with opened(path) as server:
        await server.load(batch(), mark(0))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(OSError, match="database is locked"):
                await server.load(batch(), mark(1))
            assert len(await server.rows("SELECT 1 FROM sip_capture")) == 1, "readers are not locked out"
        await server.load(batch(), mark(1))
    assert count(path) == 2


async def test_a_full_disk_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.db"
    async with opened(path) as server:
        await server.load(batch(), mark(0))
    full, real = [True], sqlite3.connect

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        database = real(*arguments, **options)
        if full:
            database.execute("PRAGMA max_page_count = 1")  # no more pages than there are: SQLite's own full disk
        return database

    monkeypatch.setattr(sqlite3, "connect", connect)
    large = [packet(INVITE + bytes(50_000))] * 3
    async with opened(path) as server:
        with pytest.raises(OSError, match="database or disk is full"):
            await server.load(batch(*large), mark(1, 4))
        full.clear()
        await server.load(batch(*large), mark(1, 4))
    assert count(path) == 4


async def test_a_damaged_file_is_away_until_it_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    async with opened(path) as server:
        path.write_bytes(b"this is no database" * 100)
        with pytest.raises(OSError, match="file is not a database"):
            await server.load(batch(), mark(0))
        path.unlink()
        await server.load(batch(), mark(0))
    assert count(path) == 1


async def test_what_cannot_be_opened_is_told_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    path.write_bytes(b"this is no database" * 100)
    with closing(sqlite3.connect(tmp_path / "u.db")) as other:
        other.execute("CREATE TABLE sip_capture (a)")
    for where, text in (
        (path, "file is not a database"),
        (tmp_path / "u.db", "the table sip_capture has no date, .*: it is no sip_capture; name another one"),
        (Path("/dev/null/t.db"), "this is no folder"),
    ):
        server = SqliteServer(store(where))
        with pytest.raises(OSError, match=text):
            await server.open()
        await server.close()


async def test_a_query_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    async with opened(path) as server:
        assert await server.rows("SELECT 1") == [], "there is no file"
        await server.load(batch(), mark(0))
        with pytest.raises(ValueError, match="no such table: nowhere"):
            await server.rows("SELECT * FROM nowhere")
        with pytest.raises(ValueError, match="readonly database"):
            await server.rows("DELETE FROM sip_capture")
        assert await server.rows("SELECT count(*) AS n FROM sip_capture") == [{"n": 1}]


async def test_servers_share_a_file(tmp_path: Path) -> None:
    """While one of them makes the file or turns on WAL, the others may be told that it is locked: they offer again."""
    path = tmp_path / "t.db"

    async def load(journal: str) -> None:
        async with opened(path) as server:
            number = 0
            while number < 20:
                try:
                    await server.load(batch(), mark(number, journal=journal))
                    number += 1
                except OSError as error:
                    assert error.strerror == "database is locked"  # noqa: PT017 (it need not come)

    await asyncio.gather(*(load(letter * 32) for letter in "abc"))
    assert count(path) == 60


async def test_a_batch_that_was_given_up_may_come_again(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    server = SqliteServer(store(path))
    await server.open()
    many: Iterable[Hep] = [packet() for _ in range(500)]
    records = batch(*many)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await server.load(records, mark(0, 500))
    await server.close()
    await server.open()
    await server.load(records, mark(0, 500))
    await server.close()
    assert count(path) == 500


def test_the_table_of_the_configuration(tmp_path: Path) -> None:
    found = SqliteStore(url="sqlite:calls.db")
    assert (found.path, found.layout, found.mode, found.connections) == (Path("calls.db"), "opensips", "0600", 1)
    assert SqliteStore.model_validate_json(found.model_dump_json()) == found
    assert found.anchored(tmp_path.joinpath).url == f"sqlite:{tmp_path}/calls.db"
    for wrong, hint in (
        ({}, "url"),
        ({"url": "lake:x"}, 'write url = "sqlite:captures.db"'),
        ({"url": "sqlite:///x.db"}, 'write url = "sqlite:captures.db"'),
        ({"url": "sqlite:%Y/x.db"}, "date fields in its folder"),
        ({"url": "sqlite:x%B.db"}, "the field %B"),
        ({"url": "sqlite:x%d.db", "create": False}, "who would make the next file"),
        ({"opensips": {"table": "a b"}}, "is no name of a table"),
        ({"layout": "homer7"}, "opensips"),
        ({"connections": 2}, "connections"),
        ({"mode": 600}, "is no file mode"),
        ({"flush": 0}, "flush"),
    ):
        values: dict[str, object] = {"url": "sqlite:x.db"} | wrong if wrong else {}
        with pytest.raises(ValidationError, match=re.escape(hint)):
            SqliteStore.model_validate(values)


async def test_a_day_that_only_a_wrong_clock_speaks_of_holds_up_nobody(tmp_path: Path) -> None:
    """Nobody makes a table for it where the store may not; that of yesterday somebody will."""
    path = tmp_path / "t.db"
    dated = {"opensips": {"table": "sip_%Y%m%d"}}

    def at(moment: float) -> pa.RecordBatch:
        return batch(Hep(bytes(packet(time=moment)), NOON))

    async with opened(path, **dated) as server:
        await server.load(at(NOON), mark(0))
    with closing(sqlite3.connect(path)) as database:
        database.executescript(ddl(store(path, **dated)))  # the tables of now, else the store is not opened
    async with opened(path, create=False, **dated) as server:
        await server.load(at(NOON), mark(1))
        with pytest.raises(ContentError, match="no table sip_"):
            await server.load(at(NOON - 30 * DAY), mark(2))
        with pytest.raises(OSError, match="no table sip_"):
            await server.load(at(NOON - DAY + 60), mark(3))
