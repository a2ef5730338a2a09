"""A question → its answer, in a reader process: which store is asked, and what goes out.

Not here: the process and its line (`process`), each kind of question (`finding`, `ladders`, `export`).
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

import duckdb
from msgspec.json import encode

from hepswitch.databases.reading import DatabaseReader, StoreError
from hepswitch.destinations.databases import DatabaseStore
from hepswitch.destinations.lake import LakeStore
from hepswitch.destinations.stores import kind_of
from hepswitch.lake.reader import Reader, UnknownCallError
from hepswitch.lake.snapshot import LakeBusyError
from hepswitch.lake.warm import WarmLake
from hepswitch.queries import export, finding, ladders
from hepswitch.queries.answers import Refusal, Store, StoreList
from hepswitch.queries.line import Head
from hepswitch.queries.questions import Call, Calls, Export, Message, Messages, Question, Rate, Stores
from hepswitch.queries.selection import WrongQuestionError

if TYPE_CHECKING:
    from hepswitch.lake.remote_part import RemotePart


class Out(Protocol):
    """Where an answer goes."""

    begun: bool

    def begin(self, head: Head) -> None:
        """Say what comes."""

    def write(self, octets: bytes) -> object:
        """Some of it."""


class Asking:
    """The stores by name, the first one by default. `memory`: bytes that their readers may take."""

    def __init__(self, stores: Mapping[str, LakeStore | DatabaseStore], memory: int) -> None:
        self._stores = stores
        self._memory = memory
        self._lakes: dict[Path, WarmLake] = {}
        self._warnings: list[str] = []

    def answer(self, question: Question, out: Out) -> None:
        """Write the answer: an error with words, where there is none. MemoryError and KeyboardInterrupt are the caller's."""
        self._warnings = []
        try:
            self._answer(question, out)
        except UnknownCallError as error:
            refuse(out, 404, str(error))
        except StoreError as error:
            refuse(out, 503, str(error))
        except (FileNotFoundError, LakeBusyError) as error:
            refuse(out, 503, str(error))
        except duckdb.OutOfMemoryException as error:
            raise MemoryError from error
        except WrongQuestionError as error:
            refuse(out, 400, str(error))

    def interrupt(self) -> None:
        """Let lakes give up what they are asked, from another thread. Databases look for signals themselves."""
        for lake in list(self._lakes.values()):
            lake.interrupt()

    def _answer(self, question: Question, out: Out) -> None:
        if isinstance(question, Stores):
            first = next(iter(self._stores), None)
            _tell(out, StoreList([Store(name, kind_of(each), name == first) for name, each in self._stores.items()]))
            return
        with self._reader(question.store) as reader:
            match question:
                case Calls():
                    _tell(out, finding.calls(reader, question, self._warnings))
                case Messages():
                    _tell(out, finding.messages(reader, question, self._warnings))
                case Rate():
                    _tell(out, finding.rate(reader, question, self._warnings))
                case Call():
                    _tell(out, ladders.call(reader, question, self._warnings))
                case Message():
                    self._message(reader, question, out)
                case Export():
                    rows = ladders.rows_of(reader, question.call_id, question.legs)
                    first_row = next(rows)  # there is one, or the call is unknown; now the head may go
                    out.begin(export.head(question))
                    export.write(cast("BinaryIO", out), itertools.chain([first_row], rows), question.format)

    def _message(self, reader: Reader, question: Message, out: Out) -> None:
        row = ladders.message(reader, question)
        if question.format == "json":
            _tell(out, ladders.whole_message(row))
            return
        out.begin(Head(200, "application/octet-stream", f"{export.file_name(question.call_id)}.bin"))
        out.write(row["payload"] or b"")

    @contextlib.contextmanager
    def _reader(self, name: str | None) -> Iterator[Reader]:
        if not self._stores:
            raise UnknownCallError("no store of this switch can be searched: packets only pass through it")
        if name is None:
            name = next(iter(self._stores))
        if name not in self._stores:
            known = ", ".join(self._stores)
            raise UnknownCallError(f"there is no store {name!r} that can be searched; these can: {known}")
        store = self._stores[name]
        if isinstance(store, DatabaseStore):
            with DatabaseReader(name, store, self._warn) as reader:
                yield reader
            return
        if store.path not in self._lakes:
            memory = self._memory // sum(isinstance(each, LakeStore) for each in self._stores.values())
            self._lakes[store.path] = WarmLake(store.path, memory, self._warn, self._remote(store))
        lake = self._lakes[store.path]
        lake.place = f"store {name}"
        lake.begin()
        yield lake

    def _remote(self, store: LakeStore) -> RemotePart | None:
        if store.remote is None:
            return None
        # Late: it loads Arrow's file systems.
        from hepswitch.lake.remote_part import RemotePart

        return RemotePart.of(store, self._warn)

    def _warn(self, words: str) -> None:
        self._warnings.append(words)


def refuse(out: Out, status: int, words: str) -> None:
    """Answer with words why there is no answer. What has begun cannot be taken back: then it breaks off."""
    if out.begun:
        raise BrokenError(words)
    out.begin(Head(status))
    out.write(encode(Refusal(words)))


class BrokenError(Exception):
    """The answer cannot go on; says why."""


def _tell(out: Out, answer: object) -> None:
    out.begin(Head())
    out.write(encode(answer))
