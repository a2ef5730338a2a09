"""`hepswitch ddl` as a person meets it."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner, Result

from hepswitch.cli import main
from servers import postgres

CONFIG = """
[stores.captures]
url = "lake:captures"

[stores.first]
url = "postgresql://hep@db.example.net/hep"

[stores.second]
url = "postgresql://hep@db.example.net/hep"
opensips = { table = "calls_%Y%m%d" }
"""


def _ddl(folder: Path, *arguments: str, text: str = CONFIG) -> Result:
    config = folder / "hepswitch.toml"
    config.write_text(text)
    return CliRunner().invoke(main, ["ddl", "--config", str(config), *arguments], catch_exceptions=False)


def test_the_first_store_in_a_database_unless_another_one_is_named(tmp_path: Path) -> None:
    done = _ddl(tmp_path)
    assert (done.exit_code, 'CREATE TABLE IF NOT EXISTS "sip_capture" (' in done.stdout) == (0, True)
    done = _ddl(tmp_path, "--store", "second")
    assert (done.exit_code, '"calls_2' in done.stdout, '"sip_capture"' in done.stdout) == (0, True, False)


@pytest.mark.parametrize(
    ("arguments", "text", "said"),
    [
        (
            ("--store", "captures"), CONFIG,
            "stores.captures is a lake, a folder that needs no tables; databases and streams here: first, second",
        ),
        (("--store", "third"), CONFIG, "there is no store third; databases and streams here: first, second"),
        ((), "workers = 1\n", "stores: lake; none of these is a database or a stream"),
        ((), "workers = 0\n", "hepswitch.toml:1: workers:"),
    ],
)  # fmt: skip
def test_where_there_are_no_statements_it_says_why(
    arguments: tuple[str, ...], text: str, said: str, tmp_path: Path
) -> None:
    done = _ddl(tmp_path, *arguments, text=text)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


def test_of_a_stream_it_is_the_command_that_makes_it(tmp_path: Path) -> None:
    text = '[stores.bus]\nurl = "nats://n1,n2/HEP"\nsubject = "sip"\nreplicas = 3\n'
    done = _ddl(tmp_path, text=text)
    assert (done.exit_code, done.stdout.startswith("nats stream add HEP --subjects='sip.>' ")) == (0, True)
    text = '[stores.bus]\nurl = "kafka://k1/hep"\npartitions = 32\n'
    done = _ddl(tmp_path, text=text)
    assert (done.exit_code, "--topic hep --partitions 32 " in done.stdout) == (0, True)


async def test_the_server_runs_what_is_printed(tmp_path: Path) -> None:
    """Twice, for what is there already stays."""
    statements = _ddl(tmp_path).stdout
    with postgres() as server:
        connection = await asyncpg.connect(server.url)
        for _ in range(2):
            await connection.execute(statements)
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        await connection.close()
    assert [row["tablename"] for row in tables] == ["hepswitch_loaded", "report_capture", "sip_capture", "sip_trace"]
