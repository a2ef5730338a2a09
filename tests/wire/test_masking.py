"""Masked payloads tell nothing of people and everything of calls: no user is left, and the structure is the same."""

from __future__ import annotations

import gzip
import itertools
import json
import random
import re
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepswitch.wire.hep import Hep
from hepswitch.wire.masking import Masker
from hepswitch.wire.masking_uris import MOST_STEPS
from hepswitch.wire.pseudonyms import Pseudonyms, truncation
from hepswitch.wire.sip import Sip

KEY = b"0123456789abcdef"
MASK = Masker(key=KEY)
P = Pseudonyms(KEY)

INVITE = b"""INVITE sip:+4930555501;isub=1:secret@biloxi.example.com:5070;user=phone SIP/2.0\r
Via: SIP/2.0/TCP client.atlanta.example.com;branch=z9hG4bK74bf9\r
f: "Alice \\"Ally\\" Example, Ltd" <sip:alice.example@atlanta.example.com>;tag=99999999\r
TO: Bob Miller\r
 <sips:+49-30-555501@[2001:db8::9]:5061>;tag=88888888\r
P-Asserted-Identity: "Alice" <tel:+14085264000;ext=1;phone-context=+1408526>, <sip:secondary@x>\r
Contact: <sip:alice.example@10.0.0.1;ftag=1234567;rn=+493012345>;+sip.instance="<urn:uuid:1>", sip:bobby@x;expires=60\r
Refer-To: <sip:carol@x?Replaces=leg-b%40host%3Bto-tag%3D1&Referred-By=%3Csip%3A%2B4930555501%40x%3E>\r
Remote-Party-ID: "Customer 4711" <sip:4930555502@pbx>;party=calling\r
X-Tenant-Info: asked by sip:alice.example@x, also 4930555501.\r
Identity: eyJhbGci.eyJvcmln.c2ln;info=<https://cert.example>;alg=ES256\r
Proxy-Authorization: Digest username="alice.example",\r
 realm="x", uri="sip:alice.example@x", response="abc"\r
Call-ID: 4930555501-leg@host\r
X-CID: leg-b@host\r
CSeq: 7 INVITE\r
Content-Type: application/sdp\r
Content-Length: 100\r
\r
v=0\r
o=alice.example 493055550 1 IN IP4 10.0.0.1\r
i=Alice on +49 30 555501\r
m=audio 4000 RTP/AVP 8\r
a=cat:7\r
"""


def masked(raw: bytes, mask: Masker = MASK) -> Sip:
    return Sip(mask.mask(raw))


def log_packet(text: bytes, **chunks: Any) -> Hep:
    return Hep.new(text, src_ip="192.0.2.1", dst_ip="192.0.2.2", src_port=1, dst_port=2, proto_type=100, **chunks)


def sip_packet(raw: bytes, **chunks: Any) -> Hep:
    return Hep.new(raw, src_ip="192.0.2.1", dst_ip="192.0.2.2", src_port=1, dst_port=2, **chunks)


def test_every_place_of_a_user_and_nothing_else() -> None:
    number, alice = P.word(b"4930555501").decode(), P.word(b"alice.example").decode()
    sip = masked(INVITE)
    assert len(sip.body) == len(Sip(INVITE).body) == sip.content_length == 100
    assert sip.ruri == f"sip:+{number};isub={P.word(b'1').decode()}:xxxxxx@biloxi.example.com:5070;user=phone"
    assert (
        sip.header("From")
        == _words('"Alice \\"Ally\\" Example, Ltd"') + f" <sip:{alice}@atlanta.example.com>;tag=99999999"
    )
    assert sip.to_uri == f"sips:+{number[:2]}-{number[2:4]}-{number[4:]}@[2001:db8::9]:5061"
    assert (sip.to_tag, sip.from_tag, sip.call_id, sip.cseq) == ("88888888", "99999999", "4930555501-leg@host", 7)
    assert sip.pid_user == "+" + P.word(b"14085264000").decode()
    assert ";phone-context=+" + P.word(b"1408526").decode() + ">" in str(sip.header("P-Asserted-Identity"))
    rn, bobby = P.word(b"493012345").decode(), P.word(b"bobby").decode()
    assert sip.header("Contact") == (
        f'<sip:{alice}@10.0.0.1;ftag=1234567;rn=+{rn}>;+sip.instance="<urn:uuid:1>", sip:{bobby}@x;expires=60'
    )
    carol = P.word(b"carol").decode()
    assert sip.header("Refer-To") == (
        f"<sip:{carol}@x?Replaces=leg-b%40host%3Bto-tag%3D1&Referred-By=%3Csip%3A%2B{number}%40x%3E>"
    )
    assert sip.header("X-Tenant-Info") == f"asked by sip:{alice}@x, also {number}."
    assert sip.header("Identity") == "xxxxxxxx.xxxxxxxx.xxxx;info=<https://cert.example>;alg=ES256"
    assert sip.header("Proxy-Authorization") is None
    assert sip.body.startswith(b"v=0\r\no=" + alice.encode() + b" 493055550 1 IN IP4 10.0.0.1\r\ni=")
    text = sip.raw.replace(b"4930555501-leg@host", b"")  # the Call-ID stays unless asked for
    for told in (
        b"lice",
        b"Bob",
        b"55501",
        b"secret",
        b"Customer",
        b"4711",
        b"carol",
        b"bobby",
        b"secondary",
        b"14085",
    ):
        assert told not in text


