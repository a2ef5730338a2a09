"""The MySQL store against a real MariaDB: rows whole and once, any bytes, tables of others, and a server that fails."""

import asyncio
import itertools
import re
import signal
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import trustme
from asyncmy.errors import NotSupportedError
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from structlog.testing import capture_logs

from batches import ARRIVAL, batch_of
from hepswitch.databases import mysql
from hepswitch.databases.mysql import MysqlServer, ddl
from hepswitch.databases.server import MARKS, ContentError, Mark
from hepswitch.destinations.databases import MysqlStore
from servers import Mariadb, mariadb
from traffic import Message, calls, hep

JOURNAL = "0123456789abcdef0123456789abcdef"
A, B = ("10.0.0.1", 5060), ("10.0.0.2", 5062)
MIDNIGHT = 1_795_132_800  # 2026-11-20
EMOJI = "\U0001f4de"

HOSTILE = (
    b"INVITE sip:o'brien\\%s@example.com SIP/2.0\r\n"
    b"From: \"'); DROP TABLE sip_capture; -- \" <sip:%27@example.com>;tag=a\\'b\r\nTo: <sip:bob@example.com>\r\n"
    b'Call-ID: it\'s\\0 "quoted"\r\nCSeq: 1 INVITE\r\nUser-Agent: \xff\xfe\\ ' + EMOJI.encode() + b" \x00 x\r\n\r\n"
    b"\x00\x01\x1a\\'\"%\xc3(" + bytes(range(256)) * 235
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mariadb]:
    with mariadb(tmp_path_factory.mktemp("mariadb")) as running:
        yield running


NUMBERS = itertools.count()


@pytest.fixture
async def database(server: Mariadb) -> str:
    """The URL of an empty database."""
    name = f"test{next(NUMBERS)}"
    async with opened(MysqlStore(url=server.url)) as any_database:
        await any_database.rows(f"CREATE DATABASE {name}")
    return server.url.removesuffix("hep") + name


class opened:  # noqa: N801 (used as a function)
    """A connection for a block."""

    def __init__(self, store: MysqlStore) -> None:
        self._server = MysqlServer(store)

    async def __aenter__(self) -> MysqlServer:
        await self._server.open()
        return self._server

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()


@pytest.fixture
async def store(database: str) -> AsyncIterator[MysqlServer]:
    async with opened(MysqlStore(url=database)) as it:
        yield it


def batch(it: MysqlServer, *packets: bytes, **said: Any) -> pa.RecordBatch:
    return batch_of(packets, it.layout.extras, **said)


def sip(payload: bytes, time: float = MIDNIGHT) -> bytes:
    return hep(Message(time, A, B, payload))


def options(call: str = "c1", extra: str = "") -> bytes:
    return f"OPTIONS sip:b@example.com SIP/2.0\r\nCall-ID: {call}\r\nCSeq: 1 OPTIONS\r\n{extra}\r\n".encode()


def mark(first: int, last: int, done: int = 0) -> Mark:
    return Mark(JOURNAL, first, last, done)


async def count(it: MysqlServer, table: str = "sip_capture") -> int:
    return int((await it.rows(f"SELECT COUNT(*) AS n FROM {table}"))[0]["n"])


# ── rows ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_rows_are_stored_and_read_back(store: MysqlServer) -> None:
    messages = list(calls(20))
    await store.load(batch(store, *map(hep, messages)), mark(0, len(messages)))
    rows = await store.rows("SELECT * FROM sip_capture ORDER BY id")
    assert [row["msg"] for row in rows] == [message.payload for message in messages]
    assert [row["micro_ts"] for row in rows] == [round(message.time * 1e6) for message in messages]
    first = rows[0]
    assert first["date"] == datetime(2026, 11, 18, 11, 6, 40)
    assert (first["method"], first["source_ip"], first["source_port"]) == ("INVITE", *messages[0].source)
    assert (first["proto"], first["family"], first["type"], first["node"]) == (17, 2, 1, "edge-7")
    assert first["custom_field1"] is None
    assert await store.rows("SELECT callid FROM sip_capture WHERE callid = %s LIMIT 1", [first["callid"]])


