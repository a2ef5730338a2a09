"""The example routes do what they say, with the configuration that they show, on packets of real agents and calls."""

from __future__ import annotations

import ast
import asyncio
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from far_ends import UdpSink, until
from hepswitch import books
from hepswitch.cli.recordings import Selection
from hepswitch.config import Config, load
from hepswitch.destinations.hep import HepOutlet
from hepswitch.routing import script
from hepswitch.routing.flow import Flow
from hepswitch.routing.packet import Context
from hepswitch.tracing.table import CallTable
from hepswitch.tracing.targets import Targets
from hepswitch.tracing.tracer import Tracer
from hepswitch.tracing.traces import Traces
from hepswitch.wire.batch import Batch
from hepswitch.wire.hep import Hep

ROOT = Path(__file__).parents[2]
ROUTES = ROOT / "examples" / "routes"
NAMES = sorted(path.stem for path in ROUTES.glob("*.py"))
VECTORS = [path.read_bytes() for path in sorted((ROOT / "tests" / "vectors").glob("*.hep"))]
KNOWN = ("192.0.2.1", 9060)
ARRIVAL_US = 1_795_000_000_250_000
LISTENER = "udp://127.0.0.1:9060"
README = """
    [hep_route]
    mode = "script"
    script = "readme.py"
    [destinations.homer]
    urls = ["udp://10.1.1.1:9060"]
    [destinations.quality]
    urls = ["udp://10.1.1.2:9060"]
"""  # its file shows the route alone


def configured(name: str, folder: Path) -> Config:
    """The configuration that the route's docstring shows."""
    source = (ROUTES / f"{name}.py").read_text(encoding="utf-8")
    shown = (
        README if name == "readme" else (ast.get_docstring(ast.parse(source)) or "").partition("Configuration:\n")[2]
    )
    path = folder / f"{name}.toml"
    path.write_text(textwrap.dedent(shown), encoding="utf-8")
    (folder / f"{name}.py").write_text(source, encoding="utf-8")
    return load(path, environment={})


class Outlet:
    """Takes every packet and keeps a copy, or refuses every packet."""

    def __init__(self, accepts: bool = True) -> None:
        self.accepts = accepts
        self.taken: list[Hep] = []
        self.options: list[dict[str, Any]] = []

    def offer(self, packet: Hep, **options: Any) -> bool:
        if self.accepts:
            self.taken.append(packet.copy())
            self.options.append(options)
        return self.accepts


class Result:
    """What a route file did with the given packets: `taken["homer"]` is what the destination or store of that name got."""

    def __init__(
        self, config: Config, packets: list[bytes], peer: tuple[str, int], listener: str, full: set[str]
    ) -> None:
        destinations = {name: Outlet(name not in full) for name in config.destinations}
        stores = {name: Outlet(name not in full) for name in config.stores}
        self.outlets = destinations | stores
        self.taken = {name: outlet.taken for name, outlet in self.outlets.items()}
        assert config.hep_route.script is not None
        loaded = script.load(config.hep_route.script, destinations, stores, config.traces)
        self.routed = books.Routed()
        self.errors: list[Exception] = []
        self.traces = Traces(Targets(destinations, stores, None, 0, 10.0))
        tracer = Tracer(self.traces, CallTable(1000, 60.0))
        context = Context(destinations, stores, next(iter(stores.values())), self.routed, tracer=tracer)
        flow = Flow(context, lambda _, error: self.errors.append(error), loaded.hep_route, loaded.sip_route)
        batch = Batch.of(packets, books.Listener(listener), peer)
        batch.arrival_us = ARRIVAL_US
        asyncio.run(self._run(config, flow, batch))
        assert self.errors == []
        assert self.routed.packets == len(packets)

    async def _run(self, config: Config, flow: Flow, batch: Batch) -> None:
        """The packets through the route; what traces alone write to is real."""
        self.traces.change(await self.traces.prepare(config.traces))
        flow(batch)
        await self.traces.targets.close()


Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(
        name: str,
        packets: list[bytes] = VECTORS,
        peer: tuple[str, int] = KNOWN,
        listener: str = LISTENER,
        full: set[str] | None = None,
    ) -> Result:
        return Result(configured(name, tmp_path), packets, peer, listener, full or set())

    return run


@pytest.fixture(scope="session")
def calls() -> list[bytes]:
    """The SIP and RTCP of examples/calls.pcapng as HEPv3; RTCP carries its Call-ID as correlation id."""
    return [recorded.packet for recorded in Selection().read((ROOT / "examples" / "calls.pcapng",))]


def payloads(packets: list[Hep]) -> list[bytes | None]:
    return [packet.payload for packet in packets]


