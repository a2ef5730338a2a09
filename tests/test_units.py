"""Sizes, durations, rates and endpoint URLs."""

import pytest

from hepswitch.units import Endpoint, local_address, parse_duration, parse_endpoint, parse_rate, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("4096", 4096), (4096, 4096), ("1KiB", 1024), ("1kB", 1000), ("1k", 1000), ("64 MiB", 64 << 20), ("1.5GiB", 3 << 29),
     ("10B", 10), ("2TB", 2 * 10**12)],
)  # fmt: skip
def test_size(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "much", "1 XB", "-1", "1GiBs"])
def test_bad_size_says_how(text: str) -> None:
    with pytest.raises(ValueError, match="write for example 512MiB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10),
        ("250ms", 0.25),
        ("1h30m", 5400),
        ("7d", 604800),
        (5, 5),
        ("5", 5),
        ("1.5h", 5400),
        ("1d 2h", 93600),
    ],
)
def test_duration(text: str | int, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "5 parsecs", "h", "1h!"])
def test_bad_duration_says_how(text: str) -> None:
    with pytest.raises(ValueError, match="write for example 500ms"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("1000/s", (1000, 1)),
        ("60 / m", (60, 60)),
        ("0.5/h", (0.5, 3600)),
        ("1/d", (1, 86400)),
        (7, (7, 1)),
        (0.5, (0.5, 1)),
    ],
)
def test_rate(text: str | float, rate: tuple[float, float]) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "5", "5/", "/s", "-1/s", "5/w", "0/s", "0.5/d", "10000001/s", 0, -1, float("nan")]
)
def test_bad_rate_says_how(text: str | float) -> None:
    with pytest.raises(ValueError, match=r"write for example 1000/s|a rate is 1/d to"):
        parse_rate(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("udp://10.0.0.1", "udp://10.0.0.1:9060"),
        ("tls://h3", "tls://h3:9061"),
        ("tcp://[2001:db8::1]:99", "tcp://[2001:db8::1]:99"),
        ("udp://127.0.0.1:0", "udp://127.0.0.1:0"),
        ("tcp://h:1?weight=2", "tcp://h:1"),
        ("tls://_hep._tcp.Example.net?weight=2", "tls://_hep._tcp.example.net"),
    ],
)
def test_endpoint(text: str, name: str) -> None:
    assert str(parse_endpoint(text)) == name


def test_endpoint_options() -> None:
    assert parse_endpoint("tcp://h:1?weight=2&x=y") == Endpoint("tcp", "h", 1, {"weight": "2", "x": "y"})


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("tls://h3.example.net", "h3.example.net"),
        ("tls://_hep._tls.example.net", "example.net"),
        ("tls://[::1]", "::1"),
    ],
)
def test_domain_of_a_certificate(text: str, domain: str) -> None:
    assert parse_endpoint(text).domain == domain


@pytest.mark.parametrize(
    ("text", "words"),
    [("10.0.0.1:9060", "does not start with"), ("udp://:9060", "names no host"), ("udp://h:70000", "port"),
     ("udp://h/path", "has a path"), ("tcp://_hep._tcp.example.net:9060", "has a port.*Leave :9060 away"),
     ("tcp://_hep._tcp", "names a service of no domain")],
)  # fmt: skip
def test_bad_endpoint(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_endpoint(text)


@pytest.mark.parametrize("value", [True, -1, [1], {}, None, float("nan"), float("inf"), 10**30, "1e300"])
def test_whatever_is_no_size_and_no_duration_is_a_value_error(value: object) -> None:
    for parse in (parse_size, parse_duration):
        with pytest.raises(ValueError, match=r"is not a (size|duration)"):
            parse(value)
    if value != "1e300" and value != 10**30:
        with pytest.raises(ValueError, match="rate"):
            parse_rate(value)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("udp://0.0.0.0:9060", ("udp", "0.0.0.0", 9060)),
        ("tls://[::]:9061", ("tls", "::", 9061)),
        ("sip://10.0.0.1:5060", ("udp", "10.0.0.1", 5060)),
        ("sip://10.0.0.1:5060?transport=tcp", ("tcp", "10.0.0.1", 5060)),
        ("mirror://eth0", ("mirror", "", 0)),
        ("pcap:/var/spool/a.pcap", ("pcap", "", 0)),
    ],
)
def test_the_local_address_of_a_listener(name: str, address: tuple[str, str, int]) -> None:
    assert local_address(name) == address
