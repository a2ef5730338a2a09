"""The control listener: what it answers, and from whom it takes changes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any

import pytest

from control.stand_in import Switch, ask
from hepswitch.control.endpoints import MOST_BODY
from hepswitch.destinations.sets import NodeChange
from hepswitch.tracing.dynamic import TraceStart

CHANGE = {"set": "homer", "node": "udp://10.0.0.1:9060", "state": "paused"}


async def test_the_sets_are_listed(url: str) -> None:
    status, sets = await ask(f"{url}/api/v1/destinations")
    assert (status, sets["homer"]["policy"], len(sets["homer"]["nodes"])) == (200, "call", 2)


async def test_a_change_is_made(url: str, switch: Switch) -> None:
    assert await ask(f"{url}/api/v1/destinations", CHANGE | {"weight": 2, "priority": 1}) == (200, {"changed": True})
    assert switch.changes == [NodeChange("homer", "udp://10.0.0.1:9060", "paused", 2.0, 1)]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "/api/v1/destinations: .*truncated"),
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
    status, answer = await ask(f"{url}/api/v1/destinations", body)
    assert status == 400
    with pytest.raises(ValueError, match=says):
        raise ValueError(answer["error"])
    assert switch.changes == []


async def test_what_is_not_there_is_404(url: str) -> None:
    assert await ask(f"{url}/api/v1/destinations", CHANGE | {"set": "x"}) == (404, {"error": "no such set"})


async def test_reload_says_what_changed_and_a_refusal_is_409(url: str, switch: Switch) -> None:
    assert await ask(f"{url}/api/v1/reload", {}) == (200, {"changed": ["destinations"], "restart": ["workers"]})
    assert (await ask(f"{url}/api/v1/reload", {"only": "dispatcher"}))[0] == 200
    assert switch.reloads == [None, ["destinations"]]
    status, answer = await ask(f"{url}/api/v1/reload", {})
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
async def test_a_web_page_cannot_change_the_switch(
    url: str, switch: Switch, headers: dict[str, str], says: str
) -> None:
    for path in (
        "/api/v1/reload",
        "/api/v1/destinations",
        "/api/v1/capture",
        "/api/v1/traces",
        "/api/v1/traces/stop",
        "/mi",
    ):
        status, answer = await ask(f"{url}{path}", CHANGE, headers)
        assert (status, says in answer["error"]) == (403, True), answer
    assert switch.changes == switch.reloads == switch.started == []


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1:9080", "127.0.0.2", "[::1]:80"])
async def test_this_machine_may_change_the_switch(url: str, switch: Switch, host: str) -> None:
    assert (await ask(f"{url}/api/v1/destinations", CHANGE, {"Host": host, "Origin": f"http://{host}"}))[0] == 200
    assert len(switch.changes) == 1


async def test_a_page_whose_name_was_pointed_here_cannot_read_either(url: str) -> None:
    for path in ("/api/stats", "/api/v1/destinations", "/api/v1/capture", "/api/v1/traces", "/metrics"):
        assert (await ask(f"{url}{path}", None, {"Host": "evil.example"}))[0] == 403
    assert (await ask(f"{url}/api/stats", None, {"Host": "localhost"}))[0] == 200


async def test_words_that_are_no_text_are_wrong(url: str) -> None:
    assert (await ask(f"{url}/api/v1/destinations", b'{"set": "\xff"}'))[0] == 400
    assert (await ask(f"{url}/api/v1/destinations", CHANGE | {"priority": 1 << 40}))[0] == 400


async def test_capturing_is_told_and_switched(url: str, switch: Switch) -> None:
    assert await ask(f"{url}/api/v1/capture") == (200, {"on": True})
    assert await ask(f"{url}/api/v1/capture", {"on": False}) == (200, {"on": False})
    assert await ask(f"{url}/api/v1/capture") == (200, {"on": False})
    assert (await ask(f"{url}/api/v1/capture", {"on": "off"}))[0] == 400
    assert (await ask(f"{url}/api/v1/capture", {}))[0] == 400


async def test_traces_are_started_listed_switched_and_stopped(url: str, switch: Switch) -> None:
    wanted = {"id": "t1", "to": ["file:/x", "hep:10.0.0.1"], "filter": "caller = alice", "seconds": 600}
    assert await ask(f"{url}/api/v1/traces", wanted) == (200, {"started": "t1"})
    assert switch.started == [TraceStart("t1", ["file:/x", "hep:10.0.0.1"], "caller = alice", seconds=600)]
    told = (await ask(f"{url}/api/v1/traces"))[1]
    assert (told["on"], list(told["traces"]), told["evicted"]) == (True, ["fraud", "t1"], {"full": 1})
    status, answer = await ask(f"{url}/api/v1/traces", wanted)
    assert (status, answer["error"]) == (409, "there is a trace 't1' already")
    assert (await ask(f"{url}/api/v1/traces", wanted | {"id": "t2", "scope": "x"}))[0] == 400
    assert (await ask(f"{url}/api/v1/traces", {"id": "t2", "to": []}))[0] == 400
    assert (await ask(f"{url}/api/v1/traces", {"id": "t2", "to": ["file:/x"], "scoop": "m"}))[0] == 400
    assert await ask(f"{url}/api/v1/traces/switch", {"on": False, "id": "fraud"}) == (200, {"on": False, "id": "fraud"})
    assert await ask(f"{url}/api/v1/traces/switch", {"on": False}) == (200, {"on": False, "id": None})
    assert (switch.rows["fraud"]["on"], switch.tracing) == (False, False)
    assert (await ask(f"{url}/api/v1/traces/switch", {"on": True, "id": "x"}))[0] == 404
    assert await ask(f"{url}/api/v1/traces/stop", {"id": "t1"}) == (200, {"stopped": "t1"})
    assert (await ask(f"{url}/api/v1/traces/stop", {"id": "t1"}))[0] == 404


async def test_mi_answers_json_rpc_over_http(url: str) -> None:
    asked = {"jsonrpc": "2.0", "id": "7", "method": "sipcapture:capture"}
    assert await ask(f"{url}/mi", asked) == (200, {"jsonrpc": "2.0", "result": {"SIP capturing": "on"}, "id": "7"})
    assert (await ask(f"{url}/mi", b"{"))[1]["error"]["code"] == -32700
    del asked["id"]
    assert await ask(f"{url}/mi", asked) == (204, None), "a notification"
    assert (await ask(f"{url}/mi", b" " * (MOST_BODY + 1)))[0] == 400


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask as another user")
async def test_another_user_of_this_machine_needs_the_token(url: str, switch: Switch) -> None:
    ask_as_nobody = f"""
import encodings.idna, json, os, urllib.error, urllib.request
os.setuid(65534)
headers = {{"Content-Type": "application/json", "X-Forwarded-For": "127.0.0.1"}}
body = json.dumps({{"id": "t", "to": ["file:/etc/x"]}}).encode()
request = urllib.request.Request({url + "/api/v1/traces"!r}, body, headers)
try:
    urllib.request.urlopen(request, timeout=10)
except urllib.error.HTTPError as error:
    print(error.code, json.load(error)["error"])
"""
    ran = await asyncio.create_subprocess_exec(sys.executable, "-c", ask_as_nobody, stdout=subprocess.PIPE)
    said, _ = await ran.communicate()
    assert said.startswith(b"403 changes and MI are for root, as whom the switch runs, not for nobody: ")
    assert switch.started == []


async def test_a_change_has_to_be_posted(url: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="405"):
        await asyncio.to_thread(urllib.request.urlopen, f"{url}/api/v1/reload")
