"""The remote part of a lake as a reader sees it: which files there are now, and that all that is needed to ask them is here.

Listings hold for a few seconds: one question looks several times. A storage that is away, and a file that it does not give,
leave the rest of the answer as it is, and the question is told, in words. Not here: which files count beside those of the
folder (`snapshot`), what a storage is (`remote`).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from hepswitch.lake import writer
from hepswitch.lake.layout import LakeFile
from hepswitch.lake.ranges import PATIENCE, Ranges
from hepswitch.lake.reader import LEFT_OUT
from hepswitch.lake.remote import Remote, RemoteError, RemoteFile, counting
from hepswitch.lake.tails import Tails, tails_of
from hepswitch.tables import revealed

if TYPE_CHECKING:
    from hepswitch.destinations.lake import LakeStore
    from hepswitch.lake.object_files import ObjectFiles

NEVER = float("-inf")

LISTED = 20.0
"""Seconds that a listing holds."""

AWAY = 30.0
"""Seconds for which a storage that is away, or a file that it does not give, is not asked again."""

MANY = 500
"""Files whose ends are fetched before it is worth a word."""

HEAVY = 1 << 30
"""Bytes to be looked through that are worth a word."""

NOTHING = "nothing is there: nothing was uploaded yet, or it is another place"

NEEDED = "the remote part of a lake is read through fsspec, which is not installed: pip install 'hepswitch[s3]'"


class RemotePart:
    """`remote` beside the lake in the folder `root`; None: beside nothing.

    `warn` is told what is missing from an answer, `tell` what takes its time. Raises OSError when fsspec is missing; asked
    beside nothing, RemoteError when the storage is away.
    """

    def __init__(
        self,
        remote: Remote,
        root: Path | None,
        warn: Callable[[str], None],
        tell: Callable[[str], None] = lambda _: None,
        patience: float = PATIENCE,
    ) -> None:
        self.remote = remote
        self._root = root
        self._warn = warn
        self._tell = tell
        self._ranges = Ranges(remote, patience)
        self._tails = Tails(tails_of(root), str(remote), self._ranges)
        self.opened = _opened(self._ranges, self._tails)
        """The files as DuckDB reads them."""
        self._dates: tuple[float, list[int]] = NEVER, []
        self._listings: dict[tuple[int, ...], tuple[float, list[RemoteFile]]] = {}
        self._near: set[LakeFile] = set()
        self._away: tuple[float, str] | None = None
        self._left_out: dict[str, tuple[float, str]] = {}
        self._said: set[str] = set()

    @classmethod
    def of(
        cls, store: LakeStore, warn: Callable[[str], None], tell: Callable[[str], None] = lambda _: None
    ) -> RemotePart | None:
        """That of a store; None when it has none."""
        if store.remote is None:
            return None
        remote = Remote.parse(store.remote, revealed(store.access_key), revealed(store.secret_key), PATIENCE / 2)
        return cls(remote, store.path, warn, tell)

    def __str__(self) -> str:
        return str(self.remote)

    @property
    def node(self) -> str | None:
        """The name that the folder's own files have there; None when none was uploaded."""
        there = None if self._root is None else writer.known(self._root)
        return None if there is None else there.node

    def begin(self) -> None:
        """A question begins, and has not been told anything."""
        self._said.clear()
        self._ranges.begin()

    def call_off(self) -> None:
        """Let whoever waits for the storage give up, from any thread: CalledOffError."""
        self._ranges.call_off()

    def files(self, wanted: Callable[[int], bool], near: Sequence[LakeFile]) -> list[RemoteFile]:
        """The files that count of the hours that are `wanted`, beside those of the folder, which were listed before."""
        if self._is_away():
            return []
        try:
            found = self._listed(wanted, set(near))
        except OSError as error:
            self._went_away(error)
            return []
        return [file for file in found if not self._is_left_out(file.path)]

    def is_ready(self, files: Sequence[RemoteFile]) -> bool:
        """Fetch what is needed to ask these files. False when they are to be listed again, for some are not as they were."""
        try:
            failed = self._tails.fetch(files, self._begun)
        except OSError as error:
            self._went_away(error)
            return not files
        return not self._failed(failed)

    def holding(self, files: Sequence[RemoteFile], needles: Sequence[bytes] | None) -> list[RemoteFile]:
        """Those of the files in which a packet may be of one of these calls; None: of whatever call."""
        if needles is not None:
            return [file for file in files if self._tails.may_hold(file, needles)]
        if (size := sum(file.size for file in files)) >= HEAVY:
            self._tell(f"{self}: {len(files)} files of {size / (1 << 30):.1f} GiB; a later --since makes them fewer")
        return list(files)

    def failed(self) -> bool:
        """Whether something that DuckDB wanted could not be read: then all is to be listed again. Raises CalledOffError."""
        self._ranges.check()
        return self._failed(self.opened.failed)

    def break_off(self, error: Exception) -> None:
        """Raise RemoteError when it is because of the storage that an answer that has begun does not go on."""
        for why in self.opened.failed.values():
            raise RemoteError(f"the answer broke off: {why}") from error

    def leave_out_damaged(self, files: Sequence[RemoteFile]) -> bool:
        """Find those of the files that cannot be understood, and do without them for a while; False when all can."""
        from hepswitch.lake.parquet import MAGIC, is_readable

        damaged = [file for file in files if self.opened.read(file, file.size - len(MAGIC), len(MAGIC)) != MAGIC]
        if not damaged:
            # Reading a file to its end takes its time: of those that are far away, only what was looked into.
            near = [file for file in files if file.path in self.opened.touched or self._tails.hold_all_of(file)]
            damaged = [file for file in near if not is_readable(cast("BinaryIO", self.opened.stream(file)))]
        if self.failed():
            return True
        for file in damaged:
            self._leave_out(file.path, LEFT_OUT)
            self._tails.forget(file)
        return bool(damaged)

    def look_again(self) -> None:
        """What was listed does not hold any more."""
        self._dates = NEVER, []
        self._listings.clear()
        self._near.clear()

    def _failed(self, failed: dict[str, OSError]) -> bool:
        if any(isinstance(error, FileNotFoundError) for error in failed.values()):
            # Merged, or deleted for its age: its node has moved on.
            self.look_again()
            return True
        if failed:
            try:
                self._ranges.call(self.remote.dates)
            except OSError as error:
                self._went_away(error)
            else:  # it is these files, then
                for path, why in failed.items():
                    self._leave_out(path, f"{LEFT_OUT}: {why}")
        return bool(failed)

    def _listed(self, wanted: Callable[[int], bool], near: set[LakeFile]) -> list[RemoteFile]:
        # What has gone from the folder since something was listed may have been uploaded in between.
        if any(wanted(file.hour) for file in self._near - near):
            self.look_again()
        self._near |= near
        now = time.monotonic()
        if self._dates[0] + LISTED < now:
            self._dates = now, self._ranges.call(self.remote.dates)
        if not self._dates[1] and self._root is None:
            self.say(f"{self}: {NOTHING}")
        self._listings = {some: each for some, each in self._listings.items() if each[0] + LISTED >= now}
        hours = [tuple(hour for hour in range(date, date + 24) if wanted(hour)) for date in self._dates[1]]
        calls = {
            some: functools.partial(self.remote.of_date, some) for some in hours if some and some not in self._listings
        }
        for some, answer in self._ranges.call_many(calls):
            if isinstance(answer, OSError):
                raise answer
            self._listings[some] = now, answer
        return counting(file for some in hours if some for file in self._listings[some][1])

    def _begun(self, count: int) -> None:
        if count >= MANY:
            self._tell(f"{self}: asking {count} files for the first time; a --since makes them fewer")

    def _is_away(self) -> bool:
        if self._away is None or self._away[0] < time.monotonic():
            self._away = None
            return False
        self.say(self._away[1])
        return True

    def _went_away(self, error: OSError) -> None:
        if self._root is None:  # there is no other part
            raise RemoteError(str(error)) from error
        self._away = time.monotonic() + AWAY, f"what is remote is missing from this answer: {error}"
        self.look_again()
        self.say(self._away[1])

    def _leave_out(self, path: str, why: str) -> None:
        self._left_out[path] = time.monotonic() + AWAY, f"{path}: {why}"

    def _is_left_out(self, path: str) -> bool:
        until, why = self._left_out.get(path, (0.0, ""))
        if until < time.monotonic():
            self._left_out.pop(path, None)
            return False
        self.say(why)
        return True

    def say(self, words: str) -> None:
        """Tell the question what is missing, once."""
        if words not in self._said:
            self._said.add(words)
            self._warn(words)


def _opened(ranges: Ranges, tails: Tails) -> ObjectFiles:
    try:
        from hepswitch.lake.object_files import ObjectFiles
    except ModuleNotFoundError as error:
        if error.name != "fsspec":
            raise
        raise OSError(NEEDED) from None
    return ObjectFiles(ranges, tails)