async def test_any_bytes_come_back_identical(store: MysqlServer) -> None:
    await store.load(batch(store, sip(HOSTILE)), mark(0, 1))
    [row] = await store.rows("SELECT * FROM sip_capture")
    assert row["msg"] == HOSTILE
    assert row["ruri_user"] == "o'brien\\%s"
    assert row["callid"] == 'it\'s\\0 "quoted"'
    assert row["from_tag"] == "a\\'b"
    assert row["user_agent"] == f"\ufffd\ufffd\\ {EMOJI} \0 x"


@given(
    payload=st.binary(max_size=300), agent=st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=40)
)
@settings(max_examples=12, deadline=None)
def test_whatever_there_is_comes_back(server: Mariadb, payload: bytes, agent: str) -> None:
    async def there_and_back() -> None:
        async with opened(MysqlStore(url=server.url)) as it:
            packet = options(extra=f"User-Agent: {agent}\r\n") + payload
            records = batch(it, sip(packet))
            number = next(NUMBERS)
            await it.load(records, mark(number, number + 1))
            [row] = await it.rows("SELECT msg, user_agent FROM sip_capture ORDER BY id DESC LIMIT 1")
            assert row["msg"] == packet
            assert row["user_agent"] == (records.column("user_agent")[0].as_py() or "")

    asyncio.run(there_and_back())


async def test_a_server_without_backslashes_and_with_its_own_mode(server: Mariadb, database: str) -> None:
    async with opened(MysqlStore(url=database)) as it:
        await it.rows("SET GLOBAL sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES', GLOBAL time_zone = '+05:00'")
        try:
            async with opened(MysqlStore(url=database)) as other:
                await other.load(batch(other, sip(HOSTILE)), mark(0, 1))
                query = "SELECT date, msg FROM sip_capture WHERE callid = %s AND msg = %s"
                [row] = await other.rows(query, ['it\'s\\0 "quoted"', HOSTILE])
                assert row == {"date": datetime(2026, 11, 20), "msg": HOSTILE}
        finally:
            await it.rows("SET GLOBAL sql_mode = DEFAULT, GLOBAL time_zone = DEFAULT")


