"""The file of users: who may log in, in which role. One user a line, `#` begins a comment:

    alice:operate:scrypt$ln=15,r=8,p=3$SALT$KEY

A password is kept as its scrypt key (RFC 7914), SALT and KEY in base64, the costs in the line, so that they may rise without
anybody's password being asked again. Not here: how a password comes (`control.logins`), the command (`cli.user`).
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import hmac
import os
import re
import secrets
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple, get_args

import structlog

from hepswitch.logs import words

log = structlog.get_logger("hepswitch.control")

Role = Literal["read", "operate"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}")
SHORTEST = 8
LONGEST = 1024
"""Characters of a password that is set, and bytes of one that is tried."""

MOST_MEMORY = 64 << 20
"""Bytes for one scrypt: a line that asks for more is a mistake, or somebody's attempt to have the memory of the switch."""
MOST_BYTES = 1 << 20
"""Of the file."""
UNREADABLE = "surrogateescape"
"""What is no UTF-8 is no user, but comes back as it was when another line is changed."""

_SCRYPT = re.compile(r"scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+)")


class Hash(NamedTuple):
    """A password's scrypt key with what it was made with: N is `1 << ln`."""

    ln: int
    r: int
    p: int
    salt: bytes
    key: bytes

    @classmethod
    def of(cls, password: str) -> Hash:
        """A new one, with the costs of today: 32 MiB, about a quarter of a second."""
        blank = cls(15, 8, 3, secrets.token_bytes(16), bytes(32))
        return blank._replace(key=blank._derived(password))

    @classmethod
    def parse(cls, text: str) -> Hash:
        """From its text. Raises ValueError."""
        found = _SCRYPT.fullmatch(text)
        if found is None:
            raise ValueError("the third field is no scrypt$ln=…,r=…,p=…$SALT$KEY")
        ln, r, p = (int(number) for number in found.group(1, 2, 3))
        if not (1 <= ln <= 20 and 1 <= r <= 32 and 1 <= p <= 16) or 128 * r << ln > MOST_MEMORY:
            raise ValueError(f"ln={ln},r={r},p={p} are costs that are not taken: {MOST_MEMORY >> 20} MiB are the most")
        try:
            salt, key = (base64.b64decode(each, validate=True) for each in found.group(4, 5))
        except ValueError as error:
            raise ValueError(f"salt or key are not base64: {error}") from None
        if len(salt) < 8 or not 16 <= len(key) <= 64:
            raise ValueError("a salt has 8 bytes at least, a key 16 to 64")
        return cls(ln, r, p, salt, key)

    def fits(self, password: str) -> bool:
        """Whether it is the password's. Takes long on purpose."""
        return hmac.compare_digest(self._derived(password), self.key)

    def _derived(self, password: str) -> bytes:
        # Whoever types ü, on whatever system: one text (RFC 8265, OpaqueString).
        data = unicodedata.normalize("NFC", password).encode()
        return hashlib.scrypt(
            data,
            salt=self.salt,
            n=1 << self.ln,
            r=self.r,
            p=self.p,
            maxmem=MOST_MEMORY + (1 << 20),
            dklen=len(self.key),
        )

    def __str__(self) -> str:
        salt, key = (base64.b64encode(each).decode() for each in (self.salt, self.key))
        return f"scrypt$ln={self.ln},r={self.r},p={self.p}${salt}${key}"


class User(NamedTuple):
    """Somebody who may log in."""

    name: str
    role: Role
    hash: Hash

    @classmethod
    def parse(cls, line: str) -> User:
        """From a line. Raises ValueError, without what might be a secret."""
        name, _, rest = line.partition(":")
        role, _, text = rest.partition(":")
        if not NAME.fullmatch(name):
            raise ValueError("no user: a line is NAME:ROLE:scrypt$… (hepswitch user add NAME writes it)")
        for known in ROLES:
            if role == known:
                return cls(name, known, Hash.parse(text))
        raise ValueError(f"the role of {name} is none: write {' or '.join(ROLES)}")

    def __str__(self) -> str:
        return f"{self.name}:{self.role}:{self.hash}"


class UsersError(Exception):
    """The file cannot be used as it is: one line for each mistake."""


