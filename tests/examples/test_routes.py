"""The example routes do what they say, on packets of real agents."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hepswitch import books
from hepswitch.routing import script
from hepswitch.routing.flow import Flow
from hepswitch.routing.packet import Context
from hepswitch.wire.batch import Batch
from hepswitch.wire.hep import Hep

ROOT = Path(__file__).parents[2]
ROUTES = ROOT / "examples" / "routes"
VECTORS = [path.read_bytes() for path in sorted((ROOT / "tests" / "vectors").glob("*.hep"))]
KNOWN = ("192.0.2.1", 9060)


class Outlet:
    """Takes every packet and keeps a copy."""

    def __init__(self) -> None:
        self.taken: list[Hep] = []
        self.options: list[dict[str, Any]] = []

    def offer(self, packet: Hep, **options: Any) -> bool:
        self.taken.append(packet.copy())
        self.options.append(options)
        return True


class Result:
    """What a route file did with all vectors, or with the given packets."""

    def __init__(self, name: str, packets: list[bytes], peer: tuple[str, int]) -> None:
        self.homer, self.quality, self.lake = Outlet(), Outlet(), Outlet()
        destinations, stores = {"homer": self.homer, "quality": self.quality}, {"lake": self.lake}
        loaded = script.load(ROUTES / f"{name}.py", destinations, stores)
        self.routed = books.Routed()
        self.errors: list[Exception] = []
        context = Context(destinations, stores, self.lake, self.routed)
        flow = Flow(context, lambda _, error: self.errors.append(error), loaded.hep_route, loaded.sip_route)
        self.listener = books.Listener("udp://127.0.0.1:9060")
        flow(Batch.of(packets, self.listener, peer))


Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    def run(name: str, packets: list[bytes] = VECTORS, peer: tuple[str, int] = KNOWN) -> Result:
        return Result(name, packets, peer)

    return run


@pytest.mark.parametrize("name", sorted(path.stem for path in ROUTES.glob("*.py")))
def test_every_route_takes_every_vector(run: Run, name: str) -> None:
    result = run(name)
    assert result.errors == []
    assert result.routed.packets == len(VECTORS)


def test_readme_shows_the_route_that_is_tested() -> None:
    shown = re.search(
        r"```python\n(from hepswitch import hep_route\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    assert shown is not None
    assert ast.dump(ast.parse(shown[1])) == ast.dump(ast.parse((ROUTES / "readme.py").read_text()))


def test_readme(run: Run) -> None:
    sip = Hep.new(b"OPTIONS sip:a SIP/2.0\r\n\r\n", proto_type=1, captagent_id=2001)
    rtcp = Hep.new(b"{}", proto_type=5)
    result = run("readme", [bytes(sip), bytes(rtcp)])
    assert [hep.captagent_id for hep in result.homer.taken] == [42]
    assert [hep.payload for hep in result.quality.taken] == [b"{}"]


def test_relabel(run: Run) -> None:
    result = run("relabel")
    assert {(hep.captagent_id, hep.node_name) for hep in result.homer.taken} == {(2001, "proxy-berlin")}
    assert run("relabel", peer=("198.51.100.7", 1)).routed.dropped == {"unknown agent": len(VECTORS)}


def test_convert_v2(run: Run) -> None:
    result = run("convert_v2")
    assert {hep.version for hep in result.homer.taken} == {3}
    assert len(result.homer.taken) == len(VECTORS)
    for before, after in zip(VECTORS, result.homer.taken, strict=True):
        old = Hep(before)
        assert (after.payload, after.src_ip, after.dst_port) == (old.payload, old.src_ip, old.dst_port)
        assert after.timestamp is not None
        assert old.version == 3 or after.captagent_id is not None


def test_split_by_type(run: Run) -> None:
    result = run(
        "split_by_type",
        [
            *VECTORS,
            bytes(Hep.new(b"{}", proto_type=5)),
            bytes(Hep.new(b"{}", proto_type=34)),
            bytes(Hep.new(b"a line", proto_type=100)),
        ],
    )
    assert [hep.payload for hep in result.quality.taken[-2:]] == [b"{}", b"{}"]
    assert result.lake.taken[-1].payload == b"a line"
    assert result.routed.dropped["ping"] > 0
    assert all((hep.sip.method or hep.sip.cseq_method) != "OPTIONS" for hep in result.homer.taken if hep.sip)
    assert any((options.get("table") or "").startswith("sip_invite_") for options in result.lake.options)
