"""The books add up, and say when they do not."""

from hepswitch import books


def _book(packets: int, delivered: int, queued: int = 0) -> books.Snapshot:
    listener = books.Listener("udp://127.0.0.1:9060", packets=packets + 3, malformed=2)
    listener.refused["not allowed"] += 1
    outlet = books.Account(accepted=packets, delivered=delivered, queued=queued)
    outlet.discarded["queue full"] += packets - delivered - queued
    node = outlet.snapshot() | {"state": "active"}
    return books.empty() | {
        "received": {listener.url: listener.snapshot()},
        "routed": books.Routed(packets=packets).snapshot(),
        "destinations": {"homer": outlet.snapshot() | {"nodes": {"udp://10.0.0.1:9060": node}}},
    }


def test_an_empty_switch_is_balanced() -> None:
    assert books.close(books.empty(), 0.0)["balanced"] is True


def test_merge_adds_workers() -> None:
    total = books.close(books.merge([_book(10, 8), _book(5, 5)]), 1.0)
    assert total["balanced"] is True
    assert total["received"]["udp://127.0.0.1:9060"]["packets"] == 21
    assert total["destinations"]["homer"]["nodes"]["udp://10.0.0.1:9060"]["delivered"] == 13
    assert total["destinations"]["homer"]["discarded"] == {"queue full": 2}


def test_merge_keeps_what_only_one_side_has() -> None:
    one, other = _book(1, 1), _book(1, 1)
    other["received"] = {"tcp://127.0.0.1:9060": books.Listener("tcp://127.0.0.1:9060", packets=1).snapshot()}
    assert set(books.merge([one, other])["received"]) == {"udp://127.0.0.1:9060", "tcp://127.0.0.1:9060"}


def test_what_is_gone_is_kept_apart_up_to_a_number_and_then_summed_up() -> None:
    rows: dict[str, books.Snapshot] = {}
    for number in range(20):  # the row of the others comes to the front and must not be counted twice
        rows[f"t{number}"] = {"packets": 1}
        books.fold_oldest(rows, 3, "others", lambda before, row: books.add(before or {}, row))
        assert sum(row["packets"] for row in rows.values()) == number + 1
    assert set(rows) == {"others", "t18", "t19"}


def test_states_that_differ_are_both_told() -> None:
    one, other = _book(1, 1), _book(1, 1)
    other["destinations"]["homer"]["nodes"]["udp://10.0.0.1:9060"]["state"] = "inactive"
    merged = books.merge([one, other])["destinations"]["homer"]["nodes"]["udp://10.0.0.1:9060"]
    assert merged["state"] == "active,inactive"


def test_a_missing_packet_is_not_balanced() -> None:
    book = _book(10, 8)
    book["routed"]["packets"] -= 1
    assert books.close(book, 0.0)["balanced"] is False


def test_a_packet_lost_in_a_node_is_not_balanced() -> None:
    book = _book(10, 8)
    book["destinations"]["homer"]["nodes"]["udp://10.0.0.1:9060"]["delivered"] -= 1
    assert books.close(book, 0.0)["balanced"] is False
