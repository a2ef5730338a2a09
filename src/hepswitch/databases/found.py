"""The tables of a store that can be read: whatever is there with the columns of its layout, of every date and every route.

Nothing is made and nothing changed. Not here: the columns (`views`), questions (`reading`).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hepswitch.databases import kinds
from hepswitch.databases.clickhouse_tables import local
from hepswitch.databases.dialects import ClickhouseDialect, Dialect, MysqlDialect, PostgresDialect, SqliteDialect
from hepswitch.databases.latest import Ask, Table
from hepswitch.databases.views import homer5, homer7, messages, opensips
from hepswitch.databases.views.view import View
from hepswitch.destinations.databases import ClickhouseStore, DatabaseStore, MysqlStore, PostgresStore, SqliteStore
from hepswitch.destinations.hand import Hand
from hepswitch.destinations.layout_tables import table_name


async def _nothing() -> None:
    """What need not be done."""


class Found(NamedTuple):
    """Tables. `close` lets go of their connection, `cancel` ends a query that was given up and goes on at the server.

    `whole`: the rows have all columns of the lake.
    """

    tables: list[Table]
    close: Callable[[], Coroutine[Any, Any, None]] = _nothing
    cancel: Callable[[], Coroutine[Any, Any, None]] = _nothing
    whole: bool = False


async def find(store: DatabaseStore) -> Found:
    """The tables of a store, by a connection of their own. OSError when its server is away or refuses."""
    dialect: Dialect
    match store:
        case SqliteStore():
            return await _in_files(store)
        case PostgresStore():
            dialect = PostgresDialect()
            is_homer7 = store.layout == "homer7"
            views = homer7.views(store.homer7, dialect) if is_homer7 else opensips.views(store.opensips, dialect)
        case MysqlStore():
            dialect = MysqlDialect()
            is_homer5 = store.layout == "homer5"
            views = homer5.views(dialect) if is_homer5 else opensips.views(store.opensips, dialect)
        case ClickhouseStore():
            dialect = ClickhouseDialect()
            views = messages.views(dialect)
        case _:
            raise OSError(f"what is stored at {store.url} cannot be searched here")
    server = kinds.server(store)
    await server.open()
    try:
        for statement in dialect.session:
            await server.rows(statement)
        tables = await _tables(dialect, views, server.rows)
        if isinstance(store, ClickhouseStore):
            # With a cluster, a table and the one below it have the same rows.
            below = {local(store, table.name) for table in tables if store.cluster}
            return Found([table for table in tables if table.name not in below], server.close, whole=True)
        return Found(tables, server.close, await _canceller(store, dialect, server.rows))
    except BaseException:
        await server.close()
        raise


async def _canceller(store: DatabaseStore, dialect: Dialect, ask: Ask) -> Callable[[], Coroutine[Any, Any, None]]:
    """What ends a query of this session, from another."""
    if not dialect.kill:
        return _nothing
    kill = dialect.kill.format(**(await ask(dialect.session_id, ()))[0])

    async def cancel() -> None:
        other = kinds.server(store)
        await other.open()
        try:
            await other.rows(kill)
        finally:
            await other.close()

    return cancel


async def _in_files(store: SqliteStore) -> Found:
    from hepswitch.databases.sqlite import SqliteServer
    from hepswitch.databases.sqlite_file import ask

    hand = Hand("hepswitch sqlite")  # which does not keep a process that is interrupted

    def asking(path: Path) -> Ask:
        async def rows(sql: str, values: Sequence[Any]) -> list[dict[str, Any]]:
            return list(await hand.do(ask, path, sql, values, {}))

        return rows

    async def close() -> None:
        hand.let_go()

    dialect = SqliteDialect()
    views = opensips.views(store.opensips, dialect)
    server = SqliteServer(store)
    tables: list[Table] = []
    for path in server.files():
        tables += await _tables(dialect, views, asking(path))
    return Found(tables, close)


async def _tables(dialect: Dialect, views: Sequence[View], ask: Ask) -> list[Table]:
    """The tables that one of the views fits."""
    columns: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in await ask(dialect.tables, ()):
        columns.setdefault(row["table"], {})[row["column"]] = row
    tables = []
    for name, found in sorted(columns.items()):
        view = next((view for view in views if view.fits(name, found)), None)
        if view is not None and _is_ours(name):
            opaque = {column for column, said in found.items() if said.get("opaque")}
            sizes = {column: size for column, said in found.items() if (size := said.get("size") or 0) > 0}
            tables.append(Table(name, view.over(found, opaque, sizes), dialect, ask))
    return tables


def _is_ours(name: str) -> bool:
    """Whether a store can have written a table of this name."""
    try:
        table_name(name)
    except ValueError:
        return False
    return True
