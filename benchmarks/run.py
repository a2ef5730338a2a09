"""`make bench`: CPU time a packet, loss and memory of the switch, beside a bare forwarder in C, in one run.

Every line is the median of several rounds; the rounds of all lines are interleaved, so that a noisy moment of the
machine hits all alike. Lines that capture need root. The results replace the table in docs/performance.md. `--quick`
only shows that everything works. Not here: promises that must hold (`mustshow`).
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

import harness
from harness import Usage, blast, of_role, settled, sink
from hepswitch import books
from hepswitch.metering.calls import room
from hepswitch.metering.meter import Meter
from hepswitch.routing.flow import Flow
from hepswitch.routing.packet import Context, Packet
from hepswitch.routing.rules import Rule, Rules
from hepswitch.wire.batch import Batch
from hepswitch.wire.hep import Hep

PAGE = harness.ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- results: written by `make bench` -->", "<!-- end of results -->"
FLOOR = "bare forwarder in C, UDP"
FLOOR_TCP = "bare forwarder in C, TCP"
FLOOR_CAPTURE = "bare AF_PACKET reader in C"
MIRROR = "mirror → store: journal"


@dataclass(frozen=True, slots=True)
class Load:
    """How much is sent, and how fast (packets a second)."""

    count: int
    rate: int
    calls: int
    frames: Path


@dataclass(frozen=True, slots=True)
class Cost:
    """One round of one line: CPU seconds of the processes that do the work, what they lost, supervisor's CPU a second."""

    usage: Usage
    packets: int
    lost: int
    supervisor: float = 0.0

    @property
    def user(self) -> float:
        """µs a packet."""
        return self.usage.user / self.packets * 1e6

    @property
    def sys(self) -> float:
        """µs a packet."""
        return self.usage.sys / self.packets * 1e6

    @property
    def total(self) -> float:
        return self.user + self.sys


# ── the lines ────────────────────────────────────────────────────────────────────────────────────────────────────────


def forwarder(load: Load, tcp: bool = False, nap: int = 0) -> Cost:
    options = (["--tcp"] if tcp else []) + (["--nap", str(nap)] if nap else [])
    with (
        sink("--idle", 2, tcp=tcp) as far,
        harness.Program("forwarder", *options, "--listen", "127.0.0.1:0", "--to", f"127.0.0.1:{far.port}") as program,
        blast(("127.0.0.1", program.port), load.frames, load.count, load.rate, load.calls, tcp) as sender,
    ):
        sender.finish()
        arrived = far.finish()
        peak = harness.usage(program.pid).peak
        figures = program.stop()
        return Cost(Usage(figures["user"], figures["sys"], peak), load.count, load.count - arrived["packets"])


def relay(load: Load, scheme: str = "udp", workers: int = 1) -> Cost:
    tcp = scheme == "tcp"
    with harness.workplace() as folder, sink("--idle", 2, tcp=tcp) as one, sink("--idle", 2, tcp=tcp) as two:
        urls = [f"{scheme}://127.0.0.1:{far.port}" for far in (one, two)]
        with harness.relaying(folder, urls, scheme, workers) as switch:
            before, start = of_role(switch), time.monotonic()
            with blast(switch.address(scheme), load.frames, load.count, load.rate, load.calls, tcp) as sender:
                sender.finish()
            settled(switch, load.count)
            after, took = of_role(switch), time.monotonic() - start
        arrived = sum(far.finish()["packets"] for far in (one, two))
        return _cost(before, after, took, load.count, load.count - arrived, ("worker",))


def store(load: Load, workers: int = 1, keeper: bool = False) -> Cost:
    options = 'seal_after = "1s"' if keeper else 'seal_after = "1h"\nsegment = "1GiB"'
    with (
        harness.workplace() as folder,
        harness.running_switch(folder, harness.store_config(folder, workers, options)) as switch,
    ):
        before, start = of_role(switch), time.monotonic()
        with blast(switch.address("udp"), load.frames, load.count, load.rate, load.calls) as sender:
            sender.finish()
        book = settled(switch, load.count)
        if keeper:
            harness.sealed(folder / "captures")
        after, took = of_role(switch), time.monotonic() - start
        lost = load.count - book["stores"]["lake"]["delivered"]
        return _cost(before, after, took, load.count, lost, ("worker", "keeper") if keeper else ("worker",))