class Users:
    """The users of the file `path` as it is at the moment."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] | None = None
        self._users: dict[str, User] = {}
        self.generation = 0
        """Grows whenever the file was read again."""

    def check(self) -> None:
        """Raises UsersError naming every mistake. What can be used and is not good is logged."""
        text, state = _read(self._path)
        _, mistakes = _parse(self._path, text)
        if mistakes:
            raise UsersError("\n".join(mistakes))
        if state.st_mode & stat.S_IROTH:
            log.warning(
                "the file of users can be read by everybody on this machine", file=str(self._path), hint="chmod o-r"
            )

    def now(self) -> dict[str, User]:
        """The users by name. A file that has become wrong opens to those alone whose lines can be read: who was taken out
        stays out."""
        try:
            state = self._path.stat()
            seen: tuple[int, ...] = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        except OSError:
            seen = ()
        if seen != self._seen:
            self._seen = seen
            self._read()
        return self._users

    def _read(self) -> None:
        try:
            text, _ = _read(self._path)
            self._users, mistakes = _parse(self._path, text)
        except UsersError as error:
            self._users, mistakes = {}, [str(error)]
        self.generation += 1
        if mistakes:
            log.error("the file of users has mistakes: whom they concern cannot log in", errors=mistakes)
        else:
            log.info("users read", file=str(self._path), users=len(self._users))


def _read(path: Path) -> tuple[str, os.stat_result]:
    """The text of the file, and its state. Raises UsersError."""
    try:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            if state.st_mode & stat.S_IWOTH:
                raise UsersError(f"{path}: everybody on this machine may write to it, and so log in: chmod 600 {path}")
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsersError(f"{path}: {error.strerror}: hepswitch user add NAME --file {path} makes it") from error
    if len(data) > MOST_BYTES:
        raise UsersError(f"{path}: more than {MOST_BYTES} bytes are no file of users")
    return data.decode(errors=UNREADABLE), state


def _parse(path: Path, text: str) -> tuple[dict[str, User], list[str]]:
    """The users, and what is wrong with the other lines."""
    users: dict[str, User] = {}
    mistakes = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            user = User.parse(line.strip())
        except ValueError as error:
            mistakes.append(f"{path}:{number}: {error}")
            continue
        if user.name in users:
            mistakes.append(f"{path}:{number}: {user.name} is there already")
        users.setdefault(user.name, user)
    return users, mistakes


# ── changes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def check_password(password: str) -> None:
    """Raises ValueError when it may not be somebody's password."""
    if len(password) < SHORTEST:
        raise ValueError(f"a password has {SHORTEST} characters at least")
    if len(password.encode(errors="replace")) > LONGEST:
        raise ValueError(f"a password has {LONGEST} bytes at most")


def put(path: Path, user: User) -> bool:
    """Write `user` into the file, which is made if need be. True: the name was there before. Raises UsersError."""
    with _changed(path) as lines:
        place = _place(lines, user.name)
        if place is None:
            lines.append(str(user))
        else:
            lines[place] = str(user)
        return place is not None


def remove(path: Path, name: str) -> bool:
    """Take a user out of the file; False when there is none of that name. Raises UsersError."""
    with _changed(path) as lines:
        place = _place(lines, name)
        if place is not None:
            del lines[place]
        return place is not None


def users_in(path: Path) -> list[User]:
    """The users of the file, in its order. Raises UsersError naming every mistake."""
    users, mistakes = _parse(path, _read(path)[0])
    if mistakes:
        raise UsersError("\n".join(mistakes))
    return list(users.values())


def _place(lines: list[str], name: str) -> int | None:
    return next((number for number, line in enumerate(lines) if line.strip().partition(":")[0] == name), None)


@contextlib.contextmanager
def _changed(path: Path) -> Iterator[list[str]]:
    """The lines of the file, to be changed; they replace the file at once, or not at all. Raises UsersError."""
    path = path.resolve()  # of a link the file is replaced, not the link
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)  # two commands at a time: none of the two changes is lost
            text, state = _read(path) if path.exists() else ("", None)
            lines = text.splitlines()
            yield lines
            if lines != text.splitlines():
                _replace(path, "".join(f"{line}\n" for line in lines), state)
                os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise UsersError(words(error)) from error


def _replace(path: Path, text: str, state: os.stat_result | None) -> None:
    """Mode 0600 for a new file; one that is there keeps its owner (the switch must be able to read it) and mode."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            if state is not None:
                os.fchown(fd, state.st_uid, state.st_gid)
                os.fchmod(fd, stat.S_IMODE(state.st_mode))
            file.write(text.encode(errors=UNREADABLE))
            file.flush()
            os.fsync(fd)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
