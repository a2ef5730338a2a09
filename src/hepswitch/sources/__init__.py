"""Ways in: a source reads a bound socket and hands batches to the flow, one file for each kind.

Not here: making the sockets (`net.sockets`), what a packet means (`wire`), what becomes of it (`routing`).
"""
