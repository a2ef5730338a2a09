"""Connections to NATS: over TLS or not at all, by user, token and credentials."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import trustme

from hepswitch.streams.address import Login, parse_address
from hepswitch.streams.nats import connect
from stream_servers import nats_server


async def test_tls_with_certificates_of_both(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name in ("server", "client"):
        issued = authority.issue_cert("127.0.0.1" if name == "server" else "edge1")
        issued.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
    tls = f'tls {{ cert_file: "{tmp_path}/server.pem", key_file: "{tmp_path}/server.key", '
    tls += f'ca_file: "{tmp_path}/ca.pem", verify: true }}'
    with nats_server(tmp_path / "n", f'{tls}\nauthorization {{ token: "secret" }}') as server:
        url = server.url().replace("nats:", "nats+tls:") + f"?ca={tmp_path}/ca.pem"
        shown = f"&cert={tmp_path}/client.pem&key={tmp_path}/client.key"
        client = await connect(parse_address(url + shown), Login(token="secret"), "test")
        assert client.is_connected
        await client.close()
        for wrong, login, said in (
            (url + shown, Login(token="other"), "not know us"),
            (url, Login(token="secret"), "certificate"),
            (url.partition("?")[0] + "?" + shown[1:], Login(token="secret"), "certificate verify failed"),
            (url.replace("ca.pem", "none.pem"), Login(), "none.pem cannot be read: No such file"),
        ):
            with pytest.raises(OSError, match=said):
                await connect(parse_address(wrong), login, "test")


async def test_a_password_is_not_shown_to_a_server_without_tls(tmp_path: Path) -> None:
    with nats_server(tmp_path, "debug: true\ntrace: true") as server:
        url = server.url().replace("nats:", "nats+tls:") + "?verify=no"
        with pytest.raises(OSError, match="the server has no TLS: write nats://, or switch it on there"):
            await connect(parse_address(url), Login("u", "very-secret"), "test")
        log = (tmp_path / "log").read_text()
        assert "Client connection created" in log
        assert "[CONNECT" not in log


async def test_a_credentials_file_needs_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which comes with hepswitch[nats]."""
    monkeypatch.setitem(sys.modules, "nkeys", None)
    (tmp_path / "edge.creds").write_text("no credentials")
    with nats_server(tmp_path / "n") as server:
        login = Login(credentials=str(tmp_path / "edge.creds"))
        with pytest.raises(OSError, match="a credentials file needs nkeys"):
            await connect(parse_address(server.url()), login, "test")


async def test_the_servers_that_answer_will_do(tmp_path: Path) -> None:
    with nats_server(tmp_path) as server:
        client = await connect(parse_address(f"nats://127.0.0.1:1,{server.host}/HEP"), Login(), "test")
        await client.close()
    with pytest.raises(OSError, match=r"127.0.0.1:[12]: Connect call failed .*; 127.0.0.1:[12]: Connect call failed"):
        await connect(parse_address("nats://127.0.0.1:1,127.0.0.1:2/HEP"), Login(), "test")
