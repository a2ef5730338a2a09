"""What is wrong with a configuration is said before anything starts: file, line, key, in one line each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from hepswitch.config import ConfigError
from hepswitch.preflight import examine

LAKE = "[stores.lake]\n"
BUS = '[stores.bus]\nurl = "nats://a/HEP"\n'
DATABASE = '[stores.db]\nurl = "postgresql://u@h/d"\n'
HOMER = "[destinations.homer]\n"
TCP = f'{HOMER}urls = ["tcp://h:1"]\n'


def _mistakes(folder: Path, text: str) -> list[str]:
    """`line: key: words` of each mistake in a file with this text."""
    path = folder / "hepswitch.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        examine(path)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{path}:") for line in lines), lines
    return [line.removeprefix(f"{path}:") for line in lines]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"{LAKE}keep = [1]", "2: stores.lake.keep: [1] is not a duration"),
        (f"{LAKE}keep = -5", "2: stores.lake.keep: -5 is not a duration"),
        (f'{LAKE}keep = "0s"', "2: stores.lake.keep: keep must be above 0"),
        (f"{LAKE}keep = true", "2: stores.lake.keep: true is no number"),
        (f"{LAKE}keep = nan", "2: stores.lake.keep: nan is not a duration"),
        (f"{LAKE}max_size = 1.5", "2: stores.lake.max_size: 1.5 is not a size"),
        (f"{LAKE}max_size = [1]", "2: stores.lake.max_size: [1] is not a size"),
        (f"{LAKE}max_size = -5", "2: stores.lake.max_size: -5 is not a size"),
        (f"{LAKE}max_size = 0", "2: stores.lake.max_size: max_size must be above 0"),
        (f"{LAKE}seal_after = inf", "2: stores.lake.seal_after: inf is not a duration"),
        (f"{LAKE}seal_after = 1e300", "2: stores.lake.seal_after: 1e+300 is not a duration"),
        ('[stores.a]\nurl = "lake:./x"\n[stores.b]\nurl = "lake:y/../x"', "4: stores.b.url: "),
        (f'{LAKE}keep_local = "1h"', '1: stores.lake: keep_local is for a lake with remote = "s3://…"'),
        (f'{LAKE}remote = "s3://b"\naccess_key = "k"', "1: stores.lake: access_key and secret_key come together"),
        (f'{LAKE}remote = "s3://b"\nnode = "a-b"', "3: stores.lake.node: String should match pattern"),
        (f'{LAKE}remote = "s3://k:pw@b/x"', "2: stores.lake.remote: keys do not belong into the URL"),
        (f'{LAKE}remote = "s3://b/x?color=red"', "2: stores.lake.remote: the URL knows no option color"),
        (f'{LAKE}remote = "s3://b/x?region="', "2: stores.lake.remote: region in the URL says nothing"),
        (f'{LAKE}remote = "s3://b/x?endpoint=h:9000"', "2: stores.lake.remote: endpoint in remote is no address"),
        (f'{LAKE}remote = "s3://b/../x"', "2: stores.lake.remote: the path in remote has an empty part"),
        (f'{LAKE}remote = "gs://b"', "2: stores.lake.remote: remote is no place for files that is known here"),
        (f'{LAKE}remote = "file://nfs/lake"', "2: stores.lake.remote: remote is no place for files that is"),
        (f'{LAKE}remote = "s3://b?ca=/no/ca"', "2: stores.lake.remote: ca: /no/ca: No such file"),
        (f'{LAKE}url = "lake:/x"\nremote = "file:///x/y"', "3: stores.lake.remote: /x/y is in the lake's own folder"),
        (
            '[stores.a]\nurl = "lake:a"\nremote = "s3://b"\n[stores.b]\nurl = "lake:b"\nremote = "s3://b"',
            "6: stores.b.remote: the store a has the same: give each a node of its own",
        ),
        (f'{DATABASE}opensips.columns.nope = "x"', "1: stores.db: columns: there is no column nope"),
        (f'{DATABASE}layout = "homer7"\nhomer7.indexes = ["nope"]', "1: stores.db: indexes: there is no field nope"),
        ('[stores.db]\nurl = "mysql://u:pw@h/d"', "2: stores.db.url: the password does not belong into the URL"),
        ('[stores.db]\nurl = "mysql://u:pw@h:x/d"', "2: stores.db.url: 'mysql://u:…@h:x/d' is no URL"),
        ('[stores.db]\nurl = "postgresql://u@h/d?password=pw"', "2: stores.db.url: the URL knows no option password"),
        ('[stores.db]\nurl = "postgresql://u@h/d?sslmode=on"', "2: stores.db.url: sslmode=on in the URL is none of"),
        ('[stores.db]\nurl = "postgresql://u@h/d?sslrootcert=/no/ca"', "2: stores.db.url: sslrootcert: /no/ca: No such"),
        ('[stores.db]\nurl = "mysql://u@h/d?tls=yes&ca=/no/ca"', "2: stores.db.url: ca: /no/ca: No such file"),
        (f'{DATABASE}opensips.table = "hepswitch_loaded"', "1: stores.db: hepswitch_loaded is the table of"),
        ('[stores."a/b"]\nurl = "sqlite:x.db"', "1: stores.a/b.[key]: String should match"),
        ('[stores.db]\nurl = "mysql://h"', "2: stores.db.url: 'mysql://h' names no database"),
        ('[stores.db]\nurl = "oracle://h/d"', "2: stores.db.url: 'oracle://h/d' is no store known here"),
        ("[[rule]]\nstore = true\n[[rule]]\nresume = true", "4: rule.1.resume: resume goes on in the SIP route"),
        (f'listen = ["udp://h:1", "nats://b,a:4222/HEP?group=x"]\n{BUS}', "1: listen.1: its packets would go back into"),
        (
            f'listen = ["nats+tls://a/HEP?subject=raw"]\n{BUS}subject = "raw.mine"\n',
            "1: listen.0: its packets would go back into",
        ),
        ("drain = inf", "1: drain: inf is not a duration"),
        ("workers = true", "1: workers: true is no number"),
        ('[control]\nlisten = "x"', "2: control.listen: 'x' is no address with a port"),
        ('[control]\nlisten = "127.0.0.1"', "2: control.listen: '127.0.0.1' is no address with a port"),
        ('listen = [\n  "udp://h:1",\n  "udp://h:2?foo=1",\n]', "3: listen.1: 'udp://h:2?foo=1' has unknown options: foo"),
        ('listen = ["udp://h:1?foo"]', "1: listen.0: 'udp://h:1?foo' has unknown options: foo"),
        ('listen = ["udp://user:secret@h"]', "1: listen.0: an endpoint knows no users: leave what stands before the @ away"),
        ('listen = ["udp://[h"]', "1: listen.0: 'udp://[h' is no URL"),
        (f'{HOMER}urls = [\n  "udp://h",\n  "tcp://h?cert=a"\n]', "4: destinations.homer.urls.1: 'tcp://h?cert=a' has"),
        (f'{HOMER}urls = ["tls://h?verify=maybe"]', "2: destinations.homer.urls.0: tls://h:9061: verify=maybe is neither"),
        (f'{HOMER}urls = ["tls://h?ca=/nope"]', "2: destinations.homer.urls.0: tls://h:9061: ca=/nope cannot be read"),
        (f'{HOMER}urls = ["tls://h?cert=/n&key=/n"]', "2: destinations.homer.urls.0: tls://h:9061: cert=/n cannot be read"),
        ('listen = ["tls://h?cert=/n&key=/n"]', "1: listen.0: tls://h:9061: cert=/n cannot be read"),
        (f"{TCP}version = 2", "3: destinations.homer.version: version = 2 cannot be sent to tcp://h:1"),
        (f"{TCP}version = true", "3: destinations.homer.version: true is no number"),
        (f"{TCP}queue = 0", "3: destinations.homer.queue: "),
        ('[[limits]]\nrate = "5/s"\n[[limits]]\nrate = [5]', "4: limits.1.rate: "),
        ('[[rule]]\nstore = true\n[[rule]]\nrelay = "nowhere"', "4: rule.1.relay"),
    ],
)  # fmt: skip
def test_one_mistake(tmp_path: Path, text: str, says: str) -> None:
    (line,) = _mistakes(tmp_path, text)
    assert line.startswith(says)
    assert "secret" not in line.replace("secret_key", "")


@pytest.mark.parametrize(("mode", "there"), [("script", "sip_route"), ("sip", "hep_route")])
def test_a_route_that_does_not_fit_the_mode(tmp_path: Path, mode: str, there: str) -> None:
    (tmp_path / "route.py").write_text(f"from hepswitch import {there}\n@{there}\ndef r(packet): ...\n")
    (line,) = _mistakes(tmp_path, f'[hep_route]\nscript = "route.py"\nmode = "{mode}"\n')
    assert line.startswith("3: hep_route.mode: ")


def test_all_of_them_at_once(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no PEM")
    (tmp_path / "route.py").write_text("from hepswitch import sip_route\n@sip_route\ndef r(packet): ...\n")
    text = (
        'listen = ["tls://h?cert=bad.pem&key=bad.pem"]\n[hep_route]\nscript = "route.py"\nmode = "script"\n'
        f'{HOMER}urls = ["tls://h?ca=bad.pem"]\n[stores.a]\nurl = "lake:x"\n[stores.b]\nurl = "lake:x"\n'
    )
    assert [line.split(": ")[:2] for line in _mistakes(tmp_path, text)] == [
        ["1", "listen.0"], ["6", "destinations.homer.urls.0"], ["10", "stores.b.url"], ["4", "hep_route.mode"],
    ]  # fmt: skip


def test_a_tls_listener_may_have_its_own_access_lists(tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "own.pem")
    path = tmp_path / "hepswitch.toml"
    path.write_text('listen = ["tls://127.0.0.1?cert=own.pem&key=own.pem&allow=10.0.0.0/8"]\n')
    assert examine(path).endpoints[0].options["allow"] == "10.0.0.0/8"


@pytest.mark.parametrize("command", ["run", "check"])
def test_both_commands_say_it_and_end_with_2(tmp_path: Path, command: str) -> None:
    path = tmp_path / "hepswitch.toml"
    path.write_text(f'{HOMER}urls = ["tls://h?verify=maybe"]\n')
    arguments = [sys.executable, "-m", "hepswitch.cli", command, "--config", str(path)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{path}:2: destinations.homer.urls.0: ")
    assert "Traceback" not in done.stderr


def test_a_listener_on_a_stream_needs_its_secrets(tmp_path: Path) -> None:
    urls = "nats://n1/HEP?token=file:token", "kafka://k1/hep?user=a&password=env:HEPSWITCH_NOT_SET"
    first, second = _mistakes(tmp_path, "listen = [\n" + ",\n".join(f'"{url}"' for url in urls) + "]\n")
    assert first == f"2: listen.0: nats://n1/HEP: token: {tmp_path}/token cannot be read: No such file or directory"
    assert "listen.1: kafka://k1/hep: password: the environment variable HEPSWITCH_NOT_SET is not set" in second


@pytest.mark.parametrize(
    "text",
    [
        f'listen = ["nats://a/OTHER?group=x"]\n{BUS}',
        f'listen = ["nats://b/HEP?group=x"]\n{BUS}',
        f'listen = ["nats://a/HEP?subject=raw"]\n{BUS}',
        f'listen = ["nats://a/HEP?group=x"]\n{LAKE}{BUS}',
        f'listen = ["nats://a/HEP?group=x"]\n{BUS}[[rule]]\nstore = "bus"\n',
    ],
)
def test_streams_that_do_not_go_in_circles(text: str, tmp_path: Path) -> None:
    path = tmp_path / "hepswitch.toml"
    path.write_text(text)
    assert examine(path).listen
