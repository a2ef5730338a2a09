"""Conditions on packets: `sip.method = INVITE and src_ip in 10.0.0.0/8`. One language for rules, destinations, search.

`fields` has the names, `language` reads the text into a `tree`; `python` makes a function of a packet of it, `sql` a
question to a lake. A mistake is a `FilterError` that shows the place. Not here: what happens to the packets that are meant.
"""

from hepswitch.filters.errors import FilterError
from hepswitch.filters.python import compile_filter, compile_value

compile = compile_filter
"""`filters.compile(text)`, as one says `re.compile`."""

__all__ = ["FilterError", "compile", "compile_filter", "compile_value"]
