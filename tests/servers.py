"""Real database servers for tests: each in a folder of its own, on a port of loopback, ended with the test."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
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

    @property
    def pid(self) -> int:
        """The first of its processes."""
        return int((self.folder / "data" / "postmaster.pid").read_text().split()[0])

    def start(self, *settings: str) -> None:
        """Start it, with these settings besides, and wait until it answers."""
        own = [f"port={self.port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={self.folder}", "fsync=off"]
        options = " ".join(f"-c {setting}" for setting in [*own, *settings])
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
        for pid in [self.pid, *_children(self.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


@contextlib.contextmanager
def postgres(*settings: str) -> Iterator[Postgres]:
    """A running server with an empty database `hep`.

    Its folder is none of pytest's: these are for their owner alone, and the server's user is another one.
    """
    with tempfile.TemporaryDirectory() as folder:
        server = Postgres(Path(folder))
        server.start(*settings)
        try:
            server.create()
            yield server
        finally:
            with contextlib.suppress(OSError, ValueError):
                server.signal(signal.SIGCONT)
                server.stop("immediate")


class Mariadb:
    """A MariaDB server in `folder`, run as who runs the test. User `hep` has every right and no password."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._as = f"--user={getpass.getuser()}"  # root has to say that it means it
        install = ["mariadb-install-db", "--no-defaults", f"--datadir={folder / 'data'}", "--skip-test-db", self._as]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        (folder / "first.sql").write_text(
            "CREATE DATABASE IF NOT EXISTS hep;\n"
            "CREATE USER IF NOT EXISTS hep@'%';\n"
            "GRANT ALL ON *.* TO hep@'%' WITH GRANT OPTION;\n"
        )

    @property
    def url(self) -> str:
        """Where the database `hep` is, without a password."""
        return f"mysql://hep@127.0.0.1:{self.port}/hep"

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def start(self, *options: str) -> None:
        """Start it, with options of mariadbd, and wait until it answers."""
        program = _program("mariadbd")
        assert program, "no MariaDB server here: sudo apt-get install mariadb-server"
        folder = self.folder
        own = [f"--datadir={folder / 'data'}", f"--socket={folder / 'socket'}", f"--port={self.port}"]
        own += ["--bind-address=127.0.0.1", "--skip-name-resolve", "--innodb-flush-log-at-trx-commit=2"]
        own += [f"--init-file={folder / 'first.sql'}", f"--pid-file={folder / 'pid'}", self._as]
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen([program, "--no-defaults", *own, *options], stdout=log, stderr=log)
        until = time.monotonic() + DEADLINE
        while not self._answers():
            assert self._process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as sock:
                sock.settimeout(1)
                return len(sock.recv(5)) == 5  # it greets first
        except OSError:
            return False

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it and wait: SIGTERM in an orderly way, SIGKILL as in a crash."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(DEADLINE)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal: SIGSTOP makes it hang."""
        assert self._process is not None
        self._process.send_signal(number)


@contextlib.contextmanager
def mariadb(folder: Path, *options: str) -> Iterator[Mariadb]:
    """A running server with an empty database `hep`."""
    server = Mariadb(folder)
    server.start(*options)
    try:
        yield server
    finally:
        server.stop(signal.SIGKILL)


def _program(name: str) -> str | None:
    """Where a server is that not every user has in PATH."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")


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


class ClickHouse:
    """ClickHouse's engine behind HTTP (`clickhouse_http_server`), with its tables in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where the database `hep` is; its password is "secret"."""
        return f"clickhouse://hep@127.0.0.1:{self.port}/hep"

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it answers."""
        program = Path(__file__).with_name("clickhouse_http_server.py")
        self._process = subprocess.Popen([sys.executable, program, self.folder / "data", str(self.port)])
        answers(self._process, self.port)

    def stop(self) -> None:
        """End it as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal: SIGSTOP makes it hang."""
        assert self._process is not None
        self._process.send_signal(number)


@contextlib.contextmanager
def clickhouse(folder: Path, kind: type[ClickHouse] = ClickHouse) -> Iterator[ClickHouse]:
    """A running server; the engine has the empty databases `hep` and `other`."""
    server = kind(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


OLD_CONFIG = """<yandex>
<logger><level>error</level><log>{0}/log</log><errorlog>{0}/errors</errorlog></logger>
<http_port>{1}</http_port><tcp_port>{2}</tcp_port><listen_host>127.0.0.1</listen_host><keep_alive_timeout>1</keep_alive_timeout>
<path>{0}/data/</path><tmp_path>{0}/tmp/</tmp_path><user_files_path>{0}/files/</user_files_path>
<format_schema_path>{0}/formats/</format_schema_path><users_config>{0}/users.xml</users_config>
<default_profile>default</default_profile><default_database>default</default_database><mark_cache_size>1048576</mark_cache_size>
</yandex>"""
OLD_USERS = """<yandex><profiles><default/><reads><readonly>1</readonly></reads></profiles>
<quotas><default/></quotas><users><hep><password>secret</password>
<networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota></hep>
<reader><password>secret</password><networks><ip>::/0</ip></networks><profile>reads</profile><quota>default</quota></reader></users></yandex>"""


class OldClickHouse(ClickHouse):
    """The real server as Debian has it, 18.16: too old for our tables, but HTTP, users and errors are the real thing."""

    def start(self) -> None:
        """Start it, and wait until it answers."""
        program = _program("clickhouse-server")
        assert program, "no ClickHouse server here: sudo apt-get install clickhouse-server"
        self.native_port = free_port()
        config = self.folder / "config.xml"
        config.write_text(OLD_CONFIG.format(self.folder, self.port, self.native_port))
        (self.folder / "users.xml").write_text(OLD_USERS)
        with (self.folder / "out").open("wb") as out:
            self._process = subprocess.Popen(
                [program, f"--config-file={config}"], cwd=self.folder, stdout=out, stderr=out
            )
        answers(self._process, self.port)


def answers(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until a server of ours takes connections."""
    deadline = time.monotonic() + DEADLINE
    while True:
        assert process.poll() is None, f"the server ended with {process.returncode}"
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline, "the server does not answer"
        time.sleep(0.05)
