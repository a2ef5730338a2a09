"""`hepswitch init --from heplify-server.toml`: what a heplify-server configuration becomes.

`heplify/NAME.toml` becomes `heplify/NAME.hepswitch.toml`, letter by letter.
"""

from __future__ import annotations

import json
import re
import stat
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from hepswitch.cli import main
from hepswitch.cli.heplify import translate
from hepswitch.cli.heplify_keys import DEFAULTS, NUMBERS, WITHOUT
from hepswitch.config import load
from hepswitch.filters.language import parse

FILES = Path(__file__).with_name("heplify")
NAMES = ("shipped", "full", "homer5")

BASE = {
    "HEPTLSAddr": "0.0.0.0:9061", "TLSCertFile": "cert.pem", "TLSKeyFile": "key.pem", "TLSClientCAFile": "ca.pem",
    "TLSRequireClientCert": True, "DBDriver": "postgres", "DBShema": "homer7",
}  # fmt: skip
"""A configuration in which every key matters."""

OTHERS = {"DBDriver": "mysql", "DBShema": "homer5", "LogLvl": "debug"}
"""Values to change a key to that takes only some."""

DETAILS = {
    "LokiURL": ("Loki",), "LineprotoURL": ("Lineproto",), "ESAddr": ("ES",), "ScriptEnable": ("Script",),
    "PromTargetIP": ("PromTargetName",), "ConfigHTTPAddr": ("ConfigHTTP",),
    "DBUsageProtection": ("DBUsage", "DBPercentageUsage", "DBMaxSize", "DBProcDropLimit"), "HEPTLSAddr": ("TLSCertFolder",),
}  # fmt: skip
"""How the keys begin that only say more of one that is named."""

SO_ANYWAY = {"IgnoreCaseCH", "DBDropOnStart", "LogStd", "Config", "Version"}
"""Header names have no case here, old partitions go at the start too, logs go to standard error; the rest are options of
the command line."""


def _init(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["init", *map(str, arguments)], catch_exceptions=False)


def _translated(folder: Path, values: Mapping[str, object]) -> tuple[str, list[str]]:
    """The configuration without its comments, and what is told."""
    source = folder / "heplify-server.toml"
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items()]
    source.write_text("".join(lines).replace("\x7f", "\\u007f"), encoding="utf-8")
    made = translate(source)
    return "\n".join(line for line in made.text.split("\n") if not line.startswith("#")), made.notes


@pytest.mark.parametrize("name", NAMES)
def test_a_file_becomes_what_the_one_beside_it_says(name: str, tmp_path: Path) -> None:
    done = _init("--from", FILES / f"{name}.toml", tmp_path)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "hepswitch.toml").read_text() == (FILES / f"{name}.hepswitch.toml").read_text()
    comments = (tmp_path / "hepswitch.toml").read_text()
    assert done.stderr.splitlines(), "something has no counterpart in each of these files"
    assert all(f"#   {note}" in comments for note in done.stderr.splitlines())


@pytest.mark.parametrize("name", NAMES)
def test_the_configuration_is_accepted(name: str, tmp_path: Path) -> None:
    _init("--from", FILES / f"{name}.toml", tmp_path)
    config = load(tmp_path / "hepswitch.toml", environment={})
    assert list(config.stores) == ["homer"]
    for rule in config.rule:
        assert rule.when is not None


@pytest.mark.parametrize("name", NAMES)
def test_check_accepts_it(name: str, tmp_path: Path) -> None:
    _init("--from", FILES / f"{name}.toml", tmp_path)
    path = tmp_path / "hepswitch.toml"
    text = path.read_text()
    path.write_text("\n".join(line for line in text.splitlines() if "tls://" not in line))  # its files are elsewhere
    done = CliRunner().invoke(main, ["check", "--config", str(path)], catch_exceptions=False)
    assert (done.exit_code, "ok" in done.output) == (0, True), done.output


def test_the_password_is_in_a_file_for_its_owner_alone(tmp_path: Path) -> None:
    _init("--from", FILES / "full.toml", tmp_path)
    secret = tmp_path / "homer.password"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert 'p"ss' not in (tmp_path / "hepswitch.toml").read_text()
    store = load(tmp_path / "hepswitch.toml", environment={}).stores["homer"]
    assert store.password.get_secret_value() == ' p"ss\\word '  # type: ignore[union-attr]


