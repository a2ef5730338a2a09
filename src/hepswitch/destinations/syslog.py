"""Packets to syslog: the machine's own daemon, or another one over the network.

    syslog                                    facility daemon, level info, the local socket /dev/log
    syslog:local0
    syslog:local0:notice
    syslog:local0:info@udp://10.0.0.5         RFC 5424 messages, one a datagram (RFC 5426); port 514
    syslog:local0:info@tcp://logs:6514        RFC 5424 messages, each behind its length (RFC 6587, octet counting)
    syslog:local0:info@unix:/run/log.sock

The text is that of `file` without the time, which syslog has of its own: the packet's. Line ends stay as they are, for
every way has other marks between messages than a line end; what becomes of them is the daemon's choice (rsyslog writes
#015#012 unless told otherwise, journald keeps them). NUL bytes are written #000, as rsyslog does.

The local socket gets what libc's syslog() writes, which is what daemons expect there. Over the network there is structured
data: [hepswitch@32473 callid="…" attrs="…" size="…"], `size` being the bytes of the whole text. (32473 is the number kept
for examples, RFC 5612: we have none of our own.) A datagram that would be too long is cut, and has less: a compressed
payload may hold four times what a datagram can.

Syslog acknowledges nothing: delivered means handed to the kernel. Not here: queue and retries (`writer`).
"""

from __future__ import annotations

import errno
import os
import re
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from hepswitch.destinations.text import SIP_TYPES, head, message
from hepswitch.destinations.writer import FLUSH, QUEUE, Writer, WriterOutlet, Written
from hepswitch.units import Endpoint, parse_endpoint
from hepswitch.wire.hep import Hep

PORT = 514
LOCAL_SOCKET = "/dev/log"
PROGRAM = "hepswitch"

FACILITIES = {
    name: number
    for number, name in enumerate(
        [
            "kern",
            "user",
            "mail",
            "daemon",
            "auth",
            "syslog",
            "lpr",
            "news",
            "uucp",
            "cron",
            "authpriv",
            "ftp",
            "ntp",
            "audit",
            "alert",
            "clock",
        ]
    )
} | {f"local{number}": 16 + number for number in range(8)}
LEVELS = {name: n for n, name in enumerate(["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"])}
LEVELS |= {"error": LEVELS["err"], "warn": LEVELS["warning"]}

LONGEST_DATAGRAM = 65_507
"""What fits a UDP datagram over IPv4. Local sockets take as much with the usual buffers."""

HEARD = 64
"""Reads in which the far end may have ended what it says; one that talks without end is not waited for."""

TIMEOUT = 10.0
"""Seconds that the far end may take to accept a connection or data."""


@dataclass(frozen=True, slots=True)
class SyslogTarget:
    """`syslog[:FACILITY[:LEVEL]][@WHERE]`. `str(target)` is its name in the books. `where`: an endpoint, or the path of a
    local socket."""

    facility: str = "daemon"
    level: str = "info"
    where: Endpoint | str = LOCAL_SOCKET

    @classmethod
    def parse(cls, text: str) -> SyslogTarget:
        """ValueError with what is wrong."""
        words, at, where = text.partition("@")
        scheme, *said = words.split(":")
        if scheme != "syslog" or len(said) > 2 or (at and not where):
            raise ValueError(
                f"{text!r} is no syslog: write for example syslog:local0:info or syslog:local0@udp://10.0.0.5"
            )
        facility = _named(text, "facility", said[0] if said else "daemon", FACILITIES)
        level = _named(text, "level", said[1] if len(said) > 1 else "info", LEVELS)
        return cls(facility, level, _where(where) if where else LOCAL_SOCKET)

    def __str__(self) -> str:
        where = self.where if isinstance(self.where, Endpoint) else f"unix:{self.where}"
        name = f"syslog:{self.facility}:{self.level}"
        return name if self.where == LOCAL_SOCKET else f"{name}@{where}"

    @property
    def url(self) -> str:
        """The target as `parse` reads it."""
        return str(self)

    def anchored(self, absolute: Callable[[Path], Path]) -> SyslogTarget:
        """The same with an absolute path of the socket."""
        return self if isinstance(self.where, Endpoint) else replace(self, where=str(absolute(Path(self.where))))

    def build(self, *, queue: int = QUEUE, flush: float = FLUSH) -> WriterOutlet:
        """The outlet."""
        return WriterOutlet(str(self), SyslogWriter(self), queue=queue, flush=flush)


def _named(text: str, what: str, word: str, known: dict[str, int]) -> str:
    name = word.lower().removeprefix("log_")  # LOG_LOCAL0 is how OpenSIPS and C spell it
    if name not in known:
        raise ValueError(f"{text!r} has the unknown {what} {word!r}; known: {', '.join(known)}")
    return name


def _where(text: str) -> Endpoint | str:
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path:
            raise ValueError("unix: names no socket: write for example unix:/dev/log")
        return os.path.normpath(path)
    endpoint = parse_endpoint(text, ("udp", "tcp"))
    if endpoint.is_service or endpoint.options:
        raise ValueError(f"{text!r} is no far end of syslog: write {endpoint.scheme}://host:port")
    return endpoint if urlsplit(text).port is not None else replace(endpoint, port=PORT)


