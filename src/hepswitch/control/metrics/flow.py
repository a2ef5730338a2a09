"""Metrics of the way in and the route: listeners, what the route decided, rules, limits, traces."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from hepswitch.books import Snapshot
from hepswitch.control.metrics.families import Group

LISTENERS = Group("Listeners", "Label `listener` is its URL.")

OF_LISTENERS = {
    "packets": LISTENERS.counter("hepswitch_received_packets_total", "Packets read.", "listener"),
    "bytes": LISTENERS.counter("hepswitch_received_bytes_total", "Bytes of the packets read.", "listener"),
    "kernel_drops": LISTENERS.counter(
        "hepswitch_received_kernel_drops_total",
        "Datagrams or frames that the kernel dropped because the receive buffer or ring was full.", "listener",
    ),
    "frames": LISTENERS.counter(
        "hepswitch_received_frames_total", "Frames read by listeners that capture, whatever is in them.", "listener"
    ),
    "truncated": LISTENERS.counter(
        "hepswitch_received_truncated_total", "Captured frames that were cut short (snaplen).", "listener"
    ),
    "interruptions": LISTENERS.counter(
        "hepswitch_received_interruptions_total", "How often an interface that is captured from went away.", "listener"
    ),
    "connections_refused": LISTENERS.counter(
        "hepswitch_connections_refused_total", "TCP and TLS connections of agents that were turned away.", "listener"
    ),
    "connections": LISTENERS.gauge("hepswitch_connections", "Open TCP and TLS connections of agents.", "listener"),
}  # fmt: skip
OF_STREAMS = {
    "waiting": LISTENERS.gauge(
        "hepswitch_stream_waiting_messages",
        "Messages that a stream still has for the listener, or has not heard that they are written.", "listener",
    ),
    "redelivered": LISTENERS.counter(
        "hepswitch_stream_redelivered_total", "Messages that a stream gave the listener once more.", "listener"
    ),
}  # fmt: skip
MALFORMED = LISTENERS.counter(
    "hepswitch_received_malformed_total", "Packets that could not be decoded, by reason.", "listener", "reason"
)
REFUSED = LISTENERS.counter(
    "hepswitch_received_refused_total", "Packets not let into the route, by reason.", "listener", "reason"
)

ROUTE = Group("Route, rules and guards", "What was decided about the packets that were let in.")
OF_ROUTE = {
    "packets": ROUTE.counter("hepswitch_routed_packets_total", "Packets that went through the route."),
    "unrouted": ROUTE.counter("hepswitch_unrouted_total", "Packets neither sent, stored nor dropped by name."),
    "errors": ROUTE.counter("hepswitch_route_errors_total", "Packets whose route raised."),
    "overwritten": ROUTE.counter(
        "hepswitch_overwritten_total", "Payloads that a mask could not read and overwrote as a whole."
    ),
}
DROPPED = ROUTE.counter("hepswitch_dropped_total", "Packets that the route dropped, by reason.", "reason")
CAPTURED = ROUTE.counter("hepswitch_captured_total", "SIP messages that the route put into stores.", "kind")
RULE_HITS = ROUTE.counter("hepswitch_rule_hits_total", "Packets that a rule acted on.", "rule")
LIMIT_EXCEEDED = ROUTE.counter(
    "hepswitch_limit_exceeded_total", "Packets above a rate limit, dropped or marked.", "limit"
)
OF_GUARDS = {
    "duplicates": ROUTE.counter(
        "hepswitch_guard_duplicates_total", "Copies of messages that another agent had sent, dropped or marked."
    ),
    "evicted": ROUTE.counter("hepswitch_guard_evicted_total", "Buckets of rate limits that gave way to others."),
    "forgotten": ROUTE.counter(
        "hepswitch_guard_forgotten_total", "Messages forgotten too early to recognise their copies: raise the size."
    ),
}

TRACES = Group("Traces")
OF_TRACES = {
    "packets": TRACES.counter(
        "hepswitch_traced_packets_total", "Packets handed to the destinations of a trace.", "trace"
    ),
    "requests": TRACES.counter("hepswitch_traced_requests_total", "SIP requests among them.", "trace"),
    "replies": TRACES.counter("hepswitch_traced_replies_total", "SIP replies among them.", "trace"),
    "calls": TRACES.counter("hepswitch_traced_calls_total", "Transactions and dialogs whose trace was begun.", "trace"),
    "refused": TRACES.counter(
        "hepswitch_traced_refused_total", "Copies that a destination of the trace did not take.", "trace"
    ),
}
TRACED_NOW = TRACES.gauge("hepswitch_tracer_calls", "Transactions and dialogs that are being traced.")
OF_TRACER = {
    "evicted": TRACES.counter(
        "hepswitch_tracer_evicted_total", "Traced calls that were cut short, by reason.", "reason"
    ),
    "untold": TRACES.counter(
        "hepswitch_tracer_untold_total",
        "What a worker could not tell another one about traced calls, by reason.", "reason",
    ),
}  # fmt: skip
FORGOTTEN = TRACES.counter(
    "hepswitch_tracer_forgotten_total", "Packets that were forgotten before the time to look back was over."
)


def collect(book: Snapshot) -> Iterator[Metric]:
    """All of them out of the books."""
    rows = book["received"]
    for key, family in OF_LISTENERS.items():
        yield family.by(rows, key)
    streams = {name: row for name, row in rows.items() if "waiting" in row}
    for key, family in OF_STREAMS.items():
        yield family.by(streams, key)
    yield MALFORMED.by_reason(rows, "malformed_reasons")
    yield REFUSED.by_reason(rows, "refused")
    yield from _route(book)
    yield from _traces(book)


def _route(book: Snapshot) -> Iterator[Metric]:
    routed, guards = book["routed"], book["guards"]
    for key, family in OF_ROUTE.items():
        yield family.alone(routed[key])
    yield CAPTURED.of(((kind,), routed[f"captured_{kind}"]) for kind in ("requests", "replies"))
    yield DROPPED.each(routed["dropped"])
    yield RULE_HITS.each(book["rules"])
    yield LIMIT_EXCEEDED.each(guards.get("limits", {}))
    for key, family in OF_GUARDS.items():
        if key in guards:
            yield family.alone(guards[key])


def _traces(book: Snapshot) -> Iterator[Metric]:
    for key, family in OF_TRACES.items():
        yield family.by(book["traces"], key)
    tracer = book["tracer"]
    yield TRACED_NOW.alone(tracer["calls"])
    for key, family in OF_TRACER.items():
        yield family.each(tracer[key])
    yield FORGOTTEN.alone(tracer["forgotten"])
