"""The commands that read a store, for a lake of which a part is on object storage."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import lakes
import object_storage
from cli import recorded
from hepswitch.cli import export, ladder, replay, search
from hepswitch.lake import layout, writer
from hepswitch.wire.hep import Hep
from object_storage import KEY, SECRET, Bucket
from running import wait_for
from traffic import calls, hep

s3, bucket = object_storage.s3, object_storage.bucket

SINCE = ("--since", "2026-11-18")


def run(command: click.Command, *arguments: str, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(command, arguments)


@pytest.fixture
def config(tmp_path: Path, bucket: Bucket) -> Path:
    """A switch whose lake has the first leg of a call here, of this node's files one on the storage alone, and the second
    leg there, of another node."""
    remote, packets = bucket.remote(), recorded.answered()
    legs = [[p for p in packets if (sip := Hep(p).sip) and sip.call_id == f"call-{leg}@example.net"] for leg in "ab"]
    rest = [packet for packet in packets if packet not in [*legs[0], *legs[1]]]
    own, other = tmp_path / "captures", tmp_path / "other"
    for root, some in ((own, legs[0][:2]), (own, legs[0][2:]), (other, legs[1])):
        lakes.store(root, some)
        lakes.sealed(root)
    writer.writer(own, "edge1")
    for node, root in (("edge1", own), ("edge2", other)):
        for hour, folder in layout.folders(root):
            for file in layout.files(hour, folder):
                with file.path.open("rb") as source:
                    remote.put(source, file.path.stat().st_size, remote.path_of(node, file), node)
    next(own.glob("date=*/*/*00.parquet")).unlink()
    lakes.store(own, [*rest, *recorded.refused()])  # not sealed
    path = tmp_path / "switch.toml"
    path.write_text(f"""
        [stores.lake]
        url = "lake:captures"
        remote = "{bucket.url}"
        access_key = "{KEY}"
        secret_key = "env:TEST_SECRET"
    """)
    return path


def test_a_call_whose_legs_are_here_and_there(config: Path, tmp_path: Path) -> None:
    def told(*arguments: str) -> object:
        done = run(ladder.cli, "call-a@example.net", "--json", *arguments, TEST_SECRET=SECRET)
        assert (done.exit_code, done.stderr) == (0, "")
        return json.loads(done.stdout)

    whole = recorded.lake(tmp_path / "whole")
    assert told("--config", str(config)) == told("--lake", str(whole))


def test_searching_exporting_and_replaying_all_of_it(config: Path, tmp_path: Path) -> None:
    asked = "--config", str(config)
    done = run(search.cli, *asked, *SINCE, "--json", TEST_SECRET=SECRET)
    assert done.exit_code == 0, done.output
    assert len(done.stdout.splitlines()) == 3
    done = run(search.cli, *asked, "--json", "--sql", "select count(*) as n from messages", TEST_SECRET=SECRET)
    assert json.loads(done.stdout) == {"n": len([*recorded.answered(), *recorded.refused()])}
    whole = recorded.lake(tmp_path / "whole")
    files = [tmp_path / "all.pcapng", tmp_path / "some.pcapng"]
    run(export.cli, "--lake", str(whole), "call-a@example.net", "-o", str(files[0]))
    run(export.cli, *asked, "call-a@example.net", "-o", str(files[1]), TEST_SECRET=SECRET)
    assert files[0].read_bytes() == files[1].read_bytes()
    done = run(
        replay.cli, *asked, *SINCE, "--store", "lake", "--to", "udp://127.0.0.1:9", "--rate", "max", "--json",
        TEST_SECRET=SECRET,
    )  # fmt: skip
    assert json.loads(done.stdout)["packets"] == len([*recorded.answered(), *recorded.refused()])


def test_the_storage_alone_by_its_url(config: Path, bucket: Bucket) -> None:
    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    done = run(search.cli, "--lake", bucket.url, *SINCE, "--json", **keys)
    assert [json.loads(line)["call_id"][:6] for line in done.stdout.splitlines()] == ["call-a", "call-b"]
    done = run(search.cli, "--lake", bucket.url, "--json", **keys)
    assert (done.exit_code, "give an earlier time (since)" in done.stderr) == (1, True)
    done = run(search.cli, "--lake", "s3:///x")
    assert (done.exit_code, "names no bucket" in done.stderr) == (2, True)


def test_a_storage_that_says_no(config: Path, bucket: Bucket) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": SECRET}
    done = run(search.cli, "--lake", bucket.url, *SINCE, **keys)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"s3://{bucket.name}/captures")
    assert "access denied" in done.stderr
    assert "nothing found" not in done.stderr


def test_a_folder_that_is_not_here(config: Path, tmp_path: Path) -> None:
    (tmp_path / "captures").rename(tmp_path / "away")
    done = run(search.cli, "--config", str(config), *SINCE, "--json", TEST_SECRET=SECRET)
    assert len(done.stdout.splitlines()) == 2
    assert "alone is looked through" in done.stderr


def test_a_command_whose_reading_waits_can_be_interrupted(tmp_path: Path, bucket: Bucket) -> None:
    lakes.store(tmp_path, (hep(message) for message in calls(800)))
    lakes.sealed(tmp_path)
    remote = bucket.remote()
    for hour, folder in layout.folders(tmp_path):
        for file in layout.files(hour, folder):
            with file.path.open("rb") as source:
                remote.put(source, file.path.stat().st_size, remote.path_of("edge1", file), "edge1")
    command = [sys.executable, "-m", "hepswitch.cli", "search", "--lake", bucket.url, *SINCE]
    environment = os.environ | {
        "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "XDG_CACHE_HOME": str(tmp_path / "cache")
    }  # fmt: skip
    # Ends of files are there then, and what is left to be read DuckDB waits for.
    subprocess.run([*command, "--call-id", "nobody"], env=environment, capture_output=True, timeout=60, check=False)
    before = len(bucket.storage.requests())
    with (
        bucket.storage.fault("hang RANGE"),
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as asked,
    ):
        wait_for(lambda: any("bytes=" in line for line in bucket.storage.requests()[before:]), "a read")
        asked.send_signal(signal.SIGINT)
        _, said = asked.communicate(timeout=60)
    assert (asked.returncode, said) == (1, "\nAborted!\n")


def test_a_command_that_waits_for_the_storage_can_be_interrupted(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"s3://b/lake?endpoint=http://127.0.0.1:{server.getsockname()[1]}"
        command = [sys.executable, "-m", "hepswitch.cli", "search", "--lake", url, "--since", "1h"]
        environment = os.environ | {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as asked:
            connection, _ = server.accept()
            with connection:
                # An answer that never ends, and never comes to nothing.
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                asked.send_signal(signal.SIGINT)
                while asked.poll() is None:
                    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                        connection.sendall(b" ")
                        asked.wait(0.1)
            assert asked.stderr is not None
            assert (asked.returncode, asked.stderr.read()) == (1, "\nAborted!\n")
