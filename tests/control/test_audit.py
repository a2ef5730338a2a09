"""The audit: every change and every refused one, with who and what; nothing that others wrote between the lines."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from control.doors import NOBODY, PASSWORD, READ_TOKEN, TOKEN, basic, bearer, guarded_table, request, user
from control.stand_in import LIBRARY, NODE, Switch, ask
from hepswitch.control.audit import LONGEST, MOST, Audit, bounded, plain
from hepswitch.control.http import Control

CHANGE = {"set": "homer", "node": NODE, "state": "paused"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


@pytest.fixture
async def url(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    monkeypatch.setattr("hepswitch.control.logins.NOBODY", NOBODY)
    table = guarded_table(tmp_path, user("alice", "operate"), user("bob", "read"), audit=file)
    async with Control(Switch(), LIBRARY, table) as url:
        yield url


def entries(file: Path) -> list[dict[str, Any]]:
    text = file.read_text()
    assert all(c.isprintable() for line in text.split("\n") for c in line)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    rows = [json.loads(line) for line in text.splitlines()]
    for row in rows:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", row.pop("at"))
        assert row.pop("source") == "127.0.0.1"
    return rows


async def test_changes_are_written_with_who_and_what(url: str, file: Path) -> None:
    alice = {"Authorization": basic("alice", PASSWORD)}
    with capture_logs() as log:
        await ask(f"{url}/api/v1/destinations", CHANGE, alice)
        await ask(f"{url}/api/v1/destinations", CHANGE | {"set": "x"}, alice)
        await ask(f"{url}/api/v1/reload", {"only": "dispatcher"}, {"Authorization": bearer(TOKEN)})
        await ask(f"{url}/mi?token=s3cret:%2Bx", {"jsonrpc": "2.0", "id": 1, "method": "ds_list"})
        await ask(
            f"{url}/mi?token=s3cret:%2Bx", {"jsonrpc": "2.0", "id": 1, "method": "sip_capture", "params": ["off"]}
        )
        await ask(f"{url}/api/v1/stats", None, alice)
    assert entries(file) == [
        {"who": "user alice", "action": "set node", "parameters": CHANGE, "outcome": "done"},
        {
            "who": "user alice",
            "action": "set node",
            "parameters": CHANGE | {"set": "x"},
            "outcome": "refused: no such set",
        },
        {"who": "token", "action": "reload", "parameters": {"only": ["destinations"]}, "outcome": "done"},
        {"who": "token", "action": "set capture", "parameters": {"on": False}, "outcome": "done"},
    ]
    said = [each for each in log if each["event"] == "audit"]
    assert [each["log_level"] for each in said] == ["info", "warning", "info", "info"]
    assert said[0]["who"] == "user alice"


async def test_who_is_not_let_in_is_written_and_who_only_asked_is_not(url: str, file: Path) -> None:
    await request(url, "/api/v1/stats")
    assert entries(file) == []
    await request(url, "/api/v1/stats", f"Authorization: {basic('alice', 'wr0ng pass')}")
    await request(url, "/api/v1/stats", "Authorization: Bearer gu3ss")
    await request(url, "/api/v1/capture", f"Authorization: {bearer(READ_TOKEN)}", method="POST", body=b'{"on": false}')
    first, *rest = entries(file)
    assert first == {"who": "user alice", "action": "log in", "parameters": {}, "outcome": "refused: wrong"}
    assert [(each["who"], each["action"]) for each in rest] == [("read token", "POST /api/v1/capture")]
    assert "need the role operate" in rest[0]["outcome"]
    text = str(entries(file))
    assert all(secret not in text for secret in ("wr0ng", "gu3ss", READ_TOKEN, PASSWORD))


async def test_many_refusals_are_counted(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    audit = Audit(file)
    monkeypatch.setattr(audit._refusals, "_clock", lambda: now[0])
    for _ in range(500):
        audit.refused("user alice", "127.0.0.1", "log in", "wrong")
    now[0] += 2
    audit.refused("user alice", "127.0.0.1", "log in", "wrong")
    assert [each["parameters"] for each in entries(file)] == [{}, {"before": 499}]


async def test_nobody_writes_lines_of_their_own(url: str, file: Path) -> None:
    forged = 'x\n{"at": "2026-01-01T00:00:00.000000Z", "who": "user alice", "outcome": "done"}\r\n\x1b[2J\u202e\u2028'
    token = {"Authorization": bearer(TOKEN)}
    wanted = {"id": forged, "to": ["file:/x"], "attrs": "y" * 5000, "caller": forged}
    with capture_logs() as log:
        await ask(f"{url}/api/v1/traces", wanted, token)
        await ask(f"{url}/api/v1/traces/stop", {"id": forged + "?"}, token)
        await request(url, "/api/v1/stats", f"Authorization: {basic(forged, 'x')}")
        await request(url, "/api/v1/%0a%1b[2J", f"Authorization: {bearer(READ_TOKEN)}", method="POST")
    rows = entries(file)
    assert len(rows) == 4
    started = rows[0]["parameters"]
    assert started["id"].startswith('x\\n{"at"')
    assert len(started["attrs"]) == LONGEST + 1
    assert all(c.isprintable() for each in log if each["event"] == "audit" for c in str(each))


async def test_the_file_survives_its_rotation(url: str, file: Path, tmp_path: Path) -> None:
    token = {"Authorization": bearer(TOKEN)}
    await ask(f"{url}/api/v1/capture", {"on": False}, token)
    os.rename(file, tmp_path / "audit.log.1")  # noqa: PTH104 (as logrotate does)
    await ask(f"{url}/api/v1/capture", {"on": True}, token)
    assert [each["parameters"] for each in entries(tmp_path / "audit.log.1")] == [{"on": False}]
    assert [each["parameters"] for each in entries(file)] == [{"on": True}]


def test_what_cannot_be_written_is_said(file: Path, tmp_path: Path) -> None:
    audit = Audit(file)
    file.unlink()
    (tmp_path / "elsewhere").write_text("untouched")
    file.symlink_to(tmp_path / "elsewhere")
    with capture_logs() as log:
        audit.refused("user alice", "127.0.0.1", "log in", "wrong")
    assert [each["event"] for each in log] == ["audit", "audit not written"]
    assert (tmp_path / "elsewhere").read_text() == "untouched"
    with pytest.raises(OSError, match="No such file or directory"):
        Audit(tmp_path / "none" / "audit.log")


async def test_a_change_without_a_token_names_the_user_of_this_machine(tmp_path: Path, file: Path) -> None:
    async with Control(
        Switch(), LIBRARY, guarded_table(tmp_path, token=None, read_token=None, users=None, audit=file)
    ) as url:
        await ask(f"{url}/api/v1/capture", {"on": False})
    assert re.fullmatch(rf"uid {os.geteuid()} \(\w+\)", entries(file)[0]["who"])


def test_secrets_are_not_written() -> None:
    said = {
        "to": ["mysql://root:hunter2@db/x", "sip:10.0.0.1"],
        "auth_key": "hunter2",
        "deep": {"Token": ["hunter2"], "password": "hunter2"},
        "token=": 1,
    }
    assert bounded(said) == {
        "to": ["mysql://***@db/x", "sip:10.0.0.1"],
        "auth_key": "***",
        "deep": {"Token": "***", "password": "***"},
        "token=": "***",
    }
    assert "hunter2" not in plain("x" * (LONGEST - 20) + "mysql://root:hunter2@db")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=40) | st.dictionaries(st.text(), inner, max_size=40),
    max_leaves=60,
)


@given(JSON)
@settings(max_examples=40)
def test_whatever_is_said_is_bounded_and_printable(value: Any) -> None:
    def check(said: Any, depth: int = 0) -> None:
        assert depth < 8
        if isinstance(said, str):
            assert said.isprintable()
            assert len(said) <= 11 * (LONGEST + 1)
        elif isinstance(said, (list, dict)):
            assert len(said) <= MOST
            for each in [*said, *(said.values() if isinstance(said, dict) else ())]:
                check(each, depth + 1)

    check(bounded(value))
