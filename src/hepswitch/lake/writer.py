"""Whose files these are: the name under which a lake's files are uploaded, and which lake has it.

The folder remembers the name that it began with, and an id drawn by chance; PREFIX/nodes/NODE.json on the storage says
which id the name belongs to. So two nodes that are called the same by mistake do not write over each other's files, and a
host that is given another name does not upload all again. It says how far the lake has come, too: a folder that is behind is
an older copy, in whose files other packets have the same numbers. Not here: uploading (`uploader`).
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from hepswitch import journal
from hepswitch.destinations import whole_file
from hepswitch.lake import layout, parquet
from hepswitch.lake.remote import Remote, RemoteError

FILE = "writer"


class Writer(msgspec.Struct, frozen=True):
    """`node` is the name, `lake` the id of the folder whose files have it."""

    node: str
    lake: str


class Claim(msgspec.Struct, frozen=True):
    """What the storage says about a name; `host` and `since` (Unix time) are for people. `sealed` is the highest segment of
    each worker that was in a file."""

    lake: str
    host: str
    since: float
    sealed: dict[int, int] = msgspec.field(default_factory=dict)


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
        there = _remembered(root, node or host_name())
    return there


def _remembered(root: Path, node: str) -> Writer:
    """The name, with a new id."""
    new = Writer(node, secrets.token_hex(16))
    journal.make_folder(root)
    whole_file.write(root / FILE, new)
    # It must not be lost with the power: with another id, the name would be somebody else's.
    with (root / FILE).open("rb") as file:
        os.fsync(file.fileno())
    parquet.sync(root)
    return new


def host_name() -> str:
    """This host's name as one of a node."""
    return re.sub(r"[^A-Za-z0-9_.]", "_", socket.gethostname()).lstrip("_.") or "node"


def claim(remote: Remote, root: Path, node: str | None, sealed: Mapping[int, int]) -> None:
    """Make sure that the name is ours, and the one that is asked for, if one is.

    `sealed` is the highest segment of each worker that is in a file. Raises OSError, RemoteError when it is not ours.
    """
    ours = writer(root, node)
    if node not in (None, ours.node):
        raise RemoteError(
            f"the files of this lake are uploaded as {ours.node}, and would be there twice: write node = "
            f'"{ours.node}", or begin a lake in another folder'
        )
    path = f"nodes/{ours.node}.json"
    holder = _holder(remote, path)
    if holder is None:
        new = Claim(ours.lake, socket.gethostname(), time.time(), dict(sealed))
        remote.write(path, msgspec.json.encode(new))
        # Of two that found nothing at the same moment one finds the other now, or the next time.
        holder = _holder(remote, path)
    if holder is None or holder.lake != ours.lake:
        raise RemoteError(
            f'{remote}: the name "{ours.node}" belongs to another lake{_of(holder)}: give this one another node = "…"'
        )
    if _is_behind(root, sealed, holder.sealed):
        # For good: once the numbers have grown so far, it would not be seen any more.
        _remembered(root, ours.node)
        raise RemoteError(
            f'{remote}: "{ours.node}" has come further there than this folder, which is a copy of it, or came from a '
            'backup: begin a lake in another folder, with another node = "…"'
        )
    furthest = holder.sealed | {worker: max(last, holder.sealed.get(worker, 0)) for worker, last in sealed.items()}
    if furthest != holder.sealed:
        remote.write(path, msgspec.json.encode(msgspec.structs.replace(holder, sealed=furthest)))


def _is_behind(root: Path, sealed: Mapping[int, int], furthest: Mapping[int, int]) -> bool:
    """True when the next files of some worker would have numbers that there have been."""
    reached = dict(sealed)
    for worker, folder in layout.journals(root):
        numbers = [segment.number for segment in journal.segments(folder)]
        reached[worker] = max([reached.get(worker, 0), *numbers])
    return any(last > reached[worker] for worker, last in furthest.items() if worker in reached)


def _holder(remote: Remote, path: str) -> Claim | None:
    content = remote.read(path)
    try:
        return None if content is None else msgspec.json.decode(content, type=Claim)
    except msgspec.DecodeError as error:
        raise RemoteError(f"{remote}: {path} makes no sense ({error}): look who wrote it") from error


def _of(holder: Claim | None) -> str:
    return f", on {holder.host} since {time.strftime('%Y-%m-%d', time.gmtime(holder.since))}" if holder else ""
