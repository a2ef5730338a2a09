"""The configuration: what it means, and every mistake at once, with its place."""

from pathlib import Path

import pytest
from click import Context, Option

from hepswitch.cli import COMMANDS, main
from hepswitch.config import Config, ConfigError, load
from hepswitch.tables import REVEALED


def _write(folder: Path, text: str) -> Path:
    path = folder / "hepswitch.toml"
    path.write_text(text)
    return path


def test_nothing_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load(None, {})
    assert config.listen == ["udp://127.0.0.1:9060", "tcp://127.0.0.1:9060"]
    assert config.hep_route.mode == "store"
    assert config.stores["lake"].url == f"lake:{tmp_path}/captures"
    assert config.control.listen == ["127.0.0.1:9080"]


def test_a_whole_file(tmp_path: Path) -> None:
    (tmp_path / "route.py").touch()
    path = _write(
        tmp_path,
        """
        listen = ["udp://0.0.0.0:9060", "tls://[::]:9061?cert=c.pem&key=k.pem"]
        workers = 2
        receive_buffer = "8MiB"
        [hep_route]
        mode = "script"
        script = "route.py"
        [destinations.homer]
        urls = ["udp://10.0.0.1:9060", "tcp://10.0.0.2:9060?weight=2"]
        policy = "call"
        version = 3
        [stores.lake]
        url = "lake:./captures"
        keep = "7d"
        """,
    )
    config = load(path, {})
    assert config.receive_buffer == 8 << 20
    assert config.hep_route.script == tmp_path / "route.py"
    assert config.destinations["homer"].policy == "call"
    assert config.endpoints[1].options == {"cert": f"{tmp_path}/c.pem", "key": f"{tmp_path}/k.pem"}
    assert Config.model_validate(config.model_dump(mode="json")) == config, "workers get the same configuration"


def test_every_mistake_at_once_with_its_line(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        """listen = ["udp//0.0.0.0:9060"]
workers = 0
[hep_route]
mode = "scrpt"
[destinations.homer]
urls = ["udp://10.0.0.1:9060"]
polcy = "call"
[control]
listn = "x"
""",
    )
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    lines = str(caught.value).splitlines()
    assert len(lines) == 5
    by_place = {line.split(": ", 1)[0].removeprefix(f"{path}:"): line for line in lines}
    assert set(by_place) == {"1", "2", "4", "7", "9"}
    assert "does not start with one of udp:" in by_place["1"]
    assert "did you mean policy?" in by_place["7"]
    assert "did you mean listen?" in by_place["9"]


def test_script_mode_needs_a_script(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='mode = "script" needs a route file'):
        load(_write(tmp_path, '[hep_route]\nmode = "script"\n'), {})


def test_a_script_that_would_never_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="would never call it"):
        load(_write(tmp_path, '[hep_route]\nscript = "route.py"\n'), {})