async def test_mysql_knows_no_bulk(store: MysqlServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> None:
        raise NotSupportedError("Server does not support COM_STMT_BULK_EXECUTE")

    monkeypatch.setattr("asyncmy.connection.PreparedStatement.execute_bulk", refuse)
    messages = [hep(message) for message in calls(400)]
    await store.load(batch(store, *messages, sip(HOSTILE)), mark(0, len(messages) + 1))
    assert await count(store) == len(messages) + 1
    [row] = await store.rows("SELECT msg FROM sip_capture ORDER BY id DESC LIMIT 1")
    assert row["msg"] == HOSTILE


async def test_dated_tables_and_tables_that_a_route_named(database: str) -> None:
    url, tables = database, {"table": "sip_%Y%m%d", "report_table": "reports"}
    async with opened(MysqlStore(url=url, opensips=tables)) as it:
        log = hep(Message(MIDNIGHT, A, B, b"a line"), proto_type=100, correlation_id=b"c1")
        packets = (sip(options(), MIDNIGHT - 0.5), sip(options(), MIDNIGHT + 0.5), log)
        await it.load(batch(it, *packets), mark(0, 3))
        await it.load(batch(it, sip(options()), log, table="mine"), mark(3, 4))
        await it.load(batch(it, sip(options()), table="mine_too"), mark(5, 6))
        tables_there = [next(iter(row.values())) for row in await it.rows("SHOW TABLES")]
        assert set(tables_there) >= {"sip_20261119", "sip_20261120", "reports", "mine_too"}
        assert [await count(it, name) for name in ("sip_20261119", "sip_20261120", "reports")] == [1, 1, 1]


async def test_the_tables_of_homer5(database: str) -> None:
    async with opened(MysqlStore(url=database, layout="homer5")) as it:
        messages = list(calls(5))
        rtcp = hep(Message(messages[0].time, A, B, b"{}"), proto_type=5, correlation_id=b"c1")
        await it.load(batch(it, *map(hep, messages), sip(options(), messages[0].time), rtcp), mark(0, 37))
        day = "20261118"
        tables = [f"sip_capture_call_{day}", f"sip_capture_rest_{day}", f"rtcp_capture_all_{day}"]
        assert [await count(it, table) for table in tables] == [35, 1, 1]
        stored = await it.rows(f"SELECT msg, callid, correlation_id FROM {tables[0]} ORDER BY id")
        assert [row["msg"] for row in stored] == [message.payload for message in messages]
        assert all(row["callid"] == row["correlation_id"] for row in stored)


# ── once ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_same_mark_loads_once(store: MysqlServer) -> None:
    rows = batch(store, sip(options()))
    for _ in range(2):
        await store.load(rows, mark(0, 1))
    assert await count(store) == 1
    await store.load(rows, mark(1, 2))
    assert await count(store) == 2


async def test_old_marks_are_forgotten(store: MysqlServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mysql, "FORGET_AFTER", 4)
    rows = batch(store, sip(options()))
    for number in range(4):
        await store.load(rows, mark(number, number + 1, done=3))
    assert [row["last"] for row in await store.rows(f"SELECT last FROM {MARKS}")] == [4]


async def test_a_batch_that_fails_leaves_nothing(store: MysqlServer) -> None:
    await store.load(batch(store, sip(options())), mark(0, 1))
    await store.rows("ALTER TABLE sip_capture ADD CHECK (callid <> 'poison')")
    bad = batch(store, *(sip(options(call)) for call in ("c2", "poison", "c3")))
    with pytest.raises(ContentError, match=r"CONSTRAINT .* failed"):
        await store.load(bad, mark(1, 4))
    assert (await count(store), await count(store, MARKS)) == (1, 1)
    await store.load(bad.slice(0, 1), mark(1, 2))  # on the same connection
    assert await count(store) == 2


async def test_a_trigger_that_refuses_is_content(store: MysqlServer) -> None:
    await store.load(batch(store, sip(options())), mark(0, 1))
    signal_it = "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not this one'"
    await store.rows(f"CREATE TRIGGER t BEFORE INSERT ON sip_capture FOR EACH ROW {signal_it}")
    with pytest.raises(ContentError, match="not this one"):
        await store.load(batch(store, sip(options())), mark(1, 2))


async def test_a_table_of_a_route_that_takes_no_rows_is_content(store: MysqlServer, database: str) -> None:
    """Else the rows of all other tables would wait behind it."""
    one = batch(store, sip(options()))
    await store.load(one, mark(0, 1))
    await store.rows("CREATE VIEW seen AS SELECT DISTINCT * FROM sip_capture")
    await store.rows("CREATE TABLE secret LIKE sip_capture")
    name = database.rpartition("/")[2]
    await store.rows(f"CREATE USER reader_{name}")
    for table in ("sip_capture", MARKS):
        await store.rows(f"GRANT SELECT, INSERT, DELETE ON {table} TO reader_{name}")
    await store.rows(f"GRANT SELECT ON secret TO reader_{name}")
    with pytest.raises(ContentError, match=r"table seen: .* not insertable"):
        await store.load(batch(store, sip(options()), table="seen"), mark(1, 2))
    await store.load(one, mark(1, 2))
    reader = database.replace("hep@", f"reader_{name}@")
    async with opened(MysqlStore(url=reader)) as server:
        for table, said in {"secret": "INSERT command denied", "new": "CREATE command denied"}.items():
            with pytest.raises(ContentError, match=said):
                await server.load(batch(server, sip(options()), table=table), mark(2, 3))
        await server.load(one, mark(2, 3))
    async with opened(MysqlStore.model_validate({"url": reader, "opensips": {"table": "secret"}})) as server:
        with pytest.raises(OSError, match=r"INSERT command denied .* GRANT"):
            await server.load(one, mark(3, 4))


async def test_a_missing_partition_is_content_for_a_clock_that_is_wrong_alone(
    store: MysqlServer, database: str
) -> None:
    one = batch(store, sip(options(), ARRIVAL))
    await store.load(one, mark(0, 1))
    await store.rows("CREATE TABLE parts LIKE sip_capture")
    await store.rows("ALTER TABLE parts DROP PRIMARY KEY, ADD PRIMARY KEY (id, micro_ts)")
    await store.rows("ALTER TABLE parts PARTITION BY RANGE (micro_ts) (PARTITION p0 VALUES LESS THAN (5))")
    far = batch(store, sip(options(), 2_335_219_200))
    async with opened(MysqlStore.model_validate({"url": database, "opensips": {"table": "parts"}})) as server:
        with pytest.raises(OSError, match=r"no partition .* MAXVALUE"):
            await server.load(one, mark(1, 2))
        with pytest.raises(ContentError, match="no partition"):
            await server.load(far, mark(1, 2))


async def test_a_table_that_was_narrowed_is_looked_at_again(store: MysqlServer) -> None:
    one = batch(store, sip(options(), ARRIVAL))
    await store.load(one, mark(0, 1))
    await store.rows("DELETE FROM sip_capture")
    await store.rows("ALTER TABLE sip_capture MODIFY method VARCHAR(1) NOT NULL")
    with pytest.raises(OSError, match="columns of table sip_capture have changed"):
        await store.load(one, mark(1, 2))
    await store.close()
    await store.open()
    await store.load(one, mark(1, 2))


async def test_rows_larger_than_the_server_takes(server: Mariadb, database: str) -> None:
    async with opened(MysqlStore(url=database)) as it:
        await it.rows("SET GLOBAL max_allowed_packet = 65536")
        try:
            async with opened(MysqlStore(url=database)) as other:
                messages = list(calls(60))  # some 330,000 bytes
                await other.load(batch(other, *map(hep, messages)), mark(0, 420))
                assert await count(other) == len(messages) == 420
                with pytest.raises(ContentError, match="max_allowed_packet"):
                    await other.load(batch(other, sip(options() + b"x" * 62_000)), mark(420, 421))
        finally:
            await it.rows("SET GLOBAL max_allowed_packet = DEFAULT")


async def test_killed_in_the_middle_it_is_loaded_once(server: Mariadb, database: str) -> None:
    async with opened(MysqlStore(url=database)) as other, opened(MysqlStore(url=database)) as it:
        rows = batch(it, *(hep(message) for message in calls(10)))
        await it.load(rows.slice(0, 1), mark(0, 1))
        await other.rows("LOCK TABLES sip_capture WRITE")
        loading = asyncio.create_task(it.load(rows, mark(1, 71)))
        [victim] = await waiting(server)
        async with opened(MysqlStore(url=server.url)) as killer:
            await killer.rows(f"KILL {victim}")
        with pytest.raises(OSError, match=r"Lost connection|gone away|killed"):
            await loading
        await other.rows("UNLOCK TABLES")
        await it.close()
        await it.open()
        for _ in range(2):
            await it.load(rows, mark(1, 71))
        assert await count(it) == 71


async def waiting(server: Mariadb) -> list[int]:
    """The connections that wait for a lock, as soon as there are any."""
    query = "SELECT id FROM information_schema.processlist WHERE state LIKE 'Waiting for table%%'"
    async with opened(MysqlStore(url=server.url)) as it:
        while not (found := await it.rows(query)):  # noqa: ASYNC110 (the server tells nobody)
            await asyncio.sleep(0.01)
        return [row["id"] for row in found]


# ── tables of others ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_two_connections_make_the_same_tables(database: str) -> None:
    one, two = MysqlServer(MysqlStore(url=database)), MysqlServer(MysqlStore(url=database))
    await asyncio.gather(one.open(), two.open())
    rows = batch(one, sip(options()))
    await asyncio.gather(one.load(rows, mark(0, 1)), two.load(rows, mark(1, 2)))
    assert await count(one) == 2
    await asyncio.gather(one.close(), two.close())


async def test_missing_tables_are_told(database: str) -> None:
    async with opened(MysqlStore(url=database, create=False)) as it:
        with pytest.raises(OSError, match=r"no table sip_capture: .*`hepswitch ddl` prints it"):
            await it.load(batch(it, sip(options())), mark(0, 1))


async def test_what_ddl_prints_is_enough(database: str) -> None:
    made = MysqlStore(url=database, create=False, opensips={"table": "sip_capture_%Y", "report": "homer6"})
    statements = ddl(made)
    assert "`sip_capture_20" in statements
    async with opened(made) as it:
        for statement in statements.split(";\n")[:-1]:
            await it.rows(re.sub(r"sip_capture_\d{4}", "sip_capture_2026", statement))
        log = hep(Message(MIDNIGHT, A, B, b"a line"), proto_type=100, correlation_id=b"c1")
        await it.load(batch(it, sip(options()), log), mark(0, 2))
        await it.load(batch(it, sip(options()), direction="in"), mark(2, 3))
        assert [await count(it, name) for name in ("sip_capture_2026", "report_capture", "sip_trace")] == [1, 1, 1]
        indexes = await it.rows("SHOW INDEX FROM sip_capture_2026")
        assert {row["Key_name"] for row in indexes} == {"PRIMARY", "date", "callid"}


async def test_missing_columns_are_told_with_what_adds_them(store: MysqlServer) -> None:
    rows = batch(store, sip(options()))
    await store.load(rows, mark(0, 1))
    await store.rows("ALTER TABLE sip_capture DROP COLUMN ruri_domain, DROP COLUMN custom_field1")
    await store.close()
    await store.open()
    with pytest.raises(OSError, match="sip_capture lacks ruri_domain, custom_field1") as error:
        await store.load(rows, mark(1, 2))
    await store.rows(str(error.value)[str(error.value).index("ALTER TABLE") :])
    await store.load(rows, mark(1, 2))
    assert await count(store) == 2


async def test_a_table_that_went_is_made_again(store: MysqlServer) -> None:
    rows = batch(store, sip(options()))
    await store.load(rows, mark(0, 1))
    await store.rows("DROP TABLE sip_capture")
    with pytest.raises(OSError, match="doesn't exist"):
        await store.load(rows, mark(1, 2))
    await store.close()
    await store.open()
    await store.load(rows, mark(1, 2))
    assert await count(store) == 1


async def test_narrow_tables_take_what_they_can(store: MysqlServer) -> None:
    await store.load(batch(store, sip(options())), mark(0, 1))
    await store.rows("TRUNCATE TABLE sip_capture")
    await store.rows(
        "ALTER TABLE sip_capture ENGINE=MyISAM, MODIFY msg TEXT CHARACTER SET utf8mb4, MODIFY callid VARCHAR(4),"
        " MODIFY user_agent VARCHAR(20) CHARACTER SET utf8mb3, MODIFY ruri VARCHAR(20) CHARACTER SET latin1,"
        " MODIFY custom_field1 VARCHAR(10) NOT NULL, MODIFY date TIMESTAMP NOT NULL, MODIFY node VARBINARY(3)"
    )
    await store.close()
    await store.open()
    message = (
        options("long-call-id", f"User-Agent: ä{EMOJI}b\r\n").replace(b"sip:b@", "sip:ä@".encode())
        + b"\xff\x00\xe9\r\n"
    )
    big = message + b"\xff" * 30_000
    with capture_logs() as logs:
        await store.load(batch(store, sip(message), sip(big)), mark(1, 3))
    assert [line["advice"] for line in logs] == ["ALTER TABLE `sip_capture` ENGINE=InnoDB"]
    rows = await store.rows("SELECT * FROM sip_capture ORDER BY id")
    assert [row["callid"] for row in rows] == ["long", "long"]
    assert rows[0]["msg"] == message.decode("utf-8", "replace")
    assert rows[1]["msg"] == big.decode("utf-8", "replace").encode()[:65535].decode("utf-8", "ignore")
    assert rows[0]["user_agent"] == "ä\ufffdb"
    assert rows[0]["ruri"] == "sip:?@example.com"
    assert rows[0]["custom_field1"] == ""
    assert rows[0]["date"] == datetime(2026, 11, 20)
    assert rows[0]["node"] == b"edg"


# ── a server that fails ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("hep@", "nobody@"), "user and password do not fit"),
        ((r"/hep$", "/nowhere"), "no such database"),
    ],
)
async def test_a_server_that_refuses(server: Mariadb, change: tuple[str, str], words: str) -> None:
    it = MysqlServer(MysqlStore(url=re.sub(*change, server.url)))
    with pytest.raises(OSError, match=words):
        await it.open()


