"""Who asks: everything that a request may do follows from its visitor, and the audit names it.

Not here: how a visitor is recognised (`control.logins`, `control.access`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextvars import ContextVar
from functools import cached_property

from hepswitch.control.origin import check_local, user_name
from hepswitch.control.refusal import RefusedError
from hepswitch.control.users import Role


class Visitor(ABC):
    """`source`: where from, an address or "unix". `user`: the name of who logged in; None for everybody else."""

    def __init__(self, source: str, user: str | None = None) -> None:
        self.source = source
        self.user = user

    @property
    @abstractmethod
    def who(self) -> str:
        """For the audit: "user alice", "token", "uid 1000 (bob)"."""

    @property
    @abstractmethod
    def role(self) -> Role:
        """What is allowed."""

    @abstractmethod
    def check(self, role: Role) -> None:
        """Raises RefusedError (403) when what wants this role is not allowed."""


class LoggedIn(Visitor):
    """Somebody who has shown a token or a password: `shown` says which."""

    def __init__(self, source: str, shown: str, role: Role, user: str | None = None) -> None:
        super().__init__(source, user)
        self._shown = shown
        self._role = role

    @property
    def who(self) -> str:
        return self._shown

    @property
    def role(self) -> Role:
        return self._role

    def check(self, role: Role) -> None:
        if role == "operate" and self._role != "operate":
            raise RefusedError(f"changes and MI need the role operate; {self._shown} may read only", 403)


class OfThisMachine(Visitor):
    """Somebody at a listener that asks nobody: who it is only the kernel knows. `uid` asks it, when it matters."""

    def __init__(self, source: str, reached: str | None, uid: Callable[[], int | None]) -> None:
        super().__init__(source)
        self._reached = reached
        self._ask = uid

    @cached_property
    def _uid(self) -> int | None:
        return self._ask()

    @property
    def who(self) -> str:
        return "unseen" if self._uid is None else f"uid {self._uid} ({user_name(self._uid)})"

    @property
    def role(self) -> Role:
        try:
            self.check("operate")
        except RefusedError:
            return "read"
        return "operate"

    def check(self, role: Role) -> None:
        if role == "operate":
            check_local(self._reached, self._uid)


VISITOR: ContextVar[Visitor] = ContextVar("visitor")
"""Of the request that is being answered."""
