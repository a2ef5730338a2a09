"""Which module a store has, and what is said when its driver is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hepswitch.databases import kinds
from hepswitch.databases.row_carrier import RowCarrier
from hepswitch.databases.stream_carrier import StreamCarrier
from hepswitch.destinations.databases import DatabaseStore
from hepswitch.destinations.stores import SCHEMES, store_of
from hepswitch.destinations.streams import StreamStore

STREAMS = {"nats", "nats+tls", "kafka", "kafka+tls"}


@pytest.mark.parametrize("scheme", sorted(SCHEMES.keys() - {"lake"} - STREAMS))
def test_every_kind_of_database_has_a_server_and_statements(scheme: str) -> None:
    store = store_of({"url": "sqlite:t.db" if scheme == "sqlite" else f"{scheme}://u@h/d"})
    assert isinstance(store, DatabaseStore)
    assert kinds.server(store).layout.unfit is not None
    assert isinstance(kinds.carrier(store), RowCarrier)
    assert "CREATE TABLE" in kinds.ddl(store).upper()


@pytest.mark.parametrize("scheme", sorted(STREAMS))
def test_every_kind_of_stream_has_a_publisher_and_a_command_that_makes_it(scheme: str) -> None:
    store = store_of({"url": f"{scheme}://h/HEP", "partitions": 3, "replicas": 2})
    assert isinstance(store, StreamStore)
    assert kinds.publisher(store).partitions == 3
    assert isinstance(kinds.carrier(store), StreamCarrier)
    assert {"HEP", "add", "--create"} & set(kinds.ddl(store).split())


DRIVERS = [("postgresql", "asyncpg"), ("mysql", "asyncmy"), ("nats", "nats"), ("kafka", "confluent_kafka")]


@pytest.mark.parametrize(("scheme", "driver"), DRIVERS)
def test_a_driver_that_is_missing(monkeypatch: pytest.MonkeyPatch, scheme: str, driver: str) -> None:
    store = store_of({"url": f"{scheme}://h/d"})
    module = kinds.module_of(store).__name__
    for name in [name for name in sys.modules if name == module or name.split(".")[0] == driver]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(ImportError, match=rf"{driver} is not installed: pip install 'hepswitch\["):
        kinds.module_of(store)


@pytest.mark.parametrize("scheme", ["nats", "kafka"])
def test_a_loader_that_publishes_does_without_arrow(scheme: str) -> None:
    program = f"""
import subprocess
import sys
from hepswitch.databases import kinds, loader
from hepswitch.destinations.stores import store_of
kinds.carrier(store_of({{"url": "{scheme}://h/HEP"}}))
print(*{{"pyarrow", "duckdb", "numpy"}} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