async def test_passwords(database: str, server: Mariadb) -> None:
    async with opened(MysqlStore(url=database)) as it:
        await it.rows("CREATE USER 'o''brien'@'%%' IDENTIFIED BY 'pä''ss\\\\'")
        await it.rows("GRANT SELECT, INSERT ON *.* TO 'o''brien'@'%%'")
        await it.load(batch(it, sip(options())), mark(0, 1))
        await it.rows(f"DROP TABLE {MARKS}")
    url = database.replace("hep@", "o%27brien@")
    with pytest.raises(OSError, match="user and password do not fit"):
        await MysqlServer(MysqlStore(url=url, password="wrong")).open()
    async with opened(MysqlStore(url=url, password="pä'ss\\")) as it:
        with capture_logs() as logs:
            for _ in range(2):  # without a table of marks, which it may not make: at least once
                await it.load(batch(it, sip(options())), mark(0, 1))
        [warning] = logs  # said once
        assert warning["reason"].startswith(f"{MARKS} cannot be made: CREATE command denied")
        assert await count(it) == 3
        await it.close()
    async with opened(MysqlStore(url=url, password="pä'ss\\", opensips={"table": "other"})) as it:
        with pytest.raises(OSError, match="lacks a right"):
            await it.load(batch(it, sip(options())), mark(1, 2))


