"""Layout messages: the record schema as a table."""

from __future__ import annotations

import pyarrow as pa

from batches import batch_of
from hepswitch.databases.layouts.messages import FIELDS, INDEXED, SHAPE, Messages, as_in_lake
from hepswitch.databases.layouts.shape import Type
from hepswitch.destinations.schema import COLUMNS
from traffic import calls, hep


def test_the_columns_are_those_of_the_lake() -> None:
    names = [name for name, _, _ in COLUMNS if name != "store_table"]
    assert [column.name for column in SHAPE.columns] == names == [field.name for field in FIELDS]
    assert {(name,) for name in INDEXED} == set(SHAPE.indexes)
    kinds = {column.name: (column.type, column.default) for column in SHAPE.columns}
    assert kinds["ts"] == (Type.MOMENT, None)
    assert kinds["call_id"] == (Type.TEXT, "")
    assert kinds["payload"] == (Type.MESSAGE, "")
    assert kinds["cseq"] == (Type.BIG, None)
    assert kinds["status"] == (Type.INTEGER, None)


def test_pieces_are_the_records_by_table() -> None:
    batch = batch_of(hep(message) for message in calls(1))
    (whole,) = Messages("messages").pieces(batch)
    assert (whole.table, whole.shape, whole.rows.num_rows) == ("messages", SHAPE, 7)
    assert whole.rows.equals(batch.drop_columns(["store_table"]))
    said = pa.array([None, "b", None, "b", "c", None, None])
    mixed = batch.set_column(batch.schema.get_field_index("store_table"), "store_table", said)
    pieces = {piece.table: piece.rows.to_pylist() for piece in Messages("m_%Y%m%d").pieces(mixed)}
    rows = batch.drop_columns(["store_table"]).to_pylist()
    assert pieces == {"m_20261118": [rows[i] for i in (0, 2, 5, 6)], "b": [rows[i] for i in (1, 3)], "c": [rows[4]]}


def test_a_route_s_table_that_cannot_be() -> None:
    batch = batch_of((hep(message) for message in calls(1)), table="no table")
    reasons = Messages("messages").unfit(batch)
    assert reasons is not None
    assert set(reasons.to_pylist()) == {"bad table name"}
    assert Messages("messages").unfit(batch_of(hep(message) for message in calls(1))) is None


def test_nothing_is_null_again() -> None:
    row = {"call_id": "", "payload": b"", "status": 0, "cseq": None, "method": "INVITE", "other": ""}
    assert as_in_lake(row) == {**row, "call_id": None, "payload": None}
