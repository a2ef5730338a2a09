"""Rules compiled into one function do what rules asked one by one do: nothing that has changed is used as it was read."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from pydantic import TypeAdapter

from hepswitch.config import Config
from hepswitch.edits import Edits
from hepswitch.filters.python import compile_filter
from hepswitch.routing.packet import Packet
from hepswitch.routing.rules import Rule
from hepswitch.testing import Outcome, RouteTest, hep_packet, invite, rtcp, sip

TESTS = (
    "sip", "sip.method = INVITE", "sip.status >= 400", "sip.from_user = alice", "sip.to_tag", "user in [bob, alice]",
    "captagent_id = 7", "captagent_id > 5", "captagent_id", 'node_name ~ "^a"', "node_name = a", "version = 3",
    "version = 2", "src_ip = 10.0.0.1", "ip in [10.0.0.0/8, 2001:db8::/32]", "proto_family = 2", "proto_type = SIP",
    "proto_type in [RTCP, 100]", 'tag("t")', 'tag("u")', "correlation_id = c1", 'payload contains "alice"',
    "chunk(0x30, vendor=3) = zz", "vlan_id = 3",
    'chunk(0x0c, type="uint32") = 7', "timestamp > 5", "dst_ip", "compressed_payload", "received.src_ip in 192.0.2.0/24",
)  # fmt: skip
EDITS: tuple[tuple[str, Any], ...] = (
    ("captagent_id", 7), ("captagent_id", 3), ("node_name", "a"), ("node_name", "b"), ("src_ip", "10.0.0.1"),
    ("src_ip", "2001:db8::1"), ("proto_type", 1), ("proto_type", 100), ("payload", "x alice"), ("correlation_id", "c1"),
    ("0x30", "zz"), ("12", 7), ("vlan_id", 3), ("timestamp", 1), ("keep_alive", 4),
)  # fmt: skip
DELETED = (
    "captagent_id",
    "node_name",
    "src_ip",
    "proto_type",
    "payload",
    "0x10",
    "correlation_id",
    "0x30",
    "proto_family",
)
FOLDERS = {"destinations": {"d": {"urls": ["udp://127.0.0.1:1"]}}, "stores": {"lake": {"url": "lake:./none"}}}


def _condition(dice: random.Random, depth: int = 0) -> str:
    if depth > 2 or dice.random() < 0.5:
        return dice.choice(TESTS)
    if dice.random() < 0.3:
        return f"not ({_condition(dice, depth + 1)})"
    return f"({dice.choice([' and ', ' or ']).join(_condition(dice, depth + 1) for _ in range(2))})"


def _rule(dice: random.Random) -> dict[str, Any]:
    rule: dict[str, Any] = {"when": _condition(dice)}
    if dice.random() < 0.3:
        rule["tag"] = [dice.choice("tu")]
    if dice.random() < 0.5:
        rule["set"] = dict(dice.sample(EDITS, 2))
    if dice.random() < 0.3:
        rule["delete"] = [dice.choice(DELETED)]
    if dice.random() < 0.15:
        rule["mask"] = "m"
    if dice.random() < 0.4 or len(rule) == 1:
        rule["relay"] = "d"
    return rule


def _packet(dice: random.Random) -> bytes:
    chunks: dict[str, Any] = {"captagent_id": dice.choice([0, 7, 9]), "src_ip": dice.choice(["10.0.0.1", "192.0.2.1"])}
    if dice.random() < 0.4:
        chunks |= {"node_name": dice.choice("ab"), "correlation_id": b"c1"}
    makers = (
        lambda: invite(**chunks),
        lambda: sip(404, **chunks),
        lambda: hep_packet("x alice", proto_type=100, **chunks),
    )
    packet = dice.choice(makers)() if dice.random() < 0.8 else rtcp("c1", src_ip=chunks["src_ip"])
    if dice.random() < 0.2:
        packet.compress()
    elif packet.sip is not None and dice.random() < 0.3:
        packet.version = dice.choice([1, 2])
    return bytes(packet)


def _one_by_one(rules: list[Rule], hits: list[int]) -> Any:
    """The route that the rules mean, read literally."""

    def route(hep: Packet) -> None:
        for number, rule in enumerate(rules):
            if rule.when is not None and not compile_filter(rule.when)(hep):
                continue
            hits[number] += 1
            for tag in rule.tag:
                hep.tag(tag)
            Edits(rule.set, rule.delete).apply(hep)
            if rule.mask is not None:
                hep.mask(rule.mask)
            if rule.relay is not None:
                hep.relay("d")

    return route


def _told(outcome: Outcome) -> tuple[Any, ...]:
    return [bytes(relayed.hep) for relayed in outcome.relayed], outcome.tags, outcome.unrouted, outcome.error


@pytest.mark.parametrize("seed", range(6))
def test_compiled_rules_are_the_rules(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(12):
        tables = [_rule(dice) for _ in range(dice.randint(2, 10))]
        settings = Config.model_validate(FOLDERS | {"rule": tables, "masks": {"m": {"users": "truncate"}}})
        compiled, literal = RouteTest.of(settings), RouteTest.of(settings)
        hits = [0] * len(tables)
        rules = TypeAdapter(list[Rule]).validate_python(tables)
        literal.routes = replace(literal.routes, hep=_one_by_one(rules, hits))
        for _ in range(6):
            packet = _packet(dice)
            assert _told(compiled.run(packet)) == _told(literal.run(packet)), (tables, packet)
        assert compiled.routes.rules is not None
        assert compiled.routes.rules.counts == hits, tables