def _words(name: str) -> str:
    """The name with each word replaced: an escaped quote belongs to its word."""
    for word in ("Alice", '\\"Ally\\"', "Example,", "Ltd"):
        name = name.replace(word, P.word(word.encode()).decode())
    return name


def test_a_number_is_the_same_everywhere_and_differs_by_key() -> None:
    number = P.word(b"4930555501")
    assert number.isdigit()
    assert len(number) == 10
    assert number != b"4930555501"
    assert P.word(b"+4930555501") == b"+" + number
    assert P.word(b"%2B4930555501") == b"%2B" + number
    assert P.word(b"+49(30)5555-01").translate(None, b"()-") == b"+" + number
    assert MASK.mask(b"call to +4930555501 failed") == b"call to +" + number + b" failed"
    assert Pseudonyms(b"another key 1234").word(b"4930555501") != number


def test_truncation_keeps_the_beginning_but_never_all() -> None:
    word = truncation(4)
    assert word(b"+4930555501") == b"+4930000000"
    assert word(b"alice.example") == b"alicxxxxxxxxx"
    assert word(b"1234") == b"1200"
    assert word(b"bob") == b"bxx"
    sip = masked(INVITE, Masker(users="truncate"))
    assert (sip.ruri_user, sip.from_user) == ("+4930000000", "alicxxxxxxxxx")


def test_users_may_stay() -> None:
    sip = masked(INVITE, Masker(users="keep", numbers=True))
    assert (sip.from_user, sip.ruri_user) == ("alice.example", "+4930555501")
    assert sip.header("Proxy-Authorization") is None


def test_pseudonyms_need_a_key() -> None:
    with pytest.raises(ValueError, match="need a key"):
        Masker()


def test_credentials_that_stay_lose_their_user() -> None:
    value = masked(INVITE, Masker(key=KEY, authorization="keep")).header("Proxy-Authorization")
    alice = P.word(b"alice.example").decode()
    assert value == f'Digest username="{alice}", realm="x", uri="sip:{alice}@x", response="abc"'


@pytest.mark.parametrize("first", ["MESSAGE sip:bob@x SIP/2.0", "SIP/2.0 200 OK"])
def test_the_body_of_a_message_is_overwritten(first: str) -> None:
    raw = f"{first}\r\nCSeq: 1 MESSAGE\r\nContent-Length: 9\r\n\r\nsee you 5".encode()
    assert masked(raw).body == b"xxxxxxxxx"
    assert masked(raw, Masker(key=KEY, bodies=())).body == b"see you 5"


def test_a_body_that_cannot_be_read_is_overwritten() -> None:
    body = gzip.compress(b"sip:alice@x")
    raw = b"NOTIFY sip:bob@x SIP/2.0\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    assert masked(raw).body == b"x" * len(body)


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n", b"Signal=0\r\nDuration=160\r\n"),
        ("application/dtmf-relay", b"signal= #\r\nDuration= 160", b"signal= 0\r\nDuration= 160"),
        ("application/dtmf", b"5\r\n", b"0\r\n"),
        ("Application/DTMF; x=y", b"12", b"00"),
        ("application/kpml-response+xml", b'<kpml-response digits="4711"/>', b'<kpml-response digits="0000"/>'),
    ],
)
def test_dialled_digits(kind: str, body: bytes, expected: bytes) -> None:
    raw = f"INFO sip:bob@x SIP/2.0\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    assert masked(raw).body == expected
    assert masked(raw, Masker(key=KEY, dtmf=False)).body == body


def test_parts_of_a_body_are_masked_each_in_its_way() -> None:
    body = (
        b"--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\no=- 1234567890 1 IN IP4 1.1.1.1\r\n"
        b"--b\r\nContent-Type: application/xml\r\n\r\n<a entity='sip:alice@x'>+4930555501</a>\r\n--b--\r\n"
    )
    raw = b"INVITE sip:bob@x SIP/2.0\r\nContent-Type: multipart/mixed;boundary=b\r\n\r\n" + body
    out = masked(raw).body
    assert b"o=- 1234567890 1 IN" in out
    assert b"<a entity='sip:" + P.word(b"alice") + b"@x'>+" + P.word(b"4930555501") + b"</a>" in out


