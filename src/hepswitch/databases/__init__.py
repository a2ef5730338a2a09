"""Databases and streams as stores: what waits in the journals of a store is brought to its far end by a loader.

    packet ─▶ journal (each worker's) ─▶ loader (a process per store) ─┬─▶ layout: rows of tables ─▶ server
                                                                       └─▶ messages of many packets ─▶ publisher

`loader` reads the journals and keeps the books; a `carrier` brings batches over. `layouts` say what the tables are and which
row a packet becomes; a module for each kind of server (`postgres`, `mysql`, `sqlite`, `clickhouse`) writes them, where they
are found again, too. `nats` and `kafka` publish. Not here: the configuration of a store (`destinations.databases`,
`destinations.streams`), what goes into a journal (`destinations.journaled`), what a message is (`streams`).
"""