def test_nothing_that_is_there_is_overwritten_unasked(tmp_path: Path) -> None:
    (tmp_path / "homer.password").write_text("mine")
    (tmp_path / "homer.password").chmod(0o644)
    done = _init("--from", FILES / "full.toml", tmp_path)
    assert (done.exit_code, "homer.password is there already" in done.output) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["homer.password"]
    assert _init("--force", "--from", FILES / "full.toml", tmp_path).exit_code == 0
    assert stat.S_IMODE((tmp_path / "homer.password").stat().st_mode) == 0o600


def _other(key: str) -> object:
    """A value that is not the one of BASE, nor the default."""
    value = BASE.get(key, DEFAULTS[key])
    if isinstance(value, bool):
        return not value
    if key in NUMBERS:
        return [34]
    return OTHERS.get(key, {int: 7, str: "else", list: ["from_user"]}[type(value)])


@pytest.mark.parametrize("key", sorted(DEFAULTS.keys() - SO_ANYWAY))
def test_every_key_becomes_something_or_is_named(key: str, tmp_path: Path) -> None:
    if any(key.startswith(begin) for main_key, begins in DETAILS.items() for begin in begins if key != main_key):
        return
    before, after = _translated(tmp_path, BASE), _translated(tmp_path, BASE | {key: _other(key)})
    assert before[0] != after[0] or any(f": {key}: " in note for note in after[1])


@pytest.mark.parametrize("key", WITHOUT)
def test_a_key_without_counterpart_is_named_where_it_says_something(key: str, tmp_path: Path) -> None:
    assert not [note for note in _translated(tmp_path, {key: DEFAULTS[key]})[1] if key in note]
    assert f"heplify-server.toml:1: {key}: {WITHOUT[key]}" in _translated(tmp_path, {key: _other(key)})[1]


def test_targets_of_metrics_go_together_one_by_one(tmp_path: Path) -> None:
    said = {"PromTargetIP": "10.0.0.1, 10.0.0.2,nowhere,2001:db8::1", "PromTargetName": "sbc,core,gone, sbc"}
    text, notes = _translated(tmp_path, said)
    assert '[metrics.targets]\n"sbc" = ["10.0.0.1/32", "2001:db8::1/128"]\n"core" = ["10.0.0.2/32"]\n' in text
    assert [note for note in notes if "nowhere" in note and "left out" in note]
    assert "gone" not in text

    text, notes = _translated(tmp_path, said | {"PromTargetName": "sbc"})
    assert "metrics" not in text
    assert "PromTargetIP: it and PromTargetName name different numbers" in "\n".join(notes)


