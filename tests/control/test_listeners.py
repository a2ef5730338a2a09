"""The addresses of the control listener: several at once, unix sockets and what may be in their way, TLS and its renewal."""

from __future__ import annotations

import asyncio
import grp
import os
import socket
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import trustme
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from control.doors import PASSWORD, TOKEN, basic, bearer, guarded_table, request, user
from control.stand_in import LIBRARY, Switch
from hepswitch.control import server
from hepswitch.control.http import Control
from hepswitch.control.listeners import Listening, listen
from hepswitch.control.logins import logins_of
from hepswitch.control.server import Server
from hepswitch.control_table import ControlTable, parse_listener
from hepswitch.net.sockets import listen_tcp
from hepswitch.units import Endpoint


def unix(path: Path, group: str = "") -> Listening:
    return Listening(parse_listener(f"unix:{path}{group}"))


def certificate(folder: Path, authority: trustme.CA, name: str) -> str:
    """The options of a listener with a certificate for `name`; the files are always the same ones."""
    issued = authority.issue_cert(name)
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    return f"cert={folder}/cert.pem&key={folder}/key.pem"


# ── unix sockets ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_on_a_unix_socket_the_kernel_says_who_asks(tmp_path: Path) -> None:
    switch, path = Switch(), tmp_path / "control.sock"
    async with Control(switch, LIBRARY, ControlTable(listen=[f"unix:{path}"])) as url:
        assert url == f"unix:{path}"
        assert stat.S_IMODE(os.lstat(path).st_mode) == 0o660
        assert (await request(url, "/api/v1/me")).body == b'{"user":null,"role":"operate"}'
        assert (await request(url, "/api/v1/capture", method="POST", body=b'{"on": false}')).status == 200
        assert switch.capturing is False
        if os.geteuid() == 0:
            said = await _as_nobody(path)
            assert '{"user":null,"role":"read"}' in said
            assert "403 Forbidden" in said
            assert "changes and MI are for root, as whom the switch runs, not for nobody" in said
    with pytest.raises(FileNotFoundError):
        os.lstat(path)
    assert switch.capturing is False


async def _as_nobody(path: Path) -> str:
    """What another user is answered that the file lets in: to /me, and to a change."""
    os.chmod(path, 0o666)  # noqa: PTH101
    for folder in path.parents:
        os.chmod(folder, os.stat(folder).st_mode | 0o011)  # noqa: PTH101, PTH116
    ask = f"""
import os, socket
os.setgid(65534); os.setuid(65534)
for said in (b"GET /api/v1/me", b"POST /api/v1/capture"):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect({str(path)!r})
    sock.sendall(said + b" HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\nContent-Type: application/json\\r\\n"
                 b"Content-Length: 12\\r\\n\\r\\n" + b'{{"on": true}}')
    while got := sock.recv(65536):
        print(got.decode())
"""
    ran = await asyncio.create_subprocess_exec(sys.executable, "-c", ask, stdout=subprocess.PIPE)
    return (await ran.communicate())[0].decode()


async def test_with_a_token_a_unix_socket_wants_it_too(tmp_path: Path) -> None:
    table = guarded_table(tmp_path, user("alice", "read"), listen=f"unix:{tmp_path}/control.sock")
    async with Control(Switch(), LIBRARY, table) as url:
        assert (await request(url, "/api/v1/me")).status == 401
        assert (await request(url, "/healthz")).status == 200
        shown = f"Authorization: {basic('alice', PASSWORD)}"
        assert (await request(url, "/api/v1/me", shown)).body == b'{"user":"alice","role":"read"}'


def test_a_socket_that_nobody_listens_on_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    unix(path).close()
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(path))
        alive.listen()
        with pytest.raises(OSError, match="another program listens there: stop it"):
            unix(path)
        assert os.path.lexists(path)


def test_what_is_no_socket_stays(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("data")
    link, dangling, folder = tmp_path / "link", tmp_path / "dangling", tmp_path / "folder"
    link.symlink_to(precious)
    dangling.symlink_to(tmp_path / "nowhere")
    folder.mkdir()
    for path in (precious, link, dangling, folder):
        with pytest.raises(OSError, match=f"unix:{path}: there is a file that is no socket"):
            unix(path)
    assert precious.read_text() == "data"
    assert link.is_symlink()
    assert not (tmp_path / "nowhere").exists()


def test_a_socket_of_another_switch_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    first = unix(path)
    path.unlink()
    second = unix(path)
    first.close()
    assert os.path.lexists(path)
    second.close()
    assert not os.path.lexists(path)


def test_the_socket_is_for_its_group(tmp_path: Path) -> None:
    group = grp.getgrgid(os.getegid() if os.geteuid() else 65_534)
    path = tmp_path / "control.sock"
    with pytest.raises(OSError, match="there is no group nosuchgroup"):
        unix(path, "?group=nosuchgroup")
    before = os.umask(0)
    try:
        listening = unix(path, f"?group={group.gr_name}")
    finally:
        os.umask(before)
    assert (path.lstat().st_gid, stat.S_IMODE(path.lstat().st_mode)) == (group.gr_gid, 0o660)
    listening.close()


def test_folders_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"there is no folder .*/none: make it"):
        unix(tmp_path / "none" / "control.sock")