def test_tls_needs_a_certificate(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a certificate"):
        load(_write(tmp_path, 'listen = ["tls://0.0.0.0:9061"]\n'), {})


def test_name_servers_are_addresses(tmp_path: Path) -> None:
    config = load(_write(tmp_path, '[dns]\nservers = ["10.0.0.53", "[::1]:5353"]\ntimeout = "500ms"\n'), {})
    assert (config.dns.servers, config.dns.timeout) == (["10.0.0.53", "[::1]:5353"], 0.5)
    with pytest.raises(ConfigError, match=r"toml:2: dns.servers.0: 'ns\.example' is no address of a name server"):
        load(_write(tmp_path, '[dns]\nservers = ["ns.example"]\n'), {})


@pytest.mark.parametrize("path", ["~nobody-at-all/x", r"x\u0000y"])
def test_what_is_no_path_is_said(tmp_path: Path, path: str) -> None:
    (tmp_path / "c.toml").write_text(f'spool_dir = "{path}"\n')
    with pytest.raises(ConfigError, match="is no path"):
        load(tmp_path / "c.toml")


def test_a_listener_twice(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"udp://0\.0\.0\.0:9060 more than once"):
        load(_write(tmp_path, 'listen = ["udp://0.0.0.0:9060", "udp://0.0.0.0"]\n'), {})
    with pytest.raises(ConfigError, match=r"sip://0\.0\.0\.0:5060 more than once"):
        load(_write(tmp_path, 'listen = ["sip://0.0.0.0", "sip://0.0.0.0:5060?transport=udp"]\n'), {})
    both = ["sip://0.0.0.0", "sip://0.0.0.0?transport=tcp"]
    assert load(_write(tmp_path, f"listen = {both}\n"), {}).listen == both


@pytest.mark.parametrize(
    ("listener", "store", "circles"),
    [
        ("nats://n1,n2/HEP?share=1/2", 'url = "nats+tls://n2,n3/HEP"', True),
        ("nats://n1/HEP?subject=raw", 'url = "nats://n1/HEP"', False),
        ("nats://n1/HEP?subject=raw", 'url = "nats://n1/HEP"\nsubject = "raw.mine"', True),
        ("nats://n1/HEP", 'url = "nats://n1/CLEAN"', False),
        ("nats://n1/HEP", 'url = "nats://n2/HEP"', False),
        ("kafka://k1/hep", 'url = "kafka://k1:9092/hep"', True),
        ("kafka://k1/hep", 'url = "nats://k1:9092/hep"', False),
    ],
)
def test_what_goes_into_a_stream_does_not_come_back(tmp_path: Path, listener: str, store: str, circles: bool) -> None:
    file = _write(tmp_path, f'listen = ["{listener}"]\n[stores.bus]\n{store}\n')
    if circles:
        with pytest.raises(ConfigError, match=r"stores\.bus: what goes to .* comes back at .*circles"):
            load(file, {})
    else:
        load(file, {})


def test_broken_toml_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not valid TOML: .*line 1"):
        load(_write(tmp_path, "listen == 1\n"), {})
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.toml", {})


def test_the_environment_overrides(tmp_path: Path) -> None:
    path = _write(tmp_path, "workers = 1\n")
    config = load(
        path,
        {
            "HEPSWITCH_WORKERS": "4",
            "HEPSWITCH_LISTEN": '["udp://127.0.0.1:7000"]',
            "HEPSWITCH_CONTROL__LISTEN": "127.0.0.1:0",
            "OTHER": "1",
        },
    )
    assert (config.workers, config.listen, config.control.listen) == (
        4,
        ["udp://127.0.0.1:7000"],
        ["127.0.0.1:0"],
    )


def test_what_commands_read_from_the_environment_is_no_configuration(tmp_path: Path) -> None:
    names = {
        parameter.envvar
        for name in COMMANDS
        for parameter in main.get_command(Context(main), name).params  # type: ignore[union-attr]
        if isinstance(parameter, Option)
    }
    environment = {name: "x" for name in names if isinstance(name, str)}
    assert {"HEPSWITCH_LAKE", "HEPSWITCH_URL", "HEPSWITCH_CONFIG"} <= environment.keys()
    load(_write(tmp_path, ""), environment)


def test_the_token_of_control_is_a_secret(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-a-file\n")
    config = load(_write(tmp_path, '[control]\ntoken = "file:token"\n'), {})
    assert config.control.token is not None
    assert config.control.token.get_secret_value() == "from-a-file"
    assert "from-a-file" not in repr(config)
    told = config.model_dump(mode="json", context=REVEALED)
    assert Config.model_validate(told).control.token == config.control.token
    assert load(None, {}).control.token is None


@pytest.mark.parametrize("token", ["two words", "ümlaut", "line\\nline", ""])
def test_a_token_that_cannot_travel_in_a_header_is_a_mistake(tmp_path: Path, token: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(_write(tmp_path, f'[control]\ntoken = "{token}"\n'), {})
    assert "control.token: a " in str(caught.value)
    assert not token or token not in str(caught.value)