def test_call_ids_become_pseudonyms_everywhere_alike() -> None:
    mask = Masker(key=KEY, call_ids="pseudonym")
    a, b = P.call_id(b"4930555501-leg@host").decode(), P.call_id(b"leg-b@host").decode()
    sip = masked(INVITE, mask)
    assert (sip.call_id, sip.header("X-CID")) == (a, b)
    escaped = str(sip.header("Refer-To")).partition("Replaces=")[2].partition("%3B")[0]
    assert len(escaped) == len("leg-b%40host")
    assert bytes.fromhex(escaped[1:3]).decode() + escaped[3:] == b
    more = (
        b"INVITE sip:a@x SIP/2.0\r\nReplaces: leg-b@host;to-tag=1;from-tag=2\r\nIn-Reply-To: leg-b@host, leg-c@host\r\n"
    )
    sip = masked(more, mask)
    assert sip.header("Replaces") == f"{b};to-tag=1;from-tag=2"
    assert str(sip.header("In-Reply-To")).split(", ")[0] == b
    packet = log_packet(b"BYE for leg-b@host", correlation_id=b"leg-b@host")
    mask.apply(packet)
    assert packet.correlation_id == b.encode()
    assert packet.payload == f"BYE for {b}".encode()


def test_text_that_is_no_sip() -> None:
    number = P.word(b"4930555501")
    packet = log_packet(
        b"[info] 12:00:01.1234567 id 4930555501-77@pbx: <sip:4930555501@pbx> called +4930555501\n",
        correlation_id=b"4930555501-77@pbx",
    )
    MASK.apply(packet)
    assert packet.payload == (
        b"[info] 12:00:01.1234567 id 4930555501-77@pbx: <sip:" + number + b"@pbx> called +" + number + b"\n"
    )
    assert packet.correlation_id == b"4930555501-77@pbx"
    assert Masker(key=KEY, numbers=False).mask(b"dial 4930555501") == b"dial 4930555501"


def test_a_status_is_no_secret() -> None:
    assert MASK.mask(b"response=200 from=x") == b"response=200 from=x"


def test_users_before_an_at_in_text() -> None:
    alice = P.word(b"alice")
    rtcp = b'{"sdes_information":[{"type":1,"text":"alice@192.0.2.1"}],"log":"a\\nalice@x"}'
    assert MASK.mask(rtcp) == rtcp.replace(b"alice", alice)
    known = b"call-7@pbx of alice@x"
    assert MASK.mask(known, b"call-7@pbx") == b"call-7@pbx of " + alice + b"@x"


def test_json_stays_json_and_its_numbers_stay() -> None:
    text = b'{"ssrc":2596996162,"caller":"+4930555501","log":"a\\n4930555501","uri":"sip:alice@x","list":[1234567]}'
    found = json.loads(MASK.mask(text))
    number = P.word(b"4930555501").decode()
    assert found == {
        "ssrc": 2596996162,
        "caller": f"+{number}",
        "log": f"a\n{number}",
        "uri": f"sip:{P.word(b'alice').decode()}@x",
        "list": [1234567],
    }


def test_sip_in_json() -> None:
    packet = sip_packet(json.dumps({"src": "+4930555501", "payload": INVITE.decode()}).encode(), proto_type=50)
    MASK.apply(packet)
    found = json.loads(packet.payload or b"")
    assert found["payload"].encode() == MASK.mask(INVITE)
    assert found["src"] == "+" + P.word(b"4930555501").decode()


def test_a_compressed_payload_leaves_compressed() -> None:
    packet = sip_packet(None)
    packet.set("compressed_payload", gzip.compress(INVITE))
    packet.correlation_id = b"after the payload"
    MASK.apply(packet)
    assert packet.get("payload") == MASK.mask(INVITE)
    assert [chunk.name for chunk in packet.chunks()][-2:] == ["compressed_payload", "correlation_id"]
    assert packet.sip is not None
    assert packet.sip.from_user == P.word(b"alice.example").decode()


def test_what_cannot_be_inflated_is_overwritten() -> None:
    packet = sip_packet(None)
    packet.set("compressed_payload", gzip.compress(INVITE)[:-9])
    size = len(packet.compressed_payload or b"")
    assert MASK.apply(packet) is False
    assert (packet.payload, packet.compressed_payload) == (b"x" * size, None)


def test_a_second_payload_is_no_way_past() -> None:
    packet = Hep(_with(sip_packet(INVITE), 0x0F, b"sip:alice.example@x"))
    assert MASK.apply(packet) is True
    assert [chunk.name for chunk in packet.chunks()].count("payload") == 1
    assert b"alice" not in bytes(packet)