def test_keys_may_be_written_in_any_case(tmp_path: Path) -> None:
    text = (FILES / "full.toml").read_text()
    (tmp_path / "full.toml").write_text(re.sub(r"(?m)^\w+(?= =)", lambda match: match[0].upper(), text))
    ours = translate(tmp_path / "full.toml").text
    assert ours.partition("# Without")[0] == translate(FILES / "full.toml").text.partition("# Without")[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('DBBulk = "many"\nDedup = 1\n', "heplify-server.toml:1: DBBulk: 'many' is not a number"),
        ('DBBulk = "many"\nDedup = 1\n', "heplify-server.toml:2: Dedup: 1 is not true or false"),
        ("DBWorker = true\n", "heplify-server.toml:1: DBWorker: True is not a number"),
        ("AlegIDs = [1.5]\n", "heplify-server.toml:1: AlegIDs: [1.5] is not a list of texts"),
        ('ForceHEPPayload = ["34"]\n', "heplify-server.toml:1: ForceHEPPayload: ['34'] is not a list of numbers"),
        ('\nDBDriver = "oracle"\n', "heplify-server.toml:2: DBDriver: 'oracle' is none of mysql, postgres, mock"),
        ("DBBulk = \n", "not valid TOML"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(text: str, said: str, tmp_path: Path) -> None:
    source = tmp_path / "heplify-server.toml"
    source.write_text(text)
    done = _init("--from", source, tmp_path / "new")
    assert (done.exit_code, said in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "new").exists()


def test_an_unknown_key_is_named_in_one_line(tmp_path: Path) -> None:
    source = tmp_path / "heplify-server.toml"
    source.write_text('"New\\nline" = 1\n')
    made = translate(source)
    assert "heplify-server.toml:1: 'New\\nline': heplify-server has no such key" in made.notes[0]
    tomllib.loads(made.text)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    done = _init("--from", tmp_path / "none.toml", tmp_path / "new")
    assert (done.exit_code, "none.toml: cannot be read" in done.stderr) == (2, True)
    (tmp_path / "latin.toml").write_bytes(b'DBUser = "\xe9"\n')
    done = _init("--from", tmp_path / "latin.toml", tmp_path / "new")
    assert (done.exit_code, "latin.toml: cannot be read" in done.stderr) == (2, True)


def test_a_sip_header_that_is_none_is_left_out_and_named(tmp_path: Path) -> None:
    text, notes = _translated(tmp_path, BASE | {"SIPHeader": ["callid", "elsewhere"]})
    assert tomllib.loads(text)["stores"]["homer"]["homer7"]["headers"] == ["callid"]
    assert any(": SIPHeader: 'elsewhere' is none of ruri_user, " in note for note in notes)


def test_without_a_database_there_is_a_lake(tmp_path: Path) -> None:
    text, notes = _translated(tmp_path, {"DBDriver": "mock", "DBPass": "secret"})
    assert tomllib.loads(text)["stores"] == {"homer": {"url": "lake:./captures", "keep": "1d"}}
    assert any("mock stored nothing" in note for note in notes)


@pytest.mark.parametrize("driver", ["mysql", "postgres"])
def test_a_socket_is_the_host(driver: str, tmp_path: Path) -> None:
    text, notes = _translated(tmp_path, {"DBDriver": driver, "DBAddr": "unix:/run/db/socket", "DBUser": ""})
    url = tomllib.loads(text)["stores"]["homer"]["url"]
    assert urlsplit(url).netloc == "%2Frun%2Fdb%2Fsocket"
    assert not [note for note in notes if "DBAddr" in note]
    (tmp_path / "hepswitch.toml").write_text(text)
    load(tmp_path / "hepswitch.toml", environment={})


def test_without_rotation_nothing_is_made_or_dropped(tmp_path: Path) -> None:
    text, _ = _translated(tmp_path, BASE | {"DBRotate": False, "DBDropDaysCall": 3})
    store = tomllib.loads(text)["stores"]["homer"]
    assert (store["create"], store["homer7"]) == (False, {"keep": 0})


@given(st.text(), st.text(), st.lists(st.text()))
def test_any_text_stays_text(password: str, user: str, methods: list[str]) -> None:
    """Quotes, backslashes and control characters end no string and begin no key."""
    with tempfile.TemporaryDirectory() as folder:
        text, _ = _translated(Path(folder), BASE | {"DBUser": user, "DBPass": password, "CensorMethod": methods})
    read = tomllib.loads(text)
    assert read.keys() <= {"listen", "hep_route", "rule", "masks", "stores"}
    assert read["stores"]["homer"].keys() == {"url", "layout", "homer7"} | ({"password"} if password else set())
    assert unquote(urlsplit(read["stores"]["homer"]["url"]).username or "") == user.strip()
    if methods:
        assert read["masks"]["censor"]["bodies"] == methods
        parse(read["rule"][0]["when"])


def test_what_cannot_be_is_said_at_once(tmp_path: Path) -> None:
    source = tmp_path / "heplify-server.toml"
    source.write_text('HEPAddr = "host:99999"\nDBDriver = "postgres"\n')
    result = _init("--from", source, tmp_path / "out")
    assert result.exit_code == 1
    assert "listen.0: 'udp://host:99999' has a port outside" in result.stderr
    assert (tmp_path / "out" / "hepswitch.toml").exists()


def test_no_value_breaks_out_of_a_comment(tmp_path: Path) -> None:
    source = tmp_path / "heplify\nlisten = 1.toml"
    source.write_text('HEPTLSAddr = "x\\ny = 1"\n"k\\u001b[31m" = 1\nDBDriver = "postgres"\n')
    result = _init("--from", source, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.output
    assert "y" not in tomllib.loads((tmp_path / "out" / "hepswitch.toml").read_text())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('DBUser = "a"\ndbuser = "b"\n', "2: dbuser: is DBUser, which is there already"),
        ("a = " + "[" * 3000, "too deep"),
    ],
    ids=["twice", "deep"],
)
def test_files_that_say_nothing_clear(tmp_path: Path, text: str, said: str) -> None:
    source = tmp_path / "heplify-server.toml"
    source.write_text(text)
    result = _init("--from", source, tmp_path / "out")
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
    assert not (tmp_path / "out").exists()
