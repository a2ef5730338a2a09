"""The page about the lake says what the lake is."""

from pathlib import Path

import duckdb

from hepswitch.destinations.schema import COLUMNS
from hepswitch.lake.lake import Lake
from hepswitch.wire.hep import Hep
from lakes import sealed, store
from traffic import calls, hep

PAGE = (Path(__file__).parents[2] / "docs" / "lake.md").read_text()


def test_the_table_of_columns() -> None:
    table = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert table == [f"| `{name}` | {kind} | {meaning} |" for name, kind, meaning in COLUMNS]


def test_the_query_for_a_call(tmp_path: Path) -> None:
    packets = [hep(message) for message in calls(5)]
    store(tmp_path, packets)
    sealed(tmp_path)
    sql = PAGE.split("    with ids as")[1].split("\n\n")[0]
    call_id = Hep(packets[0]).call_identity.decode()
    with Lake(tmp_path).connect() as connection:
        assert len(connection.execute("with ids as" + sql, [call_id]).fetchall()) == 7


def test_other_readers(tmp_path: Path) -> None:
    store(tmp_path, [hep(message) for message in calls(5)])
    sealed(tmp_path)
    rows = duckdb.execute("select count(*) from read_parquet(?)", [f"{tmp_path}/date=*/hour=*/*.parquet"]).fetchone()
    assert rows == (35,)
