"""hepswitch: a HEP switch and SIP capture node. What a route script imports is here, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from hepswitch.routing.packet import Message, Packet

__all__ = ["hep_route", "sip_route"]
__version__ = "0.1.0"

HepRoute = TypeVar("HepRoute", bound="Callable[[Packet], Any]")
SipRoute = TypeVar("SipRoute", bound="Callable[[Message], Any]")


def hep_route(function: HepRoute) -> HepRoute:
    """Marks the function that is called once for every HEP packet, with a `Packet`. The payload is not parsed."""
    function.__hepswitch_route__ = "hep_route"  # type: ignore[attr-defined]
    return function


def sip_route(function: SipRoute) -> SipRoute:
    """Marks the function that is called with the SIP `Message` of a packet: after `resume_sip()`, or in mode "sip"."""
    function.__hepswitch_route__ = "sip_route"  # type: ignore[attr-defined]
    return function
