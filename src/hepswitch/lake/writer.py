"""Whose files these are: the name under which a lake's files are uploaded, and which lake has it.

The folder remembers the name that it began with, and an id drawn by chance; PREFIX/nodes/NODE.json on the storage says
which id the name belongs to. So two nodes that are called the same by mistake do not write over each other's files, and a
host that is given another name does not upload all again. Not here: uploading (`uploader`).
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import time
from pathlib import Path

import msgspec

from hepswitch import journal
from hepswitch.destinations import whole_file
from hepswitch.lake import parquet
from hepswitch.lake.remote import Remote, RemoteError

FILE = "writer"


class Writer(msgspec.Struct, frozen=True):
    """`node` is the name, `lake` the id of the folder whose files have it."""

    node: str
    lake: str


class Claim(msgspec.Struct, frozen=True):
    """What the storage says about a name; `host` and `since` (Unix time) are for people."""

    lake: str
    host: str
    since: float


def known(root: Path) -> Writer | None:
    """The name under which the files of the lake in `root` are uploaded; None when none ever was. Raises OSError."""
    try:
        return whole_file.read(root / FILE, Writer)
    except msgspec.DecodeError as error:
        raise OSError(f"{root / FILE} makes no sense ({error}): nobody but hepswitch writes it") from error


def writer(root: Path, node: str | None) -> Writer:
    """The same; a lake that has no name yet gets `node`, or the host's. Raises OSError."""
    there = known(root)
    if there is None:
        there = Writer(node or host_name(), secrets.token_hex(16))
        journal.make_folder(root)
        whole_file.write(root / FILE, there)
        # It must not be lost with the power: with another id, the name would be somebody else's.
        with (root / FILE).open("rb") as file:
            os.fsync(file.fileno())
        parquet.sync(root)
    return there


def host_name() -> str:
    """This host's name as one of a node."""
    return re.sub(r"[^A-Za-z0-9_.]", "_", socket.gethostname()).lstrip("_.") or "node"


def claim(remote: Remote, writer: Writer, node: str | None) -> None:
    """Make sure that the name is ours, and the one that is asked for, if one is. Raises RemoteError."""
    if node not in (None, writer.node):
        raise RemoteError(
            f"the files of this lake are uploaded as {writer.node}, and would be there twice: write node = "
            f'"{writer.node}", or begin a lake in another folder'
        )
    path = f"nodes/{writer.node}.json"
    holder = _holder(remote, path)
    if holder is None:
        remote.write(path, msgspec.json.encode(Claim(writer.lake, socket.gethostname(), time.time())))
        # Of two that found nothing at the same moment one finds the other now, or the next time.
        holder = _holder(remote, path)
    if holder is None or holder.lake != writer.lake:
        raise RemoteError(
            f'{remote}: the name "{writer.node}" belongs to another lake{_of(holder)}: give this one another node = "…" '
            f"(should that lake be gone for good: delete {path} there)"
        )


def _holder(remote: Remote, path: str) -> Claim | None:
    content = remote.read(path)
    try:
        return None if content is None else msgspec.json.decode(content, type=Claim)
    except msgspec.DecodeError as error:
        raise RemoteError(f"{remote}: {path} makes no sense ({error}): look who wrote it") from error


def _of(holder: Claim | None) -> str:
    return f", on {holder.host} since {time.strftime('%Y-%m-%d', time.gmtime(holder.since))}" if holder else ""
