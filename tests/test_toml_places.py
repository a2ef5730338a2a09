"""The line of every table, key and item of a TOML text."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hepswitch.toml_places import Places

TEXT = '''# a comment = 1
listen = [
    "udp://a",  # the first, ] and all
    'tcp://b', "tls://c?x=[1]",
]
a.b . "c.d" = 1
when = 1979-05-27 07:32:00
long = """
[not.a.table]
x = "1"
"""
[destinations.homer]
urls = ["udp://a", [
  "nested",
]]
set = { 0x30 = { value = "x", vendor = 3 }, "q\\"uote" = 1 }
[[rule]]
when = "a"
[rule.set]
node_name = "x"
[[ rule ]]

relay = ["one",
         "two"]
[[rule.deeper]]
x = 1
[[rule.deeper]]
x = true
'''


@pytest.mark.parametrize(
    ("location", "line"),
    [
        ("listen", 2), ("listen 0", 3), ("listen 1", 4), ("listen 2", 4), ("listen 3", 2), ("a b c.d", 6), ("when", 7),
        ("long", 8), ("not a table", None), ("destinations", 12), ("destinations homer", 12),
        ("destinations homer urls 1 0", 14), ("destinations homer set 0x30 vendor", 16),
        ('destinations homer set q"uote', 16),
        ("destinations homer unknown", 12), ("rule 0 when", 18), ("rule 0 set node_name", 20), ("rule 1", 21),
        ("rule 1 when", 21), ("rule 1 relay 1", 24), ("rule 1 deeper 0 x", 26), ("rule 1 deeper 1 x", 28),
    ],
)  # fmt: skip
def test_lines(location: str, line: int | None) -> None:
    assert Places(TEXT).line(location.split(" ")) == line


def _paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _paths(inner, (*path, str(key)))


@pytest.mark.parametrize("file", ["pyproject.toml", "example"])
def test_everything_in_a_text_has_a_line_of_its_own(file: str) -> None:
    text = TEXT if file == "example" else (Path(__file__).parent.parent / file).read_text()
    places = Places(text)
    for path in _paths(tomllib.loads(text)):
        if path:
            assert path in places._lines
