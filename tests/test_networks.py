"""Sets of networks against what `ipaddress` says of each."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepswitch.networks import MOST_ANSWERS, Networks, spellings


def networks(version: int) -> st.SearchStrategy[str]:
    bits = 32 if version == 4 else 128
    address = st.one_of(st.integers(0, 2**bits - 1), st.integers(0, 15).map(lambda low: (10 << bits - 8) + low))
    kind = ipaddress.IPv4Network if version == 4 else ipaddress.IPv6Network
    return st.tuples(address, st.integers(0, bits)).map(lambda pair: str(kind(pair, strict=False)))


some_networks = st.lists(st.one_of(networks(4), networks(6)), max_size=8)
addresses = st.one_of(
    st.ip_addresses(), some_networks.filter(bool).map(lambda found: ipaddress.ip_network(found[0])[-1])
)


@given(some_networks, addresses)
def test_as_each_network_says(items: list[str], address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    plain = getattr(address, "ipv4_mapped", None) or address
    holding = [one for one in map(ipaddress.ip_network, items) if plain in one]
    found = Networks(items)
    assert (str(address) in found) is bool(holding)
    if holding:
        longest = found.longest(str(address))
        assert longest is not None
        assert ipaddress.ip_network(longest) == max(holding, key=lambda one: one.prefixlen)
    else:
        assert found.longest(str(address)) is None


def test_networks_and_addresses_of_both_families() -> None:
    found = Networks(["10.0.0.0/8", "2001:db8::/32", "192.0.2.1", "10.1.0.0/16", "10.0.0.0/8"])
    assert list(found) == ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.1", "2001:db8::/32"]
    assert len(found) == 4
    assert found.longest("10.1.2.3") == "10.1.0.0/16"
    assert "192.0.2.2" not in found
    assert "2001:DB8:0::1" in found


def test_ipv4_in_ipv6_form_is_ipv4() -> None:
    assert "::ffff:10.1.2.3" in Networks(["10.0.0.0/8"])
    assert "10.1.2.3" in Networks(["::ffff:10.0.0.0/104"])
    assert "10.1.2.3" not in Networks(["::/0"])


@pytest.mark.parametrize(
    "text", ["", "10.0.0", "host.example", "10.0.0.1 ", "10.0.0.0/8", "10.0.0.1\0", "\udcff", "::1::"]
)
def test_what_is_no_address_is_in_no_network(text: str) -> None:
    assert text not in Networks(["0.0.0.0/0", "::/0"])
    assert None not in Networks(["0.0.0.0/0"])
    assert [] not in Networks(["0.0.0.0/0"])


def test_a_zone_does_not_matter() -> None:
    assert "fe80::1%eth0" in Networks(["fe80::/10"])


@pytest.mark.parametrize("item", ["10.0.0.0/33", "example.net", "", "10.0.0.1/8", "2001:db8::1/32"])
def test_the_item_that_is_wrong_is_named(item: str) -> None:
    with pytest.raises(ValueError, match=f"^{item!r} "):
        Networks(["192.0.2.1", item])


def test_answers_are_remembered_within_bounds() -> None:
    found = Networks(["10.0.0.0/8"])
    for number in range(2 * MOST_ANSWERS):
        assert str(ipaddress.IPv4Address((10 << 24) + number)) in found
    assert len(found.answers) <= MOST_ANSWERS


def test_spellings_of_an_address() -> None:
    assert spellings("::ffff:c000:201") == {"192.0.2.1", "::ffff:192.0.2.1"}
    assert spellings("2001:DB8:0:0::1") == {"2001:db8::1"}
    with pytest.raises(ValueError, match="no address"):
        spellings("192.0.2.0/24")
