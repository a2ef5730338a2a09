"""The sqlite store: OpenSIPS' sip_trace table, every message byte for byte, and files that cannot be written."""

from __future__ import annotations

import json
import re
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from far_ends import until
from hepswitch.destinations import sqlite as module
from hepswitch.destinations.sqlite import SqliteStore, SqliteWriter, table_name
from hepswitch.destinations.writer import WriterOutlet, Written
from hepswitch.wire.hep import Hep

INVITE = (
    b"INVITE sip:bob@example.com SIP/2.0\r\nFrom: <sip:alice@example.com>;tag=ft\r\nTo: <sip:bob@example.com>\r\n"
    b"Call-ID: c1\r\nCSeq: 1 INVITE\r\n\r\n"
)
RINGING = INVITE.replace(b"INVITE sip:bob@example.com SIP/2.0", b"SIP/2.0 180 Ringing")
NOON = 1_795_003_200.25

COLUMNS = ["id", *module.COLUMNS, "time_us"]


def packet(payload: bytes = INVITE, **chunks: object) -> Hep:
    ends = {"src_ip": "192.0.2.1", "src_port": 5060, "dst_ip": "192.0.2.2", "dst_port": 5062}
    return Hep.new(payload, **({"time": NOON} | ends | chunks))


def store(path: Path, **more: object) -> SqliteStore:
    return SqliteStore.model_validate({"url": f"sqlite:{path}", "flush": "5ms", **more})


def rows(path: Path, sql: str = "SELECT * FROM sip_trace ORDER BY id") -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(sql).fetchall()


async def opened(path: Path, **more: object) -> WriterOutlet:
    outlet = store(path, **more).build("traces")
    await outlet.open()
    return outlet


async def delivered(outlet: WriterOutlet, count: int) -> None:
    outlet.flush()
    await until(lambda: outlet.account()["delivered"] == count, f"{count} written: {outlet.account()}")


async def test_the_row_is_that_of_opensips(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "traces.db"
    outlet = await opened(path)
    assert outlet.name == "traces"
    assert rows(path) == []
    assert outlet.offer(packet(), attrs="fraud", custom_field1="x", correlation_id="y")
    six = {"src_ip": "2001:db8::2", "dst_ip": "2001:db8::1", "proto_id": 22}
    assert outlet.offer(packet(RINGING, **six), direction="out")
    assert not outlet.offer(packet(b"{}", proto_type=5), correlation_id="c1")
    await delivered(outlet, 2)
    time_us = int(NOON * 1_000_000)
    ends = ("udp", "192.0.2.1", 5060, "udp", "192.0.2.2", 5062)
    assert rows(path) == [
        (1, "2026-11-18 12:00:00", "c1", "fraud", INVITE.decode(), "INVITE", "", *ends, "ft", "in", time_us),
        (
            2, "2026-11-18 12:00:00", "c1", None, RINGING.decode(), "INVITE", "180",
            "tls", "2001:db8::2", 5060, "tls", "2001:db8::1", 5062, "ft", "out", time_us,
        ),
    ]  # fmt: skip
    assert outlet.account()["refused"] == {"not SIP": 1}
    assert [row[1] for row in rows(path, "PRAGMA table_info(sip_trace)")] == COLUMNS
    indexed = {rows(path, f"PRAGMA index_info({row[1]})")[0][2] for row in rows(path, "PRAGMA index_list(sip_trace)")}
    assert indexed == {"trace_attrs", "time_stamp", "from_ip", "callid"}
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]
    for name in ("traces.db", "traces.db-wal", "traces.db-shm"):
        assert (path.parent / name).stat().st_mode & 0o777 == 0o600
    await outlet.close(1.0)
    assert [found.name for found in path.parent.iterdir()] == ["traces.db"], "closed in order"


