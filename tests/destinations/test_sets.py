"""Dispatcher sets that come and go while packets flow: nothing is lost, sums never go back, a bad set changes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from far_ends import TcpSink, UdpSink, assert_balanced, number, packet, until
from hepswitch.destinations.hep import HepDestination, HepOutlet
from hepswitch.destinations.sets import NodeChange, Sets, check_fallbacks

Make = Callable[..., Sets]


def table(*urls: str, fallback: str | None = None) -> HepDestination:
    return HepDestination(urls=list(urls), fallback=fallback)


Reload = Callable[[Sets, dict[str, HepDestination]], Awaitable[None]]


@pytest.fixture
def outlet(tmp_path: Path) -> Callable[[str, HepDestination], HepOutlet]:
    """Makes a destination with its spool in tmp_path."""
    return lambda name, table: HepOutlet(name, table, [tmp_path / name / "w0"])


@pytest.fixture
def reload(outlet: Callable[[str, HepDestination], HepOutlet]) -> Reload:
    async def change(of: Sets, tables: dict[str, HepDestination]) -> None:
        of.change(await of.prepare(tables, outlet))

    return change


@pytest.fixture
async def sets(outlet: Callable[[str, HepDestination], HepOutlet]) -> AsyncIterator[Make]:
    """Makes sets that are closed with the test; their books must balance then."""
    made: list[Sets] = []

    def make(**tables: HepDestination) -> Sets:
        made.append(Sets(tables, outlet, drain=0.5))
        return made[-1]

    yield make
    for each in made:
        await each.close()
        for row in each.account().values():
            assert_balanced(row)
            assert row["queued"] == 0


async def opened(sets: Sets) -> Sets:
    for outlet in sets.outlets.values():
        await outlet.open()
    return sets


async def test_a_set_that_is_taken_away_delivers_and_stays_in_the_books(sets: Make, reload: Reload) -> None:
    with closing(UdpSink()) as sink, closing(UdpSink()) as other:
        of = await opened(sets(homer=table(sink.url), other=table(other.url)))
        outlets, homer = of.outlets, of.outlets["homer"]
        assert all(homer.offer(packet(i)) for i in range(20))
        await reload(of, {"other": table(other.url)})
        assert (of.outlets is outlets, list(outlets)) == (True, ["other"])
        assert of.account()["homer"]["accepted"] == 20
        await until(lambda: len(sink.read()) == 20, "what it held")
        await until(lambda: of.account()["homer"]["nodes"][sink.url]["state"] == "closed", "its end")
        assert list(of.info()) == ["other"]

        await reload(of, {"homer": table(sink.url), "other": table(other.url)})
        assert outlets["homer"].offer(packet(20))
        row = of.account()["homer"]
        assert (row["accepted"], row["nodes"][sink.url]["state"]) == (21, "active")
        assert [number(frame) for frame in sink.frames] == list(range(20))


async def test_what_a_removed_set_has_on_disk_is_found_when_it_is_back(sets: Make, reload: Reload) -> None:
    sink = TcpSink()
    await sink.start()
    await sink.stop()
    homer = table(sink.url)
    of = await opened(sets(homer=homer))
    assert all(of.outlets["homer"].offer(packet(i)) for i in range(20))
    await reload(of, {})
    await until(lambda: of.account()["homer"]["nodes"][sink.url]["state"] == "closed", "its end")
    row = of.account()["homer"]
    assert (row["accepted"], row["spooled"]) == (20, 20)
    await reload(of, {"homer": homer})
    row = of.account()["homer"]
    assert (row["accepted"], row["spooled"] + row["queued"]) == (20, 20)
    assert_balanced(row)
    await sink.start()
    await until(lambda: of.account()["homer"]["delivered"] == 20, "delivery")
    await until(lambda: sink.received == set(range(20)), "every packet")
    await sink.stop()


async def test_a_set_that_is_back_at_once_waits_for_its_own_farewell(sets: Make, reload: Reload) -> None:
    sink = TcpSink()
    await sink.start()
    await sink.stop()
    homer = table(sink.url)
    of = await opened(sets(homer=homer))
    assert of.outlets["homer"].offer(packet(0))
    await reload(of, {})
    await reload(of, {"homer": homer})  # the spool has a lock: opening it twice would raise
    assert of.account()["homer"]["accepted"] == 1


async def test_a_set_that_cannot_be_had_changes_nothing(sets: Make, reload: Reload, tmp_path: Path) -> None:
    with closing(UdpSink()) as sink:
        of = await opened(sets(homer=table(sink.url)))
        moved = table("udp://127.0.0.1:1")
        new = {"homer": moved, "good": table(sink.url), "bad": table(f"tls://h3?ca={tmp_path}/none.pem")}
        with pytest.raises((OSError, ValueError), match=r"none\.pem"):
            await reload(of, new)
        assert list(of.outlets) == ["homer"]
        assert list(of.account()) == ["homer"]
        assert [node["url"] for node in of.info()["homer"]["nodes"]] == [sink.url]
        assert of.outlets["homer"].offer(packet(0))
        await reload(of, {"good": table(sink.url)})
        assert list(of.outlets) == ["good"]


async def test_fallbacks_follow_the_file(sets: Make, reload: Reload) -> None:
    with closing(UdpSink()) as sink:
        away, backup = table("tcp://127.0.0.1:1", fallback="backup"), table(sink.url)
        of = await opened(sets(homer=away, backup=backup))
        assert of.outlets["homer"].fallback is of.outlets["backup"]
        await reload(of, {"homer": table("tcp://127.0.0.1:1"), "backup": table(sink.url, fallback="homer")})
        assert of.outlets["homer"].fallback is None
        assert of.outlets["backup"].fallback is of.outlets["homer"]
        await reload(of, {"homer": away, "backup": backup})
        assert of.outlets["homer"].offer(packet(1))
        of.outlets["backup"].flush()
        await until(lambda: len(sink.read()) == 1, "the packet at the fallback")


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ({"a": "x"}, r"fallback of a: no destination is named 'x' \(configured: a\)"),
        ({"a": "a"}, "in a circle: a → a"),
        ({"a": "b", "b": "c", "c": "b"}, "in a circle: b → c → b"),
    ],
)
def test_a_fallback_that_leads_nowhere_is_named(tables: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check_fallbacks({name: table("udp://h", fallback=fallback) for name, fallback in tables.items()})


async def test_a_change_of_what_is_not_there_names_what_is(sets: Make) -> None:
    with closing(UdpSink()) as sink:
        of = await opened(sets(homer=table(sink.url)))
        with pytest.raises(LookupError, match=r"no destination is named 'x' \(configured: homer\)"):
            of.set_node(NodeChange("x", sink.url, "paused"))
        with pytest.raises(LookupError, match="homer has no node udp://10"):
            of.set_node(NodeChange("homer", "udp://10.0.0.1:9060", "paused"))
        of.set_node(NodeChange("homer", sink.url, "paused"))
        assert of.info()["homer"]["nodes"][0]["state"] == "paused"
        of.set_node(NodeChange("homer", sink.url, "enabled"))
