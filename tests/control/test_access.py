"""Who is let in at the control listener, as whom, and what that allows; and how those fare who try to get in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from control.doors import (
    NOBODY,
    PASSWORD,
    READ_TOKEN,
    TOKEN,
    Answer,
    basic,
    bearer,
    exchange,
    guarded_table,
    request,
    user,
)
from control.stand_in import ANY_PORT, LIBRARY, Switch, ask
from hepswitch.control import server
from hepswitch.control.http import Control
from hepswitch.control.logins import FIRST_WAIT, FREE, LONGEST_WAIT, MOST_WAITING, LoginError, Logins, Shown
from hepswitch.control.users import Users

CHANGE = {"set": "homer", "node": "udp://10.0.0.1:9060", "state": "paused"}
CAPTURE_OFF = b'{"on": false}'


@pytest.fixture(autouse=True)
def _unknown_users_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hepswitch.control.logins.NOBODY", NOBODY)


@pytest.fixture
async def guarded(switch: Switch, tmp_path: Path) -> AsyncIterator[str]:
    table = guarded_table(tmp_path, user("alice", "operate"), user("bob", "read"))
    async with Control(switch, LIBRARY, table) as url:
        yield url


async def status(url: str, path: str, shown: str, **more: object) -> int:
    return (await request(url, path, f"Authorization: {shown}", **more)).status  # type: ignore[arg-type]


# ── nothing without ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "TRACE", "PROPFIND"])
async def test_without_credentials_nothing_but_healthz_answers(guarded: str, switch: Switch, method: str) -> None:
    paths = (
        "/", "/call", "/web/main.js", "/metrics", "/readyz", "/mi", "/api/stats", "/api/v1/stats", "/api/v1/me",
        "/api/v1/openapi.json", "/api/v1/capture", "/nowhere", "/%2e/healthz", "//healthz", "/healthz/", "/./healthz",
        "/%68ealthz", "/healthz%00", "/healthz/../api/stats", "http://localhost/healthz", "http://localhost/api/stats",
    )  # fmt: skip
    answers = [await request(guarded, path, method=method) for path in paths]
    assert {answer.status for answer in answers} == {401}
    heads = {
        "\r\n".join(sorted(line for line in each.head.splitlines() if not line.startswith("date"))) for each in answers
    }
    assert len(heads) == 1, "no answer tells what is there"
    assert len({answer.body for answer in answers}) == 1
    assert 'www-authenticate: Basic realm="hepswitch", charset="UTF-8"' in heads.pop()
    assert switch.capturing


async def test_healthz_is_for_everybody(guarded: str) -> None:
    assert (await request(guarded, "/healthz"))[::2] == (200, b"ok\n")
    assert (await request(guarded, "/healthz", method="HEAD")).status == 200
    assert (await request(guarded, "/healthz?x=y", "Authorization: Bearer no")).status == 200
    assert (await request(guarded, "/healthz", method="POST")).status == 405


@pytest.mark.parametrize(
    "shown",
    [
        TOKEN, "Bearer", "Bearer ", bearer(f"{TOKEN}x"), bearer(TOKEN[:-1]), "Bearer \xff", bearer(""), bearer("x" * 9000),
        basic(TOKEN, ""), basic("alice", ""), basic("alice", "wrong password"), basic("", PASSWORD),
        basic("carol", PASSWORD),
        basic("alice\0", PASSWORD), basic("alice", "x" * 2000), "Basic !", "Basic /w==", "Basic YWxpY2U=", "Basic",
        "Basic " + "A" * 12_000, f"Digest {TOKEN}", "Negotiate abc", "Bearer a b",
    ],
)  # fmt: skip
async def test_who_shows_what_is_wrong_is_told_how(guarded: str, shown: str) -> None:
    answer = await request(guarded, "/api/v1/stats", f"Authorization: {shown}")
    assert (answer.status, "Authorization: Bearer TOKEN" in answer.error) == (401, True)


async def test_a_head_that_is_too_long_is_refused(guarded: str) -> None:
    answer = await request(guarded, "/api/v1/stats", *(f"X-{number}: {'x' * 8000}" for number in range(40)))
    assert answer.status in (0, 400, 401)
    assert await status(guarded, "/healthz", "x") == 200


async def test_two_of_them_are_none(guarded: str) -> None:
    good = f"Authorization: {bearer(TOKEN)}"
    for others in ([good], ["Authorization: Bearer x"], [f"authorization: {basic('alice', PASSWORD)}"]):
        answer = await request(guarded, "/api/v1/stats", good, *others)
        assert (answer.status, "more than once" in answer.error) == (401, True)
    assert (
        await request(guarded, f"/mi?token={TOKEN.replace('+', '%2B')}", good, method="POST", body=b"{}")
    ).status == 401
    assert (await request(guarded, "/mi?token=s3cret:%2Bx&token=x", method="POST", body=b"{}")).status == 401


async def test_the_token_may_stand_in_the_url_of_mi_alone(guarded: str) -> None:
    asked = {"jsonrpc": "2.0", "id": 1, "method": "version"}
    assert (await ask(f"{guarded}/mi?token=s3cret:%2Bx", asked))[0] == 200
    assert (await ask(f"{guarded}/mi?token=s3cret", asked))[0] == 401
    assert (await ask(f"{guarded}/mi?token=", asked))[0] == 401
    assert (await ask(f"{guarded}/mi?token={READ_TOKEN}", asked))[0] == 403
    assert (await ask(f"{guarded}/api/v1/stats?token=s3cret:%2Bx"))[0] == 401


# ── roles ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("shown", "me"),
    [
        (bearer(TOKEN), {"user": None, "role": "operate"}),
        (f"bearer  {TOKEN} ", {"user": None, "role": "operate"}),
        (basic("", TOKEN), {"user": None, "role": "operate"}),
        (basic("prometheus", READ_TOKEN), {"user": None, "role": "read"}),
        (bearer(READ_TOKEN), {"user": None, "role": "read"}),
        (basic("alice", PASSWORD), {"user": "alice", "role": "operate"}),
        (basic("bob", PASSWORD), {"user": "bob", "role": "read"}),
    ],
)
async def test_roles(guarded: str, switch: Switch, shown: str, me: dict[str, str | None]) -> None:
    headers = {"Authorization": shown}
    assert await ask(f"{guarded}/api/v1/me", None, headers) == (200, me)
    for path in ("/api/v1/stats", "/api/v1/destinations", "/api/v1/traces", "/api/v1/openapi.json"):
        assert (await ask(f"{guarded}{path}", None, headers))[0] == 200
    assert await status(guarded, "/metrics", shown) == 200
    changes = [
        await ask(f"{guarded}{path}", body, headers)
        for path, body in (
            ("/api/v1/destinations", CHANGE),
            ("/api/v1/capture", {"on": False}),
            ("/api/v1/reload", {}),
            ("/mi", {"jsonrpc": "2.0", "id": 1, "method": "version"}),
        )
    ]
    if me["role"] == "operate":
        assert [code for code, _ in changes] == [200] * 4
        assert (await ask(f"{guarded}/api/v1/capture", {"on": True}, headers | {"Origin": "https://evil.example"}))[
            0
        ] == 403
        assert switch.capturing is False
        assert await status(guarded, "/api/v1/stats", shown, method="DELETE") == 403, "not as a change has to come"
    else:
        assert {(code, "need the role operate" in said["error"]) for code, said in changes} == {(403, True)}
        assert switch.capturing
        assert switch.changes == switch.reloads == []
        assert await status(guarded, "/api/v1/nowhere", shown, method="POST") == 403
        assert await status(guarded, "/api/v1/stats", shown, method="DELETE") == 403


async def test_a_switch_with_a_token_to_read_alone_is_changed_by_nobody(switch: Switch, tmp_path: Path) -> None:
    async with Control(switch, LIBRARY, guarded_table(tmp_path, token=None, users=None)) as url:
        headers = {"Authorization": bearer(READ_TOKEN)}
        assert (await ask(f"{url}/api/v1/stats", None, headers))[0] == 200
        assert (await ask(f"{url}/api/v1/capture", {"on": False}, headers))[0] == 403
        assert (await ask(f"{url}/api/v1/capture", {"on": False}))[0] == 401
        assert (await ask(f"{url}/api/v1/stats", None, {"Authorization": basic("alice", PASSWORD)}))[0] == 401


async def test_who_is_taken_out_of_the_file_is_out(guarded: str, tmp_path: Path) -> None:
    alice, bob = (f"{basic(name, PASSWORD)}" for name in ("alice", "bob"))
    assert [await status(guarded, "/api/v1/me", each) for each in (alice, bob)] == [200, 200]
    file = tmp_path / "users"
    file.write_text(f"{user('bob', 'operate')}\nalice:operate\n")
    assert await status(guarded, "/api/v1/me", alice) == 401, "its line cannot be read"
    assert (await ask(f"{guarded}/api/v1/me", None, {"Authorization": bob}))[1]["role"] == "operate"
    file.write_text(f"{user('bob', 'read', 'another password')}\n")
    assert await status(guarded, "/api/v1/me", bob) == 401
    file.unlink()
    assert await status(guarded, "/api/v1/me", basic("bob", "another password")) == 401
    assert await status(guarded, "/api/v1/me", bearer(TOKEN)) == 200


# ── those who guess ──────────────────────────────────────────────────────────────────────────────────────────────────


class Pauses:
    """Waits that take no time, and how long they would have been."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


