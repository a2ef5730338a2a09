"""Which node gets a packet: every policy, weights, priorities, fallback. No sockets: what is looked at are the inboxes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from far_ends import number, packet
from hepswitch.destinations.balance import Balancer, Node
from hepswitch.wire.hep import Hep

Answer = Any


class Received(NamedTuple):
    src_ip: str


class Packet(Hep):
    """A packet that knows who sent it, as those of the flow do."""

    received: Received | None = None


def nodes(*weights: float, priorities: Iterable[int] = (), room: int = 1 << 30) -> list[Node]:
    made = [Node(f"udp://10.0.0.{i}:9060", weight, 0, room) for i, weight in enumerate(weights)]
    for node, priority in zip(made, priorities, strict=False):
        node.priority = priority
    for node in made:
        node.active = True
    return made


def held(node: Node) -> list[int]:
    return [number(frame) for frame in node.inbox]


def placed(balancer: Balancer, packets: Iterable[Hep]) -> list[int]:
    """The place of the node that each packet went to."""
    places = []
    for each in packets:
        before = [len(node.inbox) for node in balancer.nodes]
        assert balancer.offer(each)
        grown = [i for i, node in enumerate(balancer.nodes) if len(node.inbox) > before[i]]
        assert len(grown) == 1
        places += grown
    return places


def calls(count: int) -> list[Hep]:
    return [packet(i, call=f"call-{i}@host") for i in range(count)]


# ── policies that keep what belongs together on one node ─────────────────────────────────────────────────────────────


@settings(max_examples=25)
@given(count=st.integers(2, 12), lost=st.integers(0, 11), weighted=st.booleans())
def test_removing_one_of_n_nodes_moves_only_its_share(count: int, lost: int, weighted: bool) -> None:
    lost %= count
    weights = [1.0 + (i % 3 if weighted else 0) for i in range(count)]
    all_nodes = nodes(*weights)
    packets = calls(1000)
    before = placed(Balancer(all_nodes, "call"), packets)
    rest = [node for i, node in enumerate(all_nodes) if i != lost]
    after = [all_nodes.index(rest[place]) for place in placed(Balancer(rest, "call"), packets)]
    moved = {call for call in range(1000) if before[call] != after[call]}
    assert moved == {call for call in range(1000) if before[call] == lost}
    share = 1000 * weights[lost] / sum(weights)
    assert abs(len(moved) - share) < 6 * share**0.5 + 10


def test_source_goes_by_who_sent_the_packet_then_by_the_captured_sender() -> None:
    def received(call: int, sender: str | None, captured: str = "192.0.2.1") -> Packet:
        each = Packet(bytes(packet(call, call=f"call-{call}", src_ip=captured)))
        each.received = None if sender is None else Received(sender)
        return each

    balancer = Balancer(nodes(1, 1, 1, 1), "source")
    agents = [f"10.9.0.{i}" for i in range(40)]
    home = dict(zip(agents, placed(balancer, [received(1, agent) for agent in agents]), strict=True))
    assert len(set(home.values())) == 4
    for call in range(2, 6):
        again = placed(balancer, [received(call, agent, f"192.0.2.{call}") for agent in agents])
        assert again == list(home.values())
    assert placed(balancer, [received(7, None, agent) for agent in agents]) == list(home.values())
    assert placed(balancer, [packet(1, call=f"c{i}", src_ip="10.9.0.3") for i in range(9)]) == [home["10.9.0.3"]] * 9


def test_hash_goes_by_a_value_and_without_one_by_call() -> None:
    asked: list[str] = []

    def value_of(expression: str) -> Callable[[Hep], object]:
        asked.append(expression)
        return lambda hep: hep.node_name

    balancer = Balancer(nodes(1, 1, 1, 1), "hash:node_name", value_of)
    assert asked == ["node_name"]
    for name in ("edge-1", "edge-2", "ü"):
        assert len(set(placed(balancer, [packet(i, call=f"call-{i}", node_name=name) for i in range(20)]))) == 1
    by_call = placed(Balancer(balancer.nodes, "call"), calls(50))
    assert placed(balancer, calls(50)) == by_call
    assert balancer.failures == 0


@pytest.mark.parametrize("value", [b"4711", "4711", 4711])
def test_hash_takes_bytes_text_and_numbers_alike(value: object) -> None:
    fixed = Balancer(nodes(1, 1, 1, 1, 1, 1, 1, 1), "hash:x", lambda _: lambda _: value)
    text = Balancer(fixed.nodes, "hash:x", lambda _: lambda _: "4711")
    assert placed(fixed, calls(2)) == placed(text, calls(2))


def test_a_hashed_value_that_raises_is_counted_and_call_chooses() -> None:
    def broken(hep: Hep) -> object:
        raise RuntimeError("no such field")

    balancer = Balancer(nodes(1, 1, 1), "hash:x", lambda _: broken)
    assert placed(balancer, calls(30)) == placed(Balancer(balancer.nodes, "call"), calls(30))
    assert balancer.failures == 30


def test_hash_needs_somebody_who_knows_fields() -> None:
    with pytest.raises(ValueError, match="fields of packets"):
        Balancer(nodes(1, 1), "hash:node_name")


# ── policies that share ──────────────────────────────────────────────────────────────────────────────────────────────


def test_weighted_takes_turns_smoothly() -> None:
    balancer = Balancer(nodes(5, 1, 1), "weighted")
    places = placed(balancer, calls(70))
    assert Counter(places) == {0: 50, 1: 10, 2: 10}
    assert places[:7] == places[7:14], "one round is like the other"
    longest = max(len(run) for run in "".join(map(str, places)).replace("1", " ").replace("2", " ").split())
    assert longest <= 5, "the heavy node does not get its share in one go but for the seam of two rounds"


def test_random_shares_by_weight() -> None:
    places = Counter(placed(Balancer(nodes(3, 1, 4), "random"), calls(4000)))
    assert [abs(places[i] - share) < 200 for i, share in enumerate((1500, 500, 2000))] == [True] * 3, places


def test_least_loaded_fills_where_the_least_waits_for_its_weight() -> None:
    balancer = Balancer(nodes(1, 1, 2), "least-loaded")
    for node, waiting in zip(balancer.nodes, (8000, 4000, 0), strict=True):
        node.elsewhere = waiting
    placed(balancer, [packet(i, size=30) for i in range(300)])
    loads = [(node.inbox.nbytes + node.elsewhere) / node.weight for node in balancer.nodes]
    assert max(loads) - min(loads) <= 200, loads


def test_least_loaded_takes_turns_while_nothing_waits() -> None:
    balancer = Balancer(nodes(1, 1, 1), "least-loaded")
    places = []
    for each in calls(9):
        places += placed(balancer, [each])
        for node in balancer.nodes:
            node.inbox.clear()
    assert places == [0, 1, 2] * 3


# ── a user's policy ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "answer",
    [
        lambda nodes: nodes[1],
        lambda nodes: nodes[1].url,
        lambda nodes: 1,
        lambda nodes: [nodes[1], nodes[0]],
        lambda nodes: (1, 2),
    ],
    ids=["node", "url", "place", "sequence", "places"],
)
def test_a_users_policy_names_the_node(answer: Callable[[tuple[Node, ...]], Answer]) -> None:
    balancer = Balancer(nodes(1, 1, 1), "script:mine")
    balancer.set_policy(lambda hep, nodes: answer(nodes))
    assert placed(balancer, calls(5)) == [1] * 5
    assert balancer.failures == 0


def test_a_users_policy_sees_the_packet_and_only_those_that_may_get_it() -> None:
    seen = []

    def mine(hep: Hep, nodes: tuple[Node, ...]) -> Answer:
        seen.append((number(bytes(hep)), [node.url for node in nodes]))
        return None

    balancer = Balancer(nodes(1, 1, 1, 1, priorities=(5, 5, 5, 0)), "script:mine")
    balancer.set_policy(mine)
    balancer.nodes[1].active = False
    assert balancer.offer(packet(17))
    assert seen == [(17, ["udp://10.0.0.0:9060", "udp://10.0.0.2:9060"])]


def test_a_sequence_is_an_order_of_preference() -> None:
    balancer = Balancer(nodes(1, 1, 1), "script:mine")
    balancer.set_policy(lambda hep, nodes: ["udp://10.0.0.2:9060", "udp://10.0.0.0:9060"])
    balancer.nodes[2].room = 0
    assert placed(balancer, calls(5)) == [0] * 5
    balancer.nodes[0].room = 0
    assert placed(balancer, calls(5)) == [1] * 5
    assert balancer.failures == 0, "a node that cannot take the packet is no nonsense"


@pytest.mark.parametrize(
    "answer", [lambda: 1 / 0, lambda: "udp://elsewhere:9060", lambda: 3, lambda: -1, lambda: 1.5, object],
    ids=["raises", "unknown url", "too far", "negative", "fraction", "object"],
)  # fmt: skip
def test_nonsense_of_a_users_policy_is_counted_and_call_chooses(answer: Callable[[], Answer]) -> None:
    balancer = Balancer(nodes(1, 1, 1), "script:mine")
    balancer.set_policy(lambda hep, nodes: answer())
    assert placed(balancer, calls(20)) == placed(Balancer(balancer.nodes, "call"), calls(20))
    assert balancer.failures == 20


def test_a_node_of_another_destination_is_nonsense() -> None:
    balancer, other = Balancer(nodes(1, 1, 1), "script:mine"), Balancer(nodes(1, 1), "first")
    balancer.set_policy(lambda hep, nodes: other.nodes[1])
    placed(balancer, calls(3))
    assert balancer.failures == 3


# ── priorities, failover, states ─────────────────────────────────────────────────────────────────────────────────────


def test_lower_priorities_serve_when_the_higher_are_away_or_full() -> None:
    balancer = Balancer(nodes(1, 1, 1, 1, priorities=(0, 10, 10, -5)), "round-robin")
    assert set(placed(balancer, calls(10))) == {1, 2}
    balancer.nodes[1].active = False
    assert set(placed(balancer, calls(10))) == {2}
    balancer.nodes[2].room = 0
    assert set(placed(balancer, calls(10))) == {0}
    balancer.nodes[0].active = balancer.nodes[3].active = balancer.nodes[2].active = False
    assert set(placed(balancer, calls(10))) == {1}, "packets wait for the first choice"


def test_all_copies_to_each_whatever_its_priority() -> None:
    balancer = Balancer(nodes(1, 1, priorities=(0, 10)), "all")
    assert balancer.offer(packet(1))
    balancer.nodes[0].active = False
    assert balancer.offer(packet(2)), "each node on its own: one that is away may have a spool"
    assert [held(node) for node in balancer.nodes] == [[1, 2], [1, 2]]


def test_a_disabled_node_gets_nothing_and_its_calls_come_back() -> None:
    balancer = Balancer(nodes(1, 1, 1, 1), "call")
    before = placed(balancer, calls(200))
    balancer.nodes[2].enabled = False
    during = placed(balancer, calls(200))
    assert {call for call in range(200) if before[call] != during[call]} == {i for i in range(200) if before[i] == 2}
    balancer.nodes[2].enabled = True
    assert placed(balancer, calls(200)) == before


@pytest.mark.parametrize("policy", ["call", "all", "first"])
def test_when_every_node_is_disabled_the_packet_is_refused(policy: str) -> None:
    balancer = Balancer(nodes(1, 1), policy)
    for node in balancer.nodes:
        node.enabled = False
    assert not balancer.offer(packet(1))
    assert balancer.refused == {"every node is disabled": 1}


def test_changed_weights_and_nodes_count_at_once() -> None:
    balancer = Balancer(nodes(1, 1), "weighted")
    balancer.nodes[0].weight = 3
    balancer.reorder()
    assert Counter(placed(balancer, calls(40))) == {0: 30, 1: 10}
    balancer.arrange([*balancer.nodes, *nodes(1)], "first")
    assert (len(balancer.nodes), placed(balancer, calls(1))) == (3, [0])
    with pytest.raises(ValueError, match="no policy"):
        balancer.arrange(nodes(1), "best")
    assert len(balancer.nodes) == 3, "nothing has changed"


# ── the fallback ─────────────────────────────────────────────────────────────────────────────────────────────────────


def with_fallback(policy: str = "call") -> tuple[Balancer, Balancer]:
    main, backup = Balancer(nodes(1, 1), policy), Balancer(nodes(1), "call")
    main.fallback = backup
    return main, backup


@pytest.mark.parametrize("policy", ["call", "all"])
def test_the_fallback_serves_while_no_node_is_reachable(policy: str) -> None:
    main, backup = with_fallback(policy)
    main.nodes[0].active = False
    assert main.offer(packet(0))
    main.nodes[1].active = False
    assert main.offer(packet(1))
    assert (held(backup.nodes[0]), main.relieved) == ([1], 1)
    backup.nodes[0].active = False
    assert main.offer(packet(2)), "it waits for the own nodes"
    assert (held(backup.nodes[0]), main.relieved) == ([1], 1)
    assert 2 in {each for node in main.nodes for each in held(node)}
    main.nodes[0].active = main.nodes[1].active = backup.nodes[0].active = True
    assert main.offer(packet(3))
    assert held(backup.nodes[0]) == [1]


@pytest.mark.parametrize("policy", ["call", "all"])
def test_the_fallback_gets_what_the_reachable_nodes_refuse(policy: str) -> None:
    main, backup = with_fallback(policy)
    for node in main.nodes:
        node.room = 0
    assert main.offer(packet(1))
    assert (held(backup.nodes[0]), main.relieved) == ([1], 1)
    backup.nodes[0].room = 0
    assert not main.offer(packet(2))
    assert sum(main.refused.values()) + sum(sum(node.refused.values()) for node in main.nodes) > 0


def test_fallbacks_form_a_chain() -> None:
    main, backup = with_fallback()
    last = Balancer(nodes(1), "first")
    backup.fallback = last
    for node in (*main.nodes, *backup.nodes):
        node.active = False
    assert main.offer(packet(1))
    assert (held(last.nodes[0]), main.relieved, backup.relieved) == ([1], 1, 1)