@pytest.mark.parametrize("name", NAMES)
def test_every_route_takes_every_packet(run: Run, name: str, calls: list[bytes]) -> None:
    assert run(name, [*VECTORS, *calls]).routed.unrouted == 0


def test_every_route_has_its_test() -> None:
    assert {f"test_{name}" for name in NAMES} <= set(globals())


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
    assert [hep.captagent_id for hep in result.taken["homer"]] == [42]
    assert payloads(result.taken["quality"]) == [b"{}"]
    assert len(run("readme", [bytes(sip)], full={"homer"}).taken["lake"]) == 1


def test_filter_by_chunk(run: Run, calls: list[bytes]) -> None:
    noisy = Hep(VECTORS[0])
    noisy.captagent_id = 999
    result = run("filter_by_chunk", [*VECTORS, *calls, bytes(noisy)])
    rtcp = sum(Hep(raw).proto_type == 5 for raw in [*VECTORS, *calls])
    assert rtcp > 10
    assert result.routed.dropped == {"RTCP": rtcp, "agent 999": 1}
    kept = result.taken["homer"]
    assert len(kept) == len(VECTORS) + len(calls) - rtcp
    assert {"SIP", "LOG"} <= {str(hep.proto_type) for hep in kept}
    assert "RTCP" not in {str(hep.proto_type) for hep in kept}


def test_relabel(run: Run) -> None:
    assert any(Hep(raw).auth_key for raw in VECTORS)
    sent = run("relabel").taken["homer"]
    assert len(sent) == len(VECTORS)
    labels = {(hep.captagent_id, hep.node_name, hep.get(0x30, "utf8-string", 3), hep.auth_key) for hep in sent}
    assert labels == {(2001, "proxy-berlin", "ber1", None)}
    assert payloads(sent) == [Hep(raw).payload for raw in VECTORS]
    assert run("relabel", peer=("198.51.100.7", 1)).routed.dropped == {"unknown agent": len(VECTORS)}


def test_balance_by_correlation(run: Run, tmp_path: Path, calls: list[bytes]) -> None:
    assert len(run("balance_by_correlation").taken["homer"]) == len(VECTORS)
    with ExitStack() as stack:
        sinks = [stack.enter_context(closing(UdpSink())) for _ in range(3)]
        config = configured("balance_by_correlation", tmp_path).destinations["homer"]
        packets = [Hep(raw) for raw in [*VECTORS, *calls]]
        asyncio.run(_deliver(config.model_copy(update={"urls": [sink.url for sink in sinks]}), packets, sinks))
        nodes: dict[bytes, set[int]] = {}
        for i, sink in enumerate(sinks):
            for frame in sink.frames:
                nodes.setdefault(Hep(frame).call_identity, set()).add(i)
        assert {len(used) for used in nodes.values()} == {1}
        assert all(sink.frames for sink in sinks)
    identities = Counter((hep.call_identity, str(hep.proto_type)) for hep in packets)
    assert any(kind == "RTCP" and (call, "SIP") in identities for call, kind in identities)


async def _deliver(config: Any, packets: list[Hep], sinks: list[UdpSink]) -> None:
    outlet = HepOutlet("homer", config)
    await outlet.open()
    for packet in packets:
        assert outlet.offer(packet)
    outlet.flush()
    await until(lambda: sum(len(sink.read()) for sink in sinks) == len(packets), "every packet arrives")
    await outlet.close(1.0)


def test_fork(run: Run) -> None:
    result = run("fork")
    for name in ("homer", "fraud"):
        assert [bytes(hep) for hep in result.taken[name]] == [bytes(Hep(raw)) for raw in VECTORS]
    assert len(run("fork", full={"homer"}).taken["fraud"]) == len(VECTORS)


def test_relay_and_store(run: Run, calls: list[bytes]) -> None:
    result = run("relay_and_store", [*VECTORS, *calls])
    sip = [Hep(raw).payload for raw in [*VECTORS, *calls] if Hep(raw).sip]
    assert payloads(result.taken["homer"]) == payloads(result.taken["lake"]) == sip
    assert {str(hep.proto_type) for hep in result.taken["media"]} >= {"RTCP", "LOG"}
    assert len(result.taken["media"]) == len(VECTORS) + len(calls) - len(sip)
    assert all(options["table"] == "sip_capture_call_%Y%m%d" for options in result.outlets["lake"].options)
    assert {options["custom_field1"] for options in result.outlets["lake"].options} == {KNOWN[0]}
    statuses = {hep.sip.status for hep in result.taken["lake"] if hep.sip}
    assert {None, 200, 486} <= statuses


def test_udp_to_tcp(run: Run) -> None:
    result = run("udp_to_tcp")
    assert {hep.version for hep in result.taken["collector"]} == {3}
    assert {hep.version for hep in result.taken["old"]} == {1, 2}
    sent = [bytes(hep) for name in ("collector", "old") for hep in result.taken[name]]
    assert sorted(sent) == sorted(bytes(Hep(raw)) for raw in VECTORS)


