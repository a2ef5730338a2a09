"""What must hold for the API and the page under load: the check `page` of `mustshow`.

A million messages are in the lake. A number is looked for over all of it, and a call is opened, while the switch is idle and
while packets come at 20,000/s: the answers of the idle one come in time, no packet is lost to those of the other. Seconds
are those of whole HTTP requests, so the page's part in the browser is not in them. Not here: what a row costs (`stores`).
"""

from __future__ import annotations

import json
import random
import time
import urllib.request
from typing import Any
from urllib.parse import quote, urlencode

import harness
import traffic
from harness import Figures, RunningSwitch, blast, must, settled

SEARCH_S, CALL_S = 1.0, 0.3
"""What the answers may take, in seconds: a search over all, a call."""

API = "/api/v1"


def page(count: int = 1_000_000, rate: int = 20_000, seconds: float = 30.0, times: int = 15) -> Figures:
    """Search by number and open calls in `count` messages, first alone and then beside `rate` packets/s."""
    calls = -(-count // traffic.MESSAGES)
    start = time.time() - 600 - calls / 1000
    with harness.workplace() as folder, harness.running_switch(folder, harness.store_config(folder)) as switch:
        _, call_ids = harness.fill(switch.address("tcp"), count, 1000.0, start)
        settled(switch, count, 600.0)
        since = f"{time.time() - start + 60:.0f}s"
        dice = random.Random(7)
        numbers = _numbers(switch, call_ids, dice)
        alone = _asked(switch, numbers, call_ids, since, times)
        frames = harness.frames_file(folder)
        more = int(rate * seconds)
        with blast(switch.address(), frames, more, rate, max(more // 70, 1)) as sender:
            beside = []
            while sender.running:
                beside.append(_asked(switch, numbers, call_ids, since, 1))
            sender.finish()
        book = settled(switch, count + more, 120.0)
        memory = {role: harness.resident(pids) >> 20 for role, pids in harness.processes(switch).items()}
    figures = {
        "messages": count, "calls": calls, "sent_beside": more, "rate": rate,
        **{f"alone_{name}_s": _told(values) for name, values in alone.items()},
        **{f"beside_{name}_s": _told([each for one in beside for each in one[name]]) for name in alone},
        "delivered": book["stores"]["lake"]["delivered"], "balanced": book["balanced"],
        "kernel_drops": sum(row["kernel_drops"] for row in book["received"].values()), "mib": memory,
    }  # fmt: skip
    must(book["balanced"] and figures["delivered"] == count + more, "packets were lost", figures)
    must(figures["alone_search_s"]["median"] < SEARCH_S, "the search takes too long", figures)
    must(figures["alone_call_s"]["median"] < CALL_S, "the call takes too long", figures)
    return figures


def _numbers(switch: RunningSwitch, call_ids: list[str], dice: random.Random) -> list[str]:
    """The callers of the calls, and one number that never called."""
    told = [_get(switch, "/call", call_id=call_id)["call"]["from_user"] for call_id in call_ids]
    return [*told, f"+4940{dice.randrange(10**7, 10**8)}"]


def _asked(
    switch: RunningSwitch, numbers: list[str], call_ids: list[str], since: str, times: int
) -> dict[str, list[float]]:
    """Seconds of searches and of calls opened, `times` each."""
    taken: dict[str, list[float]] = {"search": [], "call": []}
    for each in range(times):
        number = numbers[each % len(numbers)]
        begun = time.monotonic()
        found = _get(switch, "/calls", q=number, since=since)
        taken["search"].append(time.monotonic() - begun)
        must(bool(found["calls"]) == (number != numbers[-1]), f"{number} was not found as it should", found)
        call_id = call_ids[each % len(call_ids)]
        begun = time.monotonic()
        call = _get(switch, "/call", call_id=call_id)
        taken["call"].append(time.monotonic() - begun)
        must(len(call["events"]) == traffic.MESSAGES, f"{call_id} was not found whole", {"events": len(call["events"])})
    return taken


def _get(switch: RunningSwitch, path: str, **said: str) -> Any:
    query = urlencode(said, quote_via=quote)
    with urllib.request.urlopen(f"{switch.control}{API}{path}?{query}", timeout=60) as answer:
        return json.load(answer)


def _told(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {"median": round(ordered[len(ordered) // 2], 3), "most": round(ordered[-1], 3), "times": len(ordered)}