class SyslogWriter(Writer):
    """Sends packets to a target."""

    def __init__(self, target: SyslogTarget) -> None:
        self._where = target.where
        self._priority = FACILITIES[target.facility] << 3 | LEVELS[target.level]
        self._host = re.sub(r"[^!-~]", "-", socket.gethostname())[:255] or "-"
        self._pid = os.getpid()
        self._sock: socket.socket | None = None
        self._is_stream = False

    def refuses(self, packet: Hep) -> str | None:
        """Nothing: every packet can be text."""
        return None

    def open(self) -> None:
        """Connect to the daemon: at once, so that a mistake is told when the switch starts."""
        self._connected()

    def write(self, batch: Sequence[Written]) -> int:
        """Send them. What was given to a connection that then broke is sent again."""
        sock = self._connected()
        sent = 0
        try:
            if self._is_stream:
                sock.sendall(b"".join(map(self._framed, batch)))
                return len(batch)
            for written in batch:
                sock.send(self._framed(written))
                sent += 1
        except OSError as error:
            if error.errno == errno.EMSGSIZE and not sent:  # by this socket's own limit: no other one would take it
                raise ValueError(f"{self._where}: {error.strerror}") from error
            self.close()
            if not sent:
                raise
        return sent

    def close(self) -> None:
        """Close the connection."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    # ── the connection ─────────────────────────────────────────────────────────────────────────────────────────────

    def _connected(self) -> socket.socket:
        if self._sock is not None and self._is_stream and _is_over(self._sock):
            self.close()
        if self._sock is None:
            if isinstance(self._where, Endpoint):
                self._is_stream = self._where.scheme == "tcp"
                self._sock = _network(self._where)
            else:
                self._sock, self._is_stream = _local(self._where)
        return self._sock

    # ── the messages ───────────────────────────────────────────────────────────────────────────────────────────────

    def _framed(self, written: Written) -> bytes:
        text = head(written.packet, written.direction).encode() + b"\n" + message(written.packet)
        text = text.replace(b"\0", b"#000")
        if not isinstance(self._where, Endpoint):
            said = self._as_libc(written.packet) + text
            return said + b"\0" if self._is_stream else said[:LONGEST_DATAGRAM]
        said = self._as_rfc_5424(written, len(text)) + text
        return b"%d %b" % (len(said), said) if self._is_stream else said[:LONGEST_DATAGRAM]

    def _as_libc(self, packet: Hep) -> bytes:
        """What syslog(3) writes before a text."""
        stamp = time.strftime("%b %e %H:%M:%S", time.localtime(packet.time_us // 1_000_000))
        return f"<{self._priority}>{stamp} {PROGRAM}[{self._pid}]: ".encode()

    def _as_rfc_5424(self, written: Written, size: int) -> bytes:
        packet = written.packet
        seconds, fraction = divmod(packet.time_us, 1_000_000)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction:06}Z"
        kind = "SIP" if packet.proto_type in SIP_TYPES else str(packet.proto_type)
        sip = packet.sip
        said = {"callid": sip.call_id if sip is not None else None, "attrs": written.attrs, "size": str(size)}
        data = "".join(f' {name}="{_escaped(value)}"' for name, value in said.items() if value)
        head = f"<{self._priority}>1 {stamp} {self._host} {PROGRAM} {self._pid} {kind} [{PROGRAM}@32473{data}] "
        return head.encode("utf-8", "replace")


def _escaped(value: str) -> str:
    return re.sub(r'(["\\\]])', r"\\\1", value[:1024]).replace("\0", "")


def _network(where: Endpoint) -> socket.socket:
    kind = socket.SOCK_STREAM if where.scheme == "tcp" else socket.SOCK_DGRAM
    trouble: OSError = OSError(f"{where} has no address")
    for family, _, _, _, address in socket.getaddrinfo(where.host, where.port, type=kind):
        sock = socket.socket(family, kind)
        sock.settimeout(TIMEOUT)
        try:
            sock.connect(address)
        except OSError as error:
            sock.close()
            trouble = error
        else:
            return sock
    raise trouble


def _local(path: str) -> tuple[socket.socket, bool]:
    """The daemon's socket, and whether it is a stream: some daemons have one."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        sock = socket.socket(socket.AF_UNIX, kind)
        sock.settimeout(TIMEOUT)
        try:
            sock.connect(path)
        except OSError as error:
            sock.close()
            if kind == socket.SOCK_STREAM or error.errno != errno.EPROTOTYPE:
                raise OSError(error.errno, error.strerror, path) from error
        else:
            return sock, kind == socket.SOCK_STREAM
    raise AssertionError("the last kind of socket was refused without an error")


def _is_over(sock: socket.socket) -> bool:
    """Has the far end closed the connection? What is written then would be lost. What it says is of no interest."""
    sock.setblocking(False)
    try:
        return not all(sock.recv(4096) for _ in range(HEARD))
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        sock.settimeout(TIMEOUT)
