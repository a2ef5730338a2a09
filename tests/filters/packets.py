"""Packets of many kinds, and conditions on them, for the tests of both back ends."""

from __future__ import annotations

import random
import zlib

from hypothesis import strategies as st

from hepswitch.routing.packet import Received
from hepswitch.wire.hep import Hep

RECEIVED = Received("udp", "10.9.8.7", 40000, "192.0.2.254", 9060)

USERS = ["alice", "bob", "+4930123", "a b", "ünal", ""]
DOMAINS = ["example.com", "10.0.0.1"]
ADDRESSES = ["10.0.0.1", "10.20.0.1", "192.0.2.1", "2001:db8::1", "2001:db8:1::1", "::ffff:10.0.0.1"]
AGENTS = ["friendly-scanner", "Acme-SBC/7.4", "Ä.B\tC"]
LISTS = {"fraud": {"+4930123", "10.0.0.1", "5060", "call-1"}}


class Seen(Hep):
    """A packet that came in, without a flow around it."""

    received = RECEIVED


def packets(count: int = 150) -> list[Seen]:
    """Packets, each with its number as `captagent_id`. The same ones every time."""
    dice = random.Random(7)
    return [_packet(dice, number) for number in range(count)]


def _packet(dice: random.Random, number: int) -> Seen:
    chunks = {"src_ip": dice.choice(ADDRESSES), "dst_ip": dice.choice(ADDRESSES), "captagent_id": number}
    if ":" in chunks["src_ip"]:
        chunks["dst_ip"] = "2001:db8::2"
    elif ":" in chunks["dst_ip"]:
        chunks["dst_ip"] = "192.0.2.9"
    chunks |= {name: value for name, value in _options(dice).items() if dice.random() < 0.6}
    chunks["proto_type"] = dice.choice([1, 1, 1, 5, 100])
    chunks["time"] = 1_795_000_000.0 + number
    payload = dice.choice([_sip, _sip, _sip, _json, _junk])(dice)
    hep = Seen(bytes(Hep.new(payload, **chunks)))
    if dice.random() < 0.2:
        hep.set(0x30, dice.randrange(5), type="uint32", vendor=3)
    if dice.random() < 0.2:
        hep.mos = dice.randrange(100, 500)
    if dice.random() < 0.1:
        hep.delete("payload")
        hep.compressed_payload = zlib.compress(payload)
    if dice.random() < 0.2 and hep.proto_type == "SIP" and not payload.startswith(b"{"):
        hep.version = 2
        hep.captagent_id = number
    return hep


def _options(dice: random.Random) -> dict[str, object]:
    return {
        "src_port": dice.choice([5060, 5061, 40000]),
        "dst_port": dice.choice([5060, 5061, 40000]),
        "proto_id": dice.choice([6, 17, 22]),
        "node_name": dice.choice(["edge-1", "edge-2", ""]),
        "vlan_id": dice.choice([0, 7]),
        "correlation_id": dice.choice([b"call-1", b"", "ü".encode()]),
    }


def _sip(dice: random.Random) -> bytes:
    method = dice.choice(["INVITE", "BYE", "OPTIONS"])
    if dice.random() < 0.5:
        first = f"{method} sip:{dice.choice(USERS)}@{dice.choice(DOMAINS)} SIP/2.0"
    else:
        first = f"SIP/2.0 {dice.choice([180, 200, 404, 503])} Whatever"
    headers = [
        f"From: <sip:{dice.choice(USERS)}@{dice.choice(DOMAINS)}>;tag={dice.randrange(3)}",
        f"To: <sip:{dice.choice(USERS)}@{dice.choice(DOMAINS)}>" + dice.choice(["", ";tag=9"]),
        f"Call-ID: call-{dice.randrange(5)}",
        f"CSeq: {dice.randrange(9)} {method}",
        f"User-Agent: {dice.choice(AGENTS)}",
        f"X-Tenant: {dice.choice(['acme', 'other'])}",
        f"P-Asserted-Identity: <sip:{dice.choice(USERS)}@example.com>",
    ]
    kept = [header for header in headers if dice.random() < 0.8]
    return "\r\n".join([first, *kept, "", dice.choice(["", "v=0\r\n"])]).encode()


