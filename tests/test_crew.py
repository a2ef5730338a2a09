"""Workers asked as one: what one of them that hangs, or is gone, costs the answers of all."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from far_ends import until
from hepswitch import books, crew
from hepswitch.crew import Crew
from hepswitch.processes import Worker, WorkerError


class _Hanging:
    """A worker that answers once `woken`."""

    def __init__(self) -> None:
        self.listening = True
        self.woken = asyncio.Event()
        self.cut = False

    async def ask(self, **_: Any) -> dict[str, Any]:
        try:
            await self.woken.wait()
        except asyncio.CancelledError:
            self.cut = True
            raise
        raise WorkerError("worker 0 ended")


class _Quick(_Hanging):
    async def ask(self, **_: Any) -> dict[str, Any]:
        return {"stats": {}}


async def test_a_worker_that_hangs_does_not_hold_up_the_answer_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "PROMPT", 0.01)
    hanging = _Hanging()
    both = Crew(cast("list[Worker]", [hanging, _Quick()]))
    assert await both.ask(do="stats") == [{"stats": {}}]
    assert not hanging.cut, "what it says late would be taken for the answer to another question"
    hanging.woken.set()
    await until(lambda: not both._asked, "its late answer")
    assert await both.ask(do="stats") == [{"stats": {}}]


def test_what_the_kernel_has_dropped_stays_counted_until_the_next_worker_says_it() -> None:
    url = "udp://127.0.0.1:9060"
    worker = Worker(0, [])
    worker.last["received"][url] = books.Listener(url, packets=7, connections=1, kernel_drops=5).snapshot()
    past = worker.died()
    for _ in range(2):  # a successor that dies before it has said anything
        row = books.merge([past, worker.last])["received"][url]
        assert (row["packets"], row["kernel_drops"], row["connections"]) == (7, 5, 0)
        past = books.merge([past, worker.died()])
