"""A stand-in for the supervisor, and a control listener before it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from control.stand_in import ANY_PORT, LIBRARY, Switch
from hepswitch.control.http import Control


@pytest.fixture
def switch() -> Switch:
    return Switch()


@pytest.fixture
async def url(switch: Switch) -> AsyncIterator[str]:
    async with Control(switch, LIBRARY, ANY_PORT) as url:
        yield url