def test_convert_v2(run: Run) -> None:
    result = run("convert_v2")
    assert {hep.version for hep in result.taken["homer"]} == {3}
    kept = ("payload", "src_ip", "dst_ip", "src_port", "dst_port", "proto_id", "proto_type")
    versions = Counter(Hep(raw).version for raw in VECTORS)
    assert min(versions[1], versions[2]) > 5
    for raw, after in zip(VECTORS, result.taken["homer"], strict=True):
        before = Hep(raw)
        assert [getattr(after, name) for name in kept] == [getattr(before, name) for name in kept]
        if before.version > 1:  # what OpenSIPS' work-around loses
            assert (after.timestamp, after.timestamp_us) == (before.timestamp, before.timestamp_us)
            assert after.captagent_id == before.captagent_id
        else:
            assert after.time_us == ARRIVAL_US
            assert after.captagent_id == 9


def test_route_on_sip(run: Run, calls: list[bytes]) -> None:
    tenant = Hep(VECTORS[0])
    tenant.src_ip = "192.0.2.7"
    log = Hep.new(b"a line", proto_type="LOG", correlation_id=b"c7@pbx.example.net")
    result = run("route_on_sip", [*VECTORS, *calls, bytes(tenant), bytes(log)])
    assert len(result.taken["tenant"]) + len(result.taken["everyone"]) == len(VECTORS) + len(calls) + 2
    assert payloads(result.taken["tenant"])[-2:] == [tenant.payload, b"a line"]
    requests = [hep for hep in result.taken["tenant"] if hep.sip and hep.sip.is_request][:-1]
    assert len(requests) > 5
    assert {hep.sip.ruri_domain for hep in requests if hep.sip} == {"example.net"}
    assert not any(hep.sip and hep.sip.ruri_domain == "example.net" for hep in result.taken["everyone"])


def test_tables_by_tenant(run: Run, calls: list[bytes]) -> None:
    out = Hep.new(
        b"INVITE sip:1@x.org SIP/2.0\r\nFrom: <sip:a@example.org>\r\nTo: <sip:1@x.org>\r\ni: 1\r\nCSeq: 1 INVITE\r\n\r\n"
    )
    result = run("tables_by_tenant", [*VECTORS, *calls, bytes(out)])
    tables: dict[str, list[Hep]] = {}
    for hep, options in zip(result.taken["calls"], result.outlets["calls"].options, strict=True):
        tables.setdefault(options.get("table") or "its own", []).append(hep)
    domains = {table: {hep.sip and hep.sip.to_domain for hep in heps} for table, heps in tables.items()}
    assert domains["sip_capture_globex_%Y%m%d"] == {"example.net"}
    assert payloads(tables["sip_capture_acme_%Y%m%d"]) == [out.payload]
    assert domains["its own"] >= {None, "x.org"}
    assert "example.net" not in domains["its own"]
    assert sum(map(len, tables.values())) == len(VECTORS) + len(calls) + 1


def test_homer5_tables(run: Run, calls: list[bytes]) -> None:
    refer = Hep.new(
        b"NOTIFY sip:a@b SIP/2.0\r\nCall-ID: r@b\r\nEvent: refer;id=1\r\nCSeq: 2 NOTIFY\r\nContent-Length: 0\r\n\r\n"
    )
    result = run("homer5_tables", [*VECTORS, *calls, bytes(refer)])
    options = result.outlets["lake"].options
    tables: dict[str, set[str]] = {}
    for hep, option in zip(result.taken["lake"], options, strict=True):
        kind = (hep.sip.cseq_method or "") if hep.sip else str(hep.proto_type)
        tables.setdefault(option["table"], set()).add(kind)
    assert {"INVITE", "BYE", "ACK", "CANCEL", "NOTIFY"} <= tables["sip_capture_call_%Y%m%d"]
    assert tables["sip_capture_registration_%Y%m%d"] == {"REGISTER"}
    assert tables["sip_capture_rest_%Y%m%d"] == {"OPTIONS"}
    assert tables["logs_capture"] == {"LOG"}
    assert tables["rtcp_capture"] == {"RTCP"}
    log = next(option for option in options if option["table"] == "logs_capture")
    assert log["correlation_id"]
    unnamed = sum(not (Hep(raw).sip or Hep(raw).correlation_id) for raw in VECTORS)
    assert result.routed.dropped == {"no correlation id": unnamed}


def test_async_store(run: Run) -> None:
    result = run("async_store")
    assert (len(result.taken["lake"]), len(result.taken["spare"])) == (len(VECTORS), 0)
    result = run("async_store", full={"lake"})
    assert (len(result.taken["lake"]), len(result.taken["spare"])) == (0, len(VECTORS))
    assert run("async_store", full={"lake", "spare"}).routed.dropped == {"store and spare are full": len(VECTORS)}


