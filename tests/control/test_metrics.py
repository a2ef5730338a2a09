"""The books as Prometheus text."""

from prometheus_client.parser import text_string_to_metric_families

from hepswitch import books
from hepswitch.control import metrics


def test_every_number_of_the_books_is_a_sample() -> None:
    listener = books.Listener("udp://127.0.0.1:9060", packets=7, bytes=900, malformed=1, kernel_drops=3)
    listener.malformed_reasons["bad magic"] += 1
    outlet = books.Account(accepted=6, delivered=4, queued=1)
    outlet.discarded["queue full"] += 1
    node = outlet.snapshot() | {"state": "active"}
    routed = books.Routed(packets=6, unrouted=1, errors=2)
    routed.dropped['a "quoted"\nreason'] += 1
    book = books.close(
        books.empty()
        | {
            "received": {listener.url: listener.snapshot()},
            "routed": routed.snapshot(),
            "destinations": {"homer": outlet.snapshot() | {"nodes": {"udp://10.0.0.1:9060": node}}},
            "stores": {"lake": books.Account(accepted=2, delivered=2).snapshot()},
        },
        12.5,
    )
    text = metrics.exposition(book).decode()
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    url = ("listener", "udp://127.0.0.1:9060")
    homer = ("destination", "homer")
    assert samples["hepswitch_received_packets_total", url] == 7
    assert samples["hepswitch_received_kernel_drops_total", url] == 3
    assert samples["hepswitch_received_malformed_total", url, ("reason", "bad magic")] == 1
    assert samples["hepswitch_dropped_total", ("reason", 'a "quoted"\nreason')] == 1
    assert samples["hepswitch_route_errors_total",] == 2
    assert samples["hepswitch_destination_discarded_total", homer, ("reason", "queue full")] == 1
    assert samples["hepswitch_node_up", homer, ("node", "udp://10.0.0.1:9060")] == 1
    assert samples["hepswitch_store_delivered_total", ("store", "lake")] == 2
    assert samples["hepswitch_books_balanced",] == 1
    assert samples["hepswitch_uptime_seconds",] == 12.5
