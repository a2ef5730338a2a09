"""Changes made at run time: remembered, and kept over a reload unless the file says otherwise; the list of all workers."""

from __future__ import annotations

import pytest

from hepswitch.control.dispatcher import Changes, checked, merged
from hepswitch.control.refusal import RefusedError
from hepswitch.destinations.hep import HepDestination
from hepswitch.destinations.sets import NodeChange

A, B = "udp://10.0.0.1:9060", "tcp://10.0.0.2:9060"


def _sets(*urls: str) -> dict[str, HepDestination]:
    return {"homer": HepDestination(urls=list(urls))}


def test_what_is_said_later_is_on_top() -> None:
    changes = Changes()
    changes.remember(NodeChange("homer", A, state="paused", weight=2))
    changes.remember(NodeChange("homer", B, priority=3))
    changes.remember(NodeChange("homer", A, state="enabled", priority=1))
    assert list(changes) == [NodeChange("homer", A, "enabled", 2, 1), NodeChange("homer", B, priority=3)]


@pytest.mark.parametrize(
    ("new", "kept"),
    [
        (_sets(A, B), [NodeChange("homer", A, "disabled", 2, 1)]),
        (_sets(B, A), [NodeChange("homer", A, "disabled", 2, 1)]),
        (_sets(f"{A}?weight=5", B), [NodeChange("homer", A, "disabled")]),
        (_sets(B), []),
        ({}, []),
        ({"other": HepDestination(urls=[A])}, []),
    ],
)
def test_a_reload_forgets_where_the_file_has_changed_its_mind(
    new: dict[str, HepDestination], kept: list[NodeChange]
) -> None:
    changes = Changes([NodeChange("homer", A, "disabled", 2, 1)])
    assert list(changes.after_reload(_sets(A, B), new)) == kept


@pytest.mark.parametrize("node", [A, "udp://10.0.0.1", "udp://10.0.0.1:9060?weight=2"])
def test_a_node_is_found_however_it_is_written(node: str) -> None:
    assert checked(NodeChange("homer", node, weight=1), _sets(A, B)).node == A


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        (NodeChange("homr", A, "paused"), 404, r"no destination is named 'homr' \(configured: homer\)"),
        (NodeChange("homer", "udp://10.0.0.3", "paused"), 404, f"no node 'udp://10.0.0.3' .*{A}, {B}"),
        (NodeChange("homer", "10.0.0.1", "paused"), 404, "no node"),
        (NodeChange("homer", A), 400, "nothing to change"),
    ],
)
def test_a_change_of_nothing_is_refused(change: NodeChange, status: int, says: str) -> None:
    with pytest.raises(RefusedError, match=says) as caught:
        checked(change, _sets(A, B))
    assert caught.value.status == status


def test_the_workers_nodes_add_up() -> None:
    def worker(state: str, since: float, error: str) -> dict[str, object]:
        figures = dict.fromkeys(("queued", "spooled", "accepted", "delivered"), 10)
        node = {
            "url": A,
            "state": state,
            "health": state,
            "weight": 1.0,
            "priority": 0,
            "since": since,
            "last_error": error,
        }
        return {"homer": {"policy": "call", "nodes": [node | figures]}}

    workers = [worker("active", 5.0, ""), worker("inactive", 9.0, "refused"), worker("active", 7.0, "")]
    (node,) = merged(workers)["homer"]["nodes"]
    assert (node["state"], node["since"], node["last_error"]) == ("active,inactive", 9.0, "refused")
    assert (node["queued"], node["delivered"], node["weight"]) == (30, 30, 1.0)
    assert merged([]) == {}
