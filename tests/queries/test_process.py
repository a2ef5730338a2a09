"""What a reader process says when it is interrupted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import lakes
from traffic import calls, hep

INTERRUPTED = """
import signal, socket, sys, threading
from pathlib import Path
from hepswitch.destinations.lake import LakeStore
from hepswitch.lake import interrupts
from hepswitch.lake.query import Query
from hepswitch.queries import line, process
from hepswitch.queries.answering import Asking

LONG = "select max(md5(a.range::varchar || call_id)) from range(400000000) a, messages"

class Long(Asking):
    def _answer(self, question, out):
        with self._reader(None) as lake:
            threading.Timer(0.2, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
            lake._ask(lambda connection: connection.execute(LONG).fetchall(), Query())

ours, theirs = socket.socketpair()
ours.sendall(line.message(line.QUESTION, ["Stores", {}]))
ours.shutdown(socket.SHUT_WR)
asking = Long({"lake": LakeStore(url="lake:" + sys.argv[1])}, 1 << 30)
with interrupts.heeded(asking.interrupt):
    process.serve(line.Line(theirs), asking)
assert ours.recv(1 << 16) == line.frame(line.CANCELLED)
print("cancelled")
"""
"""DuckDB is at work when the interrupt comes, with all its threads. Signals are those of a whole process."""


def test_an_interrupt_that_duckdb_gets_is_a_cancelled_question(tmp_path: Path) -> None:
    lakes.store(tmp_path, [hep(message) for message in calls(10)])
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "cancelled\n", "")