def reader(load: Load) -> Cost:
    with harness.wire() as (west, east):
        with east.entered():
            program = harness.Program("capture", "--interface", "east", "--port", harness.STRANGER[1])
        with program, harness.along(west, load.frames, load.count, load.rate, load.calls) as sender:
            sender.finish()
            peak = harness.usage(program.pid).peak
            figures = program.stop()
    return Cost(Usage(figures["user"], figures["sys"], peak), load.count, load.count - figures["packets"])


def mirror(load: Load) -> Cost:
    with (
        harness.workplace() as folder,
        harness.wire() as (west, east),
        harness.capturing(east, folder, 'seal_after = "1h"\nsegment = "1GiB"') as switch,
    ):
        before, start = of_role(switch), time.monotonic()
        with harness.along(west, load.frames, load.count, load.rate, load.calls) as sender:
            sender.finish()
        book = settled(switch, load.count)
        after, took = of_role(switch), time.monotonic() - start
        lost = load.count - book["stores"]["lake"]["delivered"]
        return _cost(before, after, took, load.count, lost, ("worker",))


def decode(load: Load) -> Cost:
    """Every packet of a batch decoded and its chunks indexed, in one process, without sockets."""
    decoding = harness.extension("decoding")
    packets = harness.dialog(time.time())
    start = os.times()
    count = decoding.decode(packets, load.count * 10)
    end = os.times()
    return Cost(Usage(end.user - start.user, end.system - start.system), count, 0)


class Taken:
    """A destination or store that takes every packet and keeps none."""

    def offer(self, packet: Hep, **options: object) -> bool:
        return True


def nothing(hep: Packet) -> None:
    """The route that does nothing."""


def readme(hep: Packet) -> None:
    """The route of README.md."""
    if hep.proto_type == "RTCP":
        hep.relay("quality")
        return
    if hep.captagent_id == 2001:
        hep.captagent_id = 42
    if not hep.relay("homer"):
        hep.store()


def rules(file: str) -> Callable[[Packet], object]:
    """The rules of a file of this folder as a route."""
    tables = tomllib.loads((harness.ROOT / "benchmarks" / file).read_text())
    return Rules(TypeAdapter(list[Rule]).validate_python(tables["rule"]), {}, nothing).route


def flow(load: Load, route: Callable[[Packet], object], meter: Meter | None = None) -> Cost:
    """The flow in this process, without sockets: decoding, the meter, the route, the books."""
    taken, routed = Taken(), books.Routed()
    outlets = dict.fromkeys(("homer", "quality", "registrations", "partner", "wholesale", "alarms"), taken)
    run = Flow(Context(outlets, {"lake": taken}, taken, routed), lambda _, error: print(error), route)
    run.meter = meter
    listener = books.Listener("udp://127.0.0.1:9060")
    batches = [Batch.of(harness.dialog(time.time()) * 36, listener, ("192.0.2.9", 4000)) for _ in range(8)]
    start = os.times()
    while routed.packets < load.count * 10:
        for batch in batches:
            run(batch)
    end = os.times()
    return Cost(Usage(end.user - start.user, end.system - start.system), routed.packets, routed.errors)


def _cost(
    before: dict[str, Usage],
    after: dict[str, Usage],
    took: float,
    count: int,
    lost: int,
    roles: tuple[str, ...],
) -> Cost:
    work = sum((after[role].since(before[role]) for role in roles), Usage())
    care = after["supervisor"].since(before["supervisor"])
    return Cost(work, count, lost, (care.user + care.sys) / took)


