"""Views: how the tables of each layout show the columns of the lake, for reading. One module a layout.

Not here: writing (`databases.layouts`), asking (`databases.reading`).
"""
