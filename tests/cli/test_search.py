"""`search`: calls, messages and SQL as table, JSON lines and CSV."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli import recorded
from hepswitch.cli.search import cli


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded.lake(tmp_path_factory.mktemp("lake"))


def search(lake: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments, "--lake", str(lake)])


def found(lake: Path, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in search(lake, "--json", *arguments).stdout.splitlines()]


def test_calls(lake: Path) -> None:
    first, second, third = found(lake)
    assert (first["method"], first["status"], first["duration"], first["messages"]) == ("INVITE", 200, 3.0, 7)
    assert second["call_id"] == "call-b@example.net"
    assert second["duration"] is None
    assert (third["status"], third["reason"], third["from_user"]) == (486, "Busy Here", "carol")


@pytest.mark.parametrize(
    ("conditions", "calls"),
    [
        (["--from", "carol"], ["busy"]),
        (["--to", "bob", "--status", "4xx", "--method", "invite"], ["busy"]),
        (["--method", "BYE"], ["call-a"]),
        (["--ip", "2001:db8::20"], ["call-b"]),
        (["--call-id", "call-*"], ["call-a", "call-b"]),
        (["--call-id", "call-a@example.net"], ["call-a"]),
        (["--since", "2026-11-18T11:06:45"], ["busy"]),
        (["--until", "2026-11-18T12:06:45+01:00"], ["call-a", "call-b"]),
        (["--limit", "1"], ["busy"]),
        (["--since", "1m", "--from", "alice"], []),
        (["--filter", "sip.status in 400..499 and callee != bob"], ["busy"]),
        (["--filter", "dst_ip in 2001:db8::/32 or proto_id = TCP"], ["call-b", "busy"]),
        (["--filter", 'sip.header("X-CID") ~ "^call-a"'], ["call-b"]),
        (["--filter", "sip.body contains m=audio", "--user", "carol"], []),
    ],
)
def test_conditions(lake: Path, conditions: list[str], calls: list[str]) -> None:
    assert [call["call_id"][: len(name)] for call, name in zip(found(lake, *conditions), calls, strict=True)] == calls


def test_messages_with_everything_that_is_known(lake: Path) -> None:
    rows = found(lake, "--messages", "--call-id", "call-a@example.net")
    assert [row["proto_type"] for row in rows] == [1, 1, 1, 1, 1, 5, 100, 1, 1]
    assert rows[0]["payload"].startswith("INVITE")
    assert rows[0]["ts"].endswith("Z")


def test_tables_hold_whole_values(lake: Path) -> None:
    table = search(lake).stdout
    assert "486 Busy Here" in table
    assert "busy [x]*1@example.net" in table
    assert "[2001:db8::20]:5062" in search(lake, "--messages").stdout


def test_csv(lake: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(search(lake, "--csv").stdout)))
    assert [row["status"] for row in rows] == ["200", "200", "486"]
    assert len(list(csv.DictReader(io.StringIO(search(lake, "--messages", "--csv").stdout)))) == 14


def test_sql(lake: Path) -> None:
    sql = "select method, count(*) as n from messages where method is not null group by all order by 1"
    assert found(lake, "--sql", sql)[-1] == {"method": "INVITE", "n": 5}
    assert "INVITE  5" in search(lake, "--sql", sql).stdout


@pytest.mark.parametrize(
    "sql", ["drop view messages", "copy messages to 'x.csv'", "select nothing from nowhere", "selec"]
)
def test_sql_only_reads(lake: Path, sql: str) -> None:
    result = search(lake, "--sql", sql)
    assert result.exit_code == 2
    assert result.stderr.startswith("--sql: ")


@pytest.mark.parametrize(
    "arguments", [["--since", "yesterday"], ["--status", "abc"], ["--sql", "select 1", "--from", "x"]]
)
def test_wrong_use(lake: Path, arguments: list[str]) -> None:
    assert search(lake, *arguments).exit_code == 2


def test_a_wrong_filter_is_shown_at_its_place(lake: Path) -> None:
    for text, place in (("sip.methd = INVITE", 0), ('sip and tag("lab")', 8)):
        result = search(lake, "--filter", text)
        assert result.exit_code == 2
        assert result.stderr.splitlines()[-2:] == [f"  {text}", f"  {' ' * place}^"]


def test_nothing_found(lake: Path) -> None:
    result = search(lake, "--from", "nobody")
    assert (result.exit_code, result.stdout) == (1, "")


def test_a_broken_file_is_named_and_the_rest_is_found(tmp_path: Path) -> None:
    path = recorded.lake(tmp_path)
    (broken,) = path.glob("date=*/hour=*/*.parquet")
    broken.write_bytes(broken.read_bytes()[:-100])
    result = search(path, "--json")
    assert (result.exit_code, result.stderr) == (0, f"{broken}: cannot be read and is left out\n")
    assert [json.loads(line)["from_user"] for line in result.stdout.splitlines()] == ["carol"]
    assert search(path, "--from", "alice").exit_code == 1


def test_the_lake_of_a_configuration(tmp_path: Path) -> None:
    recorded.lake(tmp_path)
    (tmp_path / "hepswitch.toml").write_text('[stores.lake]\nurl = "lake:./captures"\n')
    result = CliRunner().invoke(cli, ["--config", str(tmp_path / "hepswitch.toml"), "--json"])
    assert len(result.stdout.splitlines()) == 3
