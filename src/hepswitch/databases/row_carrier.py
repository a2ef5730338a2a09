"""Carries batches into a database, as rows.

Not here: which rows (`layouts`), servers (`server`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pyarrow as pa

from hepswitch.databases.backlog import Batch
from hepswitch.databases.carrier import RejectedError
from hepswitch.databases.server import ContentError, Mark, Server
from hepswitch.destinations.records import Records


class RowCarrier:
    """A `Carrier`. `connection` makes a connection to the server, not open yet: a new one for each attempt."""

    def __init__(self, connection: Callable[[], Server]) -> None:
        self._connection = connection
        self._layout = connection().layout
        self._server: Server | None = None

    async def carry(self, batch: Batch) -> Counter[str]:
        """Let the server have the rows. Gives what has no row in this layout, by reason."""
        rows, gone = self._rows(batch)
        server = await self._opened()
        if rows.num_rows:
            mark = Mark(batch.backlog.journal, batch.first, batch.last, batch.backlog.done)
            try:
                await server.load(rows, mark)
            except ContentError as error:
                named = self._named(batch, error.table) if error.table is not None else ()
                raise RejectedError(str(error), named) from error
        return gone

    async def maintain(self) -> None:
        """Let the server look after its tables."""
        server = await self._opened()
        await server.maintain()

    async def _opened(self) -> Server:
        if self._server is None:
            server = self._connection()
            try:
                await server.open()
            except BaseException:
                await server.close()
                raise
            self._server = server
        return self._server

    async def close(self) -> None:
        """Let go of the connection."""
        server, self._server = self._server, None
        if server is not None:
            await server.close()

    def _rows(self, batch: Batch) -> tuple[pa.RecordBatch, Counter[str]]:
        """The records of the batch that the layout has rows for, and how many it has none for, by reason.

        RejectedError: it is too big to be one.
        """
        made, damaged = self._records(batch)
        gone = Counter[str]()
        if damaged:
            gone["damaged"] = damaged
        if batch.left_out:
            count = made.num_rows
            made = made.filter(pa.array([number not in batch.left_out for number, _ in batch.frames()]))
            gone["rejected"] = count - made.num_rows
        unfit = self._layout.unfit(made)
        if unfit is not None:
            gone.update(reason for reason in unfit.to_pylist() if reason is not None)
            made = made.filter(unfit.is_null())
        return made, gone

    def _records(self, batch: Batch) -> tuple[pa.RecordBatch, int]:
        """The records of the batch, and how many frames are none."""
        records = Records(self._layout.extras)
        for run in batch.runs:
            records.add(run.data, run.lengths)
        made, end = records.batch(0, len(records))
        if end < len(records):
            raise RejectedError("the payloads inflate to more than fits a batch")
        return made, records.damaged

    def _named(self, batch: Batch, table: str) -> list[int]:
        """The frames of the batch whose route named this table; none when some are damaged, as none is where it should be
        then."""
        made, damaged = self._records(batch)
        if damaged:
            return []
        names = made.column("store_table").to_pylist()
        found = zip(names, batch.frames(), strict=True)
        return [number for name, (number, _) in found if name == table and number not in batch.left_out]