GUESS = Shown("wrong", "alice")


async def wrong(logins: Logins, source: str, shown: Shown = GUESS) -> int:
    with pytest.raises(LoginError) as caught:
        await logins.visitor(shown, source)
    return caught.value.status


async def test_wrong_passwords_wait_longer_and_longer(tmp_path: Path) -> None:
    guarded_table(tmp_path, user("alice", "operate"))
    pauses = Pauses()
    logins = Logins(TOKEN, None, Users(tmp_path / "users"), pauses)
    for _ in range(FREE + 8):
        await wrong(logins, "192.0.2.1")
    assert pauses.seconds[: FREE + 3] == [0.0] * FREE + [FIRST_WAIT, 2 * FIRST_WAIT, 4 * FIRST_WAIT]
    assert pauses.seconds[-1] == LONGEST_WAIT
    await wrong(logins, "192.0.2.2")
    assert pauses.seconds[-1] == 0.0, "another source has not guessed yet"
    for host in range(FREE + 1):
        await wrong(logins, f"2001:db8::{host:x}")
    assert pauses.seconds[-1] == FIRST_WAIT, "a /64 is one source"
    assert (await logins.visitor(Shown(PASSWORD, "alice"), "192.0.2.1")).user == "alice"
    await wrong(logins, "192.0.2.1", Shown("x"))
    assert pauses.seconds[-1] == 0.0, "who knows the password may mistype it"