async def test_a_wrong_query(store: MysqlServer) -> None:
    for wrong, values in (("SELEKT 1", []), ("SELECT nothing", []), ("SELECT %s", [1, 2])):
        with pytest.raises(ValueError, match=re.escape(wrong)):
            await store.rows(wrong, values)
    with pytest.raises(OSError, match=r"doesn't exist .*`create = true` makes it"):
        await store.rows("SELECT * FROM nowhere")
    assert await store.rows("SELECT %s AS x", ["it's\\"]) == [{"x": "it's\\"}]


async def test_read_only_and_locks_may_pass(
    server: Mariadb, store: MysqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = batch(store, sip(options()))
    await store.load(rows, mark(0, 1))
    async with opened(MysqlStore(url=server.url)) as root:
        await root.rows("CREATE OR REPLACE USER reader@'%%'")
        await root.rows("GRANT SELECT, INSERT ON *.* TO reader@'%%'")
        await root.rows("SET GLOBAL read_only = 1")
        try:
            url = str(store._store.url).replace("hep@", "reader@")
            async with opened(MysqlStore(url=url)) as reader:
                with pytest.raises(OSError, match="the server is read-only"):
                    await reader.load(rows, mark(1, 2))
        finally:
            await root.rows("SET GLOBAL read_only = 0")
    await store.rows("SET innodb_lock_wait_timeout = 1")
    async with opened(MysqlStore(url=str(store._store.url))) as other:
        await other.rows("BEGIN")
        await other.rows(f"INSERT INTO {MARKS} (journal, first, last) VALUES (%s, 1, 2)", [JOURNAL])
        with pytest.raises(OSError, match="another transaction holds a lock"):
            await store.load(rows, mark(1, 2))
        await other.rows("ROLLBACK")
    await store.load(rows, mark(1, 2))
    assert await count(store) == 2


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Mariadb]:
    """One to stop and kill."""
    with mariadb(tmp_path) as running:
        yield running


