"""`[control]` of the configuration: where the control listener is reached, and who may ask for what.

Not here: sockets (`control.listeners`), the file of users (`control.users`), what follows for a request (`control.access`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from hepswitch.net.tls import anchored_options
from hepswitch.tables import Duration, Secret, Size, Table
from hepswitch.units import Endpoint, parse_endpoint

TLS_OPTIONS = {"cert", "key", "client_ca"}
LONGEST_PATH = 107
"""Bytes of a unix socket's path (unix(7)); the kernel has one more, for the end."""

EXAMPLE = "127.0.0.1:9080, https://0.0.0.0:9443?cert=FILE&key=FILE or unix:/run/hepswitch/control.sock"

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class ControlListener:
    """One address of the control listener: `endpoint` with the scheme http or https, or a unix socket at `path`."""

    endpoint: Endpoint
    path: Path | None = None

    @property
    def is_local(self) -> bool:
        """Whether only programs of this machine reach it."""
        return self.path is not None or is_loopback(self.endpoint.host) or self.endpoint.host == "localhost"

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path is not None else str(self.endpoint)


def is_loopback(host: str) -> bool:
    """Whether `host` is an address of loopback; a name is none."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def parse_listener(text: str) -> ControlListener:
    """A ControlListener from "127.0.0.1:9080", "https://0.0.0.0:9443?cert=FILE&key=FILE", "unix:/path[?group=NAME]".

    Raises ValueError with what is wrong.
    """
    if text.startswith("unix:"):
        return _unix(text)
    scheme, address = ("https", text.removeprefix("https://")) if text.startswith("https://") else ("http", text)
    try:
        endpoint = parse_endpoint(f"tcp://{address}")
        port = urlsplit(f"tcp://{address}").port
    except ValueError:
        raise ValueError(f"{text!r} is no address: write for example {EXAMPLE}") from None
    if port is None:
        raise ValueError(f"{text!r} is no address with a port: write for example {EXAMPLE}")
    _check_options(text, endpoint.options, TLS_OPTIONS if scheme == "https" else set())
    if scheme == "https" and not {"cert", "key"} <= endpoint.options.keys():
        raise ValueError(f"{text!r} needs a certificate: add ?cert=FILE&key=FILE")
    return ControlListener(Endpoint(scheme, endpoint.host, port, endpoint.options))


def _unix(text: str) -> ControlListener:
    path, _, query = text.removeprefix("unix:").partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    _check_options(text, options, {"group"})
    if not path or "\0" in path:
        raise ValueError(f"{text!r} names no file: write for example unix:/run/hepswitch/control.sock")
    if len(path.encode()) > LONGEST_PATH:
        raise ValueError(f"{text!r}: a unix socket's path has {LONGEST_PATH} bytes at most: take a shorter one")
    return ControlListener(Endpoint("unix", "", 0, options), Path(path))


def _check_options(text: str, options: dict[str, str], known: set[str]) -> None:
    unknown = sorted(options.keys() - known)
    if unknown:
        words = (
            f"known here: {', '.join(sorted(known))}" if known else "TLS is for https://host:port?cert=FILE&key=FILE"
        )
        raise ValueError(f"{text!r} has an unknown option {unknown[0]}; {words}")


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _listeners(texts: list[str]) -> list[str]:
    for text in texts:
        parse_listener(text)
    return texts


def _token(token: SecretStr) -> SecretStr:
    text = token.get_secret_value()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("a token is printable ASCII without blanks: it travels in headers and URLs")
    return token


def _host_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(
            f"{text!r} is no host name: write it without scheme and port, for example hepswitch.example.net"
        )
    return text.lower()


Token = Annotated[Secret, AfterValidator(_token)]


class ControlTable(Table):
    """`[control]`: the HTTP listener of the page and the API, for Prometheus, `hepswitch ctl` and MI (`opensips-cli`)."""

    listen: Annotated[list[str], BeforeValidator(_one_or_many), AfterValidator(_listeners)] = Field(
        ["127.0.0.1:9080"],
        min_length=1,
        description="One address or several: `address:port` (port 0 takes a free one), "
        "`https://address:port?cert=FILE&key=FILE[&client_ca=FILE]`, `unix:PATH[?group=NAME]` (mode 0660). Without `token`, "
        "`read_token` and `users` only loopback and unix sockets: there all who reach it may read, and changes and MI are "
        "for root and the user of the switch.",
    )
    token: Token | None = Field(
        None,
        description="Who shows it may read and change: as `Authorization: Bearer TOKEN`, as the password of HTTP Basic, or, "
        "for opensips-cli, in the URL (`/mi?token=TOKEN`). Once it, `read_token` or `users` is there, nothing but /healthz "
        "is answered without one of them, at whatever address.",
    )
    read_token: Token | None = Field(None, description="Who shows it may read, and change nothing: for Prometheus.")
    users: Path | None = Field(
        None,
        description='The file of users and roles that "hepswitch user" writes, for HTTP Basic. It is read again when it '
        "changes.",
    )
    names: list[Annotated[str, AfterValidator(_host_name)]] = Field(
        [],
        description="Host names beside those of this machine by which it is reached: what a reverse proxy hands on as Host.",
    )
    audit: Path | None = Field(
        None,
        description="A file to which every change and every refused one is added, a JSON line each; they are in the log in "
        "any case.",
    )
    query_timeout: Annotated[Duration, Field(gt=0, le=3600)] = Field(
        30.0, description="How long a question to a store may take until its answer begins; then it is cancelled."
    )
    query_processes: int = Field(
        2,
        ge=1,
        le=64,
        description="How many questions to stores are answered at once, each in a process that is started with the first "
        "one. A few more wait, all others are refused.",
    )
    query_memory: Annotated[Size, Field(ge=128 << 20)] = Field(
        1 << 30, description="What each of these processes may take for its answers."
    )

    @model_validator(mode="after")
    def _is_guarded(self) -> ControlTable:
        open_to_all = [str(each) for each in self.listeners if not each.is_local]
        if open_to_all and not self.guarded:
            raise ValueError(
                f"{', '.join(open_to_all)} can be reached from other machines, and nobody would be asked who it is: add "
                'token = "file:token", read_token or users = "users" (hepswitch user add NAME --role operate --file users), '
                "or listen on 127.0.0.1 or unix:PATH"
            )
        names = [str(each) for each in self.listeners if each.path is not None or each.endpoint.port]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"listen names {', '.join(sorted(twice))} more than once")
        if self.token is not None and self.token == self.read_token:
            raise ValueError("token and read_token are the same: who is to read only would change things, too")
        return self

    @property
    def listeners(self) -> list[ControlListener]:
        """The addresses."""
        return [parse_listener(text) for text in self.listen]

    @property
    def guarded(self) -> bool:
        """Whether everybody has to show a token, or to be a user."""
        return not (self.token is None and self.read_token is None and self.users is None)

    def anchored(self, absolute: Callable[[Path], Path]) -> ControlTable:
        """The same with paths made absolute."""
        update = {
            "listen": [_anchored(text, absolute) for text in self.listen],
            "users": None if self.users is None else absolute(self.users),
            "audit": None if self.audit is None else absolute(self.audit),
        }
        return self.model_copy(update=update)


def _anchored(text: str, absolute: Callable[[Path], Path]) -> str:
    address, question, query = text.partition("?")
    if address.startswith("unix:"):
        # The folder alone: what a link at the place of the socket points to is nobody's socket.
        path = Path(address.removeprefix("unix:"))
        address = f"unix:{absolute(path.parent) / path.name}"
    return address + question + anchored_options(query, absolute)
