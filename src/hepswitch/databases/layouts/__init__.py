"""Layouts: which tables there are, their columns and indexes, and the rows that packets become. One module a layout.

Not here: DDL and types of a server (`databases.postgres` and its neighbours), the record schema (`destinations.records`).
"""
