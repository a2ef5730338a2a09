"""Logging in: what a request shows (a token, or a user and a password), and whether it opens a guarded listener.

A token comes as `Authorization: Bearer TOKEN`, as the password of HTTP Basic (RFC 7617; whatever the user is called), or in
the URL of MI (`/mi?token=TOKEN`), for opensips-cli can say it nowhere else. A user comes as HTTP Basic: the browser asks,
and there are no cookies. A password costs a quarter of a second of CPU to try: so one is tried at a time, in a thread, and
one that fitted is remembered for minutes. A source of wrong ones waits longer from time to time: it holds up itself, and
never the event loop. Not here: the file of users (`control.users`), what a role may do (`control.access`).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from hashlib import blake2b
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final, NamedTuple
from urllib.parse import parse_qs

import structlog

from hepswitch.control.users import LONGEST, Hash, Role, User, Users
from hepswitch.control.visitor import LoggedIn
from hepswitch.control_table import ControlTable

log = structlog.get_logger("hepswitch.control")

REMEMBERED: Final = 300.0
"""Seconds for which a password that fitted is not tried again."""
MOST_REMEMBERED: Final = 256

FREE: Final = 3
"""Wrong attempts of a source that are answered at once; each further one waits twice as long."""
FIRST_WAIT: Final = 0.25
LONGEST_WAIT: Final = 4.0
FORGIVEN: Final = 600.0
"""Seconds after which the wrong attempts of a source are forgotten."""
MOST_WAITING: Final = 16
"""Requests of one source that wait; a browser opens six connections."""
MOST_SOURCES: Final = 1024

SHORT: Final = 16
"""Characters of a token that may be guessed: tokens are tried as fast as they come."""

MOST_SHOWN: Final = 4 * LONGEST
"""Characters of an Authorization header."""

WORDS = (
    "this switch wants a token or a user of its [control]: send Authorization: Bearer TOKEN, or user and password by HTTP "
    "Basic (hepswitch ctl: --token or --user), or ask /mi?token=TOKEN"
)


class LoginError(Exception):
    """Nobody is let in: `status` 401, or 429 when too many attempts wait. `shown`: whose name it was, None if there was
    no attempt at all."""

    def __init__(self, words: str, status: int = 401, shown: str | None = None) -> None:
        super().__init__(words)
        self.status = status
        self.shown = shown


class Shown(NamedTuple):
    """What a request shows: a token, or the password of a user."""

    secret: str
    user: str | None = None

    @property
    def name(self) -> str:
        """For the audit."""
        return "a token" if self.user is None else f"user {self.user}"


def shown(headers: Sequence[tuple[bytes, bytes]], path: str, query: bytes) -> Shown | None:
    """What the request shows; None: nothing. Raises LoginError for what cannot be read, or is there twice."""
    values = [value for name, value in headers if name == b"authorization"]
    tokens = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("token", []) if path == "/mi" else []
    if not values and not tokens:
        return None
    if len(values) + len(tokens) > 1:
        raise LoginError("Authorization is there more than once: show one token, or one password", shown="several")
    if tokens:
        return Shown(tokens[0])
    kind, _, said = values[0].decode("latin-1").partition(" ")
    said = said.strip()
    match kind.lower():
        case _ if len(said) > MOST_SHOWN:
            pass
        case "bearer":
            return Shown(said)
        case "basic":
            with contextlib.suppress(ValueError):  # no base64, or no text
                user, colon, password = base64.b64decode(said, validate=True).decode().partition(":")
                if colon:
                    return Shown(password, user)
    raise LoginError(WORDS, shown="what cannot be read")


class Logins:
    """Who shows what is let in as whom. `pause` waits so many seconds."""

    def __init__(
        self,
        token: str | None,
        read_token: str | None,
        users: Users | None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        tokens: list[tuple[str | None, str, Role]] = [(token, "token", "operate"), (read_token, "read token", "read")]
        self._tokens = [(secret.encode(), name, role) for secret, name, role in tokens if secret is not None]
        self._users = users
        self._trying = asyncio.Lock()
        self._remembered = _Remembered()
        self._sources = _Sources()
        self._pause = pause

    async def visitor(self, what: Shown | None, source: str) -> LoggedIn:
        """Who has shown `what`. Raises LoginError."""
        if what is None:
            raise LoginError(WORDS)
        if (known := self._known(what, source)) is not None:
            return known
        async with self._sources.turn(source, what.name) as waits:
            if self._users is not None and what.user is not None:
                if (known := self._known(what, source)) is not None:  # tried by who waited in front
                    return known
                user = await self._fitting(self._users, what.user, what.secret)
                if user is not None:
                    self._remembered.add(what, self._users.generation)
                    self._sources.forgive(source)
                    return _as(user, source)
            await self._pause(waits.next())
            raise LoginError(WORDS, shown=what.name)

    def _known(self, what: Shown, source: str) -> LoggedIn | None:
        """Who that is, as far as it can be said at once."""
        said = what.secret.encode()
        for token, name, role in self._tokens:
            if hmac.compare_digest(said, token):
                return LoggedIn(source, name, role)
        if self._users is not None and what.user is not None:
            user = self._users.now().get(what.user)
            if user is not None and self._remembered.has(what, self._users.generation):
                return _as(user, source)
        return None

    async def _fitting(self, users: Users, name: str, password: str) -> User | None:
        """The user of that name if it is the password; it takes as long when there is no such user."""
        if len(password.encode()) > LONGEST:
            return None
        user = users.now().get(name)
        async with self._trying:
            fits = await asyncio.to_thread((NOBODY if user is None else user.hash).fits, password)
        return user if fits else None


def logins_of(table: ControlTable) -> Logins | None:
    """What `[control]` asks for; None: nothing."""
    if not table.guarded:
        return None
    token, read_token = (
        None if secret is None else secret.get_secret_value() for secret in (table.token, table.read_token)
    )
    for name, secret in (("token", token), ("read_token", read_token)):
        if secret is not None and len(secret) < SHORT and not all(each.is_local for each in table.listeners):
            log.warning(
                "a token that can be guessed", key=f"control.{name}", hint="openssl rand -hex 24 makes a better one"
            )
    return Logins(token, read_token, None if table.users is None else Users(table.users))


NOBODY: Final = Hash(15, 8, 3, secrets.token_bytes(16), secrets.token_bytes(32))
"""What no password fits."""


def _as(user: User, source: str) -> LoggedIn:
    return LoggedIn(source, f"user {user.name}", user.role, user.name)


class _Remembered:
    """Passwords that fitted, as hashes with a key that only this process has: its memory shows none of them."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._until: OrderedDict[bytes, float] = OrderedDict()
        self._generation = 0

    def has(self, what: Shown, generation: int) -> bool:
        """Whether it fitted minutes ago, and the file of users is the same as then."""
        if generation != self._generation:
            self._until.clear()
            self._generation = generation
        return self._until.get(self._hash(what), 0.0) > time.monotonic()

    def add(self, what: Shown, generation: int) -> None:
        """It has fitted. The oldest gives way."""
        if generation == self._generation:
            self._until[self._hash(what)] = time.monotonic() + REMEMBERED
            if len(self._until) > MOST_REMEMBERED:
                self._until.popitem(last=False)

    def _hash(self, what: Shown) -> bytes:
        return blake2b(f"{what.user}\0{what.secret}".encode(), key=self._key, digest_size=32).digest()