async def test_who_guesses_all_the_time_holds_up_itself_alone(tmp_path: Path) -> None:
    guarded_table(tmp_path, user("alice", "operate"))
    held = asyncio.Event()

    async def pause(_: float) -> None:
        await held.wait()

    logins = Logins(TOKEN, None, Users(tmp_path / "users"), pause)
    guesses = [asyncio.create_task(wrong(logins, "192.0.2.1")) for _ in range(MOST_WAITING + 20)]
    done, waiting = await asyncio.wait(guesses, return_when=asyncio.FIRST_COMPLETED)
    assert {task.result() for task in done} == {429}
    assert (await logins.visitor(Shown(TOKEN), "192.0.2.1")).role == "operate", "a token is known at once"
    assert (await logins.visitor(Shown(PASSWORD, "alice"), "192.0.2.9")).user == "alice", "others do not wait for it"
    assert (await logins.visitor(Shown(PASSWORD, "alice"), "192.0.2.1")).user == "alice", "what fitted is remembered"
    held.set()
    assert sorted([await task for task in guesses]) == [401] * MOST_WAITING + [429] * 20
    assert waiting


async def test_sources_that_are_remembered_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hepswitch.control.logins.MOST_SOURCES", 8)
    logins = Logins(TOKEN, None, None, Pauses())
    for number in range(100):
        await wrong(logins, f"192.0.2.{number}", Shown("x"))
    assert len(logins._sources._known) == 8


