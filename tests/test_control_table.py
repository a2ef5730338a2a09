"""`[control]`: addresses, who is asked, and what nobody may leave open."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepswitch.config import ConfigError, load
from hepswitch.control_table import ControlListener, parse_listener


def control(folder: Path, text: str) -> str:
    """What is wrong with it; "" when nothing is."""
    path = folder / "hepswitch.toml"
    path.write_text(f"[control]\n{text}\n")
    try:
        load(path, {})
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("text", "name", "local"),
    [
        ("127.0.0.1:9080", "http://127.0.0.1:9080", True),
        ("localhost:0", "http://localhost:0", True),
        ("[::1]:9080", "http://[::1]:9080", True),
        ("127.9.9.9:1", "http://127.9.9.9:1", True),
        ("0.0.0.0:9080", "http://0.0.0.0:9080", False),
        ("[::]:9080", "http://[::]:9080", False),
        ("sw1.example.net:9080", "http://sw1.example.net:9080", False),
        ("https://0.0.0.0:9443?cert=c&key=k", "https://0.0.0.0:9443", False),
        ("https://[::1]:9443?cert=c&key=k&client_ca=a", "https://[::1]:9443", True),
        ("unix:/run/hepswitch/control.sock", "unix:/run/hepswitch/control.sock", True),
        ("unix:control.sock?group=adm", "unix:control.sock", True),
    ],
)
def test_addresses(text: str, name: str, local: bool) -> None:
    listener = parse_listener(text)
    assert (str(listener), listener.is_local) == (name, local)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x", "is no address with a port: write for example 127.0.0.1:9080"),
        ("127.0.0.1", "is no address with a port"),
        ("127.0.0.1:99999", "is no address"),
        ("127.0.0.1:9080/path", "is no address"),
        ("http://127.0.0.1:9080", "is no address"),
        ("127.0.0.1:9080?cert=c", "unknown option cert; TLS is for https://"),
        ("https://0.0.0.0", "is no address with a port"),
        ("https://0.0.0.0:9443", "needs a certificate"),
        ("https://0.0.0.0:9443?cert=c", "needs a certificate"),
        ("https://0.0.0.0:9443?cert=c&key=k&verify=no", "unknown option verify"),
        ("_http._tcp.example.net:1", "is no address"),
        ("unix:", "names no file"),
        ("unix:/x?mode=666", "unknown option mode; known here: group"),
        (f"unix:/{'x' * 107}", "107 bytes at most"),
        ("", "is no address"),
    ],
)
def test_what_is_no_address_is_told(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_listener(text)
    assert says in str(caught.value)
    assert "2: control.listen: " in control(tmp_path, f'token = "t"\nlisten = "{text}"').replace(":3:", ":2:")


@given(st.text())
def test_any_text_is_an_address_or_a_mistake(text: str) -> None:
    try:
        listener = parse_listener(text)
    except ValueError:
        return
    assert isinstance(listener, ControlListener)


@pytest.mark.parametrize(
    "address", ["0.0.0.0:9080", "[::]:9080", "192.0.2.1:9080", "https://0.0.0.0:9443?cert=c&key=k", "h:1"]
)
def test_nothing_is_open_to_others_without_a_token_or_users(tmp_path: Path, address: str) -> None:
    said = control(tmp_path, f'listen = ["127.0.0.1:9080", "{address}"]')
    assert f"control: {parse_listener(address)} can be reached from other machines, and nobody would be asked" in said
    assert 'add token = "file:token", read_token or users = "users" (hepswitch user add NAME' in said
    for key in ('token = "t"', 'read_token = "t"', 'users = "users"'):
        assert control(tmp_path, f'listen = ["127.0.0.1:9080", "{address}"]\n{key}') == ""


def test_other_mistakes(tmp_path: Path) -> None:
    assert "token and read_token are the same" in control(tmp_path, 'token = "t"\nread_token = "t"')
    assert "listen names http://127.0.0.1:1 more than once" in control(
        tmp_path, 'listen = ["127.0.0.1:1", "127.0.0.1:1"]'
    )
    assert control(tmp_path, 'listen = ["127.0.0.1:0", "127.0.0.1:0"]') == ""
    assert "control.listen: " in control(tmp_path, "listen = []")
    for name in ("http://x", "x:1", "a b", "", "-x"):
        assert "is no host name" in control(tmp_path, f'names = ["{name}"]')
    assert "did you mean read_token?" in control(tmp_path, 'read_tokn = "hunter2"')
    assert "hunter2" not in control(tmp_path, 'read_tokn = "hunter2"\nread_token = ["hunter2"]\ntoken = "hunter2 x"')


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "hepswitch.toml").write_text(
        '[control]\nlisten = ["unix:run/c.sock?group=adm", "https://[::1]:1?cert=c.pem&key=k.pem"]\n'
        'users = "users"\naudit = "audit.log"\nnames = ["HEP.Example.net"]\n'
    )
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "c.sock").symlink_to("/elsewhere")
    table = load(tmp_path / "hepswitch.toml", {}).control
    local, secure = table.listeners
    assert (local.path, local.endpoint.options) == (tmp_path / "run" / "c.sock", {"group": "adm"})
    assert secure.endpoint.options == {"cert": f"{tmp_path}/c.pem", "key": f"{tmp_path}/k.pem"}
    assert (table.users, table.audit, table.names) == (tmp_path / "users", tmp_path / "audit.log", ["hep.example.net"])
