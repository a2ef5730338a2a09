"""Talking to a running switch over its control listener: what `stats`, `tail`, `top` and `ctl` share."""

from __future__ import annotations

import contextlib
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from hepswitch.cli.terminal import safe

if TYPE_CHECKING:
    from hepswitch.config import ControlTable

DEFAULT = "http://127.0.0.1:9080"

TIMEOUT = 60.0
"""Seconds for an answer: a reload waits for every worker, and for one that is just being started again."""

SILENCE = 20.0
"""Seconds without a word after which a stream, which has one a second, is over."""

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where to reach a listener on all addresses."""


class Remote:
    """The switch whose control listener is at `url`, and wants `token` if it wants one.

    Whatever fails ends the command with exit status 1 and the reason.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        if not url.startswith(("http://", "https://")):
            raise click.BadParameter(f"{url!r} does not start with http://", param_hint="--url")
        self._url = url.rstrip("/")
        self._token = token

    def get(self, path: str) -> Any:
        """The JSON at `path`."""
        return self._ask(urllib.request.Request(f"{self._url}{path}"))  # noqa: S310 (http, see __init__)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Ask for a change; the JSON of the answer."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._url}{path}", json.dumps(body).encode(), headers)  # noqa: S310
        return self._ask(request)

    def stream(self, path: str) -> Iterator[bytes]:
        """The lines at `path`, as they come, for as long as the switch is there."""
        request = urllib.request.Request(f"{self._url}{path}")  # noqa: S310 (http, see __init__)
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
        if self._token is not None:
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
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


def remote_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--url`, `--token` and `--config`; the command gets a `Remote` as its argument `remote`."""

    @click.option("--url", envvar="HEPSWITCH_URL", help=f"The control listener.  [default: {DEFAULT}]")
    @click.option(
        "-c",
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="HEPSWITCH_CONFIG",
        help="Or the switch's configuration file, which says where the control listener is, and its token.",
    )
    @click.option(
        "--token",
        envvar="HEPSWITCH_TOKEN",
        help="The token of its [control]: a text, env:NAME or file:PATH. A text can be seen in the list of processes.",
    )
    def with_remote(url: str | None, config: Path | None, token: str | None, **arguments: Any) -> Any:
        return command(remote=_remote(url, config, token), **arguments)

    with_remote.__doc__ = command.__doc__
    with_remote.__click_params__ = getattr(command, "__click_params__", []) + with_remote.__click_params__  # type: ignore[attr-defined]
    return with_remote


def _remote(url: str | None, config: Path | None, token: str | None) -> Remote:
    """The switch at `url`, else that of the file, else at the default. A file's token is for its switch alone."""
    shown = None if token is None else _secret(token)
    if url is None and config is not None:
        control = _control(config)
        url = _url(config, control.listen)
        if shown is None and control.token is not None:
            shown = control.token.get_secret_value()
    return Remote(url or DEFAULT, shown)


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


def _url(path: Path, listen: str) -> str:
    from hepswitch.units import Endpoint, parse_endpoint

    endpoint = parse_endpoint(f"tcp://{listen}")
    if not endpoint.port:
        raise click.BadParameter(
            f"{path} lets the control listener take any free port: use --url", param_hint="--config"
        )
    return str(Endpoint("http", EVERYWHERE.get(endpoint.host, endpoint.host), endpoint.port))


def _words(error: urllib.error.HTTPError) -> str:
    """What the switch says to it, or what another program that listens there does."""
    said = error.read()
    try:
        return str(json.loads(said)["error"])
    except (ValueError, KeyError, TypeError):
        return (
            f"{error.url}: {error.code} {error.reason}: is this the control listener of a switch of the same version?"
        )