@pytest.mark.parametrize("plain", [INVITE, b""])
@pytest.mark.parametrize("plain_first", [True, False])
def test_of_a_plain_and_a_compressed_payload_one_stays(plain: bytes, plain_first: bool) -> None:
    packet = sip_packet(None)
    order = [(0x0F, plain), (0x10, gzip.compress(INVITE + b"\r\n"))]
    for kind, payload in order if plain_first else reversed(order):
        packet = Hep(_with(packet, kind, payload))
    assert MASK.apply(packet) is True
    assert [chunk.name for chunk in packet.chunks()][-1] == ("payload" if plain else "compressed_payload")
    assert len([chunk for chunk in packet.chunks() if "payload" in chunk.name]) == 1
    assert packet.payload == MASK.mask(INVITE) + (b"" if plain else b"\r\n")


def test_an_empty_payload_stays_empty() -> None:
    for packet in (sip_packet(b""), sip_packet(None), Hep(_with(sip_packet(b""), 0x10, b""))):
        MASK.apply(packet)
        assert not packet.payload


def test_no_second_correlation_id_passes() -> None:
    mask = Masker(key=KEY, call_ids="pseudonym")
    packet = Hep(_with(log_packet(b"", correlation_id=b"leg-a@host"), 0x11, b"leg-b@host"))
    assert mask.apply(packet) is True
    assert [chunk.value for chunk in packet.chunks() if chunk.name == "correlation_id"] == [P.call_id(b"leg-a@host")]


def test_a_payload_larger_than_a_packet_may_be_leaves_compressed() -> None:
    drawn = random.Random(1)
    raw = INVITE + b"".join(b"X: %032x\r\n" % drawn.getrandbits(128) for _ in range(2000))
    packet = sip_packet(None)
    packet.compressed_payload = gzip.compress(raw)
    assert MASK.apply(packet) is True
    assert packet.payload == MASK.mask(raw)