@settings(deadline=None, max_examples=25)
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5), st.binary(max_size=30))
def test_any_message_comes_back(tmp_path_factory: pytest.TempPathFactory, bodies: list[bytes], call_id: bytes) -> None:
    path = tmp_path_factory.mktemp("s") / "x.db"
    messages = [b"OPTIONS sip:a SIP/2.0\r\nCall-ID: " + call_id + b"\r\n\r\n" + body for body in bodies]
    writer = SqliteWriter(store(path))
    writer.open()
    batch = [Written(packet(message), 0, attrs=f"\0{i}'\"\udcff") for i, message in enumerate(messages)]
    assert writer.write(batch) == len(batch)
    writer.close()
    assert [row[0] for row in rows(path, "SELECT CAST(msg AS BLOB) FROM sip_trace ORDER BY id")] == messages
    assert [row[0] for row in rows(path, "SELECT trace_attrs FROM sip_trace ORDER BY id")] == [
        f"\0{i}'\"\ufffd" for i in range(len(messages))
    ]
    for message, (kind,) in zip(messages, rows(path, "SELECT typeof(msg) FROM sip_trace ORDER BY id"), strict=True):
        assert kind == ("blob" if b"\0" in message or not _is_utf_8(message) else "text")


def _is_utf_8(data: bytes) -> bool:
    return data.decode("utf-8", "replace").encode() == data


async def test_files_and_tables_follow_the_packets_time(tmp_path: Path) -> None:
    day = 86_400
    outlet = await opened(tmp_path / "t-%Y%m.db", table="trace_%d")
    for days in (0, 1, 0, 13, 400, 0):
        assert outlet.offer(packet(time=NOON + days * day))
    assert outlet.offer(packet(), table="calls_%Y%m%d")
    await delivered(outlet, 7)
    found = {
        (path.name, name): rows(path, f'SELECT count(*) FROM "{name}"')[0][0]
        for path in (tmp_path / f"t-{month}.db" for month in (202611, 202612, 202712))
        for (name,) in rows(path, "SELECT name FROM sqlite_master WHERE type = 'table'")
    }
    counts = {key: count for key, count in found.items() if count}
    assert counts == {
        ("t-202611.db", "trace_18"): 3,
        ("t-202611.db", "trace_19"): 1,
        ("t-202611.db", "calls_20261118"): 1,
        ("t-202612.db", "trace_01"): 1,
        ("t-202712.db", "trace_23"): 1,
    }
    await outlet.close(1.0)


def test_many_files_are_not_all_open(tmp_path: Path) -> None:
    writer = SqliteWriter(store(tmp_path / "t-%S.db"))
    batch = [Written(packet(time=NOON + second), 0) for second in range(20)]
    while batch:
        batch = batch[writer.write(batch) :]
    assert len(list(tmp_path.glob("*.db-wal"))) == module.MOST_OPEN, "an open database has one beside it"
    writer.close()
    assert len(list(tmp_path.iterdir())) == 20


@pytest.mark.parametrize(
    "name", ["x; DROP TABLE sip_trace", 'a"b', "sqlite_master", "SQLite_x", "", "é", "a%%", "a%B", "1a"]
)
async def test_a_table_that_no_name_can_be_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"is no name of a table|has the field"):
        table_name(name)
    outlet = await opened(tmp_path / "t.db")
    assert not outlet.offer(packet(), table=name)
    assert outlet.account()["refused"] == {"bad table name": 1}
    await outlet.close(1.0)


