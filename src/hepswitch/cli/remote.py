"""Talking to a running switch over its control listener: what `stats`, `tail`, `top` and `ctl` share.

Not here: what is asked for, and what is made of the answers.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from hepswitch.cli.options import config_file
from hepswitch.cli.terminal import safe

if TYPE_CHECKING:
    from hepswitch.control_table import ControlTable

DEFAULT = "http://127.0.0.1:9080"

TIMEOUT = 60.0
"""Seconds for an answer: a reload waits for every worker, and for one that is just being started again."""

SILENCE = 20.0
"""Seconds without a word after which a stream, which has one a second, is over."""

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where to reach a listener on all addresses."""

UNIX = "unix:"
PASSWORD = "HEPSWITCH_PASSWORD"  # noqa: S105 (where one is, not one)


class Remote:
    """The switch whose control listener is at `url`: http://, https:// or unix:PATH.

    `authorization`: the header that it wants, if it wants one. `ca`: who signed its certificate, else the system's
    authorities. Whatever fails ends the command with exit status 1 and the reason.
    """

    def __init__(self, url: str, authorization: str | None = None, ca: Path | None = None) -> None:
        if not url.startswith(("http://", "https://", UNIX)):
            raise click.BadParameter(f"{url!r} does not start with http://, https:// or unix:", param_hint="--url")
        self._url = url.rstrip("/")
        self._authorization = authorization
        handlers: list[urllib.request.BaseHandler] = []
        self._base = self._url
        if url.startswith(UNIX):
            self._base = "http://localhost"
            handlers = [_UnixHandler(url.removeprefix(UNIX)), urllib.request.ProxyHandler({})]
        elif ca is not None:
            handlers = [urllib.request.HTTPSHandler(context=_trusting(ca))]
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, path: str) -> Any:
        """The JSON at `path`."""
        return self._ask(urllib.request.Request(f"{self._base}{path}"))  # noqa: S310 (http, see __init__)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Ask for a change; the JSON of the answer."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._base}{path}", json.dumps(body).encode(), headers)  # noqa: S310
        return self._ask(request)

    def stream(self, path: str) -> Iterator[bytes]:
        """The lines at `path`, as they come, for as long as the switch is there."""
        request = urllib.request.Request(f"{self._base}{path}")  # noqa: S310 (http, see __init__)
        with self._answer(request, SILENCE) as answer:
            try:
                yield from answer
                words = "it has ended the stream"
            except (OSError, http.client.HTTPException) as error:
                words = str(error)
        _give_up(f"the switch at {self._url} has gone away: {words}")

    def _ask(self, request: urllib.request.Request) -> Any:
        with self._answer(request, TIMEOUT) as answer:
            return json.load(answer)

    @contextlib.contextmanager
    def _answer(self, request: urllib.request.Request, timeout: float) -> Iterator[http.client.HTTPResponse]:
        if self._authorization is not None:
            request.add_unredirected_header("Authorization", self._authorization)
        try:
            with self._opener.open(request, timeout=timeout) as answer:
                yield answer
                return
        except urllib.error.HTTPError as error:
            words = _words(error)
        except (OSError, http.client.HTTPException, ValueError) as error:
            words = f"no switch answers at {self._url}: {error}. Is it running? Is [control] listen the same?"
        _give_up(words)


def _give_up(words: str) -> NoReturn:
    # They may be another program's: a terminal must not obey them.
    click.echo("\n".join(safe(line) for line in words.splitlines()), err=True)
    raise SystemExit(1)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, host: str, **said: Any) -> None:
        super().__init__(host, **said)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _UnixHandler(urllib.request.HTTPHandler):
    """HTTP over a unix socket, whatever host the URL names."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_UnixConnection, self._path), req)


def _trusting(ca: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise click.BadParameter(f"{ca} holds no PEM certificates: {error}", param_hint="--ca") from None


def remote_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--url`, `--token`, `--user`, `--ca` and `--config`; the command gets a `Remote` as its argument `remote`."""

    @click.option(
        "--url",
        envvar="HEPSWITCH_URL",
        help=f"The control listener: http://…, https://… or unix:PATH.  [default: {DEFAULT}]",
    )
    @config_file("Or the switch's configuration file, which says where the control listener is, and its token.")
    @click.option(
        "--token",
        envvar="HEPSWITCH_TOKEN",
        help="The token of its [control]: a text, env:NAME or file:PATH. A text can be seen in the list of processes.",
    )
    @click.option(
        "--user",
        envvar="HEPSWITCH_USER",
        help=f"Or a user of its [control]; the password is in {PASSWORD}, or asked for.",
    )
    @click.option(
        "--ca",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Who signed the certificate of an https:// listener (PEM), if the system does not know.",
    )
    def with_remote(
        url: str | None, config: Path | None, token: str | None, user: str | None, ca: Path | None, **arguments: Any
    ) -> Any:
        return command(remote=_remote(url, config, token, user, ca), **arguments)

    with_remote.__doc__ = command.__doc__
    with_remote.__click_params__ = getattr(command, "__click_params__", []) + with_remote.__click_params__  # type: ignore[attr-defined]
    return with_remote


def _remote(url: str | None, config: Path | None, token: str | None, user: str | None, ca: Path | None) -> Remote:
    """The switch at `url`, else that of the file, else at the default. A file's token is for its switch alone."""
    shown = None if token is None else f"Bearer {_secret(token)}"
    if user is not None:
        shown = _basic(user)
    if url is None and config is not None:
        control = _control(config)
        url = _url(config, control)
        if shown is None and control.token is not None:
            shown = f"Bearer {control.token.get_secret_value()}"
    return Remote(url or DEFAULT, shown, ca)


def _basic(user: str) -> str:
    password = os.environ.get(PASSWORD)
    if password is None:
        password = click.prompt(f"Password of {user}", hide_input=True, err=True)
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _control(path: Path) -> ControlTable:
    from hepswitch.config import ConfigError, load

    try:
        return load(path).control
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from None


def _secret(text: str) -> str:
    from pydantic import TypeAdapter, ValidationError

    from hepswitch.tables import Secret

    try:
        return TypeAdapter(Secret).validate_python(text).get_secret_value()
    except ValidationError as error:
        words = "; ".join(each["msg"].removeprefix("Value error, ") for each in error.errors())
        raise click.BadParameter(words, param_hint="--token") from None


def _url(path: Path, control: ControlTable) -> str:
    """The nearest of the file's addresses: a unix socket, loopback, another one."""
    from hepswitch.units import Endpoint

    known = [each for each in control.listeners if each.path is not None or each.endpoint.port]
    if not known:
        raise click.BadParameter(
            f"{path} lets the control listener take any free port: use --url", param_hint="--config"
        )
    nearest = min(known, key=lambda each: (each.path is None, not each.is_local, each.endpoint.scheme == "https"))
    endpoint = nearest.endpoint
    if nearest.path is not None:
        return str(nearest)
    return str(Endpoint(endpoint.scheme, EVERYWHERE.get(endpoint.host, endpoint.host), endpoint.port))


def _words(error: urllib.error.HTTPError) -> str:
    """What the switch says to it, or what another program that listens there does."""
    said = error.read()
    try:
        return str(json.loads(said)["error"])
    except (ValueError, KeyError, TypeError):
        return (
            f"{error.url}: {error.code} {error.reason}: is this the control listener of a switch of the same version?"
        )