async def test_a_server_that_hangs_dies_and_comes_back(own_server: Mariadb, monkeypatch: pytest.MonkeyPatch) -> None:
    it = MysqlServer(MysqlStore(url=own_server.url))
    await it.open()
    rows = batch(it, *(hep(message) for message in calls(200)))
    await it.load(rows.slice(0, 1), mark(0, 1))

    own_server.signal(signal.SIGSTOP)
    monkeypatch.setattr(mysql, "PATIENCE", 0.3)
    monkeypatch.setattr(mysql, "CONNECT_PATIENCE", 0.3)
    with pytest.raises(OSError, match="no answer in 0 s"):
        await it.load(rows, mark(1, 1401))
    await it.close()
    with pytest.raises(OSError, match=r"no answer|Can't connect"):
        await it.open()
    await it.close()
    own_server.signal(signal.SIGCONT)
    monkeypatch.undo()
    await it.open()
    await it.load(rows, mark(1, 1401))
    assert await count(it) == 1401

    own_server.stop(signal.SIGKILL)
    with pytest.raises(OSError, match=r"Lost connection|gone away|Not connected"):
        await it.load(rows, mark(1401, 2801))
    await it.close()
    with pytest.raises(OSError, match="Can't connect"):
        await it.open()
    own_server.start()
    await it.open()
    for _ in range(2):
        await it.load(rows, mark(1401, 2801))
    assert await count(it) == 2801
    await it.close()


