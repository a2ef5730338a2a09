"""TLS contexts from the options of an endpoint URL.

    server  tls://0.0.0.0:9061?cert=FILE&key=FILE[&client_ca=FILE]
    client  tls://homer:9061[?ca=FILE][&verify=no][&cert=FILE&key=FILE]

`client_ca`: clients must show a certificate that it signed (mutual TLS); a client shows its `cert`. `ca`: who signed the
server's certificate, else the system's authorities; `verify=no` accepts any server. TLS 1.2 is the least version.
Not here: connections, and what other options an endpoint may have.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from hepswitch.units import Endpoint

CLIENT_OPTIONS = frozenset({"ca", "verify", "cert", "key"})
"""What `client_context` reads of an endpoint."""

FILE_OPTIONS = {"cert", "key", "ca", "client_ca", "credentials"}
"""Options that name a file."""

SECRET_OPTIONS = {"password", "token"}
"""Options that say where a secret is: "file:PATH" or "env:NAME"."""


def anchored_options(query: str, absolute: Callable[[Path], Path]) -> str:
    """The options of a URL, with the files that they name made absolute."""

    def anchored(name: str, value: str) -> str:
        if name in FILE_OPTIONS:
            return str(absolute(Path(value)))
        if name in SECRET_OPTIONS and value.startswith("file:"):
            return f"file:{absolute(Path(value.removeprefix('file:')))}"
        return value

    named = [(name, anchored(name, value)) for name, value in parse_qsl(query, keep_blank_values=True)]
    return urlencode(named, safe="/:,")


def check_options(options: Mapping[str, str], others: Collection[str], is_on: bool, remedy: str) -> None:
    """ValueError for options of a client's URL that are unknown, contradict each other, or are for TLS where there is none.

    `others`: options that it may have beside TLS's; `remedy`: how to have TLS.
    """
    if unknown := sorted(options.keys() - CLIENT_OPTIONS - set(others)):
        known = ", ".join([*sorted(others), *sorted(CLIENT_OPTIONS)])
        raise ValueError(f"the URL knows no option {unknown[0]}: it may have {known}")
    if options.get("verify", "no") not in ("yes", "no"):
        raise ValueError(f"verify={options['verify']} in the URL is neither yes nor no")
    if not is_on and (idle := sorted(options.keys() & CLIENT_OPTIONS)):
        raise ValueError(f"{idle[0]} in the URL is for TLS: {remedy}, or leave it away")
    if ("cert" in options) != ("key" in options):
        raise ValueError("cert and key in the URL come together: give both files")


def server_context(endpoint: Endpoint) -> ssl.SSLContext:
    """The context of a listener. Raises OSError or ValueError naming the wrong file or option."""
    if not {"cert", "key"} <= endpoint.options.keys():
        raise ValueError(f"{endpoint} needs a certificate: add ?cert=FILE&key=FILE")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_identity(context, endpoint)
    if authority := endpoint.options.get("client_ca"):
        _load_authority(context, endpoint, "client_ca", authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(endpoint: Endpoint) -> ssl.SSLContext:
    """The context of a destination. Raises OSError or ValueError naming the wrong file or option."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    match endpoint.options.get("verify", "yes"):
        case "yes":
            if authority := endpoint.options.get("ca"):
                _load_authority(context, endpoint, "ca", authority)
            else:
                context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        case "no":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        case other:
            raise ValueError(f"{endpoint}: verify={other} is neither yes nor no")
    if endpoint.options.keys() & {"cert", "key"}:
        if not {"cert", "key"} <= endpoint.options.keys():
            raise ValueError(f"{endpoint}: cert and key come together: give both files")
        load_identity(context, endpoint)
    return context


def load_identity(context: ssl.SSLContext, endpoint: Endpoint) -> None:
    """Let the context show `cert`, in handshakes to come. Raises OSError or ValueError naming the wrong file."""
    cert, key = endpoint.options["cert"], endpoint.options["key"]
    for option, name in (("cert", cert), ("key", key)):
        _readable(endpoint, option, name)
    try:
        context.load_cert_chain(cert, key)
    except ssl.SSLError as error:
        raise ValueError(
            f"{endpoint}: {cert} and {key} are no PEM certificate and its key: {error.reason or error}"
        ) from error


def _load_authority(context: ssl.SSLContext, endpoint: Endpoint, option: str, name: str) -> None:
    _readable(endpoint, option, name)
    try:
        context.load_verify_locations(name)
    except ssl.SSLError as error:
        raise ValueError(f"{endpoint}: {option}={name} holds no PEM certificates: {error.reason}") from error


def _readable(endpoint: Endpoint, option: str, name: str) -> None:
    try:
        with Path(name).open("rb"):
            pass
    except OSError as error:
        raise OSError(error.errno, f"{endpoint}: {option}={name} cannot be read: {error.strerror}") from error
