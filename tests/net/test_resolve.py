"""Names to addresses: once for all who ask, kept as long as the DNS says, and not lost with the name server."""

from __future__ import annotations

import asyncio
import math
import socket
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import dns.rcode
import pytest

from hepswitch.net import resolve
from hepswitch.net.resolve import Resolver, name_server
from name_servers import NameServer

TWO = (("192.0.2.1", 9060), ("192.0.2.2", 9060))


class Names:
    """Stands in for the loop's getaddrinfo."""

    def __init__(self, monkeypatch) -> None:
        self.asked = 0
        self.addresses: list[str] = ["192.0.2.1", "192.0.2.2"]
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self.getaddrinfo)

    async def getaddrinfo(self, host, port, **options):  # type: ignore[no-untyped-def]
        self.asked += 1
        await asyncio.sleep(0)
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in self.addresses]


@pytest.fixture
async def names(monkeypatch) -> Names:
    return Names(monkeypatch)


@pytest.fixture
async def server() -> AsyncIterator[NameServer]:
    async with NameServer() as server:
        yield server


@pytest.fixture
def now(monkeypatch) -> list[float]:
    """The resolver's clock: `now[0]`."""
    clock = [1000.0]
    monkeypatch.setattr(resolve, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    return clock


def of(server: NameServer) -> Resolver:
    return Resolver([server.address], timeout=0.2)


# ── the system's names ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "fe80::1%lo"])
async def test_addresses_need_no_look_up(names, address) -> None:
    answer = await Resolver().resolve(address, 9060)
    assert (answer.candidates, answer.seconds) == (((address, 9060),), math.inf)
    assert names.asked == 0


async def test_one_look_up_serves_all_who_wait_and_the_next(names) -> None:
    resolver = Resolver()
    answers = await asyncio.gather(*(resolver.resolve("homer", 9060) for _ in range(5)))
    assert [answer.candidates for answer in answers] == [TWO] * 5
    assert (await resolver.resolve("homer", 99)).candidates == (("192.0.2.1", 99), ("192.0.2.2", 99))
    assert names.asked == 1


async def test_names_are_looked_up_again_after_a_while(names, now) -> None:
    resolver = Resolver()
    assert (await resolver.resolve("homer", 9060)).seconds == resolve.SYSTEM_TTL
    names.addresses = ["192.0.2.9"]
    now[0] += resolve.SYSTEM_TTL - 1
    assert (await resolver.resolve("homer", 9060)).candidates == TWO
    now[0] += 1
    assert (await resolver.resolve("homer", 9060)).candidates == (("192.0.2.9", 9060),)


async def test_last_answer_survives_the_name_server(names, now) -> None:
    resolver = Resolver()
    await resolver.resolve("homer", 9060)
    names.addresses = []
    now[0] += resolve.SYSTEM_TTL
    answer = await resolver.resolve("homer", 9060)
    assert (answer.candidates, answer.seconds) == (TWO, resolve.RETRY)
    await resolver.resolve("homer", 9060)
    assert names.asked == 2, "not again before the retry is due"


async def test_unknown_name_is_named(names) -> None:
    names.addresses = []
    resolver = Resolver()
    with pytest.raises(OSError, match="'homer' cannot be resolved: Name or service not known; check"):
        await resolver.resolve("homer", 9060)
    names.addresses = ["192.0.2.1"]
    assert (await resolver.resolve("homer", 9060)).candidates == TWO[:1]


async def test_one_who_stops_waiting_takes_nothing_from_the_others(names) -> None:
    resolver = Resolver()
    first, second = (asyncio.create_task(resolver.resolve("homer", 9060)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).candidates == TWO


async def test_real_name() -> None:
    answer = await Resolver().resolve("localhost", 9060)
    assert set(answer.candidates) & {("127.0.0.1", 9060), ("::1", 9060)}


async def test_hosts_file_comes_before_the_dns(names, server, tmp_path: Path, monkeypatch) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("# 192.0.2.7 other.example\n192.0.2.1\tx Homer.Example # ours\n")
    monkeypatch.setattr(resolve, "HOSTS", hosts)
    server.zone["homer.example", "A"] = server.zone["other.example", "A"] = ["198.51.100.1"]
    assert (await of(server).resolve("homer.example", 9060)).candidates == TWO
    assert (await of(server).resolve("other.example", 9060)).candidates == (("198.51.100.1", 9060),)


# ── the DNS ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_both_families_for_the_ttl_of_the_answer(names, server, now) -> None:
    server.ttl = 7
    server.zone["homer.example", "A"] = ["192.0.2.1", "192.0.2.2"]
    server.zone["homer.example", "AAAA"] = ["2001:db8::1"]
    resolver = of(server)
    answer = await resolver.resolve("homer.example", 9060)
    assert answer.candidates == (("2001:db8::1", 9060), *TWO)
    assert answer.seconds == 7
    server.zone = {("homer.example", "A"): ["192.0.2.9"]}
    now[0] += 6.9
    assert await resolver.resolve("homer.example", 9060) == answer
    now[0] += 0.2
    assert (await resolver.resolve("homer.example", 9060)).candidates == (("192.0.2.9", 9060),)
    assert names.asked == 0


@pytest.mark.parametrize(("ttl", "seconds"), [(0, 1.0), (86400 * 7, 3600.0)])
async def test_a_ttl_is_kept_within_bounds(server, now, ttl, seconds) -> None:
    server.ttl = ttl
    server.zone["homer.example", "A"] = ["192.0.2.1"]
    assert (await of(server).resolve("homer.example", 9060)).seconds == seconds


async def test_an_alias_is_followed_for_as_long_as_the_shorter_of_both_holds(server, now) -> None:
    server.ttl = 50
    server.ttls["CNAME"] = 20
    server.zone["homer.example", "CNAME"] = ["a.example."]
    server.zone["a.example", "A"] = ["192.0.2.1"]
    answer = await of(server).resolve("homer.example", 9060)
    assert (answer.candidates, answer.seconds) == (TWO[:1], 20)


@pytest.mark.parametrize("trouble", ["NXDOMAIN", "SERVFAIL", "silence"])
async def test_without_an_answer_the_system_is_asked_and_then_the_reason_is_the_dns(names, server, trouble) -> None:
    server.rcode = dns.rcode.SERVFAIL if trouble == "SERVFAIL" else dns.rcode.NOERROR
    server.silent = trouble == "silence"
    resolver = of(server)
    assert (await resolver.resolve("homer.example", 9060)).candidates == TWO
    names.addresses = []
    words = {"NXDOMAIN": "does not exist", "SERVFAIL": "SERVFAIL", "silence": "expired"}
    with pytest.raises(OSError, match=f"'other.example' cannot be resolved: .*{words[trouble]}.*check the name"):
        await resolver.resolve("other.example", 9060)


async def test_a_dead_server_is_passed_over(server) -> None:
    server.zone["homer.example", "A"] = ["192.0.2.1"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dead:
        dead.bind(("127.0.0.1", 0))
        resolver = Resolver([f"127.0.0.1:{dead.getsockname()[1]}", server.address], timeout=0.1)
        assert (await resolver.resolve("homer.example", 9060)).candidates == TWO[:1]


async def test_the_last_answer_survives_the_dns(names, server, now) -> None:
    names.addresses = []
    server.zone["homer.example", "A"] = ["192.0.2.1"]
    resolver = of(server)
    await resolver.resolve("homer.example", 9060)
    server.rcode = dns.rcode.SERVFAIL
    now[0] += 61
    answer = await resolver.resolve("homer.example", 9060)
    assert (answer.candidates, answer.seconds) == (TWO[:1], resolve.RETRY)


# ── services ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_service_is_its_targets_by_priority_with_their_ports(names, server, now) -> None:
    server.zone["_hep._tcp.example", "SRV"] = [
        "20 0 9062 b.example.",
        "10 0 9061 a.example.",
        "30 0 9063 gone.example.",
    ]
    server.zone["a.example", "A"] = ["192.0.2.1"]
    server.zone["a.example", "AAAA"] = ["2001:db8::1"]
    server.zone["b.example", "A"] = ["192.0.2.2"]
    names.addresses = []
    answer = await of(server).resolve("_hep._tcp.example", 0)
    assert answer.candidates == (("2001:db8::1", 9061), ("192.0.2.1", 9061), ("192.0.2.2", 9062))
    assert answer.seconds == resolve.RETRY, "a target without an address is asked for again soon"


async def test_equals_come_first_by_weight(server) -> None:
    server.zone["_hep._tcp.example", "SRV"] = ["10 90 9061 a.example.", "10 10 9062 b.example."]
    server.zone["a.example", "A"] = server.zone["b.example", "A"] = ["192.0.2.1"]
    first = Counter[int]()
    for _ in range(200):
        first[(await of(server).resolve("_hep._tcp.example", 0)).candidates[0][1]] += 1
    assert 120 < first[9061] < 200  # 180 expected; each bound is more than four standard deviations away


@pytest.mark.parametrize("records", [["0 0 0 ."], ["10 0 9061 _hep._tcp.example."]])
async def test_a_service_that_is_not_offered_or_leads_to_itself_has_no_address(server, records) -> None:
    server.zone["_hep._tcp.example", "SRV"] = records
    with pytest.raises(OSError, match=r"'_hep\._tcp\.example' cannot be resolved: its SRV records name no host"):
        await of(server).resolve("_hep._tcp.example", 0)


async def test_a_service_without_any_address_names_the_target(names, server) -> None:
    names.addresses = []
    server.zone["_hep._tcp.example", "SRV"] = ["10 0 9061 gone.example."]
    with pytest.raises(OSError, match=r"'_hep\._tcp\.example' cannot be resolved: 'gone\.example' cannot be resolved"):
        await of(server).resolve("_hep._tcp.example", 0)


# ── servers in words ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("10.0.0.53", ("10.0.0.53", 53)),
        ("10.0.0.53:5353", ("10.0.0.53", 5353)),
        ("2001:db8::53", ("2001:db8::53", 53)),
        ("[2001:db8::53]:5353", ("2001:db8::53", 5353)),
    ],
)
def test_name_server(text: str, server: tuple[str, int]) -> None:
    assert name_server(text) == server


@pytest.mark.parametrize(
    "text", ["", "ns.example", "ns.example:53", "10.0.0.53:", "10.0.0.53:0", "10.0.0.53:70000", "::1:x"]
)
def test_bad_name_server_says_how(text: str) -> None:
    with pytest.raises(ValueError, match=r"write for example 10\.0\.0\.53"):
        name_server(text)
