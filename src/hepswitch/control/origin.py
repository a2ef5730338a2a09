"""Whose page a request comes from: a switch does not obey, nor answer, a web page that somebody happens to look at. And who
of this machine may change it where nobody is asked for a password.

A browser sends what foreign pages tell it to, with the password that it knows. It does so freely only for what a form can
send, so a change has to come as application/json, which a browser asks about first (and nobody here answers). A page whose
own name was made to point here (DNS rebinding) needs no asking, but its name is in Host; and what a browser sends names the
page in Origin and Sec-Fetch-Site (www.w3.org/TR/fetch-metadata). Not here: who shows a token or a password
(`control.logins`), and when this is asked (`control.access`).
"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from hepswitch.control.refusal import RefusedError
from hepswitch.control_table import is_loopback

FOREIGN = {"cross-site", "same-site"}
"""Sec-Fetch-Site of another page's request; same-site is another port or another name of one domain."""


def check_local(reached: str | None, user: int | None) -> None:
    """Let `user` of this machine change the switch, if it may. Raises RefusedError.

    `reached` is the address that was asked at (None: a unix socket). It has to be one of loopback: what comes from
    elsewhere anybody may have sent. The user has to be root or the one of the switch: others on this machine may not write
    files as the switch can.
    """
    if reached is not None and not is_loopback(reached):
        raise RefusedError(
            f"changes and MI at {reached} need a token: set [control] token in the configuration and restart", 403
        )
    if user not in (0, os.geteuid()):
        owners = " and ".join(dict.fromkeys(("root", user_name(os.geteuid()))))
        raise RefusedError(
            f"changes and MI are for {owners}, as whom the switch runs, not for {user_name(user)}: ask with sudo, or set "
            "[control] token in the configuration, restart and show it",
            403,
        )


def check_reader(headers: Mapping[str, str], path: str, names: Collection[str], *, local: bool) -> None:
    """Let a request for `path` pass that only reads. Raises RefusedError.

    What only this machine reaches (`local`) answers to names of loopback and to `names`. Foreign pages may lead here by a
    link, but not load anything of it.
    """
    host = headers.get("host", "")
    if local and not _named(host, {"localhost", *names}):
        raise RefusedError(
            f"Host is {host!r}: this listener answers to localhost, to loopback addresses, and to [control] names", 403
        )
    site, mode = headers.get("sec-fetch-site"), headers.get("sec-fetch-mode")
    if site in FOREIGN and (mode != "navigate" or path.startswith("/api/")):
        raise RefusedError(f"Sec-Fetch-Site is {site}: a foreign page may not read the switch; open its own page", 403)


def check_change(headers: Mapping[str, str], names: Collection[str], *, scheme: str) -> None:
    """Let a request pass that changes the switch, asked for with `scheme` at one of `names`. Raises RefusedError."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RefusedError("a change has to come with Content-Type: application/json", 403)
    host, page, site = headers.get("host", ""), headers.get("origin"), headers.get("sec-fetch-site")
    ours = {"localhost", socket.gethostname().lower(), *names}
    if not _named(host, ours) and not _named(host, {socket.getfqdn().lower()}):  # the last asks the DNS, perhaps
        asked = ", ".join(sorted(names)) or "its address"
        raise RefusedError(
            f"Host is {host!r}: a change has to be asked for at {asked}, localhost or this machine's name; further "
            "names are for [control] names",
            403,
        )
    try:
        foreign = page is not None and not _is_page_of(page, host, scheme)
    except ValueError as error:
        raise RefusedError(f"Origin {page!r} cannot be read: {error}", 403) from error
    if foreign:
        raise RefusedError(f"Origin is {page!r}: a foreign page may not change the switch", 403)
    if site in FOREIGN:
        raise RefusedError(f"Sec-Fetch-Site is {site}: a foreign page may not change the switch", 403)


def _is_page_of(page: str, host: str, scheme: str) -> bool:
    """Whether Origin is Host's. A page that came without TLS is not; the other way round it may be a proxy's."""
    parts = urlsplit(page)
    return parts.netloc == host and parts.scheme in (scheme, "https")


def _named(host: str, ours: Collection[str]) -> bool:
    """Is the machine that Host names one of ours, or loopback?"""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name in ours or is_loopback(name)


def user_name(user: int | None) -> str:
    """What a user of this machine is called."""
    if user is None:
        return "a program that cannot be seen"
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"
