"""The books as Prometheus text."""

import time
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from hepswitch import books
from hepswitch.control import metrics
from hepswitch.control.agents import AgentList
from hepswitch.control.vitals import Vitals
from hepswitch.destinations.figures import UploaderFigures
from hepswitch.state import Counter, Gauge, State


def _samples(book: books.Snapshot, vitals: Vitals | None = None) -> dict[tuple[Any, ...], float]:
    text = metrics.exposition(book, vitals or Vitals(), AgentList([], 0)).decode()
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_number_of_the_books_is_a_sample() -> None:
    listener = books.Listener("udp://127.0.0.1:9060", packets=7, bytes=900, malformed=1, kernel_drops=3)
    listener.malformed_reasons["bad magic"] += 1
    outlet = books.Account(accepted=6, delivered=4, queued=1)
    outlet.discarded["queue full"] += 1
    node = outlet.snapshot() | {"state": "active"}
    routed = books.Routed(packets=6, unrouted=1, errors=2, captured_requests=4, captured_replies=3)
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
    samples = _samples(book)
    url = ("listener", "udp://127.0.0.1:9060")
    homer = ("destination", "homer")
    assert samples["hepswitch_received_packets_total", url] == 7
    assert samples["hepswitch_received_kernel_drops_total", url] == 3
    assert samples["hepswitch_received_malformed_total", url, ("reason", "bad magic")] == 1
    assert samples["hepswitch_dropped_total", ("reason", 'a "quoted"\nreason')] == 1
    assert samples["hepswitch_route_errors_total",] == 2
    assert samples["hepswitch_captured_total", ("kind", "replies")] == 3
    assert samples["hepswitch_destination_discarded_total", homer, ("reason", "queue full")] == 1
    assert samples["hepswitch_node_up", homer, ("node", "udp://10.0.0.1:9060")] == 1
    assert samples["hepswitch_store_delivered_total", ("store", "lake")] == 2
    assert samples["hepswitch_books_balanced",] == 1
    assert samples["hepswitch_uptime_seconds",] == 12.5


def test_streams() -> None:
    stream = books.Listener("nats://n1:4222/HEP?group=lake", state="away", waiting=12, redelivered=3)
    plain = books.Listener("udp://127.0.0.1:9060")
    received = {each.url: each.snapshot() for each in (stream, plain)}
    samples = _samples(books.close(books.empty() | {"received": received}, 1.0))
    assert samples["hepswitch_stream_waiting_messages", ("listener", stream.url)] == 12
    assert samples["hepswitch_stream_redelivered_total", ("listener", stream.url)] == 3
    assert ("hepswitch_stream_waiting_messages", ("listener", plain.url)) not in samples


def test_uploads() -> None:
    waits = UploaderFigures(bytes=900, waiting_files=3, waiting_bytes=70, due_since=time.time() - 60, lost_files=2)
    waits.uploads.add(0.2)
    waits.state = "access denied"
    waits.troubles.note()
    samples = _samples(books.empty() | {"uptime": 1.0, "balanced": True}, Vitals(uploaders={"lake": waits}))
    lake = ("store", "lake")
    assert samples["hepswitch_upload_seconds_count", lake] == 1
    assert samples["hepswitch_upload_bytes_total", lake] == 900
    assert samples["hepswitch_upload_waiting_files", lake] == 3
    assert samples["hepswitch_upload_waiting_bytes", lake] == 70
    assert 60 <= samples["hepswitch_upload_lag_seconds", lake] < 90
    assert samples["hepswitch_upload_up", lake] == 0
    assert samples["hepswitch_upload_errors_total", lake] == 1
    assert samples["hepswitch_upload_lost_files_total", lake] == 2


def test_what_scripts_count_is_summed_over_workers() -> None:
    workers = [State(), State()]
    for number, state in enumerate(workers, 1):
        state.series(Counter, "calls", "Calls.", ()).inc(number)
        by_tenant = state.series(Counter, "by_tenant", "", ("tenant", "kind"))
        by_tenant.inc(tenant='a "b" & c=d', kind="")
        state.series(Gauge, "depth", "How deep.", ()).set(2.5)
        state.table("seen", "1h", 10)["key"] = number
    book = books.merge([books.empty() | {"script": state.snapshot()} for state in workers])
    samples = _samples(books.close(book, 1.0))
    assert samples["hepswitch_script_calls_total",] == 3
    assert samples["hepswitch_script_by_tenant_total", ("kind", ""), ("tenant", 'a "b" & c=d')] == 2
    assert samples["hepswitch_script_depth",] == 5
    assert samples["hepswitch_table_entries", ("table", "seen")] == 2
    assert samples["hepswitch_table_evicted_total", ("table", "seen")] == 0
    text = metrics.exposition(books.close(book, 1.0), Vitals(), AgentList([], 0)).decode()
    assert "# HELP hepswitch_script_calls_total Calls.\n" in text


def test_workers_with_two_versions_of_a_script_are_both_told() -> None:
    old, new = State(), State()
    old.series(Counter, "calls", "Calls.", ()).inc(3)
    new.series(Counter, "calls", "Calls.", ("tenant",)).inc(tenant="a")
    book = books.merge([books.empty() | {"script": state.snapshot()} for state in (old, new)])
    samples = _samples(books.close(book, 1.0))
    assert samples["hepswitch_script_calls_total",] == 3
    assert samples["hepswitch_script_calls_total", ("tenant", "a")] == 1