def test_names_of_tables_are_looked_up_from_two_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop asks whether a name can be used while the thread writes, and either may clear what is remembered."""
    monkeypatch.setattr(module, "MOST_TEMPLATES", 2)
    writer = SqliteWriter(store(tmp_path / "x.db"))
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(2) as threads:
            looks = [threads.submit(lambda: [writer._named(f"t{i % 5}") for i in range(20_000)]) for _ in range(2)]
            assert all(None not in each.result() for each in looks)
    finally:
        sys.setswitchinterval(usual)


async def test_a_locked_database_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    path = tmp_path / "t.db"
    outlet = await opened(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(3):
            outlet.offer(packet())
        outlet.flush()
        await until(lambda: outlet.account()["state"] == "database is locked", "noticed")
        assert outlet.account()["queued"] == 3
        other.execute("ROLLBACK")
        await delivered(outlet, 3)
    await outlet.close(1.0)
    assert len(rows(path)) == 3


async def test_a_full_disk_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.db"
    await (await opened(path)).close(1.0)
    full, real = [True], sqlite3.connect

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        database = real(*arguments, **options)
        if full:
            database.execute("PRAGMA max_page_count = 1")  # no more pages than there are: SQLite's own full disk
        return database

    monkeypatch.setattr(module.sqlite3, "connect", connect)
    outlet = await opened(path)
    for _ in range(3):
        outlet.offer(packet(INVITE + bytes(50_000)))
    outlet.flush()
    await until(lambda: outlet.account()["state"] == "database or disk is full", "noticed")
    assert outlet.account()["queued"] == 3
    full.clear()
    await delivered(outlet, 3)
    await outlet.close(1.0)
    assert rows(path, "SELECT count(*) FROM sip_trace") == [(3,)]


async def test_a_deleted_file_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    outlet = await opened(path)
    outlet.offer(packet())
    await delivered(outlet, 1)
    for name in ("t.db", "t.db-wal", "t.db-shm"):
        (tmp_path / name).unlink()
    outlet.offer(packet())
    await delivered(outlet, 2)
    await outlet.close(1.0)
    assert len(rows(path)) == 1


async def test_a_dropped_table_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    outlet = await opened(path)
    outlet.offer(packet())
    await delivered(outlet, 1)
    with closing(sqlite3.connect(path)) as other:
        other.execute("DROP TABLE sip_trace")
    outlet.offer(packet())
    outlet.offer(packet())
    await delivered(outlet, 3)
    await outlet.close(1.0)
    assert len(rows(path)) == 2


async def test_rows_for_a_foreign_table_are_set_aside_and_the_others_written(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE mine (a, b)")
        other.execute("CREATE VIEW view AS SELECT 1 AS x")
    outlet = await opened(path)
    for table in (None, "mine", None, "view", None):
        outlet.offer(packet(), table=table)
    outlet.flush()
    await until(lambda: not outlet.account()["queued"], "all gone")
    assert len(rows(path)) == 3
    assert outlet.account()["discarded"] == {"rejected": 2}
    aside = [json.loads(line) for line in (tmp_path / "traces.rejected.jsonl").read_text().splitlines()]
    assert [row["table"] for row in aside] == ["mine", "view"]
    assert "has no callid, direction" in aside[0]["error"]
    await outlet.close(1.0)


async def test_a_table_of_opensips_gets_the_time_in_microseconds(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    columns = ", ".join(f"{name} {kind}" for name, kind in module.COLUMNS.items())
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"CREATE TABLE sip_trace (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, {columns})")
    outlet = await opened(path)
    outlet.offer(packet())
    await delivered(outlet, 1)
    await outlet.close(1.0)
    assert rows(path, "SELECT id, time_us FROM sip_trace") == [(1, int(NOON * 1_000_000))]


async def test_what_cannot_be_opened_is_told_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(OSError, match="file is not a database"):
        await opened(path)
    with closing(sqlite3.connect(tmp_path / "u.db")) as other:
        other.execute("CREATE TABLE sip_trace (a)")
    with pytest.raises(OSError, match="it is no sip_trace table; name another one"):
        await opened(tmp_path / "u.db")
    with pytest.raises(OSError, match="/dev/null"):
        await opened(Path("/dev/null/t.db"))


async def test_workers_share_a_database(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    outlets = [await opened(path) for _ in range(3)]
    for _ in range(50):
        for outlet in outlets:
            outlet.offer(packet())
            outlet.flush()
    for outlet in outlets:
        await outlet.close(10.0)
    assert [outlet.account()["delivered"] for outlet in outlets] == [50, 50, 50]
    assert len(rows(path)) == 150


def test_the_table_of_the_configuration(tmp_path: Path) -> None:
    found = SqliteStore(url="sqlite:traces.db")
    assert (found.path, found.layout, found.table, found.mode) == (Path("traces.db"), "sip_trace", "sip_trace", "0600")
    assert SqliteStore.model_validate_json(found.model_dump_json()) == found
    assert found.anchored(tmp_path.joinpath).url == f"sqlite:{tmp_path}/traces.db"
    for wrong, hint in (
        ({}, "url"),
        ({"url": "lake:x"}, 'write url = "sqlite:traces.db"'),
        ({"url": "sqlite:///x.db"}, 'write url = "sqlite:traces.db"'),
        ({"url": "sqlite:%Y/x.db"}, "date fields in its folder"),
        ({"url": "sqlite:x%B.db"}, "the field %B"),
        ({"table": "a b"}, "is no name of a table"),
        ({"layout": "homer7"}, "sip_trace"),
        ({"mode": 600}, "is no file mode"),
        ({"flush": 0}, "flush"),
    ):
        values: dict[str, object] = {"url": "sqlite:x.db"} | wrong if wrong else {}
        with pytest.raises(ValidationError, match=re.escape(hint)):
            SqliteStore.model_validate(values)
