"""Sockets: making them, reading and writing datagrams in batches, TLS contexts, names to addresses.

Not here: event loops, packets, configuration. Everything takes sockets or an `Endpoint` and raises OSError.
"""
