"""Questions to stores for tests, answered in this process as a reader process does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hepswitch.destinations.databases import DatabaseStore
from hepswitch.destinations.lake import LakeStore
from hepswitch.queries.answering import Asking
from hepswitch.queries.line import Head
from hepswitch.queries.questions import Question

MEMORY = 256 << 20


class Written:
    """An answer in memory (`answering.Out`)."""

    def __init__(self) -> None:
        self.begun = False
        self.head = Head()
        self._body = bytearray()

    @property
    def body(self) -> bytes:
        return bytes(self._body)

    def begin(self, head: Head) -> None:
        assert not self.begun
        self.begun = True
        self.head = head

    def write(self, octets: bytes) -> int:
        assert self.begun
        self._body += octets
        return len(octets)


class Stores:
    """Stores that are asked."""

    def __init__(self, stores: Mapping[str, LakeStore | DatabaseStore]) -> None:
        self._asking = Asking(stores, MEMORY)

    def ask(self, question: Question) -> Written:
        out = Written()
        self._asking.answer(question, out)
        return out

    def told(self, question: Question, status: int = 200) -> dict[str, Any]:
        """The answer's JSON, which must have that status."""
        out = self.ask(question)
        assert out.head.status == status, out.body
        found: dict[str, Any] = json.loads(out.body)
        return found
