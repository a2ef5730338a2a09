"""The lists of a running switch follow their files."""

from __future__ import annotations

from pathlib import Path

import structlog

from far_ends import until
from hepswitch.state import NetworkList, State, Words
from hepswitch.state.watch import ListWatch


async def test_a_list_follows_its_file(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("one\n")
    state = State()
    words = state.file_list(Words, file)
    watch = ListWatch(state, every=0.01)
    with structlog.testing.capture_logs() as logs:
        watch.start()
        file.write_text("one\ntwo\n")
        await until(lambda: "two" in words, "the new content")
        file.unlink()
        await until(lambda: words.trouble, "the trouble")
        assert "two" in words
        file.write_text("three\n")
        await until(lambda: "three" in words, "the content after the trouble")
        await watch.stop()
    assert [entry["event"] for entry in logs] == [
        "list read again",
        "list not read; its old content goes on",
        "list read again",
    ]
    assert (logs[0]["file"], logs[0]["entries"]) == (str(file), 2)
    assert logs[1]["reason"] == f"{file}: cannot be read: No such file or directory"


async def test_it_looks_at_once_when_told_to(tmp_path: Path) -> None:
    file = tmp_path / "nets.txt"
    file.write_text("10.0.0.0/8\n")
    state = State()
    networks = state.file_list(NetworkList, file)
    watch = ListWatch(state, every=3600)
    watch.start()
    file.write_text("192.0.2.0/24\n")
    watch.look()
    await until(lambda: "192.0.2.1" in networks, "the new content")
    await watch.stop()


async def test_stopping_what_never_ran() -> None:
    await ListWatch(State()).stop()