async def test_a_password_is_tried_once_in_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded_table(tmp_path, user("alice", "operate"), user("bob", "read"))
    tried = list[str]()
    real = Logins._fitting

    async def counting(self: Logins, users: Users, name: str, password: str) -> object:
        tried.append(name)
        return await real(self, users, name, password)

    monkeypatch.setattr(Logins, "_fitting", counting)
    logins = Logins(None, None, Users(tmp_path / "users"))
    await asyncio.gather(*(logins.visitor(Shown(PASSWORD, "alice"), "192.0.2.1") for _ in range(6)))
    assert tried == ["alice"], "a browser with six connections"
    await wrong(logins, "192.0.2.1", Shown(PASSWORD, "alice2"))
    await wrong(logins, "192.0.2.1", Shown(f"{PASSWORD}x", "alice"))
    assert tried == ["alice", "alice2", "alice"], "who is not there costs as much"
    monkeypatch.setattr("hepswitch.control.logins.REMEMBERED", 0.0)
    await logins.visitor(Shown(PASSWORD, "bob"), "192.0.2.1")
    await logins.visitor(Shown(PASSWORD, "bob"), "192.0.2.1")
    assert tried[3:] == ["bob", "bob"], "minutes have passed"


async def test_a_flood_of_wrong_passwords_holds_up_neither_healthz_nor_prometheus(guarded: str) -> None:
    flood = [
        asyncio.create_task(request(guarded, "/api/v1/stats", f"Authorization: {basic('nobody', f'guess {number}')}"))
        for number in range(60)
    ]
    for _ in range(5):
        assert await status(guarded, "/healthz", "x") == 200
        assert await status(guarded, "/metrics", bearer(READ_TOKEN)) == 200
    assert not all(task.done() for task in flood), "they were answered while guesses waited"
    finished, waiting = await asyncio.wait(flood, return_when=asyncio.FIRST_COMPLETED)
    assert {task.result().status for task in finished} <= {401, 429}
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