class _Source:
    """One source of attempts that went wrong, or wait."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting = 0
        self.wrong = 0
        self.last = 0.0

    def next(self) -> float:
        """One more was wrong: seconds to wait for it."""
        now = time.monotonic()
        if now - self.last > FORGIVEN:
            self.wrong = 0
        self.wrong, self.last = self.wrong + 1, now
        doubled = min(self.wrong - FREE, 16)
        return min(FIRST_WAIT * 2.0 ** (doubled - 1), LONGEST_WAIT) if doubled > 0 else 0.0


class _Sources:
    """The latest of them."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Source] = OrderedDict()

    @contextlib.asynccontextmanager
    async def turn(self, source: str, shown: str) -> AsyncIterator[_Source]:
        """One at a time of each source. Raises LoginError (429) when too many wait."""
        known = self._of(_network(source))
        if known.waiting >= MOST_WAITING:
            raise LoginError("too many attempts to log in are waiting: try again in some seconds", 429, shown)
        known.waiting += 1
        try:
            async with known.lock:
                yield known
        finally:
            known.waiting -= 1

    def forgive(self, source: str) -> None:
        """Somebody there knows the password."""
        self._of(_network(source)).wrong = 0

    def _of(self, source: str) -> _Source:
        known = self._known.setdefault(source, _Source())
        self._known.move_to_end(source)
        if len(self._known) > MOST_SOURCES:
            for old in self._idle():
                del self._known[old]
                break
        return known

    def _idle(self) -> Iterator[str]:
        return (name for name, source in self._known.items() if not source.waiting)


def _network(source: str) -> str:
    """Whom an address belongs to: of IPv6 everybody has a /64."""
    try:
        address = ip_address(source)
    except ValueError:
        return source
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(ip_network((int(address), 64), strict=False))
    return source
