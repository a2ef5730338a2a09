"""The API's table of endpoints: what each answers, and that the OpenAPI document says so."""

from __future__ import annotations

import asyncio

from control.stand_in import LIBRARY, Switch, ask
from hepswitch.control.api import Api
from hepswitch.control.endpoints import PREFIX


async def test_the_document_has_every_endpoint_with_its_words(url: str, switch: Switch) -> None:
    status, document = await ask(f"{url}{PREFIX}/openapi.json")
    assert (status, document["openapi"]) == (200, "3.1.0")
    for endpoint in Api(switch, LIBRARY).endpoints:
        operation = document["paths"][PREFIX + endpoint.path][endpoint.method.lower()]
        assert operation["summary"] == endpoint.summary != ""
        assert {"200", "400", "401", "403"} <= operation["responses"].keys()
    stop = document["paths"][f"{PREFIX}/traces/stop"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert stop == {"$ref": "#/components/schemas/TraceStop"}
    assert document["components"]["schemas"]["TraceStop"]["required"] == ["id"]


async def test_the_switch_tells_of_itself(url: str, switch: Switch) -> None:
    status, told = await ask(f"{url}{PREFIX}/status")
    assert (status, told["capturing"], told["processes"][1]) == (
        200,
        True,
        {"pid": 42, "kind": "worker 0", "restarts": 0},
    )
    assert (await ask(f"{url}{PREFIX}/config"))[1]["control"]["token"] == "**********"
    assert await ask(f"{url}/api/stats") == await ask(f"{url}{PREFIX}/stats")


async def test_an_unknown_parameter_is_named(url: str) -> None:
    status, answer = await ask(f"{url}{PREFIX}/stats?colour=red")
    assert (status, answer) == (400, {"error": "/api/v1/stats: the question contains unknown field `colour`"})


async def test_readiness_says_what_is_missing(url: str, switch: Switch) -> None:
    async def ready() -> tuple[bytes, bytes]:
        host, _, port = url.removeprefix("http://").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET /readyz HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        answer: bytes = await reader.read()
        writer.close()
        return answer.split(b" ")[1], answer.rpartition(b"\r\n\r\n")[2]

    assert await ready() == (b"200", b"ready\n")
    switch.absent = ["worker 0 is not running"]
    assert await ready() == (b"503", b"worker 0 is not running\n")
