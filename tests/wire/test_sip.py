"""Captured SIP is read whatever is wrong with it: what is there is given, what is absent is None."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepswitch.wire.sip import Sip, looks_like_sip

INVITE = b"""INVITE sip:bob@biloxi.example.com:5070;transport=tcp SIP/2.0\r
Via: SIP/2.0/TCP client.atlanta.example.com:5060;branch=z9hG4bK74bf9, SIP/2.0/UDP second;branch=other\r
Max-Forwards: 70\r
From: "Alice <the one>" <sip:alice;phone-context=x:secret@atlanta.example.com;tag=no>;x=1;tag=9fxced76sl\r
To: Bob <sips:bob@[2001:db8::9]:5061>\r
Call-ID: 3848276298220188511@atlanta.example.com\r
CSeq: 314159 INVITE\r
Contact: "A, B" <sip:alice@client.atlanta.example.com>;expires=60, <sip:other@x>\r
P-Preferred-Identity: <sip:preferred@x>\r
P-Asserted-Identity: "x" <tel:+14085264000;ext=1>, <sip:second@x>\r
Authorization: Digest username="www", realm="x"\r
Proxy-Authorization: Digest realm="a, username=no", username = "al,ice", uri="sip:x"\r
User-Agent: Softphone/1.0 (x)\r
Reason: Q.850;cause=16\r
Subject: first\r
 and\r
