"""`hepswitch user`, and the commands that log in: by token or password, over TLS and unix sockets, to a real switch."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from click.testing import CliRunner

from control.doors import PASSWORD, user
from hepswitch.cli import main
from hepswitch.control.users import Hash, put, users_in
from running import RunningSwitch, wait_for

LOGIN = {"HEPSWITCH_PASSWORD": PASSWORD}


def run(*arguments: str, env: dict[str, str] | None = None, stdin: str = "") -> tuple[int, str]:
    result = CliRunner().invoke(main, list(arguments), catch_exceptions=False, env=env, input=stdin)
    return result.exit_code, result.output


@pytest.fixture(autouse=True)
def _costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that are made in no time."""

    monkeypatch.setattr(Hash, "of", lambda password: user("x", "read", password).hash)


# ── the file ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_users_are_added_listed_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, said = run("user", "add", "alice", "--role", "operate", stdin=f"{PASSWORD}\n{PASSWORD}\n")
    assert (status, said.splitlines()[-1]) == (0, "alice: added, may operate (users)")
    assert PASSWORD not in said
    assert run("user", "add", "bob", "--role", "read", "--password-stdin", stdin="bobs password\n")[0] == 0
    assert run("user", "list") == (0, "user   role   \nalice  operate\nbob    read   \n")
    alice, bob = users_in(tmp_path / "users")
    assert (alice.hash.fits(PASSWORD), bob.hash.fits("bobs password")) == (True, True)
    status, said = run("user", "add", "bob", "--role", "operate", "--password-stdin", stdin="another one\n")
    assert (status, said) == (0, "bob: changed, may operate (users)\n")
    assert run("user", "remove", "alice") == (0, "alice: removed (users)\n")
    assert run("user", "remove", "alice") == (1, "users has no user 'alice'\n")
    assert PASSWORD not in (tmp_path / "users").read_text()


def test_the_configuration_says_where_the_file_is(tmp_path: Path) -> None:
    config = tmp_path / "hepswitch.toml"
    config.write_text('[control]\nusers = "people"\n')
    assert (
        run("user", "add", "a", "--role", "read", "--password-stdin", "--config", str(config), stdin=PASSWORD)[0] == 0
    )
    assert [each.name for each in users_in(tmp_path / "people")] == ["a"]
    config.write_text("")
    status, said = run("user", "list", "--config", str(config))
    assert (status, 'add users = "users" to its [control]' in said) == (2, True)
    config.write_text("[control]\nlisten = 5\n")
    assert run("user", "list", "--config", str(config))[0] == 2


