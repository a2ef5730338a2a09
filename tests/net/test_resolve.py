"""Names to addresses: once for all who ask, kept, refreshed, and not lost with the name server."""

import asyncio
import socket

import pytest

from hepswitch.net.resolve import Resolver


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


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "fe80::1%lo"])
async def test_addresses_need_no_look_up(names, address) -> None:
    assert await Resolver().resolve(address) == [address]
    assert names.asked == 0


async def test_one_look_up_serves_all_who_wait_and_the_next(names) -> None:
    resolver = Resolver()
    answers = await asyncio.gather(*(resolver.resolve("homer") for _ in range(5)))
    assert answers == [["192.0.2.1", "192.0.2.2"]] * 5
    await resolver.resolve("homer")
    assert names.asked == 1


async def test_names_are_looked_up_again_after_a_while(names) -> None:
    resolver = Resolver(refresh=0)
    await resolver.resolve("homer")
    names.addresses = ["192.0.2.9"]
    assert await resolver.resolve("homer") == ["192.0.2.9"]


async def test_last_answer_survives_the_name_server(names) -> None:
    resolver = Resolver(refresh=0)
    await resolver.resolve("homer")
    names.addresses = []
    assert await resolver.resolve("homer") == ["192.0.2.1", "192.0.2.2"]


async def test_unknown_name_is_named(names) -> None:
    names.addresses = []
    resolver = Resolver()
    with pytest.raises(OSError, match="'homer' cannot be resolved: Name or service not known; check"):
        await resolver.resolve("homer")
    names.addresses = ["192.0.2.1"]
    assert await resolver.resolve("homer") == ["192.0.2.1"]


async def test_one_who_stops_waiting_takes_nothing_from_the_others(names) -> None:
    resolver = Resolver()
    first, second = (asyncio.create_task(resolver.resolve("homer")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == ["192.0.2.1", "192.0.2.2"]


async def test_real_name() -> None:
    assert set(await Resolver().resolve("localhost")) & {"127.0.0.1", "::1"}