\t second\r
X-CID: other-leg@x\r
Content-Type: application/sdp\r
Content-Length: 12\r
\r
v=0\r
c=nothinmore"""


def test_every_field_of_a_request() -> None:
    sip = Sip(INVITE)
    assert sip.is_request
    assert (sip.method, sip.status, sip.reason) == ("INVITE", None, None)
    assert sip.ruri == "sip:bob@biloxi.example.com:5070;transport=tcp"
    assert (sip.ruri_user, sip.ruri_domain) == ("bob", "biloxi.example.com")
    assert sip.call_id == "3848276298220188511@atlanta.example.com"
    assert (sip.cseq, sip.cseq_method) == (314159, "INVITE")
    assert sip.via == "SIP/2.0/TCP client.atlanta.example.com:5060;branch=z9hG4bK74bf9"
    assert sip.via_branch == "z9hG4bK74bf9"
    assert sip.from_uri == "sip:alice;phone-context=x:secret@atlanta.example.com;tag=no"
    assert (sip.from_user, sip.from_domain, sip.from_tag) == ("alice", "atlanta.example.com", "9fxced76sl")
    assert (sip.to_user, sip.to_domain, sip.to_tag) == ("bob", "[2001:db8::9]", None)
    assert sip.contact == '"A, B" <sip:alice@client.atlanta.example.com>;expires=60'
    assert (sip.contact_user, sip.pid_user, sip.auth_user) == ("alice", "+14085264000", "al,ice")
    assert sip.user_agent == "Softphone/1.0 (x)"
    assert sip.header("reason") == "Q.850;cause=16"
    assert sip.header("s") == sip.header("SUBJECT") == "first and second"
    assert (sip.content_type, sip.content_length, sip.body) == ("application/sdp", 12, b"v=0\r\nc=nothi")


def test_a_reply() -> None:
    sip = Sip(b"SIP/2.0 404 Not  Found \r\nServer: x\r\nP-Preferred-Identity: <sip:p@x>\r\nCSeq: 1\r\n\r\n")
    assert not sip.is_request
    assert (sip.status, sip.reason, sip.method) == (404, "Not  Found", None)
    assert (sip.cseq, sip.cseq_method) == (1, None)  # seen in 400 answers
    assert (sip.user_agent, sip.pid_user) == ("x", "p")
    assert sip.body == b""


@pytest.mark.parametrize("ending", [b"\r\n", b"\n"])
def test_compact_forms_and_line_ends(ending: bytes) -> None:
    lines = [
        b"",
        b"",
        b"BYE sip:b@h SIP/2.0",
        b"v: SIP/2.0/UDP h;BRANCH=z9",
        b"f: <sip:a@h>;tag=1",
        b"t: sip:b@h;tag=2",
        b"I \t: ",
        b"  id@h ",
        b"m: *",
        b"c: text/plain",
        b"l: 3",
        b"",
        b"abcd",
    ]
    sip = Sip(ending.join(lines))
    assert (sip.method, sip.call_id, sip.via_branch) == ("BYE", "id@h", "z9")
    assert (sip.from_tag, sip.to_uri, sip.to_tag) == ("1", "sip:b@h", "2")
    assert (sip.contact, sip.content_type, sip.body) == ("*", "text/plain", b"abc")
    assert sip.header("From") == "<sip:a@h>;tag=1"
    assert Sip(ending.join(lines)).call_id == "id@h"  # found without the scan, too


@pytest.mark.parametrize(
    ("value", "uri", "user", "domain", "tag"),
    [
        ("sip:alice@host;tag=1", "sip:alice@host", "alice", "host", "1"),
        ("sip:+49;phone-context=x@host;tag=1", "sip:+49;phone-context=x@host", "+49", "host", "1"),
        ("<sip:host:5060;transport=udp>", "sip:host:5060;transport=udp", None, "host", None),
        (
            "<tel:+1-201-555-0123;phone-context=x>;tag=a",
            "tel:+1-201-555-0123;phone-context=x",
            "+1-201-555-0123",
            None,
            "a",
        ),
        ('"a \\" <sip:no@no>" <sip:yes@yes>', "sip:yes@yes", "yes", "yes", None),
        ('"never closed <sip:yes@yes>;tag=t', "sip:yes@yes", "yes", "yes", "t"),
        ("<sip:cut@off", "sip:cut@off", "cut", "off", None),
        ("<sip:a%40b@h?Subject=x>", "sip:a%40b@h?Subject=x", "a%40b", "h", None),
        ("<sip:[::1]>;tag=x", "sip:[::1]", None, "[::1]", "x"),
        ("<urn:service:sos>", "urn:service:sos", None, None, None),
        ("<sip:a@h> ; tag = q", "sip:a@h", "a", "h", "q"),
        ("<>", None, None, None, None),
    ],
)
def test_addresses(value: str, uri: str | None, user: str | None, domain: str | None, tag: str | None) -> None:
    sip = Sip(f"ACK sip:x SIP/2.0\r\nFrom: {value}\r\n\r\n".encode())
    assert (sip.from_uri, sip.from_user, sip.from_domain, sip.from_tag) == (uri, user, domain, tag)


def test_headers_repeat_in_order() -> None:
    sip = Sip(b"BYE sip:b SIP/2.0\r\nVia: 1\r\nv: 2, 3\r\nVIA : 4\r\nX: \r\n\r\nVia: 5")
    assert sip.headers("via") == sip.headers("v") == ["1", "2, 3", "4"]
    assert sip.headers("Session-Expires") == [""]  # whose compact form is x
    assert sip.header("Route") is None


def test_octets_of_any_kind() -> None:
    sip = Sip(b"BYE sip:b\0c@h SIP/2.0\r\nCall-ID: a\0\xff\r\n\r\n\0\1")
    assert sip.ruri_user == "b\0c"
    assert sip.call_id == "a\0\udcff"
    assert sip.body == b"\0\1"


@pytest.mark.parametrize(
    ("data", "is_sip"),
    [
        (b"INVITE sip:bob", True),
        (b"INVITE sip:bob@h SIP/2.0\r\n", True),
        (b"SIP/2.0 200 OK", True),
        (b"\r\n\r\nBYE tel:1", True),
        (b"MY-METHOD urn:x SIP/2.0\n", True),
        (b"", False),
        (b"\r\n\r\n", False),
        (b"GET http://x/ HTTP/1.1\r\n", False),
        (b"HTTP/1.1 200 OK\r\n", False),
        (b'{"payload":"INVITE sip:b SIP/2.0"}', False),
        (b"just some log line\n", False),
        (b"INVITE sip:x HTTP/1.1\r\n", False),
        (b"HEP3\0\7\0", False),
    ],
)
def test_what_looks_like_sip(data: bytes, is_sip: bool) -> None:
    assert looks_like_sip(data) is is_sip


def test_absurd_numbers() -> None:
    sip = Sip(b"SIP/2.0 99 x\r\nCSeq: 99999999999999999999 A\r\nContent-Length: 999999999999999999999\r\n\r\nbody")
    assert sip.cseq == 4294967295
    assert sip.body == b"body"


def test_a_large_message() -> None:
    body = b"x" * 100_000
    sip = Sip(b"MESSAGE sip:b SIP/2.0\r\n" + b"X: y\r\n" * 20_000 + b"Call-ID: far\r\n\r\n" + body)
    assert (sip.call_id, sip.body) == ("far", body)


FIRST = b"SIP/2.0 100 Trying\r\nCall-ID: 1\r\nContent-Length: 3\r\n\r\nabc"
SECOND = b"BYE sip:b@h SIP/2.0\r\nCall-ID: 2\r\n\r\nno length"


def test_several_messages_in_one_payload() -> None:
    assert Sip(FIRST).messages() == [FIRST]
    assert Sip(FIRST + SECOND).messages() == [FIRST, SECOND]
    assert Sip(SECOND + b"\r\n" + FIRST + b"\r\n\r\n" + SECOND).messages() == [SECOND + b"\r\n", FIRST, SECOND]
    assert Sip(FIRST + b"garbage").messages() == [FIRST + b"garbage"]
    assert Sip(b"").messages() == []


def test_a_fragment_in_a_body_is_no_message() -> None:
    notify = b"NOTIFY sip:b@h SIP/2.0\r\nCall-ID: 1\r\nContent-Type: message/sipfrag\r\n\r\nSIP/2.0 200 OK\r\n"
    assert Sip(notify).messages() == [notify]


def test_packets_of_real_senders() -> None:
    for path in sorted((Path(__file__).parents[1] / "vectors").glob("*-v1-*.json")):
        facts = json.loads(path.read_text())
        raw = path.with_suffix(".hep").read_bytes()[16 if facts["proto_family"] == 2 else 40 :]
        if not looks_like_sip(raw):
            continue
        sip = Sip(raw)
        assert sip.call_id, path.name
        assert sip.cseq is not None, path.name
        assert sip.from_tag, path.name
        assert facts["payload_first_line"].startswith(sip.method or f"SIP/2.0 {sip.status}")


PIECES = st.sampled_from(
    [
        b"INVITE sip:a@b SIP/2.0\r\n",
        b"SIP/2.0 200 OK\r\n",
        b"Via",
        b"v",
        b"From",
        b"t",
        b"Call-ID",
        b"i",
        b"CSeq",
        b"l",
        b"Contact",
        b"Content-Length",
        b"Proxy-Authorization",
        b"P-Asserted-Identity",
        b":",
        b": ",
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n ",
        b"\r\n\r\n",
        b'"',
        b"\\",
        b"<",
        b">",
        b";",
        b",",
        b"=",
        b"@",
        b"[",
        b"]",
        b"sip:",
        b"tel:",
        b"tag",
        b"branch=",
        b"username",
        b"1",
        b"9" * 30,
        b"\0",
        b"\xff",
        b" ",
    ]
)


@given(st.one_of(st.binary(max_size=300), st.lists(PIECES, max_size=60).map(b"".join)))
def test_any_bytes_at_all(data: bytes) -> None:
    sip = Sip(data)
    for name in dir(Sip):
        if not name.startswith("_") and not callable(getattr(Sip, name)):
            getattr(sip, name)
    assert sip.call_id == Sip(data).call_id  # scan and quick look agree
    for name in ("via", "v", "x", ""):
        assert sip.headers(name)[:1] == [value for value in [sip.header(name)] if value is not None]
    assert len(sip.body) <= len(data)
    assert all(message in data for message in sip.messages())


@given(st.integers(min_value=0, max_value=len(INVITE)))
def test_cut_anywhere(size: int) -> None:
    whole, cut = Sip(INVITE), Sip(INVITE[:size])
    assert whole.call_id is not None
    assert whole.call_id.startswith(cut.call_id or "")
    assert cut.messages() == ([INVITE[:size]] if size else [])