def _with(packet: Hep, kind: int, payload: bytes) -> bytes:
    raw = bytes(packet) + b"\0\0" + kind.to_bytes(2) + (len(payload) + 6).to_bytes(2) + payload
    return raw[:4] + len(raw).to_bytes(2) + raw[6:]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_mask_that_fails_lets_nothing_pass(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise RuntimeError("a mistake")

    mask = Masker(key=KEY, call_ids="pseudonym")
    monkeypatch.setattr(mask, "mask", fail)
    packets = [sip_packet(INVITE, version=version)]
    if version == 3:
        packets += [sip_packet(INVITE, correlation_id=b"leg-b@host"), Hep(_with(sip_packet(INVITE), 0x0F, INVITE))]
        packets[1].compress()
    for packet in packets:
        assert mask.apply(packet) is False
        assert set(packet.payload or b"") == set(b"x")
        assert packet.compressed_payload is None
        assert packet.correlation_id is None
        assert Hep(bytes(packet)).payload == packet.payload


def test_more_than_anybody_writes_is_overwritten() -> None:
    packet = sip_packet(b"BYE sip:x SIP/2.0\r\nFrom: " + b"," * (MOST_STEPS + 1))
    assert MASK.apply(packet) is False
    assert set(packet.payload or b"") == set(b"x")
    packet = sip_packet(b"BYE sip:alice@x SIP/2.0\r\nCall-ID: 1\r\n\r\n" + b"sip:alice@x " * MOST_STEPS)
    assert MASK.apply(packet) is True, "a body alone does not cost the message"
    assert packet.sip is not None
    assert (packet.sip.call_id, set(packet.sip.body)) == ("1", set(b"x"))


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version(version: int) -> None:
    packet = (
        sip_packet(INVITE, version=version, auth_key=b"k" * 20) if version == 3 else sip_packet(INVITE, version=version)
    )
    key = packet.auth_key
    MASK.apply(packet)
    assert packet.version == version
    assert packet.payload == MASK.mask(INVITE)
    assert packet.auth_key == key


def test_several_messages_in_one_payload() -> None:
    one = b"OPTIONS sip:alice@x SIP/2.0\r\nCall-ID: 1\r\nContent-Length: 0\r\n\r\n"
    two = b"OPTIONS sip:alice@x SIP/2.0\r\nAuthorization: Digest a\r\nCall-ID: 2\r\nContent-Length: 0\r\n\r\n"
    out = masked(one + b"\r\n" + two).messages()
    alice = P.word(b"alice")
    assert out == [
        one.replace(b"alice", alice),
        two.replace(b"alice", alice).replace(b"Authorization: Digest a\r\n", b""),
    ]


@pytest.mark.parametrize(
    ("value", "left"),
    [
        (b"alice@x;tag=1", b"@x;tag=1"),
        (b"<alice@x>;tag=1", b"<", ),
        (b"sip:alice@home@x;tag=1", b"@x;tag=1"),
        (b'"alice <sip:alice@x>;tag=1', b"@x>;tag=1"),
        (b"<sip:x> <sip:alice@x>;tag=1", b"<sip:x> <sip:"),
        (b"<sip:4930555501>;tag=1", b">;tag=1"),
        (b"<sip:x;user=alice@y>;tag=1", b">;tag=1"),
        (b"alice alice <sip:alice", b"<sip:"),
        (b"sip:x,sip:alice@y,<sip:x>,alice <sip:alice@x>;tag=1", b">;tag=1"),
    ],
)  # fmt: skip
def test_addresses_as_nobody_should_write_them(value: bytes, left: bytes) -> None:
    raw = b"BYE sip:x SIP/2.0\r\nFrom: " + value
    out = masked(raw).raw
    assert left in out
    assert b"alice" not in out
    assert b"4930555501" not in out
    assert len(out) == len(raw)
    assert masked(raw).from_tag == Sip(raw).from_tag


AUTHORIZATION = b'Authorization: Digest username="alice", realm="r", response="deadbeef"\r\n'
NAMED = b'P-Asserted-Identity: "Alice Smith" <sip:alice@x>\r\n'


def told(packet: Hep, *words: bytes, mask: Masker = MASK) -> list[bytes]:
    """Which of the words a masked packet still tells; all of them must have been in it."""
    assert mask.apply(packet) is True
    return [word for word in words if word in (packet.payload or b"")]


@pytest.mark.parametrize(
    ("before", "kind"),
    [
        (b"", 100),
        (b"\xef\xbb\xbf", 1),
        (b" ", 1),
        (b"\0\0", 1),
        (b"recv:\r\n", 100),
        (b"12:00:01 message from proxy\n\n", 0),
    ],
)
def test_sip_that_does_not_begin_as_sip(before: bytes, kind: int) -> None:
    raw = b"MESSAGE sip:bob@x SIP/2.0\r\n" + AUTHORIZATION + NAMED + b"Call-ID: 4930555501@x\r\n\r\nsee you\n"
    for text in (before + raw, json.dumps({"text": (before + raw).decode()}).encode()):
        packet = sip_packet(text, proto_type=kind)
        assert told(packet, b"alice", b"Alice", b"Smith", b"deadbeef", b"see you", b"bob@") == []
        assert b"4930555501@x" in (packet.payload or b""), "its Call-ID is still found"


@pytest.mark.parametrize(
    "text",
    [
        b"d=1\r\n" + AUTHORIZATION + NAMED,
        b"  proxy-authorization : Digest username=alice, response=deadbeef\n  f: Alice Smith <sip:alice@x>\n",
        b'sent Authorization: Digest response=deadbeef for username="alice" to "Alice \\"Al\\" Smith" <sip:alice@x>',
        b"call of Alice Smith <sip:alice@x> with Bearer deadbeef.alice",
        b"x\rFrom: Alice Smith <sip:alice@x>\rAuthorization: Basic deadbeef",
    ],
)
def test_headers_in_text(text: bytes) -> None:
    packet = log_packet(text)
    assert told(packet, b"alice", b"Alice", b"Smith", b"deadbeef") == []
    assert len(packet.payload or b"") == len(text)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"P-Asserted-Identity: +49-30-1234-5678", [b"1234", b"5678"]),
        (b"P-Asserted-Identity: <sip:+49-30-1234-5678>", [b"1234", b"5678"]),
        (b"Contact: <sip:+49.30.1234.5678;user=phone>", [b"1234", b"5678"]),
        (b"Contact: <sip:(030)1234.5678:5060>", [b"030", b"1234", b"5678"]),
        (b"P-Asserted-Identity: <urn:x:4930123456789>", [b"4930123456789"]),
        (b"From: the user +4930123456 is busy", [b"4930123456"]),
        (b"Contact: <tel:+4930123456789;ext=12;isub=99887;phone-context=+49>", [b"=12;", b"99887", b"+49>"]),
        (b"Refer-To: <sip:x@h?P-Asserted-Identity=%22Alice%20Smith%22%3Csip%3A%2B49301@h%3E>", [b"Alice", b"Smith"]),
        (b"Refer-To: <sip:x@h?P-Asserted-Identity=Alice+Smith%3Ctel%3A%2B4930123456%3E>", [b"Alice", b"4930123456"]),
        (b"Refer-To: <sip:alice;x=sip:pw@h;y=sip:bob@h;z=tel:+49301>", [b"alice", b"pw@", b"bob", b"49301"]),
        (b"X-Caller: alice@h, ring +49(30)123-4567", [b"alice", b"123-4567"]),
        (b"X-Authorization-Copy: Digest username=alice", [b"alice"]),
        (b"Authorization\0: Digest username=alice", [b"alice"]),
        (b'X: y\rAuthorization: Digest username="alice"\rFrom: "Alice"', [b"alice", b"Alice"]),
        (b'Via: SIP/2.0/UDP x\rAuthorization: Digest username="alice"', [b"alice"]),
    ],
)
def test_what_headers_hide(header: bytes, words: list[bytes]) -> None:
    raw = b"BYE sip:x SIP/2.0\r\n" + header + b"\r\nCall-ID: 1\r\n\r\n"
    assert told(sip_packet(raw), *words) == []
    assert masked(raw).call_id == "1"


