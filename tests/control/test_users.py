"""The file of users: its lines, what is wrong with them, and changes that never leave half of it."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from control.doors import PASSWORD, user
from hepswitch.control.users import (
    MOST_BYTES,
    Hash,
    User,
    Users,
    UsersError,
    check_password,
    put,
    remove,
    users_in,
)

LINE = str(user("alice", "operate"))


def test_a_password_fits_its_own_hash_alone() -> None:
    one = Hash.of("grün und blau")
    assert len(one.salt) == 16
    assert (one.ln, one.r, one.p, len(one.key)) == (15, 8, 3, 32)
    again = Hash.parse(str(one))
    assert again == one
    assert again.fits("grün und blau")
    assert again.fits("gru\u0308n und blau"), "typed on another system"
    assert not again.fits("grun und blau")


@given(st.text() | st.tuples(st.text(max_size=5), st.sampled_from(["read", "operate", "x"]), st.text()).map(":".join))
def test_any_line_is_a_user_or_a_mistake(text: str) -> None:
    try:
        known = User.parse(text)
    except ValueError:
        return
    assert User.parse(str(known)) == known


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("alice", "the role of alice is none"),
        ("alice:admin:x", "the role of alice is none: write read or operate"),
        ("ali ce:read:x", "no user: a line is NAME:ROLE"),
        (":read:x", "no user"),
        ("-x:read:x", "no user"),
        ("alice:read:hunter2", "the third field is no scrypt"),
        ("alice:read:$2y$05$abcdefghijklmnopqrstuv", "the third field is no scrypt"),
        ("alice:read:scrypt$ln=20,r=32,p=1$c2FsdHNhbHQ=$AAAA", "64 MiB are the most"),
        ("alice:read:scrypt$ln=0,r=8,p=1$c2FsdHNhbHQ=$AAAA", "costs that are not taken"),
        ("alice:read:scrypt$ln=1,r=8,p=99$c2FsdHNhbHQ=$AAAA", "costs that are not taken"),
        ("alice:read:scrypt$ln=1,r=8,p=1$c2FsdHNhbHQ=$A", "not base64"),
        ("alice:read:scrypt$ln=1,r=8,p=1$c2Fs$c2FsdHNhbHRzYWx0c2FsdA==", "a salt has 8 bytes"),
        ("alice:read:scrypt$ln=1,r=8,p=1$c2FsdHNhbHQ=$c2Fs", "a key 16 to 64"),
        (f"{LINE}\n{LINE}", "alice is there already"),
        (f"{LINE}\n\udcffx:read:x", "2: no user"),
    ],
)
def test_mistakes_are_named_with_their_lines(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "users"
    path.write_bytes(f"# who may log in\n\n{line}\n".encode(errors="surrogateescape").replace(b"2: ", b""))
    with pytest.raises(UsersError) as caught:
        Users(path).check()
    assert says.removeprefix("2: ") in str(caught.value)
    assert str(caught.value).startswith(f"{path}:{4 if chr(10) in line else 3}: ")
    assert "hunter2" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsersError, match="No such file or directory: hepswitch user add NAME --file"):
        Users(tmp_path / "none").check()
    big = tmp_path / "big"
    big.write_bytes(b"#" * (MOST_BYTES + 1))
    with pytest.raises(UsersError, match="no file of users"):
        Users(big).check()


def test_who_else_may_read_or_write_it_matters(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text(f"{LINE}\n")
    path.chmod(0o604)
    with capture_logs() as said:
        Users(path).check()
    assert "can be read by everybody" in said[0]["event"]
    path.chmod(0o602)
    with pytest.raises(UsersError, match="everybody on this machine may write to it"):
        Users(path).check()
    with capture_logs() as said:
        assert Users(path).now() == {}
    assert said[0]["log_level"] == "error"
    path.chmod(0o640)
    with capture_logs() as said:
        Users(path).check()
    assert said == []


def test_the_file_is_read_when_it_changes_and_then_alone(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text(f"{LINE}\n")
    users = Users(path)
    with capture_logs() as said:
        assert list(users.now()) == list(users.now()) == ["alice"]
        put(path, user("bob", "read"))
        assert list(users.now()) == ["alice", "bob"]
        put(path, user("alice", "read"))
        assert users.now()["alice"].role == "read"
        path.write_text("nonsense\n" + LINE)
        assert list(users.now()) == ["alice"], "who can be read may log in"
        path.unlink()
        assert users.now() == users.now() == {}
    assert [each["log_level"] for each in said] == ["info", "info", "info", "error", "error"]
    assert users.generation == 5


def test_users_are_put_and_removed_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "users"
    before = os.umask(0)
    try:
        assert put(path, user("alice", "operate")) is False
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"# ours \xff\n\n" + path.read_bytes())
    path.chmod(0o640)
    assert put(path, user("bob", "read")) is False
    assert put(path, user("alice", "read", "another one")) is True
    assert [(each.name, each.role) for each in users_in(path)] == [("alice", "read"), ("bob", "read")]
    assert users_in(path)[0].hash.fits("another one")
    assert path.read_bytes().startswith(b"# ours \xff\n\nalice:read:scrypt$")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert remove(path, "alice") is True
    assert remove(path, "alice") is False
    assert [each.name for each in users_in(path)] == ["bob"]
    assert list(tmp_path.iterdir()) == [path], "nothing is left beside it"


def test_of_a_link_the_file_is_changed(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    real, link = tmp_path / "etc" / "real", tmp_path / "users"
    real.write_text("")
    link.symlink_to(real)
    put(link, user("alice", "read"))
    assert link.is_symlink()
    assert users_in(real)[0].name == "alice"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_the_file_stays_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.touch()
    os.chown(path, 65_534, 65_534)
    put(path, user("alice", "read"))
    assert (path.stat().st_uid, path.stat().st_gid) == (65_534, 65_534)


def test_changes_at_one_time_are_all_there(tmp_path: Path) -> None:
    path = tmp_path / "users"
    together = [threading.Thread(target=put, args=(path, user(f"user{n}", "read"))) for n in range(12)]
    for each in together:
        each.start()
    for each in together:
        each.join()
    assert {each.name for each in users_in(path)} == {f"user{n}" for n in range(12)}


def test_a_change_that_fails_leaves_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "users"
    put(path, user("alice", "read"))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsersError, match="No space left"):
        put(path, user("bob", "read"))
    assert [each.name for each in users_in(path)] == ["alice"]
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(UsersError, match="No such file or directory"):
        put(tmp_path / "none" / "users", user("bob", "read"))


def test_passwords_that_are_taken() -> None:
    check_password(PASSWORD)
    for wrong in ("", "short", "x" * 1025, "ü" * 600):
        with pytest.raises(ValueError, match="a password has"):
            check_password(wrong)
