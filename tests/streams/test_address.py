"""Where a stream is, as somebody writes it."""

from __future__ import annotations

import pytest

from hepswitch.streams.address import Login, parse_address
from hepswitch.streams.kafka import check, settings


def test_hosts_ports_and_names() -> None:
    address = parse_address("nats://n1,n2:4223,[::1]:4224/HEP_1")
    assert (address.kind, address.is_tls, address.name) == ("nats", False, "HEP_1")
    assert address.servers == (("n1", 4222), ("n2", 4223), ("::1", 4224))
    assert str(address) == "nats://n1:4222,n2:4223,[::1]:4224/HEP_1"
    address = parse_address("kafka+tls://k1/calls.v2?ca=/x.pem&group=lake", {"group"})
    assert (address.kind, address.is_tls, address.name) == ("kafka", True, "calls.v2")
    assert address.servers == (("k1", 9092),)
    assert address.options == {"ca": "/x.pem", "group": "lake"}
    assert str(address) == "kafka+tls://k1:9092/calls.v2"
    assert [(each.scheme, each.host, each.port) for each in address.endpoints] == [("kafka+tls", "k1", 9092)]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("tcp://h/HEP", "tcp:// is no stream: write nats://, nats\\+tls://, kafka:// or kafka\\+tls://"),
        ("nats+ssl://h/HEP", "nats\\+ssl:// is no stream"),
        ("nats://h", "names no stream: .* write for example nats://n1:4222,n2:4222/HEP"),
        ("nats://h/", "names no stream"),
        ("nats://h/a.b", "names no stream: a stream's name has letters, digits, - and _"),
        ("kafka://h/a/b", "names no stream: a topic's name has letters, digits, ., - and _"),
        ("nats:///HEP", "has no host in ''"),
        ("nats://a,,b/HEP", "has no host in ''"),
        ("nats://a:x/HEP", "has no host in 'a:x'"),
        ("nats://a:0/HEP", "has no host in 'a:0'"),
        ("nats://u:secret@h/HEP", "users do not belong into the URL of a stream"),
        ("nats://u:se/secret@h/HEP", "users do not belong into the URL of a stream"),
        ("nats://h/HEP?group=lake", "the URL knows no option group: it may have ca, cert, key, verify"),
        ("nats://h/HEP?ca=x", "ca in the URL is for TLS: write nats\\+tls://, or leave it away"),
        ("nats+tls://h/HEP?cert=x", "cert and key in the URL come together"),
        ("nats+tls://h/HEP?verify=maybe", "verify=maybe in the URL is neither yes nor no"),
    ],
)
def test_what_is_wrong_is_said_and_no_secret(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        parse_address(url)
    assert "secret" not in str(error.value)


def test_a_login_shows_no_secrets() -> None:
    assert "pw" not in repr(Login("u", "pw", "pw2"))


def test_settings_of_kafka() -> None:
    plain = settings(parse_address("kafka://k1,k2:9093/hep"), Login(), "me")
    assert (plain["bootstrap.servers"], plain["security.protocol"]) == ("k1:9092,k2:9093", "PLAINTEXT")
    address = parse_address("kafka+tls://k/hep?ca=/ca&cert=/c&key=/k&verify=no&sasl=scram-sha-512", {"sasl"})
    check(address)
    full = settings(address, Login("u", "p"), "me")
    assert full["security.protocol"] == "SASL_SSL"
    assert (full["sasl.mechanism"], full["sasl.username"], full["sasl.password"]) == ("SCRAM-SHA-512", "u", "p")
    assert (full["ssl.ca.location"], full["ssl.certificate.location"], full["ssl.key.location"]) == ("/ca", "/c", "/k")
    assert full["enable.ssl.certificate.verification"] is False
    with pytest.raises(ValueError, match="sasl=md5 in the URL is none of plain, scram-sha-256, scram-sha-512"):
        check(parse_address("kafka://k/hep?sasl=md5", {"sasl"}))
