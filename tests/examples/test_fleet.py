"""The fleet of examples/fleet, small: what edges accepted is in the lakes once, whoever was killed; books notice faults."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import lakes
from fleet import drive
from fleet.books import Found, settle
from fleet.streams import STREAMS, Held
from hepswitch.config import load
from hepswitch.lake.lake import Lake

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("stream", STREAMS)
def test_a_fleet_of_which_one_of_each_kind_is_killed_has_every_packet_once(stream: str, tmp_path: Path) -> None:
    said: list[str] = []
    books = drive.drive(drive.Plan(stream, rate=400, seconds=6.0, away=0.3), tmp_path, said.append)
    assert not books.wrong, (books.wrong, json.dumps(books.figures), said)
    assert books.figures["lake"]["different"] == books.figures["accepted"] > 1000
    assert [row["kills"] for row in books.figures["edges"].values()] == [1, 0]
    assert [row["kills"] for row in books.figures["stores"].values()] == [1, 0]
    assert len(books.figures["incidents"]) == 3
    assert re.search(rf"^in the lake +{books.figures['accepted']} ", "\n".join(books.told()), re.MULTILINE)


@pytest.mark.parametrize("name", ["nats/edge", "nats/storing", "kafka/edge", "kafka/storing"])
def test_the_configurations_are_accepted(name: str) -> None:
    config = load(ROOT / "examples" / "fleet" / f"{name}.toml", environment={})
    assert len(config.stores) == 1


def _numbered(folder: Path, edge: int, count: int) -> list[bytes]:
    """The first packets of an edge, with their numbers."""
    templates = re.findall(rb"HEP3.*?(?=HEP3|$)", drive.frames(folder, edge).read_bytes(), re.DOTALL)
    return [templates[n].replace(b"X-Number: 000000000", b"X-Number: %09d" % n) for n in range(count)]


@dataclass
class _Node:
    """What the books ask of a node."""

    name: str
    accepted: int = 0
    stored: int = 0
    kills: int = 0
    away: float = 0.0
    told: dict[str, int] = field(default_factory=dict)
    refusals: Counter[str] = field(default_factory=Counter)

    @property
    def published(self) -> int:
        return self.accepted

    def received(self, key: str = "packets") -> int:
        return self.told.get(key, 0)

    def refused(self, store: str) -> Counter[str]:
        return self.refusals

    def balanced(self) -> bool:
        return True


def test_the_books_notice_what_is_missing_and_what_is_doubled(tmp_path: Path) -> None:
    one, two = _numbered(tmp_path, 0, 10), _numbered(tmp_path, 1, 10)
    lakes.store(tmp_path / "lake", [*one, one[3], *two[:9]])
    found = Found([10, 10])
    found.add(Lake(tmp_path / "lake"))
    assert (found.total, found.different, found.doubled) == (20, [10, 9], 1)
    edges = [_Node("edge1", 10, told={"packets": 10}), _Node("edge2", 10, told={"packets": 10})]
    stores = [_Node("store1", stored=20, told={"packets": 25}, refusals=Counter({"stored before": 5}))]
    books = settle(edges, stores, [10, 10], 1.0, Held(2, 1000, 20, 0), found)
    assert books.wrong == [
        "of edge2's 10 packets 9 are in the lake",
        "the lake holds 20 packets, 1 of them doubled; accepted 20",
    ]


def test_the_books_bound_what_a_killed_edge_has_not_accepted(tmp_path: Path) -> None:
    lakes.store(tmp_path / "lake", _numbered(tmp_path, 0, 6))
    found = Found([10])
    found.add(Lake(tmp_path / "lake"))
    edges = [_Node("edge1", 6, kills=1, away=2.0)]
    stores = [_Node("store1", stored=6, told={"packets": 6})]
    assert settle(edges, stores, [10], 2.0, Held(1), found).wrong == []
    assert settle(edges, stores, [10], 1.0, Held(1), found).wrong == [
        "edge1 has not accepted more packets than its absence explains"
    ]