LINES: dict[str, Callable[[Load], Cost]] = {
    FLOOR: lambda load: forwarder(load, nap=1000),
    "the same, waiting in recvmmsg": forwarder,
    "UDP → script → UDP": relay,
    "UDP → script → UDP, 2 workers": lambda load: relay(load, workers=2),
    "UDP → store: journal": store,
    "UDP → store: journal, 2 workers": lambda load: store(load, workers=2),
    "UDP → store: journal, sealed to Parquet": lambda load: store(load, keeper=True),
    FLOOR_TCP: lambda load: forwarder(load, tcp=True),
    "TCP → script → TCP": lambda load: relay(load, "tcp"),
    FLOOR_CAPTURE: reader,
    MIRROR: mirror,
    "decode alone, all chunks indexed": decode,
    "flow alone, a script that does nothing": lambda load: flow(load, nothing),
    "flow alone, the same, agents counted": lambda load: flow(load, nothing, Meter(1000, 200)),
    "flow alone, the same, agents and SIP counted": lambda load: flow(
        load, nothing, Meter(1000, 200, bytearray(room(131_072)))
    ),
    "flow alone, the script of README.md": lambda load: flow(load, readme),
    "flow alone, 20 rules": lambda load: flow(load, rules("rules.toml")),
    "flow alone, 20 rules over 16 fields": lambda load: flow(load, rules("rules_wide.toml")),
}


# ── the table ────────────────────────────────────────────────────────────────────────────────────────────────────────


def measure(load: Load, rounds: int, only: str) -> dict[str, list[Cost]]:
    """`rounds` costs of each line whose name contains `only`."""
    costs: dict[str, list[Cost]] = {name: [] for name in LINES if only in name}
    for turn in range(rounds):
        for name, cost in costs.items():
            cost.append(LINES[name](load))
            last = cost[-1]
            print(
                f"{turn + 1}/{rounds} {name:42} {last.user:6.2f} + {last.sys:5.2f} µs, lost {last.lost}",
                flush=True,
            )
    return costs


def table(costs: dict[str, list[Cost]]) -> str:
    """The results as a Markdown table."""
    middle = {name: sorted(cost, key=lambda one: one.total)[len(cost) // 2] for name, cost in costs.items()}
    rows = [
        "| work | user µs | sys µs | total µs | × forwarder | lost | peak MiB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, cost in middle.items():
        floor = middle.get(FLOOR_TCP if "TCP" in name else FLOOR_CAPTURE if name in (FLOOR_CAPTURE, MIRROR) else FLOOR)
        ratio = f"{cost.total / floor.total:.2f}" if floor and floor.total and "alone" not in name else ""
        lost = max(one.lost for one in costs[name])
        peak = max(one.usage.peak for one in costs[name]) / (1 << 20)
        cells = [name, f"{cost.user:.2f}", f"{cost.sys:.2f}", f"{cost.total:.2f}", ratio, str(lost)]
        rows.append("| " + " | ".join([*cells, f"{peak:.0f}" if peak else ""]) + " |")
    cares = [one.supervisor * 1e3 for cost in costs.values() for one in cost if one.supervisor]
    care = statistics.median(cares) if cares else 0.0
    rows += [
        "",
        f"The supervisor takes {care:.1f} ms of CPU a second beside that (it looks at the books once a second).",
    ]
    return "\n".join(rows)


def machine() -> str:
    """Cores, processor, kernel, Python: what the figures depend on."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {model}, Linux {platform.release().partition('-')[0]}, Python {platform.python_version()}"


def write(path: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Put the results between the marks of the page."""
    page = path.read_text(encoding="utf-8")
    head, _, rest = page.partition(begin)
    _, _, tail = rest.partition(end)
    path.write_text(f"{head}{begin}\n\n{text}\n\n{end}{tail}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few packets, one round, nothing written")
    parser.add_argument("--count", type=int, default=200_000, help="packets a round")
    parser.add_argument("--rate", type=int, default=40_000, help="packets a second")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="only lines whose name contains this; nothing written")
    options = parser.parse_args()
    count, rounds = (2_000, 1) if options.quick else (options.count, options.rounds)
    with harness.workplace() as folder:
        load = Load(count, options.rate, max(count // 70, 1), harness.frames_file(folder))
        size = load.frames.stat().st_size / len(harness.dialog(0.0))
        results = table(measure(load, rounds, options.only))
    said = (
        f"{count:,} packets of {size:.0f} bytes on average at {options.rate:,}/s over loopback, median of {rounds}; "
        f"sender and sink on the same machine: {machine()}."
    )
    print(f"\n{results}\n\n{said}")
    if not options.quick and not options.only:
        write(PAGE, f"{said}\n\n{results}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
