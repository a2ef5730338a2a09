"""The whole way: a route that stores every packet in every kind of store, real servers, and processes that are killed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import servers
from hepswitch.databases import kinds
from hepswitch.destinations.stores import store_of
from running import RunningSwitch, running_switch, wait_for
from traffic import calls, hep

ROUTE = """
from hepswitch import hep_route
@hep_route
def everywhere(hep):
    for name in STORES:
        hep.store(name)
"""

SIP, LOGS = 2100, 60


@dataclass(frozen=True)
class Place:
    """A store, and what counts its packets of SIP and its others."""

    table: dict[str, Any]
    sip: str
    others: str

    def count(self) -> tuple[int, int]:
        """Rows of SIP, other rows, as the database itself says."""

        async def ask() -> tuple[int, int]:
            server = kinds.server(store_of(self.table))
            await server.open()
            try:
                found = [await server.rows(f"select count(*) as n from {source}") for source in (self.sip, self.others)]
            finally:
                await server.close()
            return int(found[0][0]["n"]), int(found[1][0]["n"])

        return asyncio.run(ask())


@dataclass(frozen=True)
class Estate:
    """All stores with their servers."""

    places: dict[str, Place]
    postgres: servers.Postgres

    def text(self, folder: Path) -> str:
        """The configuration of a switch that stores in all of them."""
        (folder / "route.py").write_text(ROUTE.replace("STORES", repr([*self.places, "lake"])))
        lines = [
            'listen = ["udp://127.0.0.1:0"]',
            "workers = 2",
            "[hep_route]",
            'mode = "script"',
            'script = "route.py"',
        ]
        lines += ["[stores.lake]", 'url = "lake:captures"']
        for name, place in self.places.items():
            lines += [f"[stores.{name}]", *(f"{key} = {value!r}" for key, value in place.table.items())]
        return "\n".join(lines) + "\n"


@pytest.fixture
def estate(tmp_path: Path) -> Iterator[Estate]:
    for name in ("maria", "click"):
        (tmp_path / name).mkdir()
    with ExitStack() as stack:
        postgres = stack.enter_context(servers.postgres())
        maria = stack.enter_context(servers.mariadb(tmp_path / "maria"))
        click = stack.enter_context(servers.clickhouse(tmp_path / "click"))
        yield Estate(
            {
                "postgres": Place({"url": postgres.url, "flush": "100ms"}, "sip_capture", "report_capture"),
                "homer": Place(
                    {"url": postgres.url, "layout": "homer7", "flush": "100ms", "batch": 500},
                    "hep_proto_1_call",
                    "hep_proto_100_default",
                ),
                "maria": Place({"url": maria.url, "flush": "100ms", "batch": 500}, "sip_capture", "report_capture"),
                "file": Place(
                    {"url": f"sqlite:{tmp_path}/captures.db", "flush": "100ms"}, "sip_capture", "report_capture"
                ),
                "click": Place(
                    {"url": click.url, "password": "secret", "flush": "100ms", "batch": 500},
                    "messages where proto_type = 1",
                    "messages where proto_type = 100",
                ),
            },
            postgres,
        )


def delivered(switch: RunningSwitch, estate: Estate, count: int) -> None:
    """Every store has so many packets, and the books know it."""
    names = [*estate.places, "lake"]
    book = switch.wait_stats(
        lambda book: all(book["stores"][name]["delivered"] == count for name in names), f"{count} packets in each", 60
    )
    assert book["balanced"] is True
    assert all(book["stores"][name]["accepted"] == count for name in names), book["stores"]
    assert all(not book["stores"][name]["discarded"] for name in names), book["stores"]


def children(switch: RunningSwitch, what: bytes) -> list[int]:
    found = Path(f"/proc/{switch.process.pid}/task/{switch.process.pid}/children").read_text().split()
    return [int(pid) for pid in found if what in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.timeout(240)
def test_every_packet_is_in_every_store_once(tmp_path: Path, estate: Estate) -> None:
    sip = [hep(message) for message in calls(SIP // 7)]
    logs = [
        hep(message, correlation_id=b"c", proto_type=100) for message, _ in zip(calls(9), range(LOGS), strict=False)
    ]
    packets = sip + logs
    with running_switch(tmp_path, estate.text(tmp_path)) as switch:
        switch.send_udp(*packets[:500])
        delivered(switch, estate, 500)

        # Loaders that are killed go on where they were; packets come in the meantime.
        for pid in children(switch, b"databases.loader"):
            os.kill(pid, signal.SIGKILL)
        switch.send_udp(*packets[500:1000])
        delivered(switch, estate, 1000)

        # A worker that is killed leaves its journal to its successor, and the books know what was in it.
        victim = switch.workers()[0]
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: victim not in switch.workers() and len(switch.workers()) == 2, "a new worker")
        switch.send_udp(*packets[1000:1500])
        delivered(switch, estate, 1500)

        # A database that is away costs nothing but time.
        estate.postgres.stop("immediate")
        switch.send_udp(*packets[1500:])
        switch.wait_stats(lambda book: book["stores"]["postgres"]["state"] not in ("", "active"), "the trouble shows")
        book = switch.wait_stats(lambda book: book["stores"]["maria"]["delivered"] == len(packets), "others go on")
        assert book["stores"]["postgres"]["spooled"] == len(packets) - 1500
        assert book["balanced"] is True
        estate.postgres.start()
        delivered(switch, estate, len(packets))
    assert {name: place.count() for name, place in estate.places.items()} == dict.fromkeys(estate.places, (SIP, LOGS))


@pytest.mark.timeout(120)
def test_a_switch_that_is_killed_loads_what_it_had(tmp_path: Path, estate: Estate) -> None:
    packets = [hep(message) for message in calls(SIP // 7)]
    packets.append(hep(next(calls(1)), correlation_id=b"c", proto_type=100))
    config = tmp_path / "hepswitch.toml"
    config.write_text(f'{estate.text(tmp_path)}[control]\nlisten = "127.0.0.1:0"\n')
    killed = RunningSwitch(config)
    try:
        killed.send_udp(*packets)
        killed.wait_stats(
            lambda book: (
                book["stores"]["lake"]["delivered"] == len(packets)
                and all(row["queued"] == 0 for row in book["stores"].values())
            ),
            "all is in journals",
        )
    finally:
        killed.kill()
    with running_switch(tmp_path, estate.text(tmp_path)) as switch:
        book = switch.wait_stats(
            lambda book: all(not row["spooled"] for row in book["stores"].values()), "all is loaded"
        )
        assert book["balanced"] is True
    assert {name: place.count() for name, place in estate.places.items()} == dict.fromkeys(estate.places, (SIP, 1))
