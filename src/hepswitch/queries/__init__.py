"""Questions to the stores, for whoever asks over HTTP: calls, messages, one call with all its legs, files of them.

    control ─▶ library ══line══▶ process (a reader: DuckDB, drivers) ─▶ answering ─▶ lake.reader.Reader ─▶ a store
       ▲          │                 │
       └──bytes───┴─────────────────┘

The supervisor relays bytes and nothing else: `library` keeps a few reader processes, `line` is what they say to each other,
`questions` and `answers` are what may be asked and what is answered. Everything is found, and rendered, in a reader process.
Not here: finding (`lake`, `databases`), HTTP (`control`).
"""
