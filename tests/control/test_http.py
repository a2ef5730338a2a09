"""The control listener: what it answers, and from whom it takes changes."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Collection
from typing import Any

import pytest

from hepswitch import books
from hepswitch.control.http import MOST_BODY, Control, Reloaded
from hepswitch.control.refusal import RefusedError
from hepswitch.destinations.sets import NodeChange
from hepswitch.units import parse_endpoint

JSON = {"Content-Type": "application/json"}
CHANGE = {"set": "homer", "node": "udp://10.0.0.1:9060", "state": "paused"}


class Switch:
    """Stands in for the supervisor: remembers what it was asked for."""

    def __init__(self) -> None:
        self.changes: list[NodeChange] = []
        self.reloads: list[Collection[str] | None] = []

    async def stats(self) -> books.Snapshot:
        return books.close(books.empty(), 1.0)

    async def dispatcher(self) -> dict[str, Any]:
        return {"homer": {"policy": "call", "nodes": []}}

    async def set_node(self, change: NodeChange) -> None:
        if change.set != "homer":
            raise RefusedError("no such set", 404)
        self.changes.append(change)

    async def reload(self, only: Collection[str] | None = None) -> Reloaded:
        self.reloads.append(only)
        if len(self.reloads) > 2:
            raise RefusedError("hepswitch.toml:1: workers: no\nhepswitch.toml:2: listen: no")
        return Reloaded(["destinations"], ["workers"])


@pytest.fixture
def switch() -> Switch:
    return Switch()


@pytest.fixture
async def url(switch: Switch) -> AsyncIterator[str]:
    async with Control(switch, parse_endpoint("tcp://127.0.0.1:0")) as url:
        yield url


async def ask(url: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """Status and JSON of a request; with a body it is a POST. `headers` on top of those that a change needs."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    given = {key: value for key, value in (JSON | (headers or {})).items() if value}

    def fetch() -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data, given), timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    return await asyncio.to_thread(fetch)


async def test_the_sets_are_listed(url: str) -> None:
    assert await ask(f"{url}/api/dispatcher") == (200, {"homer": {"policy": "call", "nodes": []}})


async def test_a_change_is_made(url: str, switch: Switch) -> None:
    assert await ask(f"{url}/api/dispatcher", CHANGE | {"weight": 2, "priority": 1}) == (200, {"changed": True})
    assert switch.changes == [NodeChange("homer", "udp://10.0.0.1:9060", "paused", 2.0, 1)]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "/api/dispatcher: .*truncated"),
        (b"[]", "Expected `object`"),
        (b"", "required field `set`"),
        ({"set": "homer"}, "required field `node`"),
        (CHANGE | {"wieght": 2}, "unknown field `wieght`"),
        (CHANGE | {"weight": 0}, "> 0"),
        (CHANGE | {"weight": "2"}, "Expected `float"),
        (CHANGE | {"priority": 1.5}, "Expected `int"),
        (CHANGE | {"state": "active"}, "Invalid enum value 'active'"),
        (b" " * (MOST_BODY + 1), f"more than {MOST_BODY} bytes"),
    ],
)
async def test_wrong_words_are_400_and_say_where(url: str, switch: Switch, body: Any, says: str) -> None:
    status, answer = await ask(f"{url}/api/dispatcher", body)
    assert status == 400
    with pytest.raises(ValueError, match=says):
        raise ValueError(answer["error"])
    assert switch.changes == []


async def test_what_is_not_there_is_404(url: str) -> None:
    assert await ask(f"{url}/api/dispatcher", CHANGE | {"set": "x"}) == (404, {"error": "no such set"})


async def test_reload_says_what_changed_and_a_refusal_is_409(url: str, switch: Switch) -> None:
    assert await ask(f"{url}/api/reload", {}) == (200, {"changed": ["destinations"], "restart": ["workers"]})
    assert (await ask(f"{url}/api/reload", {"only": "dispatcher"}))[0] == 200
    assert switch.reloads == [None, ["destinations"]]
    status, answer = await ask(f"{url}/api/reload", {})
    assert (status, answer["error"].splitlines()[1]) == (409, "hepswitch.toml:2: listen: no")


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({"Content-Type": "text/plain"}, "Content-Type: application/json"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, "Content-Type: application/json"),
        ({"Host": "evil.example"}, "Host is 'evil.example'"),
        ({"Host": "127.0.0.1.evil.example:9080"}, "Host is"),
        ({"Host": "10.0.0.9"}, "Host is"),
        ({"Host": "[::1"}, "Host is"),
        ({"Origin": "https://evil.example"}, "Origin is 'https://evil.example'"),
        ({"Origin": "http://localhost:3000"}, "Origin is"),
        ({"Origin": "null"}, "Origin is"),
    ],
)
@pytest.mark.parametrize("path", ["/api/reload", "/api/dispatcher"])
async def test_a_web_page_cannot_change_the_switch(
    url: str, switch: Switch, path: str, headers: dict[str, str], says: str
) -> None:
    status, answer = await ask(f"{url}{path}", CHANGE, headers)
    assert (status, says in answer["error"]) == (403, True), answer
    assert switch.changes == switch.reloads == []


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1:9080", "127.0.0.2", "[::1]:80"])
async def test_this_machine_may_change_the_switch(url: str, switch: Switch, host: str) -> None:
    assert (await ask(f"{url}/api/dispatcher", CHANGE, {"Host": host, "Origin": f"http://{host}"}))[0] == 200
    assert len(switch.changes) == 1


async def test_the_address_that_was_reached_may_be_asked_when_all_are_listened_on(switch: Switch) -> None:
    async with Control(switch, parse_endpoint("tcp://0.0.0.0:0")) as url:
        at = url.replace("0.0.0.0", "127.0.0.1")
        assert (await ask(f"{at}/api/dispatcher", CHANGE))[0] == 200
        assert (await ask(f"{at}/api/dispatcher", CHANGE, {"Host": "192.0.2.1"}))[0] == 403


async def test_a_page_whose_name_was_pointed_here_cannot_read_either(url: str) -> None:
    for path in ("/api/stats", "/api/dispatcher", "/metrics"):
        assert (await ask(f"{url}{path}", None, {"Host": "evil.example"}))[0] == 403
    assert (await ask(f"{url}/api/stats", None, {"Host": "localhost"}))[0] == 200


async def test_words_that_are_no_text_are_wrong(url: str) -> None:
    assert (await ask(f"{url}/api/dispatcher", b'{"set": "\xff"}'))[0] == 400
    assert (await ask(f"{url}/api/dispatcher", CHANGE | {"priority": 1 << 40}))[0] == 400


async def test_a_change_has_to_be_posted(url: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="405"):
        await asyncio.to_thread(urllib.request.urlopen, f"{url}/api/reload")
