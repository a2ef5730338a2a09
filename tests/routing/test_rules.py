"""Rules: what they do with packets, in which order, and what is said of wrong ones."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from hepswitch import books
from hepswitch.routing.flow import Flow
from hepswitch.routing.packet import Context, Packet
from hepswitch.routing.rules import Rule, Rules
from hepswitch.wire.batch import Batch
from hepswitch.wire.hep import Hep

INVITE = (
    b"INVITE sip:+4930123@example.net SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nCall-ID: c1\r\n"
    b"From: <sip:alice@a>;tag=1\r\nTo: <sip:+4930123@example.net>\r\nCSeq: 1 INVITE\r\nUser-Agent: friendly-scanner\r\n"
    b"X-Tenant: acme\r\nContent-Length: 0\r\n\r\n"
)
NAMES = {
    "destinations": ["homer", "homer-a", "quality", "acme"],
    "stores": ["lake", "archive"],
    "masks": ["gdpr"],
    "lists": ["fraud"],
}


class Outlet:
    """Takes packets and keeps copies of what it got."""

    def __init__(self, name: str, log: list[tuple[Any, ...]]) -> None:
        self.name = name
        self.log = log

    def offer(self, packet: Hep, **options: Any) -> bool:
        self.log.append((self.name, packet.copy(), options))
        return True


def rules(*tables: dict[str, Any]) -> list[Rule]:
    return TypeAdapter(list[Rule]).validate_python(list(tables), context=NAMES)


class Bench:
    """A flow whose HEP route is a set of rules."""

    def __init__(self, *tables: dict[str, Any], lists: Any = None, masks: Any = None, then: Any = None) -> None:
        self.log: list[tuple[Any, ...]] = []
        self.rest: list[str] = []
        self.errors: list[str] = []
        self.routed = books.Routed()
        outlets = {name: Outlet(name, self.log) for name in (*NAMES["destinations"], *NAMES["stores"])}
        destinations = {name: outlets[name] for name in NAMES["destinations"]}
        stores = {name: outlets[name] for name in NAMES["stores"]}
        context = Context(destinations, stores, outlets["lake"], self.routed, masks or {})
        then = then or (lambda hep: self.rest.append(str(hep.proto_type)))
        self.rules = Rules(rules(*tables), lists or {"fraud": {"+4930123"}}, then)
        self.flow = Flow(context, lambda _, error: self.errors.append(str(error)), self.rules.route)

    def run(self, *packets: bytes) -> list[tuple[Any, ...]]:
        self.flow(Batch.of(list(packets), books.Listener("udp://127.0.0.1:9060"), ("192.0.2.9", 4000)))
        return [(name, options) if options else name for name, _, options in self.log]


def sip(payload: bytes = INVITE, version: int = 3, **chunks: Any) -> bytes:
    chunks = {
        "src_ip": "10.0.0.1",
        "dst_ip": "192.0.2.2",
        "src_port": 5060,
        "dst_port": 5060,
        "captagent_id": 7,
    } | chunks
    hep = Hep.new(payload, **chunks)
    hep.version = version
    return bytes(hep)


def rtcp(**chunks: Any) -> bytes:
    return sip(b"{}", proto_type=5, correlation_id=b"c1", **chunks)


def test_conditions_choose_the_packets_of_a_rule() -> None:
    bench = Bench(
        {"when": 'sip.method in ["INVITE", "BYE"] and src_ip in 10.0.0.0/8', "relay": "homer"},
        {"when": "proto_type = RTCP", "relay": "quality"},
        {"when": "sip.ruri_user in @fraud", "store": "archive"},
    )
    assert bench.run(sip(), rtcp()) == ["homer", "archive", "quality"]
    assert bench.rules.hits == {"1": 1, "2": 1, "3": 1}
    assert bench.rest == ["SIP", "RTCP"], "what no rule ended goes on"


def test_a_drop_ends_and_counts_by_the_name_of_the_rule() -> None:
    bench = Bench(
        {"name": "scanners", "when": 'sip.user_agent ~ "friendly-scanner"', "drop": True},
        {"when": "proto_type = 5", "drop": "no RTCP"},
        {"relay": "homer"},
    )
    assert bench.run(sip(), rtcp()) == []
    assert dict(bench.routed.dropped) == {"scanners": 1, "no RTCP": 1}
    assert bench.rest == []
    assert bench.rules.hits == {"scanners": 1, "2": 1, "3": 0}


def test_stop_ends_without_dropping() -> None:
    bench = Bench({"when": "sip", "relay": "homer", "stop": True}, {"store": True})
    assert bench.run(sip(), rtcp()) == ["homer", "lake"]
    assert bench.rest == ["RTCP"]


def test_actions_of_a_rule_come_in_their_order_and_later_rules_see_them() -> None:
    bench = Bench(
        {"when": "captagent_id = 7", "relay": "homer", "set": {"captagent_id": 42}},
        {"when": "captagent_id = 42", "delete": ["captagent_id"], "store": True},
        {"when": "captagent_id", "relay": "quality"},
    )
    assert bench.run(sip()) == ["homer", "lake"]
    (_, relayed, _), (_, stored, _) = bench.log
    assert relayed.captagent_id == 42, "set comes before relay"
    assert stored.captagent_id is None


def test_chunks_of_vendors_and_types() -> None:
    bench = Bench(
        {
            "set": {
                "0x30": {"value": "fra1"},
                "0x31": {"value": 5, "type": "uint32", "vendor": 9},
                "auth_key": "text:secret",
                "src_ip": "2001:db8::1",
            },
            "relay": "homer",
        }
    )
    bench.run(sip())
    relayed = bench.log[0][1]
    assert relayed.get(0x30, "utf8-string", vendor=3) == "fra1"
    assert relayed.get(0x31, "uint32", vendor=9) == 5
    assert relayed.auth_key == b"secret"
    assert relayed.src_ip == "2001:db8::1"


def test_several_destinations_and_one_chosen_by_a_field() -> None:
    by_agent = {"by": "captagent_id", "to": {"7": "homer-a"}, "default": "homer"}
    by_tenant = {"by": 'sip.header("X-Tenant")', "to": {"acme": "acme"}}
    bench = Bench({"relay": ["homer", "quality"]}, {"relay": by_agent}, {"relay": by_tenant})
    assert bench.run(sip()) == ["homer", "quality", "homer-a", "acme"]
    bench.log.clear()
    assert bench.run(rtcp(captagent_id=8)) == ["homer", "quality", "homer"], "no tenant, no default"


def test_stores_by_name_by_field_and_with_a_table() -> None:
    table = {"name": "archive", "table": "calls_%Y%m%d", "custom_field1": "x"}
    chosen = {"by": "node_name", "to": {"fra1": "archive"}, "default": "lake", "table": "t"}
    bench = Bench({"store": table}, {"store": chosen})
    assert bench.run(sip(node_name="fra1"), sip()) == [
        ("archive", {"table": "calls_%Y%m%d", "custom_field1": "x", "custom_field2": None, "custom_field3": None}),
        ("archive", {"table": "t", "custom_field1": None, "custom_field2": None, "custom_field3": None}),
        ("archive", {"table": "calls_%Y%m%d", "custom_field1": "x", "custom_field2": None, "custom_field3": None}),
        ("lake", {"table": "t", "custom_field1": None, "custom_field2": None, "custom_field3": None}),
    ]


def test_tags_reach_later_rules_and_what_comes_after() -> None:
    seen = []
    bench = Bench(
        {"when": "src_ip in 10.0.0.0/8", "tag": ["lab", "inside"]},
        {"when": 'tag("lab") and not tag("outside")', "relay": "homer"},
        then=lambda hep: seen.append(set(hep.tags)),
    )
    assert bench.run(sip()) == ["homer"]
    assert seen == [{"lab", "inside"}]


def test_samples_keep_calls_together() -> None:
    bench = Bench({"sample": 0.5, "relay": "homer"})
    for number in range(400):
        call = f"call-{number}".encode()
        bench.run(sip(INVITE.replace(b"c1", call)), sip(b"{}", proto_type=5, correlation_id=call))
    calls = [packet.call_identity for _, packet, _ in bench.log]
    assert 120 < len(set(calls)) < 280
    assert all(calls.count(call) == 2 for call in set(calls)), "with its RTCP"


def test_resume_goes_on_in_the_sip_route() -> None:
    seen = []
    bench = Bench({"when": "sip.is_request", "resume": True}, {"store": True})
    bench.flow.sip_route = lambda msg: seen.append(msg.method)
    assert bench.run(sip(), rtcp()) == ["lake"]
    assert seen == ["INVITE"]


def test_masks_are_for_all_that_comes_after() -> None:
    def hide(hep: Packet) -> None:
        hep.payload = hep.payload.replace(b"alice", b"xxxxx")

    bench = Bench(
        {"when": "sip.from_user = alice", "relay": "homer"},
        {"mask": "gdpr"},
        {"when": "sip.from_user = xxxxx", "store": True},
        masks={"gdpr": hide},
    )
    assert bench.run(sip()) == ["homer", "lake"]
    assert bench.log[0][1].sip.from_user == "alice"
    assert bench.log[1][1].sip.from_user == "xxxxx"


def test_an_old_packet_that_cannot_carry_an_edit_becomes_new_and_later_rules_see_it() -> None:
    bench = Bench(
        {"when": "version = 2", "set": {"node_name": "fra1"}},
        {"when": "version = 3 and node_name = fra1", "relay": "homer"},
    )
    assert bench.run(sip(version=2), sip()) == ["homer"]
    assert bench.log[0][1].captagent_id == 7


def test_a_rule_converts_versions() -> None:
    bench = Bench({"when": "version < 3", "version": 3}, {"when": "version = 3", "relay": "homer"})
    assert bench.run(sip(version=1), sip(version=2), sip()) == ["homer", "homer", "homer"]
    assert [packet.version for _, packet, _ in bench.log] == [3, 3, 3]


def test_a_change_that_a_packet_cannot_carry_names_the_rule() -> None:
    bench = Bench({"name": "old", "version": 1, "relay": "homer"})
    assert bench.run(rtcp(), sip()) == ["homer"]
    assert bench.errors == ["rule old: HEPv1 carries nothing but SIP, and this is RTCP"]


def test_rules_of_one_name_are_counted_together() -> None:
    bench = Bench({"name": "a", "when": "sip", "store": True}, {"name": "a", "relay": "homer"})
    bench.run(sip(), rtcp())
    assert bench.rules.hits == {"a": 3}


def test_a_choice_by_payload_type_takes_its_number_and_its_name() -> None:
    bench = Bench({"relay": {"by": "proto_type", "to": {"5": "quality", "SIP": "homer"}}})
    assert bench.run(sip(), rtcp()) == ["homer", "quality"]


def test_what_stands_behind_a_rule_that_ends_for_every_packet_is_never_asked() -> None:
    bench = Bench({"store": True, "stop": True}, {"relay": "homer"})
    assert bench.run(sip()) == ["lake"]
    assert bench.rest == []


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"when": "sip.methd = INVITE", "drop": True}, "method"),
        ({"when": "src_ip in @fruad", "drop": True}, "fraud"),
        ({"when": "src_port = x", "drop": True}, "src_port"),
        ({"relay": "homr"}, "did you mean homer?"),
        ({"store": "lak"}, "lake"),
        ({"mask": "gdrp"}, "did you mean gdpr?"),
        ({"when": "sip"}, "does nothing"),
        ({"drop": True, "relay": "homer"}, "cannot relay"),
        ({"set": {"captagent_id": "x"}}, "captagent_id"),
        ({"set": {"no_such": 1}}, "no_such"),
        ({"delete": ["no_such"]}, "no_such"),
        ({"store": {"to": {"a": "lake"}}}, "need by"),
        ({"relay": {"by": "no_such", "to": {}}}, "no_such"),
        ({"sample": 2, "store": True}, "less than or equal to 1"),
        ({"wehn": "sip", "store": True}, "Extra inputs"),
    ],
)
def test_mistakes(table: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        rules(table)
    assert said in str(caught.value)
