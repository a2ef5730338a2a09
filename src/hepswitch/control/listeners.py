"""The sockets of the control listener: TCP, TLS with certificates that may be renewed, unix sockets.

Not here: their addresses (`control_table`), HTTP (`control.server`).
"""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import socket
import ssl
import stat
from collections.abc import Iterable
from pathlib import Path

import structlog

from hepswitch.control_table import ControlListener
from hepswitch.net.sockets import BACKLOG, listen_tcp
from hepswitch.net.tls import load_identity, server_context
from hepswitch.units import Endpoint

log = structlog.get_logger("hepswitch.control")

ENCRYPT = "listen on https://address:port?cert=FILE&key=FILE, or on loopback behind a proxy that has TLS"


class Listening:
    """A bound socket, listening. Raises OSError or ValueError saying what to do."""

    def __init__(self, listener: ControlListener) -> None:
        self.listener = listener
        self._inode: int | None = None
        self.context: ssl.SSLContext | None = None
        if listener.endpoint.scheme == "https":
            self.context = server_context(listener.endpoint)
        elif not listener.is_local:
            log.warning("tokens and passwords come unencrypted", listener=str(listener), hint=ENCRYPT)
        if listener.path is None:
            self.socket = listen_tcp(listener.endpoint)
            host, port = listener.endpoint.host, self.socket.getsockname()[1]
            self.url = str(Endpoint(listener.endpoint.scheme, host, port))
        else:
            self.socket = _listen_unix(listener.path, listener.endpoint.options.get("group"))
            self._inode = listener.path.lstat().st_ino
            self.url = str(listener)

    def renew(self) -> None:
        """Read the certificate again, for connections to come. Raises OSError or ValueError; the old one holds then."""
        if self.context is not None:
            server_context(self.listener.endpoint)  # a wrong one would leave the other half changed
            load_identity(self.context, self.listener.endpoint)

    def close(self) -> None:
        """No more connections; the file of a unix socket goes, unless it is another's by now."""
        self.socket.close()
        path = self.listener.path
        if path is not None:
            try:
                if path.lstat().st_ino == self._inode:
                    path.unlink()
            except FileNotFoundError:
                pass


def listen(listeners: Iterable[ControlListener]) -> list[Listening]:
    """All of them, or none. Raises OSError or ValueError."""
    bound: list[Listening] = []
    try:
        for each in listeners:
            bound.append(Listening(each))  # noqa: PERF401 (those before have to be closed)
    except BaseException:
        for each_bound in bound:
            each_bound.close()
        raise
    return bound


def _listen_unix(path: Path, group: str | None) -> socket.socket:
    """A non-blocking socket at `path`, for its owner and its group alone. Raises OSError.

    A socket that nobody listens on was left by a process that is gone: it is replaced. Anything else stays.
    """
    try:
        gid = -1 if group is None else grp.getgrnam(group).gr_gid
    except KeyError:
        raise OSError(errno.EINVAL, f"unix:{path}: there is no group {group}: make it, or name another one") from None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)  # two switches at a time: the second one sees the first one's socket
            _remove_stale(path)
            before = os.umask(0o117)
            try:
                sock.bind(str(path))
            finally:
                os.umask(before)
            if gid != -1:
                os.chown(path, -1, gid, follow_symlinks=False)
            sock.listen(BACKLOG)  # until then nobody can connect
        finally:
            os.close(folder)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"unix:{path}: {_advice(error, path, group)}") from error
    return sock


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "there is a file that is no socket: move it away, or take another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass  # somebody listens, and has much to do
    raise OSError(errno.EADDRINUSE, "another program listens there: stop it, or take another path")


def _advice(error: OSError, path: Path, group: str | None) -> str:
    match error.errno:
        case errno.ENOENT:
            return f"there is no folder {path.parent}: make it (systemd: RuntimeDirectory=)"
        case errno.EACCES | errno.EROFS:
            return f"the folder {path.parent} cannot be written to: give it to the user of the switch"
        case errno.EPERM if group is not None:
            return f"the user of the switch is not in the group {group}: add it to it"
        case _:
            return error.strerror or str(error)