def test_an_address_of_the_network_is_no_number() -> None:
    raw = b"BYE sip:10.0.0.1:5060 SIP/2.0\r\nContact: <sip:192.0.2.33;lr>\r\nRoute: <sip:198.51.100.1>\r\n\r\n"
    assert MASK.mask(raw) == raw


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"Basic YWxpY2U6c2VjcmV0", b"Basic xxxxxxxxxxxxxxxx"),
        (b"Bearer a.b.c", b"Bearer xxxxx"),
        (
            b"Digest username*=UTF-8''J%C3%A4s, response=1",
            b"Digest username*=UTF-8''" + P.word(b"J%C3%A4s") + b", response=1",
        ),
    ],
)
def test_credentials_that_stay(value: bytes, expected: bytes) -> None:
    raw = b"BYE sip:x SIP/2.0\r\nAuthorization: %b\r\n\r\n"
    assert Masker(key=KEY, authorization="keep").mask(raw % value) == raw % expected


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        ("application/isup", b"\x01\x00\x60\x94\x03\x21", [b"\x94\x03\x21"]),
        ("application/isup", b"0100600a", [b"0100"]),
        ("", b"\x01\x94\x03\x21", [b"\x94\x03\x21"]),
        ("message/sipfrag", b"SIP/2.0 200 OK\r\n" + NAMED + AUTHORIZATION, [b"Alice", b"alice", b"deadbeef"]),
        ("message/sipfrag", NAMED + AUTHORIZATION, [b"Alice", b"Smith", b"alice", b"deadbeef"]),
        (
            "application/dialog-info+xml",
            b'<a><identity display="Alice Smith">sip:alice@x</identity><n> +49-30-12 </n>'
            b"<b:display-name>Alice Smith</b:display-name></a>",
            [b"Alice", b"Smith", b"alice", b"49-30"],
        ),
        ("text/plain", b"hello\nv=0\ncall 4930123456 or alice@home", [b"4930123456", b"alice"]),
        ("application/sdp", b"v=0\r\ns=for +4930123456\r\nu=http://x/?a=sip:alice@x\r\n", [b"4930123456", b"alice"]),
        ("application/vnd.nortelnetworks.digits", b"p=Digit-Collection\r\ny=Digits\r\nd=1234\r\n", [b"1234"]),
        (
            "multipart/mixed;boundary=b",
            b"--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b\r\nContent-Type: application/isup\r\n\r\n\x01\x94\r\n"
            b"--b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\nYWxpY2U=\r\n--b--\r\n",
            [b"\x01\x94", b"YWxp"],
        ),
    ],
)  # fmt: skip
def test_bodies_by_their_type(kind: str, body: bytes, words: list[bytes]) -> None:
    raw = f"NOTIFY sip:x SIP/2.0\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    packet = sip_packet(raw)
    assert [word for word in words if word not in body] == []
    assert told(packet, *words) == []
    assert packet.sip is not None
    assert packet.sip.content_length == len(packet.sip.body) == len(body)


def test_numbers_of_json_go_by_their_keys() -> None:
    text = (
        b'{"caller":4930555501,"callers":[4930555501],"toNumber":"+49-30-12","msisdn":"\\u002b4930555501","octets":4930555501,'
        b'"packet_number":4930555501,"timestamp":1700000000,"total":12345678,"from_user":4930555501.5}'
    )
    found, number = json.loads(MASK.mask(text)), P.word(b"4930555501").decode()
    assert (found["caller"], found["callers"], found["msisdn"]) == (int(number), [int(number)], f"+{number}")
    assert found["toNumber"] == P.word(b"+49-30-12").decode() != "+49-30-12"
    assert (found["octets"], found["packet_number"], found["total"]) == (4930555501, 4930555501, 12345678)
    zeros = Masker(users="truncate", keep=0)
    assert json.loads(zeros.mask(b'{"caller":4930555501}')) == {"caller": 1000000000}


def test_json_in_sip_is_a_body() -> None:
    raw = b'NOTIFY sip:x SIP/2.0\r\nFrom: "Alice" <sip:x>\r\nCall-ID: 1234567@x\r\n\r\n{"to":"4930555501"}\r\n'
    assert told(sip_packet(raw), b"Alice", b"4930555501") == []
    assert masked(raw).call_id == "1234567@x"


