"""Destinations written as one URI, in OpenSIPS' words: `hep:` as in its hep_id, `sip:` as in its trace targets.

    hep:10.0.0.1:9060;transport=udp;version=2       sip:10.0.0.11:5060;transport=tcp

`mark=no` is ours: the packets bear no trail by which loops between switches are cut, for a far end that minds the chunk.

After the address come parameters in any order, blanks allowed. What is not said is: for hep transport tcp, port 9060 and
version 3 (versions 1 and 2 go over udp), for sip transport udp and port 5060. An IPv6 address stands in brackets.
Not here: sending (`hep`, `sip`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import NamedTuple

from hepswitch.destinations.hep import HepDestination
from hepswitch.units import Endpoint, parse_endpoint


class Target(NamedTuple):
    """A destination and what it is called in the books: the URI, whatever way it was written."""

    name: str
    config: HepDestination


def parse_hep(text: str) -> Target:
    """The HEP node of a `hep:` URI. ValueError with a hint."""
    endpoint, said = _parse(
        text, "hep", {"transport": ("tcp", "udp", "tls"), "version": ("3", "2", "1"), "mark": ("yes", "no")}
    )
    version = said.get("version", "3")
    transport = said.get("transport", "tcp" if version == "3" else "udp")
    if version != "3" and transport != "udp":
        raise ValueError(f"{text!r}: HEP version {version} goes over udp alone: write transport=udp or version=3")
    told = {"transport": "" if transport == "tcp" else transport, "version": "" if version == "3" else version}
    marked = said.get("mark") != "no"
    told["mark"] = "" if marked else "no"
    return _target("hep", replace(endpoint, scheme=transport), told, version=int(version), mark=marked)


def parse_sip(text: str) -> Target:
    """The far end of a `sip:` URI. ValueError with a hint."""
    endpoint, said = _parse(text, "sip", {"transport": ("udp", "tcp")})
    transport = said.get("transport", "udp")
    told = {"transport": "" if transport == "udp" else transport}
    return _target("sip", replace(endpoint, scheme=transport), told, mark=False)


def _target(scheme: str, endpoint: Endpoint, told: Mapping[str, str], **keys: object) -> Target:
    address = str(endpoint).partition("://")[2]
    name = "".join([f"{scheme}:{address}", *(f";{key}={value}" for key, value in told.items() if value)])
    return Target(name, HepDestination.model_validate({"urls": [str(endpoint)], **keys}))


def _parse(text: str, scheme: str, known: Mapping[str, Collection[str]]) -> tuple[Endpoint, dict[str, str]]:
    """The address and what the parameters say."""
    usage = f"write for example {'hep:10.0.0.1:9060;transport=udp' if scheme == 'hep' else 'sip:10.0.0.11:5060'}"
    start, _, rest = text.partition(":")
    if start != scheme:
        raise ValueError(f"{text!r} does not start with {scheme}: {usage}")
    address, *parameters = (part.strip() for part in rest.split(";"))
    if parameters and not parameters[-1]:
        del parameters[-1]
    said: dict[str, str] = {}
    for parameter in parameters:
        key, _, value = (part.strip() for part in parameter.partition("="))
        value = value.lower()
        if key not in known:
            raise ValueError(f"{text!r} has an unknown parameter {key!r}; known here: {', '.join(known)}")
        if value not in known[key]:
            raise ValueError(f"{text!r}: {key}={value} is none of {', '.join(known[key])}")
        if key in said:
            raise ValueError(f"{text!r} says {key} twice: leave one away")
        said[key] = value
    over = "sip" if scheme == "sip" else "tcp"  # OpenSIPS has one port for HEP, over TLS too
    try:
        endpoint = parse_endpoint(f"{over}://{address}", (over,))
    except ValueError:
        raise ValueError(f"{text!r} has no host[:port] behind {scheme}: {usage}; IPv6 stands in brackets") from None
    if endpoint.options or not (endpoint.port or endpoint.is_service):
        raise ValueError(f"{text!r} is more or less than an address with a port above 0: {usage}")
    return endpoint, said
