"""For tests of who is let in: users whose passwords cost nothing to try, requests byte by byte, guarded listeners."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from hepswitch.control.users import Hash, Role, User
from hepswitch.control_table import ControlTable

TOKEN = "s3cret:+x"
READ_TOKEN = "r3ad-only"
PASSWORD = "correct horse"


NOBODY = Hash(1, 1, 1, b"saltsalt", bytes(32))
"""In place of `logins.NOBODY`, which takes a quarter of a second."""


def user(name: str, role: Role, password: str = PASSWORD) -> User:
    """A user whose password is tried in no time."""
    return User(name, role, NOBODY._replace(key=NOBODY._derived(password)))


def guarded_table(folder: Path, *users: User, **more: Any) -> ControlTable:
    """A token, a token to read, and `users` in the file "users"."""
    file = folder / "users"
    file.touch(0o600)
    file.write_text("".join(f"{each}\n" for each in users))
    said = {"listen": "127.0.0.1:0", "token": TOKEN, "read_token": READ_TOKEN, "users": file}
    return ControlTable.model_validate(said | more)


def basic(name: str, password: str) -> str:
    """The value of Authorization."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def bearer(token: str) -> str:
    """The value of Authorization."""
    return f"Bearer {token}"


class Answer(NamedTuple):
    """Status, head and body of an answer; status 0: the connection was closed without one."""

    status: int
    head: str
    body: bytes

    @property
    def error(self) -> str:
        """What the switch said was wrong."""
        return str(json.loads(self.body)["error"])


async def exchange(url: str, request: bytes) -> Answer:
    """Send `request` as it is, and read until the other side closes."""
    if url.startswith("unix:"):
        reader, writer = await asyncio.open_unix_connection(url.removeprefix("unix:"))
    else:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(request)
        said = await reader.read()
    except ConnectionResetError:
        said = b""
    finally:
        writer.close()
    head, _, body = said.partition(b"\r\n\r\n")
    return Answer(int(head.split()[1]) if head else 0, head.decode("latin-1"), body)


async def request(url: str, path: str, *headers: str, method: str = "GET", body: bytes = b"") -> Answer:
    """A request with header lines as they are."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    if body:
        lines += [f"Content-Length: {len(body)}", "Content-Type: application/json"]
    return await exchange(url, "\r\n".join([*lines, "", ""]).encode("latin-1") + body)
