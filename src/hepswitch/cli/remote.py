"""Talking to a running switch over its control listener: what `stats` and `ctl` share."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

DEFAULT = "http://127.0.0.1:9080"

TIMEOUT = 60.0
"""Seconds for an answer: a reload waits for every worker, and for one that is just being started again."""

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where to reach a listener on all addresses."""


class Remote:
    """The switch whose control listener is at `url`. Whatever fails ends the command with exit status 1 and the reason."""

    def __init__(self, url: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise click.BadParameter(f"{url!r} does not start with http://", param_hint="--url")
        self._url = url.rstrip("/")

    def get(self, path: str) -> Any:
        """The JSON at `path`."""
        return self._ask(urllib.request.Request(f"{self._url}{path}"))  # noqa: S310 (http, see __init__)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Ask for a change; the JSON of the answer."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._url}{path}", json.dumps(body).encode(), headers)  # noqa: S310
        return self._ask(request)

    def _ask(self, request: urllib.request.Request) -> Any:
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            click.echo(_words(error), err=True)
        except (OSError, http.client.HTTPException, ValueError) as error:
            click.echo(
                f"no switch answers at {self._url}: {error}. Is it running? Is [control] listen the same?", err=True
            )
        raise SystemExit(1)


def remote_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--url` and `--config`; the command gets a `Remote` as its argument `remote`."""

    @click.option("--url", envvar="HEPSWITCH_URL", help=f"The control listener.  [default: {DEFAULT}]")
    @click.option(
        "-c",
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="HEPSWITCH_CONFIG",
        help="Or the switch's configuration file, which says where the control listener is.",
    )
    def with_remote(url: str | None, config: Path | None, **arguments: Any) -> Any:
        return command(remote=Remote(url or (DEFAULT if config is None else _configured(config))), **arguments)

    with_remote.__doc__ = command.__doc__
    with_remote.__click_params__ = getattr(command, "__click_params__", []) + with_remote.__click_params__  # type: ignore[attr-defined]
    return with_remote


def _configured(path: Path) -> str:
    from hepswitch.config import ConfigError, load
    from hepswitch.units import Endpoint, parse_endpoint

    try:
        listen = load(path).control.listen
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from None
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
