"""`make mustshow`: what must hold under load. Each check prints its figures and PASS or FAIL; exit status 1 when one failed.

    python benchmarks/mustshow.py [relay] [lake] [kill] [pause] [dispatcher] [mirror] [stores] [outage] [page]
        [uploads] [fleet] [kafka]

relay: UDP → script → UDP at 40,000/s loses nothing. lake: a million messages are small on disk and a call is found at
once. kill: nothing that was counted as stored is lost or doubled by kill -9. pause: a TCP destination that goes away for
a while gets everything, in order. dispatcher: calls stay on their node of four, and only those of a node that is away
move. mirror: SIP on an interface at 30,000/s is stored without a loss (needs root). stores,
outage: `storeshow`; page: `pageshow`; uploads: `lakeshow`; fleet, kafka: `fleetshow`. tests/test_endurance.py runs smaller
ones. Not here: figures to compare (`run`).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fleetshow
import harness
import lakeshow
import pageshow
import storeshow
import traffic
from harness import Figures, RunningSwitch, blast, must, of_role, settled, sink, wait_for
from hepswitch.lake import keeper
from hepswitch.lake.lake import Lake

NUMBER = re.compile(rb"X-Number: (\d{9})")


# ── relay ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def relay(count: int = 500_000, rate: int = 40_000) -> Figures:
    """UDP → script (another capture id, by call to two nodes) → UDP: nothing lost, the books balance."""
    numbers = ("--sequence", harness.NUMBER, 9, count)
    with harness.workplace() as folder, sink(*numbers) as one, sink(*numbers) as two:
        frames = harness.frames_file(folder)
        urls = [f"udp://127.0.0.1:{far.port}" for far in (one, two)]
        with harness.relaying(folder, urls, "udp") as switch:
            before = of_role(switch)
            with blast(switch.address(), frames, count, rate, max(count // 70, 1)) as sender:
                sent = sender.finish()
            book = settled(switch, count)
            work = of_role(switch)["worker"].since(before["worker"])
        got = [far.stop() for far in (one, two)]
    seen = sum(count - far["missing"] for far in got)
    figures = {
        "sent": sent["sent"], "rate": round(sent["sent"] / sent["seconds"]),
        "routed": book["routed"]["packets"], "delivered": book["destinations"]["far"]["delivered"],
        "arrived": sum(far["packets"] for far in got), "lost": count - seen, "balanced": book["balanced"],
        "nodes": [far["packets"] for far in got],
        "user_us": round(work.user / count * 1e6, 3), "sys_us": round(work.sys / count * 1e6, 3),
        "peak_mib": work.peak >> 20,
    }  # fmt: skip
    must(seen == count and figures["arrived"] == count, "packets were lost or doubled", figures)
    must(book["balanced"] and figures["delivered"] == figures["routed"] == count, "the books do not balance", figures)
    return figures


# ── lake ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def lake(count: int = 1_000_000, calls_per_second: float = 100.0) -> Figures:
    """`count` messages of interleaved calls into the lake: small on disk once merged, and a call is found at once."""
    with harness.workplace() as folder:
        captures = folder / "captures"
        with harness.running_switch(folder, harness.store_config(folder, options='seal_after = "2s"')) as switch:
            start = time.monotonic()
            sent, call_ids = harness.fill(switch.address("tcp"), count, calls_per_second)
            book = settled(switch, count)
            filled = time.monotonic() - start
            harness.sealed(captures)
            after_sealing = size_of(captures)
        command = [sys.executable, "-m", "hepswitch.cli", "search", "--lake", str(captures), "--json"]
        command += ["--messages", "--call-id", call_ids[5]]
        times = []
        for _ in range(5):
            start = time.monotonic()
            found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
            times.append(time.monotonic() - start)
        gone_quiet = time.time() + 2 * keeper.QUIET
        keeper.tidy(captures, gone_quiet)
        after_merging = size_of(captures)
        _, [(total,)] = Lake(captures).sql("SELECT count(*) FROM messages")
    figures = {
        "sent": count, "delivered": book["stores"]["lake"]["delivered"], "found": total, "filled_s": round(filled, 1),
        "bytes_sent": round(sent / count), "bytes_sealed": round(after_sealing / count, 1),
        "bytes_merged": round(after_merging / count, 1), "messages_of_call": len(found),
        "search_s": [round(one, 3) for one in times],
    }  # fmt: skip
    must(total == count == figures["delivered"], "packets are missing", figures)
    must(len(found) == traffic.MESSAGES, "the call was not found", figures)
    must(after_merging / count <= 60, "a message takes more than 60 bytes", figures)
    must(sorted(times)[2] < 0.5, "the search takes longer than half a second", figures)
    return figures


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder and below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# ── kill ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


ROUNDS = """
    SELECT regexp_extract(decode(payload), 'X-Round: ([0-9]+)', 1)::INT AS round, count(*),
           count(DISTINCT regexp_extract(decode(payload), 'X-Number: ([0-9]+)', 1))
    FROM messages GROUP BY round ORDER BY round
