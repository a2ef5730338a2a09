"""The books of a whole fleet: what was sent, accepted, published, consumed, stored and found, and whether that is one sum.

Accepted is what an edge has written into its journal: from there on nothing may be lost or doubled. What a killed edge had
received and not written yet, and what was sent while it was away, is not accepted; it is shown, and bounded.
Not here: where the figures come from (`nodes`, `streams`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fleet.nodes import Node
from fleet.streams import Held
from hepswitch.lake.lake import Lake

STALL = 1.0
"""Seconds of packets that a killed edge may have had in its socket's buffer and in memory, above the time it was away."""

FOUND = r"""
    SELECT regexp_extract(decode(payload), 'X-Edge: (\d+)', 1)::INT AS edge,
           regexp_extract(decode(payload), 'X-Number: (\d+)', 1)::INT AS number
    FROM messages WHERE number >= {first} AND number < {last}
"""
PORTION = 500_000
"""Numbers that are looked for at once."""


class Found:
    """How often each packet is in the lakes: edges are numbered from 0, and each edge's packets."""

    def __init__(self, sent: Sequence[int]) -> None:
        self._times = [bytearray(count) for count in sent]

    def add(self, lake: Lake) -> None:
        """See what is in one of them."""
        for first in range(0, max(map(len, self._times), default=0), PORTION):
            _, rows = lake.sql(FOUND.format(first=first, last=first + PORTION))
            for edge, number in rows:
                self._times[edge][number] = min(255, self._times[edge][number] + 1)

    @property
    def total(self) -> int:
        """Packets, each as often as it is there."""
        return sum(map(sum, self._times))

    @property
    def different(self) -> list[int]:
        """Different packets of each edge."""
        return [len(times) - times.count(0) for times in self._times]

    @property
    def doubled(self) -> int:
        """Packets that are there more than once."""
        return sum(len(times) - times.count(0) - times.count(1) for times in self._times)


@dataclass(frozen=True, slots=True)
class Books:
    """All figures, and what is wrong with them."""

    figures: dict[str, Any]
    wrong: list[str]

    def told(self) -> Iterator[str]:
        """The sums in lines for a person, from the senders to the lakes."""
        figures = self.figures
        stream, lake = figures["stream"], figures["lake"]
        yield _line("sent", sum(row["sent"] for row in figures["edges"].values()))
        for name, row in figures["edges"].items():
            if row["kernel_drops"]:
                yield _line("  dropped by the kernel", row["kernel_drops"], name)
            if row["kills"]:
                most = f"{name} was dead; {row['not_accepted_at_most']} at most"
                yield _line("  not accepted", row["not_accepted"], most)
        yield _line("accepted", figures["accepted"], "written into the journals of the edges")
        yield _line("published", figures["published"], "acknowledged by the stream")
        twice = f", {stream['messages_twice']} of them twice" if stream["messages_twice"] else ""
        yield _line("in the stream", stream["packets"], f"{stream['messages']} messages{twice}")
        yield _line("consumed", figures["consumed"], "a killed node: as it said last")
        for reason, count in figures["refused"].items():
            yield _line(f"  {reason}", count)
        yield _line("stored", figures["stored"], "written into the journals of the storing nodes")
        yield _line("in the lake", lake["packets"], f"{lake['different']} different, {lake['doubled']} doubled")
        for each in figures.get("incidents", ()):
            late = "not before the next" if each["caught_up_s"] is None else f"{each['caught_up_s']} s after its return"
            yield (
                f"{each['what']} at {each['at_s']} s, away {each['away_s']} s: "
                f"the lakes were {each['most_behind']} packets behind, and had caught up {late}"
            )


def _line(name: str, count: int | None, remark: str = "") -> str:
    return f"{name:26} {'?' if count is None else count:>12}  {remark}".rstrip()


def settle(
    edges: Sequence[Node], stores: Sequence[Node], sent: Sequence[int], rate: float, held: Held, found: Found
) -> Books:
    """The books of a fleet that has come to rest and whose nodes have ended. `rate`: packets/s for each edge."""
    rows = [_edge(edge, count, rate) for edge, count in zip(edges, sent, strict=True)]
    refused = sum((node.refused("lake") for node in stores), Counter[str]())
    figures: dict[str, Any] = {
        "edges": {edge.name: row for edge, row in zip(edges, rows, strict=True)},
        "accepted": sum(edge.accepted for edge in edges),
        "published": sum(edge.published for edge in edges),
        "stream": {
            "messages": held.messages, "bytes": held.bytes, "packets": held.packets, "messages_twice": held.twice,
        },
        "stores": {
            node.name: {
                "consumed": node.received(), "stored": node.stored, "refused": dict(node.refused("lake")),
                "kills": node.kills,
            }
            for node in stores
        },
        "consumed": sum(node.received() for node in stores),
        "refused": dict(refused),
        "stored": sum(node.stored for node in stores),
        "lake": {"packets": found.total, "different": sum(found.different), "doubled": found.doubled},
    }  # fmt: skip
    return Books(figures, list(_wrong(figures, edges, stores, rows, held, found)))


def _edge(edge: Node, sent: int, rate: float) -> dict[str, Any]:
    """What became of the packets that were sent to one edge."""
    drops = edge.received("kernel_drops")
    row = {
        "sent": sent, "received": edge.received(), "kernel_drops": drops, "accepted": edge.accepted,
        "published": edge.published, "kills": edge.kills,
    }  # fmt: skip
    if edge.kills:
        most = round(rate * (edge.away + STALL * edge.kills))
        row |= {"not_accepted": sent - edge.accepted - drops, "not_accepted_at_most": most}
    return row


def _wrong(
    figures: dict[str, Any],
    edges: Sequence[Node],
    stores: Sequence[Node],
    rows: Iterable[dict[str, Any]],
    held: Held,
    found: Found,
) -> Iterator[str]:
    """Each thing that does not hold, in words."""
    accepted = figures["accepted"]
    for edge, row, different in zip(edges, rows, found.different, strict=True):
        if not edge.kills and row["accepted"] != row["sent"] - row["kernel_drops"]:
            yield f"{edge.name} has accepted another number of packets than the kernel gave it"
        if edge.kills and not 0 <= row["not_accepted"] <= row["not_accepted_at_most"]:
            yield f"{edge.name} has not accepted more packets than its absence explains"
        if different != row["accepted"]:
            yield f"of {edge.name}'s {row['accepted']} packets {different} are in the lake"
    for name in ("published", "stored"):
        if figures[name] != accepted:
            yield f"{name} are {figures[name]} packets, accepted {accepted}"
    if held.packets is not None and (held.packets < accepted or (held.packets > accepted and not held.twice)):
        yield f"the stream holds {held.packets} packets and {held.twice} messages twice, accepted {accepted}"
    if found.total != accepted or found.doubled:
        yield f"the lake holds {found.total} packets, {found.doubled} of them doubled; accepted {accepted}"
    for node in stores:
        if not node.kills and node.received() != node.stored + sum(node.refused("lake").values()):
            yield f"{node.name} has consumed {node.received()} packets, stored and refused are another number"
    for node in [*edges, *stores]:
        if not node.balanced():
            yield f"the books of {node.name} do not balance"
