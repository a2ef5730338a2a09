"""The commands that read a store: which one is asked, and stores in databases."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import lakes
from batches import batch_of
from cli import recorded
from hepswitch.cli import export, ladder, replay, search
from hepswitch.databases.server import Mark
from hepswitch.databases.sqlite import SqliteServer
from hepswitch.destinations.databases import SqliteStore
from hepswitch.wire.hep import Hep
from servers import free_port

CALL = "call-b@example.net"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration with a store in a file, which has two calls, a lake with one of them, and a server that is away."""
    folder = tmp_path_factory.mktemp("stores")
    lakes.store(folder / "captures", recorded.answered())
    asyncio.run(_load(SqliteStore.model_validate({"url": f"sqlite:{folder}/calls-%Y.db"})))
    path = folder / "switch.toml"
    path.write_text(
        f'[stores.calls]\nurl = "sqlite:calls-%Y.db"\n[stores.lake]\nurl = "lake:captures"\n'
        f'[stores.away]\nurl = "postgresql://hep@127.0.0.1:{free_port()}/hep"\n'
    )
    return path


async def _load(store: SqliteStore) -> None:
    packets = [*recorded.answered(), *recorded.refused()]
    server = SqliteServer(store)
    await server.open()
    await server.load(batch_of(packets, server.layout.extras), Mark("0" * 32, 0, len(packets), 0))
    await server.close()


def run(command: click.Command, config: Path, *arguments: str, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(command, [*arguments, "--config", str(config)])


def calls(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return [json.loads(line)["call_id"] for line in result.stdout.splitlines()]


BOTH = ["call-a@example.net", CALL, "busy [x]*1@example.net"]


def test_the_first_store_is_asked_unless_another_is_named(config: Path) -> None:
    assert calls(run(search.cli, config, "--json")) == BOTH
    assert calls(run(search.cli, config, "--json", "--store", "calls")) == BOTH
    assert calls(run(search.cli, config, "--json", "--store", "lake")) == BOTH[:2]


def test_a_lake_of_the_environment_gives_way(config: Path, tmp_path: Path) -> None:
    assert calls(run(search.cli, config, "--json", "--store", "calls", HEPSWITCH_LAKE=str(tmp_path))) == BOTH
    result = run(search.cli, config, "--store", "calls", "--lake", str(tmp_path))
    assert (result.exit_code, "exclude each other" in result.stderr) == (2, True)


def test_which_stores_there_are(config: Path) -> None:
    result = run(search.cli, config, "--store", "nothing")
    assert (result.exit_code, "it has calls, lake, away" in result.stderr) == (2, True)
    result = CliRunner().invoke(search.cli, ["--store", "calls"])
    assert (result.exit_code, "say which with --config" in result.stderr) == (2, True)


def test_a_stream_is_passed_over_and_cannot_be_asked(config: Path, tmp_path: Path) -> None:
    edge = config.with_name("edge.toml")
    edge.write_text('[stores.bus]\nurl = "nats://n1/HEP"\n' + config.read_text())
    assert calls(run(search.cli, edge, "--json")) == BOTH
    result = run(search.cli, edge, "--store", "bus")
    assert (result.exit_code, "the store bus is a stream: packets only pass through it" in result.stderr) == (2, True)
    edge = tmp_path / "edge.toml"
    edge.write_text('[stores.bus]\nurl = "kafka://k1/hep"\n')
    result = run(search.cli, edge)
    assert (result.exit_code, "the store bus is a stream" in result.stderr) == (2, True)


def test_a_server_that_is_away(config: Path) -> None:
    for command, arguments in ((search.cli, []), (ladder.cli, ["x"]), (export.cli, ["x", "-o", "-"])):
        result = run(command, config, *arguments, "--store", "away")
        assert result.exit_code == 1
        assert result.stderr.startswith("store away: PostgreSQL 127.0.0.1:")
        assert "cannot be reached" in result.stderr


def test_nothing_found_says_where(config: Path) -> None:
    result = run(search.cli, config, "--from", "nobody")
    assert (result.exit_code, "nothing found in store calls" in result.stderr) == (1, True)


def test_sql_is_for_lakes(config: Path) -> None:
    result = run(search.cli, config, "--sql", "select 1")
    assert (result.exit_code, "with its own client" in result.stderr) == (2, True)
    assert run(search.cli, config, "--store", "lake", "--sql", "select count(*) from messages").exit_code == 0


def test_messages_filters_and_the_latest(config: Path) -> None:
    found = run(search.cli, config, "--messages", "--json", "--filter", "sip.status >= 400")
    assert [json.loads(line)["status"] for line in found.stdout.splitlines()] == [486]
    result = run(search.cli, config, "--limit", "1")
    assert "busy" in result.stdout
    assert "the latest 1" in result.stderr


def test_a_ladder_is_that_of_the_lake(config: Path) -> None:
    drawn = [json.loads(run(ladder.cli, config, CALL, "--json", "--store", name).stdout) for name in ("calls", "lake")]
    assert drawn[0] == drawn[1]
    assert run(ladder.cli, config, "call-", "--store", "calls").stderr.startswith("2 Call-IDs begin with 'call-'")


def test_an_export_is_that_of_the_lake(config: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.pcapng" for name in ("calls", "lake")]
    for path in paths:
        assert run(export.cli, config, CALL, "-o", str(path), "--store", path.stem).exit_code == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_replay(config: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(10)
        target = f"udp://127.0.0.1:{sock.getsockname()[1]}"
        result = run(replay.cli, config, "--store", "calls", "--call-id", CALL, "--rate", "max", "--to", target)
        assert result.exit_code == 0, result.output
        received = [Hep(sock.recv(65535)).sip for _ in range(3)]
    assert {message.call_id for message in received if message} == {CALL}
    assert run(replay.cli, config, "--to", target).exit_code == 2
