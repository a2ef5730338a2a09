"""hepswitch: a HEP switch and SIP capture node. What a route script imports is here, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from hepswitch.destinations.balance import Node
    from hepswitch.routing.packet import Message, Packet
    from hepswitch.state import counter, gauge, limit, network_list, number_list, prefix_list, table, word_list

__all__ = [
    "counter", "gauge", "hep_route", "limit", "network_list", "number_list", "policy", "prefix_list", "sip_route", "table",
    "word_list",
]  # fmt: skip
__version__ = "0.1.0"

HepRoute = TypeVar("HepRoute", bound="Callable[[Packet], Any]")
SipRoute = TypeVar("SipRoute", bound="Callable[[Message], Any]")
Policy = TypeVar("Policy", bound="Callable[[Packet, tuple[Node, ...]], Any]")


def hep_route(function: HepRoute) -> HepRoute:
    """Marks the function that is called once for every HEP packet, with a `Packet`. The payload is not parsed."""
    function.__hepswitch_route__ = "hep_route"  # type: ignore[attr-defined]
    return function


def sip_route(function: SipRoute) -> SipRoute:
    """Marks the function that is called with the SIP `Message` of a packet: after `resume_sip()`, or in mode "sip"."""
    function.__hepswitch_route__ = "sip_route"  # type: ignore[attr-defined]
    return function


def policy(function: Policy) -> Policy:
    """Marks a function that chooses among the nodes of a destination with `policy = "script:NAME"`, NAME its name.

    It is called with the packet and the nodes that may get it (`url`, `weight`, `priority`, `active` …) and gives one of
    them, its URL or place, several in order of preference, or None: then `call` chooses.
    """
    function.__hepswitch_route__ = "policy"  # type: ignore[attr-defined]
    return function


def __getattr__(name: str) -> Any:
    """What scripts get from `hepswitch.state`, imported when the first one asks: `hepswitch --help` need not wait for it."""
    if name in __all__:
        from hepswitch import state

        return getattr(state, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