def test_lines_of_json() -> None:
    text = b'{"a":"\\u002b4930555501"}\nno json 4930555501\r\n{"caller":4930555501}\n'
    number = P.word(b"4930555501")
    assert MASK.mask(text) == b'{"a":"+' + number + b'"}\nno json ' + number + b'\r\n{"caller":' + number + b"}\n"


# ── properties ───────────────────────────────────────────────────────────────────────────────────────────────────────

# Q marks what is about a person: no pseudonym holds a capital letter.
TEXT_USERS = st.from_regex(r"[a-z]{1,4}Q[a-z0-9._-]{0,6}", fullmatch=True)
NUMBERS = st.from_regex(r"\+?[0-9]{8,14}", fullmatch=True)
USERS = TEXT_USERS | NUMBERS
NAMES = st.sampled_from(["", '"Q, \\"Q\\" <Q>" ', "Qa Qb\r\n ", '"Q;Q@Q" ']) | TEXT_USERS.map(lambda user: f'"{user}" ')
HEADERS = st.sampled_from(
    [
        "P-Asserted-Identity",
        "Contact",
        "m",
        "Remote-Party-ID",
        "Diversion",
        "History-Info",
        "r",
        "Record-Route",
        "X-Any",
    ]
)


@st.composite
def address(draw: st.DrawFn) -> tuple[str, set[str]]:
    user, name = draw(USERS), draw(NAMES)
    form = draw(
        st.sampled_from(["sip:{}@h.example;lr", "sips:{}:Qpw@[2001:db8::1]:5061", "tel:{};phone-context=+4930"])
    )
    return f"{name}<{form.format(user)}>", {user}


@st.composite
def message(draw: st.DrawFn) -> tuple[bytes, set[str]]:
    lines, users = [], set()
    for header in ["From", "t", *draw(st.lists(HEADERS, max_size=6))]:
        values = [draw(address()) for _ in range(1 if header in ("From", "t") else draw(st.integers(1, 3)))]
        if header == "X-Any":  # of an unknown header only URIs are masked, not names
            values = [(f"<sip:{user}@x>", {user}) for _, (user,) in values]
        users |= set().union(*(found for _, found in values))
        tag = f";tag={draw(st.integers(1, 9_999_999))}" if header in ("From", "t") else ""
        lines.append(f"{header}: {', '.join(value for value, _ in values)}{tag}")
    first = draw(st.sampled_from(["INVITE", "SIP/2.0 180 Ringing", "NOTIFY"]))
    if not first.startswith("SIP"):
        target, found = draw(address())
        users |= found
        first = f"{first} {target[target.rindex('<') + 1 : -1]} SIP/2.0"
    body = draw(st.sampled_from(["", "v=0\r\no=QQ 1 1 IN IP4 1.1.1.1\r\ne=Q Q@x\r\n", "<x uri='sip:Q@x'/>"]))
    lines += ["Via: SIP/2.0/UDP x;branch=z9hG4bK4930", "Call-ID: 4711abc@x", "CSeq: 3 NOTIFY"]
    lines = draw(st.permutations(lines))
    head = "\r\n".join([first, *lines, f"Content-Length: {len(body)}", "", ""])
    return (head + body).encode(), users


def structure(raw: bytes) -> tuple[Any, ...]:
    sip = Sip(raw)
    names = [line.partition(b":")[0] for line in raw.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:] if line[:1] != b" "]
    domains = sip.from_domain, sip.to_domain, sip.ruri_domain
    ids = sip.call_id, sip.cseq, sip.cseq_method, sip.from_tag, sip.to_tag, sip.via_branch
    return sip.is_request, sip.method, sip.status, names, ids, domains, sip.content_length, len(sip.body), len(raw)


@settings(max_examples=60)
@given(message(), st.sampled_from(["pseudonym", "truncate"]))
def test_a_masked_message_is_the_same_message(made: tuple[bytes, set[str]], users: Any) -> None:
    raw, _ = made
    mask = Masker(users=users, key=KEY)
    once = mask.mask(raw)
    assert structure(once) == structure(raw)
    assert Sip(once).content_length == len(Sip(once).body)
    assert structure(mask.mask(once)) == structure(raw)


@settings(max_examples=60)
@given(message())
def test_no_user_is_left(made: tuple[bytes, set[str]]) -> None:
    raw, users = made
    out = MASK.mask(raw)
    assert b"Q" not in out
    for user in users:
        assert user.encode() not in out
    number = next((user for user in users if user.lstrip("+").isdigit()), None)
    if number is not None:
        assert P.word(number.encode()) in out


