"""What a process does to its sender: importing, forking, ending. Each test runs programs of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from far_ends import TcpSink, UdpSink, split, until
from hepswitch.wire.hep import Hep

ROOT = Path(__file__).parents[2]


def program(text: str) -> list[str]:
    return [sys.executable, "-W", "error", "-c", textwrap.dedent(text)]


def payloads(frames: list[bytes]) -> list[bytes | None]:
    return [Hep(frame).payload for frame in frames]


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def go_on(process: subprocess.Popen[str]) -> None:
    """The line that the program waits for."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_importing_it_loads_nothing_heavy() -> None:
    heavy = ("pydantic", "pyarrow", "uvloop", "duckdb", "structlog", "dns", "rich", "click")
    code = f"import sys, hepswitch.agent; print([name for name in {heavy!r} if name in sys.modules])"
    assert run(*program(code)).strip() == "[]"


def test_a_program_that_just_ends_has_sent_everything_over_udp() -> None:
    with closing(UdpSink()) as sink:
        run(*program(f"from hepswitch.agent import HepSender; HepSender('{sink.url}').log('last words')"))
        assert payloads(sink.read()) == [b"last words"]


async def test_a_program_that_just_ends_has_sent_everything_over_tcp() -> None:
    sink = TcpSink()
    await sink.start()
    try:
        code = f"""
            from hepswitch.agent import HepSender
            sender = HepSender('{sink.url}')
            for number in range(1000):
                sender.log(str(number))
        """
        with running(*program(code)) as child:
            await until(lambda: child.poll() is not None, "the end of the program")
        assert child.returncode == 0
        await until(lambda: sink.connections and len(split(sink.connections[0])) == 1000, "everything arrives")
        assert payloads(split(sink.connections[0])) == [str(number).encode() for number in range(1000)]
    finally:
        await sink.stop()


def test_a_program_ends_although_the_far_end_does_not_answer() -> None:
    with closing(UdpSink()) as gone:
        url = f"tcp://127.0.0.1:{gone.port}"
    code = f"""
        import atexit
        from hepswitch.agent import HepSender
        atexit.register(lambda: print(sender.stats))
        sender = HepSender('{url}', drain='200ms')
        sender.log('last words')
    """
    # atexit is last in, first out: the agent's came before ours, so ours tells what was still queued.
    assert "'queued': 1" in run(*program(code))


async def test_parent_and_child_have_each_their_own_connection() -> None:
    sink = TcpSink()
    await sink.start()
    code = f"""
        import os, sys
        from hepswitch.agent import HepSender
        sender = HepSender('{sink.url}')
        for number in range(100):
            sender.log(f"parent {{number}}")
        sender.flush(20)
        sender.log("parent, queued while forking")
        child = os.fork()
        if not child:
            sys.stdin.readline()                     # until the parent has closed its connection
            stats = sender.stats
            assert (stats["accepted"], stats["state"]) == (0, "idle"), stats
            sender.log("child")
            assert sender.flush(20)
            sys.exit(0)                              # as a program does: atexit closes
        sender.log("parent again")
        assert sender.close(20)
        assert sender.stats["delivered"] == 102, sender.stats
        assert os.waitpid(child, 0)[1] == 0
    """
    try:
        with running(*program(code)) as parent:
            await until(lambda: sink.connections and len(split(sink.connections[0])) == 102, "the parent's packets")
            # Its end is seen although the child lives on: the child does not hold the parent's connection open.
            await until(lambda: not sink.connected, "the end of the parent's connection")
            go_on(parent)
            await until(lambda: parent.poll() is not None, "the end of both")
        assert parent.returncode == 0
        await until(lambda: len(sink.connections) == 2 and split(sink.connections[1]), "the child's packet")
    finally:
        await sink.stop()
    first, second = [payloads(split(data)) for data in sink.connections]
    assert first == [*(f"parent {n}".encode() for n in range(100)), b"parent, queued while forking", b"parent again"]
    assert second == [b"child"]


async def test_a_child_forked_while_the_parent_connects_has_nothing_of_that_connection() -> None:
    silent = TcpSink()  # accepts, and never answers a TLS greeting
    await silent.start()
    code = f"""
        import os, socket, sys
        from pathlib import Path
        from hepswitch.agent import HepSender
        sender = HepSender('tls://127.0.0.1:{silent.port}?verify=no')
        sender.log("a line")
        sys.stdin.readline()                         # until the greeting has arrived
        child = os.fork()
        if not child:
            open_sockets = [link for link in Path('/proc/self/fd').iterdir() if 'socket' in str(link.resolve())]
            peers = []
            for link in open_sockets:
                with socket.socket(fileno=os.dup(int(link.name))) as sock:
                    peers += [sock.getpeername()] if sock.family == socket.AF_INET else []
            os._exit(len(peers))
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    try:
        with running(*program(code)) as parent:
            await until(lambda: silent.connections and silent.connections[0], "the greeting")
            go_on(parent)
            await until(lambda: parent.poll() is not None, "the end of both")
        assert parent.returncode == 0
    finally:
        await silent.stop()


def test_the_example_traces_itself() -> None:
    with closing(UdpSink()) as sink:
        said = run(sys.executable, str(ROOT / "examples" / "agent.py"), sink.url)
        packets = [Hep(frame) for frame in sink.read()]
    shown = re.search(r"sent 3 packets to .*: hepswitch ladder (\w+)", said)
    assert shown is not None, said
    assert [str(hep.proto_type) for hep in packets] == ["SIP", "LOG", "SIP"]
    assert {hep.correlation_id for hep in packets} == {shown[1].encode()}
    request, reply = packets[0].sip, packets[2].sip
    assert request is not None
    assert reply is not None
    assert (request.method, reply.status, reply.cseq_method) == ("OPTIONS", 200, "OPTIONS")
    assert (packets[0].src_port, packets[0].dst_port) == (packets[2].dst_port, packets[2].src_port)