def test_per_ingress(run: Run, tmp_path: Path) -> None:
    inner, outer = configured("per_ingress", tmp_path).listen
    assert len(run("per_ingress", listener=inner).taken["homer"]) == len(VECTORS)
    assert run("per_ingress", listener=outer).routed.dropped == {"unknown partner": len(VECTORS)}
    result = run("per_ingress", listener=outer, peer=("198.51.100.7", 40000))
    old = sum(Hep(raw).version < 3 for raw in VECTORS)
    assert result.routed.dropped == {"partner with an old version": old}
    assert result.taken["homer"] == []
    assert [hep.node_name for hep in result.taken["partners"]] == ["acme"] * (len(VECTORS) - old)


def test_trace_call_class(run: Run, calls: list[bytes]) -> None:
    packets = [*VECTORS, *calls]
    result = run("trace_call_class", packets)
    assert [bytes(hep) for hep in result.taken["homer"]] == [bytes(Hep(raw)) for raw in packets]
    traced = result.taken["fraud"]
    assert [bytes(hep) for hep in result.taken["archive"]] == [bytes(hep) for hep in traced]
    callers = {call: user for call, user in _callers(packets).items() if user in ("alice", "+4930111")}
    assert len(callers) > 2
    assert payloads(traced) == payloads(_calls(packets, callers))
    assert {hep.correlation_id for hep in traced} == {
        f"{user}/{call.decode()}".encode() for call, user in callers.items()
    }
    kinds = Counter((str(hep.proto_type), bool(hep.sip and hep.sip.is_request)) for hep in traced)
    assert min(kinds["SIP", True], kinds["SIP", False], kinds["RTCP", False]) > 0


def _callers(packets: list[bytes]) -> dict[bytes, str]:
    """Who sent the first INVITE of each call."""
    found: dict[bytes, str] = {}
    for hep in map(Hep, packets):
        if hep.sip and hep.sip.method == "INVITE" and not hep.sip.to_tag and hep.sip.from_user:
            found.setdefault(hep.call_identity, hep.sip.from_user)
    return found


def _calls(packets: list[bytes], ids: Collection[bytes]) -> list[Hep]:
    """What belongs to these calls, each from its first INVITE on."""
    begun: set[bytes] = set()
    found = []
    for hep in map(Hep, packets):
        if hep.sip and hep.sip.method == "INVITE":
            begun.add(hep.call_identity)
        if hep.call_identity in begun.intersection(ids):
            found.append(hep)
    return found


def test_trace_calls(run: Run, calls: list[bytes], tmp_path: Path) -> None:
    result = run("trace_calls", calls)
    assert payloads(result.taken["lake"]) == payloads([Hep(raw) for raw in calls])
    sips = [sip for raw in calls if (sip := Hep(raw).sip) is not None]
    abroad = {
        sip.call_id: sip.from_user
        for sip in sips
        if sip.method == "INVITE" and not sip.to_tag and (sip.ruri_user or "").startswith("+")
    }
    whole = [sip.raw for sip in sips if sip.call_id in abroad]
    assert len(whole) > 10
    captures = [path for path in tmp_path.glob("calls-*.pcapng") if path.stat().st_size > 1000]  # not that of today
    assert [Hep(recorded.packet).payload for recorded in Selection().read(captures)] == whole
    registrations = [sip.raw for sip in sips if sip.cseq_method == "REGISTER"]
    assert _messages(tmp_path / "registrations.sip") == registrations
    failures = [sip.raw for sip in sips if (sip.status or 0) >= 400 and sip.status not in (401, 407)]
    assert _messages(tmp_path / "failures.sip") == failures
    attrs = Counter(options.get("attrs") for options in result.outlets["traces"].options)
    assert attrs["404"] > 0
    assert {*abroad.values()} <= attrs.keys()


def _messages(path: Path) -> list[bytes]:
    """The SIP messages in a file of a trace."""
    head = re.compile(rb"^(?:in|out) \w+ [\d-]+ [\d:]+ \S+ -> \S+\n", re.MULTILINE)
    return [text.removesuffix(b"\n\n") for text in head.split(path.read_bytes())[1:]]


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
    assert payloads(result.taken["quality"])[-2:] == [b"{}", b"{}"]
    assert result.taken["lake"][-1].payload == b"a line"
    assert result.routed.dropped["ping"] > 0
    assert all((hep.sip.method or hep.sip.cseq_method) != "OPTIONS" for hep in result.taken["homer"] if hep.sip)
    assert any((options.get("table") or "").startswith("sip_invite_") for options in result.outlets["lake"].options)
