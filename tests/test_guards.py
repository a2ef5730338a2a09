"""Guards of a running switch: access lists and keys over UDP and TCP, secrets that stay secret."""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hepswitch.cli import main
from hepswitch.config import Config, ConfigError, load
from hepswitch.tables import REVEALED
from hepswitch.wire.hep import Hep
from running import running_switch

KEY = "correct horse battery staple"

GUARDED = """
listen = ["udp://127.0.0.1:0", "udp://127.0.0.1:0?deny=127.0.0.1", "tcp://127.0.0.1:0", "tcp://[::1]:0?allow=192.0.2.0/24"]
workers = 2
[access]
allow = ["127.0.0.0/8"]
auth_key = ["file:key.txt"]
[[limits]]
by = "node_name"
rate = "40/h"
[duplicates]
window = "1s"
"""


def hep(payload: str = "x", **chunks: Any) -> bytes:
    chunks = {"auth_key": KEY.encode(), "src_ip": "192.0.2.1", "dst_ip": "192.0.2.2", "time": 1e9} | chunks
    return bytes(Hep.new(payload, **chunks))


def send(url: str, *packets: bytes) -> None:
    host, _, port = url.split("//")[1].rpartition(":")
    kind = socket.SOCK_DGRAM if url.startswith("udp") else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as sock:
        sock.settimeout(10)
        sock.connect((host.strip("[]"), int(port)))
        for packet in packets:
            sock.send(packet)
        if kind == socket.SOCK_STREAM:
            sock.shutdown(socket.SHUT_WR)


def test_a_guarded_switch(tmp_path: Path) -> None:
    (tmp_path / "key.txt").write_text(f"{KEY}\n")
    with running_switch(tmp_path, GUARDED) as switch:
        udp, denied, tcp, foreign = switch.urls
        send(udp, hep("a"), hep("b", auth_key=b"wrong"), hep("c", auth_key=None))
        send(denied, hep("d"), b"no HEP at all")
        send(tcp, hep("e"), hep("f", auth_key=b"wrong"))
        with (
            socket.create_connection(("::1", int(foreign.rpartition(":")[2])), timeout=10) as sock,
            contextlib.suppress(ConnectionError),  # it may be over before something was sent
        ):
            sock.send(hep("g"))
            assert sock.recv(1) == b""
        send(udp, *[hep(f"limited {number}", node_name="noisy") for number in range(100)])
        send(
            udp,
            *[
                hep(f"INVITE {number}", captagent_id=agent, node_name=f"edge-{number}")
                for agent in (1, 2)
                for number in range(50)
            ],
        )

        book = switch.wait_stats(
            lambda book: sum(row["packets"] for row in book["received"].values()) == 207, "207 packets"
        )
        assert book["balanced"]
        assert {url: row["refused"] for url, row in book["received"].items()} == {
            udp: {"no auth key": 1, "wrong auth key": 1, "rate limit": 60, "duplicate": 50},
            denied: {"not allowed": 2},
            tcp: {"wrong auth key": 1},
            foreign: {},
        }
        assert book["received"][foreign]["connections_refused"] == 1
        assert book["guards"] == {"limits": {"node_name 40/h": 60}, "evicted": 0, "duplicates": 50, "forgotten": 0}
        log = json.dumps(switch.log)
    assert KEY not in log


def write(folder: Path, text: str) -> Path:
    path = folder / "hepswitch.toml"
    path.write_text(text)
    return path


def test_secrets_are_shown_to_workers_alone(tmp_path: Path) -> None:
    (tmp_path / "key.txt").write_text(f"{KEY}\n")
    path = write(tmp_path, '[access]\nauth_key = ["file:key.txt", "env:HEP_KEY", "plain one", "text:env:odd one"]')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEP_KEY", "exported")
        config = load(path, {})
        done = CliRunner().invoke(main, ["check", "--config", str(path), "--json"])
    keys = [KEY, "exported", "plain one", "env:odd one"]
    assert [key.get_secret_value() for key in config.access.auth_key] == keys
    assert done.exit_code == 0
    for text in (repr(config), str(config), done.output, config.model_dump_json()):
        assert not any(key in text for key in keys)
    assert Config.model_validate(config.model_dump(mode="json", context=REVEALED)) == config


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ('"env:HEP_KEY_THAT_IS_NOT_SET"', "the environment variable HEP_KEY_THAT_IS_NOT_SET is not set"),
        ('"file:nowhere"', "nowhere cannot be read: No such file"),
        ('"file:empty"', "empty is empty"),
        ('""', "must not be empty"),
        ("4711", "a secret is a text"),
        ("[4711]", "a secret is a text"),
    ],
)
def test_a_secret_that_cannot_be_had(tmp_path: Path, value: str, words: str) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(ConfigError, match=words) as caught:
        load(write(tmp_path, f"[access]\nauth_key = {value}"), {})
    assert "hepswitch.toml:2: access.auth_key" in str(caught.value)
    assert "4711" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('listen = ["udp://127.0.0.1:0?allow=10.0.0.0/99"]', "10.0.0.0/99"),
        ('[access]\ndeny = ["example.net"]', "example.net"),
        ('[[limits]]\nrate = "fast"', "fast"),
        ('[[limits]]\nrate = "1/s"\nburts = 3', "did you mean burst"),
        ("[duplicates]\nkeep = 9", "duplicates.keep"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(write(tmp_path, text), {})
