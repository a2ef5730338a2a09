"""Tracing: SIP and what belongs to it, selected by message, transaction or dialog, sent to any mix of destinations.

- A *trace id* names destinations (`[traces.NAME]`, or a dynamic trace that is started at run time): `traces`, `dynamic`.
- A *scope* says how far a trace goes from the packet where it begins: this message, its transaction, its dialog, or the
  session of several dialogs that a B2BUA ties together: `words`.
- A *live call* is a transaction or dialog that is being traced, with its state by RFC 3261: `calls`.
- A *mark* is what a packet bears that is to be traced: the trace, on whose behalf, which way the packet went: `marks`.
- A *target* is one destination of a trace: a store, a HEP destination, or one of its own (`file:…`, `sip:…`): `targets`.
- The *tracer* puts marks on packets before the route and hands them to the targets behind it: `tracer`.

Not here: what targets do with a packet (`destinations`), the loop that calls the tracer (`routing.flow`).
"""
