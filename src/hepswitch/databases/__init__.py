"""Databases as stores: what waits in the journals of a store is loaded into the tables of a layout, and found again there.

    packet ─▶ journal (each worker's) ─▶ loader (a process per store) ─▶ layout: rows of tables ─▶ server

`loader` reads the journals and keeps the books; `layouts` say what the tables are and which row a packet becomes; a module
for each kind of server (`postgres`, `mysql`, `sqlite`, `clickhouse`) writes them. Not here: the configuration of a store
(`destinations.databases`), what goes into a journal (`destinations.journaled`).
"""
