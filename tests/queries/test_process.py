"""What a reader process says when it is interrupted."""

from __future__ import annotations

import subprocess
import sys

INTERRUPTED = """
import signal, socket, threading
import duckdb
from hepswitch.queries import line, process
from hepswitch.queries.answering import Asking

class Long(Asking):
    def answer(self, question, out):
        with duckdb.connect(config={"threads": 1}) as connection:
            threading.Timer(0.2, signal.pthread_kill, (threading.get_ident(), signal.SIGINT)).start()
            connection.execute("select max(md5(range::varchar)) from range(400000000)").fetchall()

ours, theirs = socket.socketpair()
ours.sendall(line.message(line.QUESTION, ["Stores", {}]))
ours.shutdown(socket.SHUT_WR)
process.serve(line.Line(theirs), Long({}, 1 << 30))
assert ours.recv(1 << 16) == line.frame(line.CANCELLED)
print("cancelled")
"""
"""DuckDB is at work when the interrupt comes. In a process of its own and with one thread, for while other threads have all the
work it does not look for signals: then the supervisor's patience ends the process (test_library)."""


def test_an_interrupt_that_duckdb_gets_is_a_cancelled_question() -> None:
    ran = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "cancelled\n", "")
