"""Reader processes: asked, given up, killed, waited for."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import lakes
from cli import recorded
from far_ends import until
from hepswitch.destinations.lake import LakeStore
from hepswitch.queries import library
from hepswitch.queries.library import Answer, Library
from hepswitch.queries.questions import Call, Calls, Export, Question, Stores
from traffic import calls, hep

MEMORY = 256 << 20
A = "call-a@example.net"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> LakeStore:
    folder = tmp_path_factory.mktemp("lake")
    # Enough for a file that does not fit into what sockets hold.
    one = [hep(message) for message in calls(1)]
    big = [recorded.hep(n / 1000, recorded.CALLER, recorded.PROXY, _big(n)) for n in range(60)]
    lakes.store(folder, [*recorded.answered(), *one, *big])
    return LakeStore(url=f"lake:{folder}")


def _big(number: int) -> bytes:
    return recorded.sip(
        "INVITE sip:bob@example.net SIP/2.0", "big", f"{number} INVITE", more=f"X-Long: {'x' * 50_000}\r\n"
    )


@pytest.fixture
async def asked(lake: LakeStore) -> AsyncIterator[Library]:
    async with Library({"lake": lake}, timeout=30.0, processes=1, memory=MEMORY) as made:
        yield made


async def body(answer: Answer) -> bytes:
    return b"".join([piece async for piece in answer.chunks()])


async def told(asked: Library, question: Question, status: int = 200) -> Any:
    async with asked.ask(question) as answer:
        found = json.loads(await body(answer))
        assert answer.status == status, found
        return found


async def test_a_process_starts_with_the_first_question_and_stays(asked: Library) -> None:
    assert asked.processes() == []
    assert (await told(asked, Stores()))["stores"][0]["name"] == "lake"
    ((pid, name),) = asked.processes()
    assert name == "reader 0"
    assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)
    assert (await told(asked, Call(call_id=A)))["legs"][0] == A
    assert asked.processes() == [(pid, name)]


async def test_who_leaves_cancels_and_the_process_goes_on(asked: Library) -> None:
    pieces = []
    async with asked.ask(Export(call_id=["big"], format="text")) as answer:
        async for piece in answer.chunks():
            pieces.append(piece)
            break
    ((pid, _),) = asked.processes()
    assert (await told(asked, Call(call_id=A)))["legs"][0] == A
    assert [found for found, _ in asked.processes()] == [pid]
    async with asked.ask(Export(call_id=["big"], format="text")) as answer:
        whole = await body(answer)
    assert whole.startswith(pieces[0])
    assert len(whole) > 60 * 50_000


async def test_a_task_that_is_cancelled_leaves_the_process_to_others(asked: Library) -> None:
    await told(asked, Stores())
    ((pid, _),) = asked.processes()
    os.kill(pid, signal.SIGSTOP)
    waiting = asyncio.create_task(told(asked, Stores()))
    await until(lambda: asked._turns.locked(), "the question is asked")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    # It cannot give up, so it is killed, and there is another one.
    assert (await told(asked, Stores()))["stores"]
    assert asked.processes()[0][0] != pid


async def test_time_out(lake: LakeStore) -> None:
    async with Library({"lake": lake}, timeout=0.5, processes=1, memory=MEMORY) as asked:
        asked._timeout = 30.0
        await told(asked, Stores())
        asked._timeout = 0.2
        ((pid, _),) = asked.processes()
        os.kill(pid, signal.SIGSTOP)
        assert "no answer within 0.2 s" in (await told(asked, Stores(), 504))["error"]
        asked._timeout = 30.0
        assert (await told(asked, Stores()))["stores"]


async def test_a_crash_is_told_and_the_next_question_is_answered(asked: Library) -> None:
    await told(asked, Stores())
    ((pid, _),) = asked.processes()
    os.kill(pid, signal.SIGSTOP)
    waiting = asyncio.create_task(told(asked, Stores(), 503))
    await until(lambda: asked._turns.locked(), "the question is asked")
    os.kill(pid, signal.SIGKILL)
    assert "ended (it was killed): ask again" in (await waiting)["error"]
    assert (await told(asked, Stores()))["stores"]


async def test_questions_wait_for_their_turn_and_too_many_are_refused(
    asked: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "MOST_WAITING", 2)
    await told(asked, Stores())
    ((pid, _),) = asked.processes()
    os.kill(pid, signal.SIGSTOP)
    waiting = [asyncio.create_task(told(asked, Stores())) for _ in range(3)]
    await until(lambda: asked._waiting == 2, "two questions wait")
    assert "too many questions at once" in (await told(asked, Stores(), 503))["error"]
    os.kill(pid, signal.SIGCONT)
    answers = await asyncio.gather(*waiting)
    assert all(answer["stores"] for answer in answers)


async def test_who_does_not_take_the_answer_does_not_hold_the_process(asked: Library) -> None:
    await told(asked, Stores())
    reader = asked._all[0]
    async with asked.ask(Export(call_id=["big"], format="text")) as answer:
        assert answer.status == 200
        pieces = answer.chunks()
        await anext(pieces)
        assert reader._stalled is not None
        assert reader._stalled.when() <= asyncio.get_running_loop().time() + 30.0
        reader._interrupt()  # what happens then
        with pytest.raises(library.GoneError, match="too slowly"):
            async for _ in pieces:
                pass
    assert (await told(asked, Stores()))["stores"]


async def test_too_much_memory_is_told(lake: LakeStore, tmp_path: Path) -> None:
    lakes.store(tmp_path, (hep(message) for message in calls(3000)))
    async with Library({"lake": LakeStore(url=f"lake:{tmp_path}")}, processes=1, memory=4 << 20) as asked:
        found = await told(asked, Calls(since="2026-11-01T00:00"), 503)
        assert "more memory than [control] query_memory" in found["error"]
        assert (await told(asked, Stores()))["stores"]


async def test_what_is_no_text_is_refused(asked: Library) -> None:
    assert (await told(asked, Calls(q="\ud800"), 400))["error"] == "the question is not UTF-8 text"