def _json(dice: random.Random) -> bytes:
    text = _sip(dice).decode().replace("\r", "\\r").replace("\n", "\\n").replace("\t", "\\t")
    return f'{{"payload": "{text}"}}'.encode()


def _junk(dice: random.Random) -> bytes:
    return dice.choice([b"", b"\xff\xfe call-1", b'{"type":200}', b"dialog confirmed"])


TEXTS = ["sip.method", "sip.from_user", "sip.to_user", "sip.ruri_user", "sip.from_domain", "sip.to_tag", "sip.user_agent",
         "sip.call_id", "sip.reason", "sip.cseq_method", "sip.pid_user", "node_name", "correlation_id", "payload",
         "sip.body", "sip.ruri", 'sip.header("X-Tenant")', 'sip.header("nothing")', "user", "caller", "callee",
         "chunk(0x31)"]  # fmt: skip
NUMBERS = ["src_port", "dst_port", "captagent_id", "vlan_id", "version", "sip.status", "sip.cseq", "mos", "keep_alive",
           'chunk(0x30, vendor=3, type="uint32")', "received.src_port", "proto_type", "proto_id"]  # fmt: skip
WORDS = ["INVITE", "BYE", "alice", "+4930123", "alice@example.com", "example.com", "9", "acme", "edge-1", "call-1", "other",
         '""', '"a b"', '"ünal"', '"Ä.B C"', "Whatever", '"v=0"']  # fmt: skip
REGEXES = [r'"^a"', r'"\d+$"', '"(?i)SCANNER"', '"(?=b)b"', '"."', '"^$"', r'"\w b"', "OPTIONS"]
NETWORKS = ["10.0.0.0/8", "10.0.0.1", "2001:db8::/32", "[10.0.0.0/16, 2001:db8:1::/48]", "0.0.0.0/0", "::/0", "@fraud"]
NAMES = ["RTCP", "SIP", "log", "5"]


def _tests() -> st.SearchStrategy[str]:
    def joined(*parts: list[str] | st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.tuples(*(st.sampled_from(part) if isinstance(part, list) else part for part in parts)).map(" ".join)

    word = st.sampled_from(WORDS)
    number = st.sampled_from([0, 1, 2, 3, 7, 200, 300, 404, 5060, 5061, 40000]).map(str)
    some = st.lists(word, min_size=1, max_size=4).map(lambda found: f"[{', '.join(found)}]")
    span = st.tuples(number, number).map(lambda ends: "..".join(sorted(ends, key=int)))
    return st.one_of(
        st.sampled_from([*TEXTS, *NUMBERS, "sip", "sip.is_request", "src_ip", "ip", "received.src_ip"]),
        joined(TEXTS, ["=", "!=", "contains"], word),
        joined(TEXTS, ["in", "not in"], some),
        joined(TEXTS, ["~", "!~"], REGEXES),
        joined([*TEXTS, *NUMBERS], ["in", "not in"], ["@fraud"]),
        joined(NUMBERS, ["=", "!=", "<", "<=", ">", ">="], number),
        joined(NUMBERS, ["in", "not in"], span),
        joined(["src_ip", "dst_ip", "ip", "received.src_ip"], ["in", "not in"], NETWORKS),
        joined(["src_ip", "dst_ip", "ip"], ["=", "!="], ADDRESSES),
        joined(["proto_type"], ["=", "!="], NAMES),
    )


def conditions() -> st.SearchStrategy[str]:
    """Texts of conditions that a lake can answer."""
    return st.recursive(
        _tests(),
        lambda part: st.one_of(
            part.map(lambda text: f"not ({text})"),
            st.lists(part, min_size=2, max_size=3).map(lambda found: "(" + ") and (".join(found) + ")"),
            st.lists(part, min_size=2, max_size=3).map(lambda found: "(" + ") or (".join(found) + ")"),
        ),
        max_leaves=6,
    )