@pytest.mark.parametrize(
    ("arguments", "stdin", "status", "says"),
    [
        (("add", "alice", "--role", "read", "--password-stdin"), "short\n", 2, "8 characters at least"),
        (("add", "alice", "--role", "read", "--password-stdin"), "", 2, "8 characters at least"),
        (("add", "alice", "--role", "admin"), "", 2, "'admin' is not one of"),
        (("add", "alice"), "", 2, "Missing option '--role'"),
        (("add", "a:b", "--role", "read"), "", 2, "a name has 1 to 64"),
        (("list",), "", 1, "No such file or directory"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, arguments: tuple[str, ...], stdin: str, status: int, says: str) -> None:
    got, said = run("user", *arguments, "--file", str(tmp_path / "users"), stdin=stdin)
    assert (got, says in said) == (status, True), said
    assert not (tmp_path / "users").exists()


# ── a switch that asks ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("asking")


@pytest.fixture(scope="module")
def asking(folder: Path) -> Iterator[RunningSwitch]:
    """On all of loopback, TLS and a unix socket; with users, two tokens and an audit."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    for name, secret in (("token", "t0ken-operate"), ("read_token", "t0ken-read")):
        (folder / name).write_text(f"{secret}\n")
    for each in (user("alice", "operate"), user("bob", "read")):
        put(folder / "users", each)
    config = folder / "hepswitch.toml"
    config.write_text(
        'listen = ["udp://127.0.0.1:0"]\n[control]\n'
        'listen = ["unix:control.sock", "127.0.0.1:0", "https://0.0.0.0:0?cert=cert.pem&key=key.pem"]\n'
        'token = "file:token"\nread_token = "file:read_token"\nusers = "users"\naudit = "audit.log"\n'
    )
    switch = RunningSwitch(config)
    try:
        yield switch
        assert switch.stop() == 0, switch.log
    finally:
        switch.kill()


@pytest.fixture(scope="module")
def urls(asking: RunningSwitch) -> dict[str, str]:
    started = asking.event("listening")
    assert started is not None
    plain, secure = started["control_also"]
    return {"unix": asking.control, "http": plain, "https": secure.replace("0.0.0.0", "127.0.0.1")}


def test_commands_log_in(asking: RunningSwitch, urls: dict[str, str], folder: Path) -> None:
    ca = ("--ca", str(folder / "ca.pem"))
    for kind, more in (("unix", ()), ("http", ()), ("https", ca)):
        capture = ("ctl", "capture", "--url", urls[kind], *more)
        assert run(*capture, "--token", "t0ken-read") == (0, "capturing: on\n"), kind
        assert run(*capture, "--user", "alice", env=LOGIN) == (0, "capturing: on\n"), kind
        status, said = run(*capture)
        assert (status, "wants a token or a user" in said) == (1, True), kind
    status, said = run("ctl", "capture", "--url", urls["unix"], "--user", "bob", stdin=f"{PASSWORD}\n")
    assert (status, said.splitlines()[-1]) == (0, "capturing: on")
    assert run("ctl", "capture", "--config", str(folder / "hepswitch.toml")) == (0, "capturing: on\n"), (
        "the file's token"
    )
    assert json.loads(run("stats", "--json", "--url", urls["http"], "--token", "t0ken-read")[1])["balanced"] is True

    status, said = run("ctl", "capture", "off", "--url", urls["http"], "--token", "t0ken-read")
    assert (status, "need the role operate; read token may read only" in said) == (1, True)
    status, said = run("ctl", "capture", "off", "--url", urls["http"], "--user", "bob", env=LOGIN)
    assert (status, "need the role operate; user bob may read only" in said) == (1, True)
    assert run("ctl", "capture", "off", "--url", urls["unix"], "--user", "alice", env=LOGIN)[0] == 0
    status, said = run("ctl", "capture", "--url", urls["https"], "--token", "t0ken-read")
    assert (status, "CERTIFICATE_VERIFY_FAILED" in said) == (1, True)
    status, said = run("ctl", "capture", "--url", urls["https"], "--ca", str(folder / "key.pem"))
    assert (status, "holds no PEM certificates" in said) == (2, True)

    rows = [json.loads(line) for line in (folder / "audit.log").read_text().splitlines()]
    assert [(row["who"], row["source"], row["action"], row["outcome"].partition(":")[0]) for row in rows] == [
        ("read token", "127.0.0.1", "POST /api/v1/capture", "refused"),
        ("user bob", "127.0.0.1", "POST /api/v1/capture", "refused"),
        ("user alice", "unix", "set capture", "done"),
    ]
    assert asking.said("audit")["who"] == "user alice"
    with pytest.raises(AssertionError):
        wait_for(lambda: any("t0ken" in str(entry) for entry in asking.log), "no secret in the log", 0.0)


def test_who_is_removed_is_out_at_once_and_who_is_added_is_in(urls: dict[str, str], folder: Path) -> None:
    def capture(name: str) -> int:
        return run("ctl", "capture", "--url", urls["http"], "--user", name, env=LOGIN)[0]

    add = ("user", "add", "carol", "--role", "read", "--password-stdin", "--file", str(folder / "users"))
    assert (capture("carol"), run(*add, stdin=PASSWORD)[0], capture("carol")) == (1, 0, 0)
    assert (run("user", "remove", "carol", "--file", str(folder / "users"))[0], capture("carol")) == (0, 1)


def test_curl_knows_the_unix_socket(folder: Path, asking: RunningSwitch) -> None:
    asked = ["curl", "-s", "--unix-socket", asking.control.removeprefix("unix:"), "-u", f"bob:{PASSWORD}"]
    done = subprocess.run(
        [*asked, "http://localhost/api/v1/me"], capture_output=True, text=True, timeout=30, check=True
    )
    assert json.loads(done.stdout) == {"user": "bob", "role": "read"}


def test_a_reload_takes_a_new_certificate_and_refuses_a_wrong_one(
    asking: RunningSwitch, urls: dict[str, str], folder: Path
) -> None:
    other = trustme.CA()
    other.cert_pem.write_to_path(folder / "other.pem")
    issued = other.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    https = ("--url", urls["https"], "--token", "t0ken-operate")
    assert run("ctl", "capture", *https, "--ca", str(folder / "ca.pem"))[0] == 0
    assert run("ctl", "reload", *https, "--ca", str(folder / "ca.pem"))[0] == 0
    assert run("ctl", "capture", *https, "--ca", str(folder / "other.pem"))[0] == 0
    (folder / "key.pem").write_text("no key")
    status, said = run("ctl", "reload", *https, "--ca", str(folder / "other.pem"))
    assert (status, "control.listen: " in said, "no PEM certificate and its key" in said) == (1, True, True)
    assert run("ctl", "capture", *https, "--ca", str(folder / "other.pem"))[0] == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('listen = "0.0.0.0:0"', "1: control: http://0.0.0.0:0 can be reached from other machines"),
        ('users = "nobody"', "2: control.users: "),
        ('users = "wrong"', "wrong:1: the role of alice is none"),
        ('token = "t"\nlisten = "https://0.0.0.0:0?cert=none&key=none"', "control.listen: "),
    ],
)
def test_a_switch_that_would_be_open_or_shut_does_not_start(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "wrong").write_text("alice:admin:x\n")
    config = tmp_path / "hepswitch.toml"
    config.write_text(f"[control]\n{text}\n")
    for what in ("check", "run"):
        status, said = run(what, "--config", str(config))
        assert (status, says in said) == (2, True), said


def test_a_password_is_shown_to_the_switch_alone(urls: dict[str, str]) -> None:
    status, said = run("ctl", "capture", "--url", "ftp://x")
    assert (status, "does not start with http://, https:// or unix:" in said) == (2, True)
    status, said = run("ctl", "capture", "--url", "unix:/nowhere.sock")
    assert (status, "no switch answers at unix:/nowhere.sock" in said) == (1, True)
    assert urlsplit(urls["http"]).hostname == "127.0.0.1"
