"""Real database servers for tests: each in a folder of its own, on a port of loopback, ended with the test."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

DEADLINE = 60.0


def free_port() -> int:
    """A port of loopback that is free at this moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Postgres:
    """A PostgreSQL server in `folder`; it does not run as root, so root runs it as `postgres`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._bin = _postgres()
        self._process: subprocess.Popen[bytes] | None = None
        self._as = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        data = folder / "data"
        if self._as:
            shutil.chown(folder, "postgres")
            for parent in folder.parents:  # pytest's folders are for their owner alone
                if parent.owner() == "root" and parent != Path("/"):
                    parent.chmod(parent.stat().st_mode | 0o011)
        self._run("initdb", "-D", data, "-U", "hep", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")

    @property
    def url(self) -> str:
        """Where the database `hep` is, without a password."""
        return f"postgresql://hep@127.0.0.1:{self.port}/hep"

    def _run(self, program: str, *arguments: object) -> None:
        done = subprocess.run(
            [*self._as, self._bin / program, *map(str, arguments)], capture_output=True, text=True, cwd="/", check=False
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-c port={self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off"
        log = self.folder / "log"
        self._run("pg_ctl", "-D", self.folder / "data", "-l", log, "-o", options, "-w", "-t", DEADLINE, "start")

    def create(self) -> None:
        """Make the database `hep`."""
        self._run("createdb", "-h", "127.0.0.1", "-p", self.port, "-U", "hep", "hep")

    def stop(self, mode: str = "fast") -> None:
        """End it: "fast" with its connections, "immediate" as in a crash."""
        self._run("pg_ctl", "-D", self.folder / "data", "-m", mode, "-w", "stop")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all of its processes: SIGSTOP makes it hang."""
        main = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        for pid in [main, *_children(main)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """A running server with an empty database `hep`."""
    server = Postgres(folder)
    server.start()
    try:
        server.create()
        yield server
    finally:
        with contextlib.suppress(OSError, ValueError):
            server.signal(signal.SIGCONT)
            server.stop("immediate")


def _postgres() -> Path:
    """The folder of PostgreSQL's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    assert on_path, "no PostgreSQL server here: sudo apt-get install postgresql"
    return Path(on_path).parent


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]
