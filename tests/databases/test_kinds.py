"""Which module a store has, and what is said when its driver is missing."""

from __future__ import annotations

import sys

import pytest

from hepswitch.databases import kinds
from hepswitch.destinations.stores import SCHEMES, store_of


@pytest.mark.parametrize("scheme", sorted(SCHEMES.keys() - {"lake"}))
def test_every_kind_of_store_has_a_server_and_statements(scheme: str) -> None:
    store = store_of({"url": "sqlite:t.db" if scheme == "sqlite" else f"{scheme}://u@h/d"})
    assert kinds.server(store).layout.unfit is not None
    assert "CREATE TABLE" in kinds.ddl(store).upper()


@pytest.mark.parametrize(("scheme", "driver"), [("postgresql", "asyncpg"), ("mysql", "asyncmy")])
def test_a_driver_that_is_missing(monkeypatch: pytest.MonkeyPatch, scheme: str, driver: str) -> None:
    store = store_of({"url": f"{scheme}://u@h/d"})
    module = kinds.module_of(store).__name__
    for name in [name for name in sys.modules if name == module or name.split(".")[0] == driver]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(ImportError, match=rf"{driver} is not installed: pip install 'hepswitch\["):
        kinds.module_of(store)
