"""State as a script meets it: by name, beside its file, across reloads."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hepswitch
from hepswitch import books, state
from hepswitch.routing import script
from hepswitch.routing.flow import Flow
from hepswitch.routing.packet import Context
from hepswitch.state import Counter, Gauge, ListError, State
from hepswitch.state.configured import ListTable, load_lists
from hepswitch.wire.batch import Batch
from hepswitch.wire.hep import Hep

ROUTE = """
from hepswitch import counter, hep_route, number_list, table

fraud = number_list("lists/fraud.txt")
seen = table("seen", ttl="10m", size=100)
calls = counter("calls", "Calls, by {what}.", labels=["list"])

@hep_route
def route(hep):
    if seen.incr(hep.sip.call_id) == 1:
        calls.inc(list="fraud" if hep.sip.from_user in fraud else "none")
    hep.drop("counted")
"""


@pytest.fixture(autouse=True)
def own() -> Iterator[State]:
    """A state of its own for each test, under the scripts as well."""
    own = State()
    with state.using(own):
        yield own


def invite(call_id: str, user: str) -> bytes:
    sip = f"INVITE sip:b@x SIP/2.0\r\nCall-ID: {call_id}\r\nFrom: <sip:{user}@x>;tag=1\r\nCSeq: 1 INVITE\r\n\r\n"
    return bytes(Hep.new(sip, src_ip="192.0.2.1", dst_ip="192.0.2.2"))


def test_a_script_counts_and_goes_on_after_a_reload(own: State, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "fraud.txt").write_text("+49 30 666\n")
    path = tmp_path / "route.py"
    routed, errors = books.Routed(), []
    flow = Flow(Context({}, {}, None, routed), lambda _, error: errors.append(error))

    def run(*packets: bytes) -> None:
        flow(Batch.of(list(packets), books.Listener("udp://127.0.0.1:9060")))

    path.write_text(ROUTE.replace("{what}", "list"))
    flow.hep_route = script.load(path).hep_route
    run(invite("c1", "+4930666"), invite("c1", "+4930666"), invite("c2", "alice"))
    path.write_text(ROUTE.replace("{what}", "list of fraud").replace('"10m"', '"5m"'))
    flow.hep_route = script.load(path).hep_route
    run(invite("c1", "+4930666"), invite("c3", "4930666"))
    assert errors == []
    assert routed.dropped == {"counted": 5}
    assert own.snapshot() == {
        "counters": {"calls": {"help": "Calls, by list of fraud.", "values": {"list=fraud": 2, "list=none": 1}}},
        "gauges": {},
        "tables": {"seen": {"entries": 3, "hits": 2, "misses": 3, "expired": 0, "evicted": 0}},
    }


def test_the_same_name_is_the_same_thing() -> None:
    table = state.table("calls", "1h")
    table["a"] = 1
    assert state.table("calls", ttl=5, size=7) is table
    assert (table.ttl, table.size, table["a"]) == (5, 7, 1)
    count = state.counter("n")
    assert state.counter("n", "Help that came later.") is count
    assert count.help == "Help that came later."
    assert isinstance(count, Counter)
    assert isinstance(state.gauge("g"), Gauge)


def test_a_name_cannot_change_its_kind_or_labels(own: State) -> None:
    state.counter("n", labels=["a"])
    with pytest.raises(ValueError, match="gauge 'n': a counter has that name"):
        state.gauge("n")
    with pytest.raises(ValueError, match="counter 'n' has counted with a since the start"):
        state.counter("n")
    with pytest.raises(ValueError, match="table 'a b'"):
        state.table("a b")
    with pytest.raises(LookupError, match="'m'; there are: n"):
        own.value("m")


def test_names_are_bounded(own: State) -> None:
    for number in range(1000):
        state.table(f"t{number}")
    with pytest.raises(ValueError, match="table 't1000': there are 1000 already: use a label or a key"):
        state.table("t1000")
    assert len(own.snapshot()["tables"]) == 1000


def test_states_are_apart(own: State) -> None:
    state.counter("n").inc()
    with state.using(State()):
        state.counter("n").inc(5)
        assert state.current().value("n") == 5
    assert own.value("n") == state.snapshot()["counters"]["n"]["values"][""] == 1


def test_a_list_is_shared_while_somebody_holds_it(own: State, tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text("10\n")
    numbers, words = state.number_list(file), state.word_list(str(file))
    assert state.number_list(file) is numbers
    assert {one.kind for one in own.lists()} == {"numbers", "words"}
    del numbers
    gc.collect()
    assert own.lists() == [words]
    assert state.prefix_list(file)["1030"] == "10"


def test_a_list_is_beside_the_script_and_its_mistakes_are_the_scripts(tmp_path: Path) -> None:
    path = tmp_path / "route.py"
    path.write_text("import hepswitch\n\nnets = hepswitch.network_list('nets.txt')\n")
    with pytest.raises(script.ScriptError) as caught:
        script.load(path)
    assert str(caught.value) == (
        f"{path}:3: ListError: {tmp_path / 'nets.txt'}: cannot be read: No such file or directory"
    )


def test_lists_of_the_configuration(own: State, tmp_path: Path) -> None:
    (tmp_path / "fraud").write_text("+4930\n")
    (tmp_path / "nets").write_text("10.0.0.0/8\n")
    tables = {
        "fraud": ListTable(file=tmp_path / "fraud", kind="prefixes"),
        "lab": ListTable(file=tmp_path / "nets", kind="networks"),
    }
    lists = load_lists(tables, own)
    assert "+49301" in lists["fraud"]
    assert "10.1.2.3" in lists["lab"]
    bad = {"a": ListTable(file=tmp_path / "nets", kind="numbers"), "b": ListTable(file=tmp_path / "no", kind="words")}
    with pytest.raises(ListError) as caught:
        load_lists(bad, own)
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"lists.a: {tmp_path / 'nets'}:1: '10.0.0.0/8' is no telephone number")
    assert second.startswith(f"lists.b: {tmp_path / 'no'}: cannot be read")


def test_scripts_import_what_they_need_and_nothing_heavy() -> None:
    heavy = ("pydantic", "structlog", "asyncio", "click", "pyarrow")
    names = ", ".join(hepswitch.__all__)
    code = f"import sys; from hepswitch import {names}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="has no attribute 'tabel'"):
        hepswitch.tabel  # noqa: B018