PIECES = [
    *(
        b'"',
        b"\\",
        b"<",
        b">",
        b",",
        b";",
        b":",
        b"@",
        b"=",
        b"?",
        b"%40",
        b"%3a",
        b" ",
        b"\r\n",
        b"\r\n ",
        b"\r\n\r\n",
    ),
    *(
        b"sip:",
        b"tel:+49",
        b"From: ",
        b"m:",
        b"Authorization: x",
        b"INVITE ",
        b" SIP/2.0\r\n",
        b"SIP/2.0 200",
        b"--",
        b"v=0\r\n",
    ),
    *(
        b"4930555501",
        b"alice",
        b"replaces=",
        b'{"payload":"',
        b'"}',
        b"\0",
        b"\xff",
        b"Content-Length: 3",
        b"Content-Type: multipart/mixed\r\n",
        b"c: message/sipfrag\r\n",
        b"c: application/x+xml\r\n",
        b"display='",
        b"%22",
        b"%3c",
        b"\n{",
        b'"to":',
        b"\r",
        b"username=",
        b"Call-ID: 1\r\n",
    ),
]
ANY = st.binary(max_size=200) | st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join)
MASKS = [
    Masker(users=users, key=KEY, call_ids=call_ids, authorization="keep")
    for users, call_ids in itertools.product(("pseudonym", "truncate", "keep"), ("keep", "pseudonym"))
]  # fmt: skip


@given(ANY, st.sampled_from([0, 1, 5, 50, 100]), st.binary(max_size=12))
def test_any_bytes_give_bytes(data: bytes, kind: int, correlation_id: bytes) -> None:
    for mask in MASKS:
        assert len(mask.mask(data, correlation_id)) == len(data) or b"\\" in data  # JSON may be written anew
        assert len(mask.mask(b"BYE sip:x SIP/2.0\r\n" + data)) == len(data) + 19
        packet = sip_packet(data, proto_type=kind, correlation_id=correlation_id)
        mask.apply(packet)
        assert Hep(bytes(packet)).payload == packet.payload


TOLD = st.sampled_from(["alice@x", "sip:alice@x", "+4930555501", "tel:4930555501", "sip:aliceé@x"])
BETWEEN = st.text(alphabet='\n\t"\\/ é€\x01\ud800<>,;', max_size=3)


@given(
    st.lists(st.tuples(BETWEEN, TOLD, BETWEEN).map("".join) | st.text(max_size=9), max_size=3), st.sampled_from(MASKS)
)
def test_json_is_still_json_and_tells_nothing(value: list[str], mask: Masker) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        raw = text.encode("utf-8", "replace")
        found, given = json.loads(mask.mask(raw)), json.loads(raw)
        assert [_size(each) for each in found] == [_size(each) for each in given]
        if mask in MASKS[:4]:
            assert not {"alice", "4930555501"} & set(re.split(r"[^a-z0-9]", str(found)))


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    "piece",
    [
        *(
            b'"\\',
            b'"\\"<',
            b"<",
            b"sip:",
            b"sip:a,",
            b'sip:a@,"',
            b"%3asip",
            b"@",
            b"=+4",
            b"\n ",
            b"1",
            b"\n--",
            b"a:",
            b",",
            b"sip:a@b;x=",
            b"v:\r\n",
            b'"sip:a@b" <',
            b"a",
        ),
        *(b"replaces=%", b'username="\\'),
    ],
)
def test_sixty_kilobytes_of_one_thing_are_soon_done(piece: bytes) -> None:
    """Quadratic work on any of these would take minutes, recursion would not end well."""
    filling = piece * (60_000 // len(piece))
    for head in (
        b"",
        b"BYE sip:x SIP/2.0\r\nFrom: ",
        b"BYE sip:x SIP/2.0\r\nX-Any: ",
        b"BYE ",
        b"BYE sip:x SIP/2.0\r\n\r\n",
        b"BYE sip:x SIP/2.0\r\nAuthorization: ",
    ):
        for mask in MASKS[:2]:
            packet = sip_packet(head + filling)
            mask.apply(packet)
            assert len(packet.payload or b"") == len(head + filling)


@pytest.mark.parametrize("text", ["<sip:a@b;x=", "sip:a@b;x=", "sip:a@b?x=%3Csip%3Aa%40b", '"sip:a@b" <', "{[", "--\n"])
def test_nothing_calls_itself_for_what_is_within(text: str) -> None:
    """A depth of calls that any depth of nesting would exceed."""
    deepest = sys.getrecursionlimit()
    packets = [sip_packet(head + text.encode() * 60) for head in (b"", b"BYE sip:x SIP/2.0\r\nFrom: ", INVITE)]
    sys.setrecursionlimit(_depth() + 40)
    try:
        done = [MASK.apply(packet) for packet in packets]
    finally:
        sys.setrecursionlimit(deepest)
    assert done == [True] * len(packets)


def _depth() -> int:
    frame, depth = sys._getframe(), 0
    while frame.f_back is not None:
        frame, depth = frame.f_back, depth + 1
    return depth
