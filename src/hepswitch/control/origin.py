"""Who may ask for a change: programs of root and of the switch's own user on this machine, or, with a token, whoever shows
it; but not a web page that somebody happens to look at.

A browser sends what foreign pages tell it to. It does so freely only for what a form can send, so a change has to come as
application/json, which a browser asks about first (and nobody here answers). A page whose own name was made to point here
(DNS rebinding) needs no asking, but its name is in Host; and what a browser sends names the page in Origin. Not here: who
reaches the listener at all (`[control] listen`), who shows its token (`control.token`).
"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Container, Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from hepswitch.control.refusal import RefusedError


def check(
    headers: Mapping[str, str], configured: str, reached: str | None, *, guarded: bool, user: int | None = None
) -> None:
    """Let a request pass that changes the switch. Raises RefusedError.

    `configured` is the host of `[control] listen`, `reached` the address of this machine that the request came to. Unless a
    token guards the listener, that has to be one of loopback (what comes from elsewhere anybody may have sent), and `user`,
    whose program asks, root or the one of the switch: others on this machine may not write files as the switch can.
    """
    if not guarded and not _is_loopback(reached or ""):
        raise RefusedError(
            f"changes and MI at {reached} need a token: set [control] token in the configuration and restart", 403
        )
    if not guarded and user not in (0, os.geteuid()):
        owners = " and ".join(dict.fromkeys(("root", _name(os.geteuid()))))
        raise RefusedError(
            f"changes and MI are for {owners}, as whom the switch runs, not for {_name(user)}: ask with sudo, or set "
            "[control] token in the configuration, restart and show it",
            403,
        )
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RefusedError("a change has to come with Content-Type: application/json", 403)
    host, page = headers.get("host", ""), headers.get("origin")
    ours = {"localhost", configured.lower(), reached, socket.gethostname().lower(), socket.getfqdn().lower()}
    if not _named(host, ours):
        names = f"{configured}, localhost, this machine's name or address"
        raise RefusedError(f"Host is {host!r}: a change has to be asked for at {names}", 403)
    try:
        foreign = page is not None and urlsplit(page).netloc != host
    except ValueError as error:
        raise RefusedError(f"Origin {page!r} cannot be read: {error}", 403) from error
    if foreign:
        raise RefusedError(f"Origin is {page!r}: a foreign page may not change the switch", 403)


def check_reader(headers: Mapping[str, str], configured: str) -> None:
    """Let a request pass that only reads. What listens on loopback alone answers to loopback's names alone."""
    host = headers.get("host", "")
    if _is_loopback(configured) and not _named(host, {"localhost"}):
        raise RefusedError(f"Host is {host!r}: this listener answers to localhost and to loopback addresses", 403)


def _named(host: str, ours: Container[str | None]) -> bool:
    """Is the machine that Host names one of ours, or loopback?"""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name in ours or _is_loopback(name)


def _is_loopback(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _name(user: int | None) -> str:
    if user is None:
        return "a program that cannot be seen"
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"