def test_of_several_addresses_all_are_had_or_none(tmp_path: Path) -> None:
    taken = listen_tcp(Endpoint("tcp", "127.0.0.1", 0))
    path = tmp_path / "control.sock"
    with taken, pytest.raises(OSError, match="the port is in use"):
        listen([parse_listener(f"unix:{path}"), parse_listener(f"127.0.0.1:{taken.getsockname()[1]}")])
    assert not path.exists()


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _https(url: str, authority: trustme.CA, path: str, shown: str = "") -> tuple[bytes, str]:
    """The answer to a GET at https://127.0.0.1, and for whom the certificate was."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.check_hostname = False
    port = int(url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close", f"Authorization: {shown}", "", ""]
    writer.write("\r\n".join(lines).encode())
    said = await reader.read()
    names = writer.get_extra_info("peercert")["subjectAltName"]
    writer.close()
    return said, names[0][1]


async def test_addresses_may_be_plain_encrypted_and_unix_at_once(tmp_path: Path) -> None:
    authority = trustme.CA()
    options = certificate(tmp_path, authority, "hepswitch.example.net")
    table = guarded_table(
        tmp_path, listen=["127.0.0.1:0", f"https://0.0.0.0:0?{options}", f"unix:{tmp_path}/control.sock"]
    )
    control = Control(Switch(), LIBRARY, table)
    async with control:
        plain, secure, local = control.urls
        assert (plain.split(":")[0], secure.split(":")[0], local) == ("http", "https", f"unix:{tmp_path}/control.sock")
        for url in (plain, local):
            assert (await request(url, "/api/v1/stats")).status == 401
            assert (await request(url, "/api/v1/stats", f"Authorization: {bearer(TOKEN)}")).status == 200
        assert (await _https(secure, authority, "/api/v1/stats"))[0].startswith(b"HTTP/1.1 401")
        said, name = await _https(secure, authority, "/api/v1/me", bearer(TOKEN))
        assert said.endswith(b'{"user":null,"role":"operate"}')
        assert name == "hepswitch.example.net"
        assert (await request(secure.replace("https://0.0.0.0", "http://127.0.0.1"), "/healthz")).status == 0

        certificate(tmp_path, authority, "renewed.example.net")
        control.renew_certificates()
        assert (await _https(secure, authority, "/healthz"))[1] == "renewed.example.net"
        os.truncate(tmp_path / "cert.pem", 100)
        with pytest.raises(ValueError, match="are no PEM certificate and its key"):
            control.renew_certificates()
        assert (await _https(secure, authority, "/healthz"))[1] == "renewed.example.net", "the old one holds"


async def test_over_tls_a_page_without_tls_is_foreign(tmp_path: Path) -> None:
    authority = trustme.CA()
    options = certificate(tmp_path, authority, "localhost")
    switch = Switch()
    async with Control(switch, LIBRARY, guarded_table(tmp_path, listen=f"https://127.0.0.1:0?{options}")) as url:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        for scheme, expected in (("http", b"403"), ("https", b"200")):
            reader, writer = await asyncio.open_connection("localhost", int(url.rpartition(":")[2]), ssl=context)
            body = b'{"on": false}'
            lines = [
                "POST /api/v1/capture HTTP/1.1", "Host: localhost", "Connection: close", f"Origin: {scheme}://localhost",
                f"Authorization: {bearer(TOKEN)}", "Content-Type: application/json", f"Content-Length: {len(body)}", "", "",
            ]  # fmt: skip
            writer.write("\r\n".join(lines).encode() + body)
            assert (await reader.read()).split()[1] == expected
            writer.close()
    assert switch.capturing is False


async def test_who_does_not_take_an_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STALLED", 0.1)
    gone = asyncio.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        async def talk() -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})

        talking = asyncio.create_task(talk())
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()
        talking.cancel()

    (listening,) = listen([parse_listener("127.0.0.1:0")])
    serving = Server(endless, listening)
    running = asyncio.create_task(serving.serve())
    with socket.create_connection(listening.socket.getsockname()) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        async with asyncio.timeout(10.0):
            await gone.wait()
    serving.should_exit = True
    await running
    listening.close()


def test_what_travels_unencrypted_is_warned_of(tmp_path: Path) -> None:
    with capture_logs() as said:
        table = guarded_table(tmp_path, listen=["0.0.0.0:0", "127.0.0.1:0", f"unix:{tmp_path}/c.sock"])
        for each in listen(table.listeners):
            each.close()
        logins_of(table)
        logins_of(guarded_table(tmp_path))
    assert [(each["event"], each.get("key")) for each in said] == [
        ("tokens and passwords come unencrypted", None),
        ("a token that can be guessed", "control.token"),
        ("a token that can be guessed", "control.read_token"),
    ]
