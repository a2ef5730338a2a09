"""Databases of PostgreSQL for tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from postgres_stores import ask
from servers import Postgres, postgres

_numbers = count()


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[Postgres]:
    """A server for the tests of a module."""
    # Not in pytest's folders: another run of pytest makes them unreadable for the server's user.
    with tempfile.TemporaryDirectory() as folder, postgres(Path(folder)) as running:
        yield running


@pytest.fixture
async def database(postgres_server: Postgres) -> str:
    """The URL of an empty database in it."""
    name = f"d{next(_numbers)}"
    await ask(postgres_server.url, f"CREATE DATABASE {name}")
    return postgres_server.url.removesuffix("/hep") + f"/{name}"
