"""What a reader process says when it is interrupted."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator

import duckdb
import pytest

from hepswitch.queries import line, process
from hepswitch.queries.answering import Asking, Out
from hepswitch.queries.questions import Question

LONG = "select max(md5(range::varchar)) from range(400000000)"


class Long(Asking):
    """DuckDB is at work when the interrupt comes."""

    def __init__(self) -> None:
        super().__init__({}, 1 << 30)

    def answer(self, question: Question, out: Out) -> None:
        with duckdb.connect() as connection:
            threading.Timer(0.2, signal.pthread_kill, (threading.get_ident(), signal.SIGINT)).start()
            connection.execute(LONG).fetchall()


@pytest.fixture
def kept_signal() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("kept_signal")
def test_an_interrupt_that_duckdb_gets_is_a_cancelled_question(capsys: pytest.CaptureFixture[str]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(line.message(line.QUESTION, ["Stores", {}]))
        ours.shutdown(socket.SHUT_WR)
        end = line.Line(theirs)
        process.serve(end, Long())
        end._stream.close()
        assert ours.recv(1 << 16) == line.frame(line.CANCELLED)
    assert "Traceback" not in capsys.readouterr().out
