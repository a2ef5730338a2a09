"""Databases of PostgreSQL for tests."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from postgres_stores import ask
from servers import Postgres, postgres

_numbers = count()


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[Postgres]:
    """A server for the tests of a module."""
    with postgres() as running:
        yield running


@pytest.fixture
async def database(postgres_server: Postgres) -> str:
    """The URL of an empty database in it."""
    name = f"d{next(_numbers)}"
    await ask(postgres_server.url, f"CREATE DATABASE {name}")
    return postgres_server.url.removesuffix("/hep") + f"/{name}"