"""


def kill(count: int = 200_000, rate: int = 20_000, rounds: int = 5) -> Figures:
    """kill -9 of every process of the switch while packets come, `rounds` times over the same lake.

    What `stats` had counted as stored is found, nothing is found twice.
    """
    counted = []
    with harness.workplace() as folder:
        text = harness.store_config(folder, options='segment = "1MiB"\nseal_after = "500ms"')
        for number in range(rounds):
            frames = harness.frames_file(folder, f"X-Round: {number}")
            at_least = int(count * (0.2 + 0.6 * number / rounds))
            with doomed(folder, text) as switch, blast(switch.address(), frames, count, rate, max(count // 70, 1)):
                counted.append(stored(switch, at_least))
                time.sleep(number * 0.013)  # now here, now there in what is being written
                kill_all(switch)
        with harness.running_switch(folder, text):
            harness.sealed(folder / "captures")
        _, rows = Lake(folder / "captures").sql(ROUNDS)
    figures = {"rounds": rounds, "counted": counted, "found": [found for _, found, _ in rows]}
    must(len(rows) == rounds, "a round is missing", figures)
    for before, (_, found, different) in zip(counted, rows, strict=True):
        must(found == different, "packets were found twice", figures)
        must(found >= before, "packets that were counted as stored are missing", figures)
    return figures


@contextlib.contextmanager
def doomed(folder: Path, text: str) -> Iterator[RunningSwitch]:
    """A switch that is not expected to end well."""
    config = folder / "doomed.toml"
    config.write_text(f'{text}\n[control]\nlisten = "127.0.0.1:0"\n')
    switch = RunningSwitch(config)
    try:
        yield switch
    finally:
        switch.kill()


def stored(switch: RunningSwitch, at_least: int) -> int:
    """How many packets `stats` counts as stored, once they are as many."""
    book = switch.wait_stats(lambda book: book["stores"]["lake"]["delivered"] >= at_least, "packets in the lake")
    count: int = book["stores"]["lake"]["delivered"]
    return count


def kill_all(switch: RunningSwitch) -> None:
    """kill -9 of supervisor, workers and keeper at one moment."""
    pids = [pid for group in harness.processes(switch).values() for pid in group]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)  # so that none sees another die
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    switch.process.wait()


# ── pause ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Listener:
    """A TCP destination that can be stopped and started again; remembers the numbers that each connection brought."""

    def __init__(self) -> None:
        self.connections: list[list[int]] = []
        self.port = 0
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        self._stopping.clear()
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        listener.settimeout(0.1)
        thread = threading.Thread(target=self._accept, args=(listener,))
        thread.start()
        self._threads.append(thread)

    def stop(self) -> None:
        """Close everything as an ending process would, read or not."""
        self._stopping.set()
        while self._threads:
            self._threads.pop().join()

    def _accept(self, listener: socket.socket) -> None:
        with listener:
            while not self._stopping.is_set():
                with contextlib.suppress(TimeoutError):
                    sock, _ = listener.accept()
                    numbers: list[int] = []
                    self.connections.append(numbers)
                    thread = threading.Thread(target=self._read, args=(sock, numbers))
                    thread.start()
                    self._threads.append(thread)

    def _read(self, sock: socket.socket, numbers: list[int]) -> None:
        data = bytearray()
        sock.settimeout(0.1)
        with sock:
            while not self._stopping.is_set():
                try:
                    got = sock.recv(1 << 16)
                except TimeoutError:
                    continue
                except ConnectionError:
                    return
                if not got:
                    return
                data += got
                at = 0
                while len(data) - at >= 6 and len(data) - at >= (size := int.from_bytes(data[at + 4 : at + 6])):
                    match = NUMBER.search(data, at, at + size)
                    assert match is not None
                    numbers.append(int(match[1]))
                    at += size
                del data[:at]

    @property
    def distinct(self) -> int:
        return len(set().union(*self.connections))


@contextlib.contextmanager
def listening() -> Iterator[Listener]:
    far = Listener()
    far.start()
    try:
        yield far
    finally:
        far.stop()


def pause(rate: int = 5_000, away: float = 10.0, before: float = 5.0, after: float = 5.0) -> Figures:
    """The TCP destination stops for `away` seconds under load: all arrives, in order on each connection."""
    count = int(rate * (before + away + after))
    with harness.workplace() as folder, listening() as far:
        frames = harness.frames_file(folder)
        with harness.relaying(folder, [f"tcp://127.0.0.1:{far.port}"], "udp") as switch:
            with blast(switch.address(), frames, count, rate, max(count // 70, 1)) as sender:
                wait_for(lambda: far.distinct >= rate * before, "packets before the break", before + 30)
                far.stop()
                broken = time.monotonic()
                wait_for(lambda: time.monotonic() - broken > away, "the time away", away + 5)
                spooled = switch.stats()["destinations"]["far"]["spooled"]
                far.start()
                sender.finish()
            book = settled(switch, count)
            wait_for(lambda: far.distinct >= count, "every packet at the destination")
    total = sum(len(numbers) for numbers in far.connections)
    figures = {
        "sent": count, "distinct": far.distinct, "connections": len(far.connections), "spooled_at_restart": spooled,
        "twice_across_the_break": total - far.distinct, "balanced": book["balanced"],
    }  # fmt: skip
    must(far.distinct == count, "packets are missing", figures)
    for numbers in far.connections:
        must(all(a < b for a, b in itertools.pairwise(numbers)), "out of order on a connection", figures)
    must(book["balanced"], "the books do not balance", figures)
    return figures


# ── dispatcher ───────────────────────────────────────────────────────────────────────────────────────────────────────


def dispatcher(count: int = 100_000, calls: int = 10_000, rate: int = 10_000, victim: int = 1) -> Figures:
    """Four TCP nodes, SIP and RTCP of `calls` calls; one node ends under load and comes back.

    Each call is on one node; only the calls of the lost one move, each to one other node, and they come back; nothing is
    lost. `calls` must not be a multiple of 3, so that a call has packets of all nine kinds.
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(harness.workplace())
        nodes = [stack.enter_context(listening()) for _ in range(4)]
        urls = [f"tcp://127.0.0.1:{node.port}" for node in nodes]
        frames = harness.frames_file(folder, reports=2)
        switch = stack.enter_context(harness.relaying(folder, urls, "tcp"))

        def routed(*, state: str = "active", at_least: int = 0) -> int:
            """How many packets were routed when the victim was in this state."""

            def there(book: dict[str, Any]) -> bool:
                now = book["destinations"]["far"]["nodes"][urls[victim]]["state"]
                return bool(book["routed"]["packets"] >= at_least and now == state)

            packets: int = switch.wait_stats(there, f"the node {state}", 60.0)["routed"]["packets"]
            return packets

        def connected(book: dict[str, Any]) -> bool:
            return all(node["state"] == "active" for node in book["destinations"]["far"]["nodes"].values())

        switch.wait_stats(connected, "every node active")
        load = blast(switch.address("tcp"), frames, count, rate, calls, tcp=True, call=harness.IDENTITY)
        with load as sender:
            before = routed(at_least=calls + count // 20)
            nodes[victim].stop()
            gone = routed(state="inactive")
            still_gone = routed(state="inactive", at_least=gone + calls)
            nodes[victim].start()
            back = routed(at_least=still_gone)
            sender.finish()
        book = settled(switch, count)
        wait_for(lambda: len(set().union(*(numbers_of(node) for node in nodes))) >= count, "every packet at a node")
    got = [numbers_of(node) for node in nodes]
    home = {number % calls: i for i, numbers in enumerate(got) for number in numbers if number < before}
    places: dict[int, set[int]] = {call: set() for call in range(calls)}
    for i, numbers in enumerate(got):
        for number in numbers:
            places[number % calls].add(i)
    moved = {call for call in range(calls) if len(places[call]) > 1}
    theirs = {call for call in range(calls) if home[call] == victim}
    split = sum(
        len({i for i, numbers in enumerate(got) for number in range(call, before, calls) if number in numbers}) != 1
        for call in range(calls)
    )
    away = sum(gone <= number < still_gone for number in got[victim])
    strayed = sum(number >= back and home[number % calls] != i for i, numbers in enumerate(got) for number in numbers)
    figures = {
        "sent": count, "arrived": len(set().union(*got)), "calls": [list(home.values()).count(i) for i in range(4)],
        "split_before": split, "moved": len(moved), "of_the_lost_node": len(theirs), "to_more_than_one_other": sum(
            len(places[call]) > 2 for call in moved
        ), "to_the_lost_node_while_away": away, "away_after_return": strayed, "packets_after_return": count - back,
        "twice_across_the_break": sum(len(each) for node in nodes for each in node.connections) - count,
        "balanced": book["balanced"], "discarded": book["destinations"]["far"]["discarded"],
    }  # fmt: skip
    must(figures["arrived"] == count and not figures["discarded"], "packets are missing", figures)
    must(split == 0, "calls were split while every node was there", figures)
    must(moved == theirs, "other calls than those of the lost node moved, or some of these did not", figures)
    must(figures["to_more_than_one_other"] == 0, "calls of the lost node were split over others", figures)
    must(away == 0, "the lost node was chosen while it was away", figures)
    must(strayed == 0 and count - back >= calls, "calls did not come back", figures)
    must(book["balanced"], "the books do not balance", figures)
    return figures


def numbers_of(node: Listener) -> set[int]:
    return set().union(*node.connections)


# ── mirror ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def mirror(count: int = 600_000, rate: int = 30_000) -> Figures:
    """SIP that passes an interface, for somebody else, is captured by one worker and stored: nothing lost, nothing twice."""
    with harness.workplace() as folder, harness.wire() as (west, east):
        frames = harness.frames_file(folder)
        with harness.capturing(east, folder) as switch:
            before = of_role(switch)
            with harness.along(west, frames, count, rate, max(count // 70, 1)) as sender:
                sent = sender.finish()
            book = settled(switch, count)
            work = of_role(switch)["worker"].since(before["worker"])
        _, [(total, distinct)] = Lake(folder / "captures").sql(
            "SELECT count(*), count(DISTINCT regexp_extract(decode(payload), 'X-Number: ([0-9]+)', 1)) FROM messages"
        )
    row = book["received"]["mirror://east"]
    figures = {
        "sent": sent["sent"], "rate": round(sent["sent"] / sent["seconds"]), "frames": row["frames"],
        "kernel_drops": row["kernel_drops"], "delivered": book["stores"]["lake"]["delivered"], "found": total,
        "different": distinct, "balanced": book["balanced"], "user_us": round(work.user / count * 1e6, 3),
        "sys_us": round(work.sys / count * 1e6, 3), "peak_mib": work.peak >> 20,
    }  # fmt: skip
    must(row["kernel_drops"] == 0 and row["frames"] == count, "frames were lost", figures)
    must(figures["delivered"] == total == distinct == count, "messages were lost or doubled", figures)
    must(book["balanced"], "the books do not balance", figures)
    return figures


# ── all ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

CHECKS: dict[str, Callable[[], Figures]] = {
    "relay": relay,
    "lake": lake,
    "kill": kill,
    "pause": pause,
    "dispatcher": dispatcher,
    "mirror": mirror,
    "stores": storeshow.stores,
    "outage": storeshow.outage,
    "page": pageshow.page,
    "uploads": lakeshow.uploads,
    "fleet": fleetshow.fleet,
    "kafka": fleetshow.kafka,
}


def main() -> int:
    names = sys.argv[1:] or list(CHECKS)
    if unknown := set(names) - CHECKS.keys():
        print(f"no such check: {', '.join(sorted(unknown))}. There are: {', '.join(CHECKS)}", file=sys.stderr)
        return 2
    failed = 0
    for name in names:
        start = time.monotonic()
        try:
            print(f"PASS {name}: {json.dumps(CHECKS[name]())} ({time.monotonic() - start:.0f} s)", flush=True)
        except AssertionError as error:
            failed += 1
            print(f"FAIL {name}: {error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
