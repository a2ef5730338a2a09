"""The outlet for blocking writers: batches, retries, poison, a hanging far end, and books that balance at every moment."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from far_ends import number, packet, until
from hepswitch.books import Snapshot
from hepswitch.destinations import writer as module
from hepswitch.destinations.writer import Writer, WriterOutlet, Written
from hepswitch.wire.hep import Hep


class Sink(Writer):
    """Keeps what it is given. `trouble` is raised instead while it is set.

    `poison` are packets that it cannot write, `refused` those that it says so of beforehand.
    """

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.written: list[Written] = []
        self.trouble: Exception | None = None
        self.poison: set[int] = set()
        self.refused: set[int] = set()
        self.attempts = 0
        self.closed = False
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def refuses(self, packet: Hep) -> str | None:
        return "bad number" if number(bytes(packet)) in self.refused else None

    def open(self) -> None:
        if self.trouble is not None:
            raise self.trouble

    def write(self, batch: Sequence[Written]) -> int:
        self.attempts += 1
        self.may_go_on.wait()
        if self.trouble is not None:
            raise self.trouble
        numbers = [number(bytes(each.packet)) for each in batch]
        if self.poison & set(numbers):
            raise ValueError("cannot be written")
        self.batches.append(numbers)
        self.written += batch
        return len(batch)

    def close(self) -> None:
        self.may_go_on.wait()
        self.closed = True

    @property
    def numbers(self) -> list[int]:
        return [each for batch in self.batches for each in batch]


def balanced(row: Snapshot) -> bool:
    return bool(row["accepted"] == row["delivered"] + row["queued"] + row["spooled"] + sum(row["discarded"].values()))


Opened = Callable[..., WriterOutlet]


async def opened(sink: Writer, **options: object) -> WriterOutlet:
    outlet = WriterOutlet("w", sink, **({"flush": 0.005} | options))  # type: ignore[arg-type]
    await outlet.open()
    return outlet


async def test_a_packet_is_written_soon_without_more_traffic() -> None:
    sink = Sink()
    outlet = await opened(sink)
    assert outlet.offer(packet(7), attrs="a", direction="out", table="t", custom_field2="c", correlation_id="x")
    outlet.flush()
    assert outlet.account()["queued"] == 1
    await until(lambda: sink.batches, "written")
    await until(lambda: outlet.account()["delivered"], "counted")
    assert outlet.account() == {
        "accepted": 1, "delivered": 1, "queued": 0, "spooled": 0, "discarded": {}, "refused": {}, "state": "active"
    }  # fmt: skip
    (written,) = sink.written
    assert (written.attrs, written.direction) == ("a", "out")
    await outlet.close(1.0)
    assert sink.closed


async def test_what_is_offered_may_be_changed_afterwards() -> None:
    sink = Sink()
    outlet = await opened(sink)
    hep = packet(1)
    outlet.offer(hep)
    hep.payload = b"2 changed"
    outlet.offer(hep)
    await outlet.close(1.0)
    assert sink.numbers == [1, 2]


async def test_much_does_not_wait_for_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 100)
    sink = Sink()
    outlet = await opened(sink, flush=3600.0)
    for i in range(201):
        outlet.offer(packet(i))
    outlet.flush()
    await until(lambda: outlet.account()["delivered"] == 200, "two batches")
    assert [len(batch) for batch in sink.batches] == [100, 100]
    assert outlet.account()["queued"] == 1
    await outlet.close(5.0)
    assert sink.numbers == list(range(201))


async def test_large_packets_make_smaller_batches() -> None:
    sink = Sink()
    outlet = await opened(sink, flush=3600.0)
    for i in range(20):
        outlet.offer(packet(i, size=60_000))
    outlet.flush()
    await until(lambda: len(sink.batches) == 2, "batches by bytes")
    assert [len(batch) for batch in sink.batches] == [9, 9]
    await outlet.close(1.0)
    assert sink.numbers == list(range(20))


async def test_what_came_during_a_write_is_not_forgotten() -> None:
    sink = Sink()
    outlet = await opened(sink)
    sink.may_go_on.clear()
    outlet.offer(packet(1))
    outlet.flush()
    await until(lambda: sink.attempts, "writing")
    outlet.offer(packet(2))
    outlet.flush()
    await asyncio.sleep(0.02)  # longer than `flush`: its time comes while the first is being written
    sink.may_go_on.set()
    await until(lambda: sink.numbers == [1, 2], "both written")
    await outlet.close(1.0)


async def test_a_far_end_that_is_away_costs_only_what_does_not_fit() -> None:
    sink = Sink()
    outlet = await opened(sink, queue=100_000)
    sink.trouble = OSError(28, "No space left on device")
    with capture_logs() as logs:
        taken = 0
        for i in range(200):
            taken += outlet.offer(packet(i, size=500))
            outlet.flush()
            assert balanced(outlet.account())
        await until(lambda: sink.attempts > 2, "tried again")
        row = outlet.account()
        assert (row["accepted"], row["queued"], row["delivered"]) == (taken, taken, 0)
        assert 50 < taken < 100
        assert row["refused"] == {"queue full": 200 - taken}
        assert row["state"] == "No space left on device"
        assert not outlet.full
        sink.trouble = None
        await until(lambda: outlet.account()["delivered"] == taken, "all written")
    assert sink.numbers == list(range(taken))
    assert outlet.account()["state"] == "active"
    assert [entry["event"] for entry in logs] == ["cannot write", "writes again"]
    await outlet.close(1.0)


async def test_a_far_end_that_is_away_at_the_stop_is_tried_until_the_end() -> None:
    sink = Sink()
    outlet = await opened(sink)
    sink.trouble = OSError("away")
    outlet.offer(packet(1))
    closing = asyncio.create_task(outlet.close(20.0))
    await until(lambda: sink.attempts > 1, "tried")
    sink.trouble = None
    await closing
    assert sink.numbers == [1]
    assert outlet.account()["delivered"] == 1


async def test_what_is_left_at_the_stop_is_counted() -> None:
    sink = Sink()
    outlet = await opened(sink)
    sink.trouble = OSError("away")
    for i in range(3):
        outlet.offer(packet(i))
    await outlet.close(0.01)
    row = outlet.account()
    assert row["discarded"] == {"unwritten at stop": 3}
    assert balanced(row)
    assert not outlet.offer(packet(4))
    assert outlet.account()["refused"] == {"closed": 1}
    assert sink.closed


async def test_a_hanging_far_end_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    hanging, other = Sink(), Sink()
    first, second = await opened(hanging), await opened(other)
    monkeypatch.setattr(module, "GOODBYE", 0.01)
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    hanging.may_go_on.clear()
    for outlet in (first, second):
        outlet.offer(packet(1))
        outlet.flush()
    await until(lambda: other.numbers == [1], "the other one writes")
    await until(lambda: first.account()["state"] == "does not answer", "the books say it")
    await first.close(0.01)
    await second.close(1.0)
    assert first.account()["discarded"] == {"unwritten at stop": 1}
    assert balanced(first.account())
    hanging.may_go_on.set()
    await until(lambda: hanging.closed, "the thread ends once it can")
    assert first.account()["delivered"] == 0


def test_a_hanging_far_end_does_not_keep_the_process(tmp_path: Path) -> None:
    program = tmp_path / "hang.py"
    program.write_text(
        "import asyncio, threading\n"
        "from hepswitch.destinations import writer\n"
        "from hepswitch.destinations.hand import Hand\n"
        "async def main():\n"
        "    hand = Hand('w')\n"
        "    started = threading.Event()\n"
        "    task = asyncio.create_task(hand.do(lambda: (started.set(), threading.Event().wait())))\n"
        "    await asyncio.sleep(0)\n"
        "    started.wait()\n"
        "    task.cancel()\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, program], check=True, timeout=20)


async def test_poison_is_counted_and_the_rest_is_written() -> None:
    sink = Sink()
    outlet = await opened(sink)
    sink.poison = {0, 13, 14, 99}
    for i in range(100):
        outlet.offer(packet(i))
    with capture_logs() as logs:
        outlet.flush()
        await until(lambda: not outlet.account()["queued"], "all gone")
    assert sink.numbers == [i for i in range(100) if i not in sink.poison]
    row = outlet.account()
    assert (row["delivered"], row["discarded"], row["state"]) == (96, {"rejected": 4}, "active")
    said = [(entry["event"], entry["outlet"], entry["error"]) for entry in logs]
    assert said == [("packet rejected", "w", "cannot be written")], "once in a while"
    await outlet.close(1.0)


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 40)), st.lists(st.integers(1, 12), max_size=8))
def test_whatever_is_poison_everything_else_arrives_in_order(poison: set[int], turns: list[int]) -> None:
    async def run() -> None:
        sink = Sink()
        sink.poison = poison
        outlet = await opened(sink, flush=0.0005)
        offered = 0
        for turn in turns:
            for _ in range(turn):
                outlet.offer(packet(offered))
                offered += 1
            outlet.flush()
            await asyncio.sleep(0)
        await outlet.close(10.0)
        assert sink.numbers == [i for i in range(offered) if i not in poison]
        assert outlet.account()["discarded"].get("rejected", 0) == sum(i in poison for i in range(offered))
        assert balanced(outlet.account())

    asyncio.run(run())


async def test_a_writer_may_take_a_part() -> None:
    class Slow(Sink):
        def write(self, batch: Sequence[Written]) -> int:
            return super().write(batch[:2])

    sink = Slow()
    outlet = await opened(sink)
    for i in range(5):
        outlet.offer(packet(i))
    outlet.flush()
    await until(lambda: outlet.account()["delivered"] == 5, "all parts")
    assert sink.batches == [[0, 1], [2, 3], [4]]
    await outlet.close(1.0)


async def test_what_can_never_be_written_is_refused() -> None:
    sink = Sink()
    sink.refused = {1}
    outlet = await opened(sink)
    assert not outlet.offer(packet(1))
    assert outlet.account()["refused"] == {"bad number": 1}
    await outlet.close(1.0)


async def test_what_cannot_be_opened_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = Sink()
    sink.trouble = PermissionError(13, "Permission denied", "/x")
    with pytest.raises(PermissionError):
        await opened(sink)
    sink.trouble = ValueError("embedded null byte")
    with pytest.raises(ValueError, match="null byte"):
        await opened(sink)
    await until(
        lambda: "hepswitch w" not in {thread.name for thread in threading.enumerate()}, "no thread is left behind"
    )
    monkeypatch.setattr(module, "PATIENCE", 0.01)

    class Hangs(Sink):
        def open(self) -> None:
            self.may_go_on.clear()
            self.may_go_on.wait()

    hanging = Hangs()
    with pytest.raises(OSError, match="w does not answer"):
        await opened(hanging)
    hanging.may_go_on.set()