# ── where it is ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_socket(server: Mariadb) -> None:
    path = str(server.folder / "socket").replace("/", "%2F")
    async with opened(MysqlStore(url=f"mysql://hep@{path}/hep")) as it:
        assert (await it.rows("SELECT 1 AS x")) == [{"x": 1}]


async def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    files, data = tmp_path / "tls", tmp_path / "data"
    files.mkdir()
    data.mkdir()
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(files / "cert.pem")
    issued.private_key_pem.write_to_path(files / "key.pem")
    authority.cert_pem.write_to_path(files / "ca.pem")
    running = Mariadb(data)
    options = [f"--ssl-cert={files / 'cert.pem'}", f"--ssl-key={files / 'key.pem'}", "--require-secure-transport=ON"]
    running.start(*options)
    try:
        query = "SHOW STATUS LIKE 'Ssl_version'"
        for tls in (f"?tls=yes&ca={files / 'ca.pem'}", "?tls=yes&verify=no"):
            async with opened(MysqlStore(url=running.url + tls)) as it:
                assert (await it.rows(query))[0]["Value"].startswith("TLS")
        for url, words in (
            (running.url, r"the server wants TLS: \?tls=yes"),
            (running.url + "?tls=yes", "certificate verify failed"),
            (running.url + f"?tls=yes&ca={files / 'none.pem'}", "none.pem cannot be read"),
            (running.url + f"?tls=yes&ca={files / 'key.pem'}", "holds no PEM certificates"),
        ):
            with pytest.raises(OSError, match=words):
                await MysqlServer(MysqlStore(url=url)).open()
    finally:
        running.stop(signal.SIGKILL)


async def test_no_tls_there_is_no_plain_text(server: Mariadb) -> None:
    with pytest.raises(OSError, match="mysql://"):
        await MysqlServer(MysqlStore(url=server.url + "?tls=yes&verify=no")).open()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("ssl=yes", "the URL knows no option ssl"),
        ("tls=on", "tls=on in the URL is neither yes nor no"),
        ("tls=yes&verify=maybe", "verify=maybe in the URL is neither yes nor no"),
        ("ca=x.pem", "ca in the URL is for TLS: add tls=yes"),
        ("tls=yes&cert=x.pem", "cert and key in the URL come together"),
    ],
)
def test_wrong_options(query: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        MysqlStore(url=f"mysql://u@h/d?{query}")


def test_files_are_relative_to_the_configuration() -> None:
    made = MysqlStore(url="mysql://u@h/d?tls=yes&ca=ca.pem").anchored(lambda path: Path("/etc/hep") / path)
    assert made.url == "mysql://u@h/d?tls=yes&ca=/etc/hep/ca.pem"
