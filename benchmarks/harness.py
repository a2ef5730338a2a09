"""What the measurements share: the C programs, the switch as a process, CPU time and memory of processes, frames to send.

Not here: what is measured (`run`), what must hold under load (`mustshow`).
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / ".bench"

sys.path.insert(0, str(ROOT / "tests"))
import traffic  # noqa: E402
from hepswitch import journal  # noqa: E402
from namespaces import Namespace, pair  # noqa: E402
from running import RunningSwitch, running_switch, wait_for  # noqa: E402

__all__ = ["RunningSwitch", "running_switch", "wait_for"]

Figures = dict[str, Any]

TICK = os.sysconf("SC_CLK_TCK")

RELAY = """\
from hepswitch import hep_route


@hep_route
def switch(hep):
    hep.captagent_id = 42
    hep.relay("far")
"""
"""The route that is measured: it edits a chunk of every packet and relays by call."""


def must(holds: bool, what: str, figures: Figures) -> None:
    """Raise AssertionError saying what does not hold."""
    if not holds:
        raise AssertionError(f"{what}: {json.dumps(figures)}")


# ── the C programs ───────────────────────────────────────────────────────────────────────────────────────────────────


def compiled(name: str) -> Path:
    """The program `name` of this folder, compiled when its source is newer. Raises CalledProcessError."""
    source, program = ROOT / "benchmarks" / f"{name}.c", BUILD / name
    newest = max(source.stat().st_mtime, (source.parent / "common.h").stat().st_mtime)
    if not program.exists() or program.stat().st_mtime < newest:
        BUILD.mkdir(exist_ok=True)
        fresh = BUILD / f"{name}.{os.getpid()}"  # tests compile side by side
        compiler = os.environ.get("CC", "cc")
        subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-o", str(fresh), str(source)], check=True)
        fresh.replace(program)
    return program


def extension(name: str) -> Any:
    """The Cython module `name` of this folder, compiled when its source is newer."""
    source = ROOT / "benchmarks" / f"{name}.pyx"
    copy = BUILD / source.name
    BUILD.mkdir(exist_ok=True)
    if not copy.exists() or copy.stat().st_mtime < source.stat().st_mtime:
        shutil.copyfile(source, copy)  # Cython writes beside its source
    command = [sys.executable, "-m", "Cython.Build.Cythonize", "--quiet", "--inplace", "-3", copy.name]
    subprocess.run(command, check=True, cwd=BUILD, stdout=subprocess.DEVNULL)
    if str(BUILD) not in sys.path:
        sys.path.insert(0, str(BUILD))
    return importlib.import_module(name)


class Program:
    """A C program at work. Those that listen tell their port first; each tells its figures as JSON at its end."""

    def __init__(self, name: str, *args: str | int | Path, listens: bool = True) -> None:
        command = [str(compiled(name)), *map(str, args)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = 0
        if listens:
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
            if not line:
                raise RuntimeError(f"{' '.join(command)} ended with {self._process.wait()}")
            self.port = json.loads(line)["port"]

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def finish(self, deadline: float = 120.0) -> dict[str, Any]:
        """Wait for its end; its figures. Raises TimeoutExpired."""
        output, _ = self._process.communicate(timeout=deadline)
        figures: dict[str, Any] = json.loads(output)
        return figures

    def stop(self) -> dict[str, Any]:
        """Tell it to end; its figures."""
        self._process.terminate()
        return self.finish()

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


def sink(*args: str | int, tcp: bool = False, port: int = 0) -> Program:
    return Program("sink", *(["--tcp"] if tcp else []), "--listen", f"127.0.0.1:{port}", *args)


def blast(
    address: tuple[str, int],
    frames: Path,
    count: int,
    rate: int,
    calls: int,
    tcp: bool = False,
    call: str = "",
    payload: bool = False,
) -> Program:
    """Sends `count` packets; packet n says `X-Number: n` and belongs to call n modulo `calls`, by the
    digits behind `call` (CALL unless given). `payload`: SIP alone, without HEP around it.
    """
    form = ["--tcp"] if tcp else ["--payload"] if payload else []
    return Program(
        "blast", *form, "--to", f"{address[0]}:{address[1]}", "--count", count, "--rate", rate,
        "--number", call or CALL, 8, calls, "--number", NUMBER, 9, 0, frames, listens=False,
    )  # fmt: skip


# ── what it costs ────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds of some processes since they started, and the most memory that one of them held (bytes)."""

    user: float = 0.0
    sys: float = 0.0
    peak: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.user + other.user, self.sys + other.sys, max(self.peak, other.peak))

    def since(self, before: Usage) -> Usage:
        return Usage(self.user - before.user, self.sys - before.sys, self.peak)