# ── foreign pages ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def url(switch: Switch) -> AsyncIterator[str]:
    async with Control(switch, LIBRARY, ANY_PORT) as url:
        yield url


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        ("/api/v1/stats", {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200),
        ("/api/v1/stats", {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, 200),
        ("/api/v1/stats", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ("/api/v1/stats", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403),
        ("/api/v1/stats", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, 403),
        ("/metrics", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ("/", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),
        ("/", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
    ],
)
async def test_foreign_pages_may_lead_here_and_load_nothing(
    url: str, path: str, headers: dict[str, str], expected: int
) -> None:
    lines = [f"{name}: {value}" for name, value in headers.items()]
    assert (await request(url, path, *lines)).status == expected


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_foreign_pages_change_nothing(url: str, switch: Switch, site: str) -> None:
    answer = await request(
        url, "/api/v1/capture", f"Sec-Fetch-Site: {site}", "Sec-Fetch-Mode: navigate", method="POST", body=CAPTURE_OFF
    )
    assert (answer.status, switch.capturing) == (403, True)
    same = await request(url, "/api/v1/capture", "Sec-Fetch-Site: same-origin", method="POST", body=CAPTURE_OFF)
    assert (same.status, switch.capturing) == (200, False)


async def test_names_are_hosts_that_may_be_asked(switch: Switch) -> None:
    table = ANY_PORT.model_copy(update={"names": ["hepswitch.example.net"]})
    async with Control(switch, LIBRARY, table) as url:
        ours = {"Host": "hepswitch.example.net", "Origin": "https://hepswitch.example.net"}
        assert (await ask(f"{url}/api/v1/stats", None, ours))[0] == 200
        assert (await ask(f"{url}/api/v1/capture", {"on": False}, ours))[0] == 200
        assert (await ask(f"{url}/api/v1/stats", None, {"Host": "other.example.net"}))[0] == 403
        assert (await ask(f"{url}/api/v1/capture", {"on": True}, {"Host": "other.example.net"}))[0] == 403
    assert switch.capturing is False


async def test_the_address_that_was_reached_may_be_asked_when_all_are_listened_on(
    switch: Switch, tmp_path: Path
) -> None:
    async with Control(switch, LIBRARY, guarded_table(tmp_path, listen="0.0.0.0:0")) as url:
        at, headers = url.replace("0.0.0.0", "127.0.0.1"), {"Authorization": bearer(TOKEN)}
        assert (await ask(f"{at}/api/v1/destinations", CHANGE, headers))[0] == 200
        assert (await ask(f"{at}/api/v1/destinations", CHANGE, headers | {"Host": "192.0.2.1"}))[0] == 403
        assert (await ask(f"{at}/api/v1/stats", None, headers | {"Host": "any.name"}))[0] == 200


async def test_no_header_says_who_asks(url: str) -> None:
    forwarded = {"X-Forwarded-For": "192.0.2.1", "Forwarded": "for=192.0.2.1", "X-Forwarded-Host": "evil.example"}
    assert (await ask(f"{url}/api/v1/me", None, forwarded))[1] == {"user": None, "role": "operate"}
    rewritten = {"X-Original-URL": "/healthz", "X-Rewrite-URL": "/healthz", "X-HTTP-Method-Override": "POST"}
    assert "received" in (await ask(f"{url}/api/v1/stats", None, rewritten))[1]


# ── connections that hold on to the listener ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ",
        b"POST /api/v1/capture HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\nHo",
    ],
)
async def test_a_request_that_does_not_come_is_not_waited_for(
    url: str, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(server, "PATIENCE", 0.1)
    answer = await exchange(url, begun)
    assert answer.status == (200 if b"\r\n\r\nGET" in begun else 0)


async def test_a_request_that_came_may_take_its_time(url: str, switch: Switch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PATIENCE", 0.05)
    slow = asyncio.Event()

    async def traces() -> dict[str, str]:
        await slow.wait()
        return {"slow": "yes"}

    monkeypatch.setattr(switch, "traces", traces)
    asked = asyncio.create_task(request(url, "/api/v1/traces"))
    assert (await exchange(url, b"")).status == 0, "one that asks nothing has been given up meanwhile"
    slow.set()
    assert json.loads((await asked).body) == {"slow": "yes"}


async def test_connections_are_bounded_and_idle_ones_give_way(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 4)
    idle = [asyncio.create_task(exchange(url, b"")) for _ in range(8)]
    given_up, _ = await asyncio.wait(idle, return_when=asyncio.FIRST_COMPLETED)
    assert {task.result() for task in given_up} == {Answer(0, "", b"")}
    for _ in range(6):
        assert (await request(url, "/healthz")).status == 200
    for task in idle:
        task.cancel()
    await asyncio.gather(*idle, return_exceptions=True)


async def test_what_is_no_http_is_refused(url: str) -> None:
    for said in (b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n", b"\r\n\r\n\r\n\0", b"HEP3\0\6"):
        assert (await exchange(url, said + b"\r\n\r\n")).status in (0, 400, 403)
    upgrade = await request(url, "/", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: x")
    assert upgrade.status in (0, 200)