def usage(pid: int) -> Usage:
    """From /proc: utime and stime of all threads, VmHWM."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    peak = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)
    return Usage(int(fields[11]) / TICK, int(fields[12]) / TICK, peak << 10)


def resident(pids: list[int]) -> int:
    """The most memory that one of them holds at this moment (VmRSS, bytes)."""
    lines = [line for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return max((int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS:")), default=0)


def tree(pid: int) -> Usage:
    """Of a process and all that it started, those that have ended and were waited for included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    whole = Usage(
        (int(fields[11]) + int(fields[13])) / TICK, (int(fields[12]) + int(fields[14])) / TICK, usage(pid).peak
    )
    for child in children(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended just now
            whole += tree(child)
    return whole


def children(pid: int) -> list[int]:
    """The processes that a process has started, by any of its threads."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended just now
            found += map(int, (task / "children").read_text().split())
    return found


def processes(switch: RunningSwitch) -> dict[str, list[int]]:
    """Process ids of a running switch by role: supervisor, worker, keeper, loader, uploader."""
    modules = {
        "worker": b"hepswitch.worker",
        "keeper": b"hepswitch.lake.keeper",
        "loader": b"hepswitch.databases.loader",
        "uploader": b"hepswitch.lake.uploader",
    }
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children(switch.process.pid)}
    roles = {role: [pid for pid, command in commands.items() if name in command] for role, name in modules.items()}
    return {"supervisor": [switch.process.pid], **roles}


def of_role(switch: RunningSwitch) -> dict[str, Usage]:
    return {role: sum((usage(pid) for pid in pids), Usage()) for role, pids in processes(switch).items()}


# ── the switch ───────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """An empty folder on the disk of this checkout (not in memory), removed afterwards."""
    BUILD.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=BUILD))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def relaying(folder: Path, urls: list[str], scheme: str, workers: int = 1) -> Iterator[RunningSwitch]:
    """A switch that edits each packet and relays it by call to `urls`."""
    (folder / "route.py").write_text(RELAY)
    nodes = ", ".join(f'"{url}"' for url in urls)
    text = (
        f'listen = ["{scheme}://127.0.0.1:0"]\nworkers = {workers}\nreceive_buffer = "64MiB"\n'
        f'[hep_route]\nmode = "script"\nscript = "route.py"\n[destinations.far]\nurls = [{nodes}]\npolicy = "call"\n'
    )
    with running_switch(folder, text) as switch:
        yield switch


def store_config(folder: Path, workers: int = 1, options: str = "") -> str:
    """The configuration of a switch that stores everything in `folder`/captures."""
    return (
        f'listen = ["udp://127.0.0.1:0", "tcp://127.0.0.1:0"]\nworkers = {workers}\nreceive_buffer = "64MiB"\n'
        f'[stores.lake]\nurl = "lake:{folder}/captures"\nkeep = "forever"\n{options}\n'
    )


def received(book: dict[str, Any]) -> int:
    return sum(row["packets"] + row["kernel_drops"] for row in book["received"].values())


def settled(switch: RunningSwitch, count: int, deadline: float = 60.0) -> dict[str, Any]:
    """The books once `count` packets arrived (or nothing new came for a second) and nothing is queued or spooled."""
    newest, since = -1, time.monotonic()

    def look() -> dict[str, Any] | None:
        nonlocal newest, since
        book = switch.stats()
        if received(book) != newest:
            newest, since = received(book), time.monotonic()
        arrived = newest >= count or time.monotonic() - since > 1.0
        outlets = [*book["destinations"].values(), *book["stores"].values()]
        return book if arrived and not any(row["queued"] or row["spooled"] for row in outlets) else None

    book: dict[str, Any] = wait_for(look, f"{count} packets through the switch", deadline)
    return book


def sealed(captures: Path, deadline: float = 120.0) -> None:
    """Wait until no packet is in the journals any more: all are in Parquet."""

    def done() -> bool:
        rest = [segment for path in captures.glob("journal/*") for segment in journal.segments(path)]
        return not any(segment.closed or segment.size > journal.HEADER.size for segment in rest)

    wait_for(done, "sealing of the journal", deadline)


def fill(
    address: tuple[str, int], count: int, calls_per_second: float, start: float = traffic.START
) -> tuple[int, list[str]]:
    """Send `count` messages of interleaved calls over TCP; how many bytes, and ten Call-IDs from all over."""
    calls = traffic.calls(-(-count // traffic.MESSAGES), calls_per_second, start=start)
    size, wanted, block = 0, list[bytes](), bytearray()
    with socket.create_connection(address) as stream:
        for number, message in enumerate(itertools.islice(calls, count)):
            if number % (count // 10) == count // 20:
                wanted.append(message.payload)
            block += traffic.hep(message)
            if len(block) > 1 << 18:
                stream.sendall(block)
                size += len(block)
                block.clear()
        stream.sendall(block)
    return size + len(block), [re.findall(rb"Call-ID: (\S+)", payload)[0].decode() for payload in wanted]


# ── a wire ───────────────────────────────────────────────────────────────────────────────────────────────────────────

STRANGER = ("10.9.0.3", 5060)
"""Who the traffic on the wire is for: neither of its ends."""


@contextlib.contextmanager
def wire() -> Iterator[tuple[Namespace, Namespace]]:
    """Two namespaces joined by a pair of interfaces: what the first sends to STRANGER passes by the second. Needs root."""
    with pair() as (west, east):
        west.ip("neigh", "add", STRANGER[0], "lladdr", "02:00:00:00:00:03", "dev", "west")
        yield west, east


def along(west: Namespace, frames: Path, count: int, rate: int, calls: int) -> Program:
    """Sends `count` SIP messages along the wire."""
    with west.entered():
        return blast(STRANGER, frames, count, rate, calls, payload=True)


@contextlib.contextmanager
def capturing(east: Namespace, folder: Path, options: str = "") -> Iterator[RunningSwitch]:
    """A switch that stores what passes the second end."""
    text = store_config(folder, options=options).partition("\n")[2]
    with east.entered(), running_switch(folder, f'listen = ["mirror://east?ring=64MiB"]\n{text}') as switch:
        yield switch


# ── frames ───────────────────────────────────────────────────────────────────────────────────────────────────────────

IDENTITY = "bench-"
CALL = f"Call-ID: {IDENTITY}"
NUMBER = "X-Number: "

_BODY = (
    "v=0\r\no=alice 2890844526 2890844526 IN IP4 10.1.0.1\r\ns=-\r\nc=IN IP4 10.1.0.1\r\nt=0 0\r\n"
    "m=audio 49172 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
)
_DIALOG = (
    ("INVITE sip:bob@example.net SIP/2.0", "1 INVITE", _BODY, False),
    ("SIP/2.0 100 Trying", "1 INVITE", "", True),
    ("SIP/2.0 180 Ringing", "1 INVITE", "", True),
    ("SIP/2.0 200 OK", "1 INVITE", _BODY, True),
    ("ACK sip:bob@10.1.0.2:5060 SIP/2.0", "1 ACK", "", False),
    ("BYE sip:bob@10.1.0.2:5060 SIP/2.0", "2 BYE", "", False),
    ("SIP/2.0 200 OK", "2 BYE", "", True),
)


def chunk(kind: int, value: bytes) -> bytes:
    return struct.pack(">HHH", 0, kind, 6 + len(value)) + value


def dialog(now: float, header: str = "X-Round: 0") -> list[bytes]:
    """The seven messages of a call as HEPv3 frames, with room for `blast` to number them."""
    frames = []
    for start, cseq, body, reply in _DIALOG:
        sip = (
            f"{start}\r\nVia: SIP/2.0/UDP 10.1.0.1:5060;branch=z9hG4bK-524287-1---7d2f\r\nMax-Forwards: 70\r\n"
            f"{CALL}00000000\r\nFrom: \"Alice\" <sip:alice@example.com>;tag=9fxced76sl\r\n"
            f"To: <sip:bob@example.net>{';tag=314159' if reply else ''}\r\nCSeq: {cseq}\r\n"
            f"Contact: <sip:alice@10.1.0.1:5060>\r\nUser-Agent: bench/1.0\r\n{header}\r\n{NUMBER}000000000\r\n"
            f"{'Content-Type: application/sdp' + chr(13) + chr(10) if body else ''}Content-Length: {len(body)}\r\n\r\n{body}"
        )  # fmt: skip
        ends = [(bytes((10, 1, 0, 1)), 5060), (bytes((10, 1, 0, 2)), 5060)]
        (src, src_port), (dst, dst_port) = reversed(ends) if reply else ends
        chunks = b"".join((
            chunk(1, b"\x02"), chunk(2, b"\x11"), chunk(3, src), chunk(4, dst),
            chunk(7, struct.pack(">H", src_port)), chunk(8, struct.pack(">H", dst_port)),
            chunk(9, struct.pack(">I", int(now))), chunk(10, struct.pack(">I", int(now % 1 * 1e6))),
            chunk(11, b"\x01"), chunk(12, struct.pack(">I", 2001)), chunk(15, sip.encode()),
        ))  # fmt: skip
        frames.append(b"HEP3" + struct.pack(">H", 6 + len(chunks)) + chunks)
    return frames


def rtcp(now: float) -> bytes:
    """An RTCP report of the same call: it has the Call-ID as correlation id."""
    chunks = b"".join((
        chunk(1, b"\x02"), chunk(2, b"\x11"), chunk(3, bytes((10, 1, 0, 1))), chunk(4, bytes((10, 1, 0, 2))),
        chunk(7, struct.pack(">H", 49173)), chunk(8, struct.pack(">H", 49175)),
        chunk(9, struct.pack(">I", int(now))), chunk(10, bytes(4)), chunk(11, b"\x05"), chunk(12, struct.pack(">I", 2001)),
        chunk(17, f"{IDENTITY}00000000".encode()), chunk(15, f'{{"report_count": 1, "note": "{NUMBER}000000000"}}'.encode()),
    ))  # fmt: skip
    return b"HEP3" + struct.pack(">H", 6 + len(chunks)) + chunks


def frames_file(folder: Path, header: str = "X-Round: 0", reports: int = 0) -> Path:
    """A file for `blast`; every message carries `header`, and `reports` RTCP reports follow the call's messages."""
    path = folder / "dialog.hep"
    now = time.time()
    path.write_bytes(b"".join(dialog(now, header)) + rtcp(now) * reports)
    return path
