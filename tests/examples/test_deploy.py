"""The files for systemd, containers and Kubernetes: what can be checked of them without running one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from hepswitch.config import Config, ConfigError, load

DEPLOY = Path(__file__).parents[2] / "examples" / "deploy"
CONTROL = re.compile(r"^\[control\]", re.MULTILINE)


def objects() -> dict[str, Any]:
    """The objects of the manifest by kind and name."""
    found = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    return {f"{each['kind']} {each['metadata']['name']}": each for each in found}


def loaded(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "hepswitch.toml"
    path.write_text(text)
    return load(path, {})


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.fail("systemd-analyze is not installed: sudo apt-get install systemd")
    unit = tmp_path / "hepswitch.service"
    unit.write_text((DEPLOY / "hepswitch.service").read_text().replace("/opt/hepswitch/bin/hepswitch", "/bin/true"))
    said = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60)
    assert (said.returncode, said.stderr) == (0, "")
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        capture_output=True,
        text=True,
        timeout=60,
    )
    exposure = re.search(r"Overall exposure level for hepswitch.service: ([\d.]+)", rated.stdout)
    assert exposure is not None, rated.stderr
    assert float(exposure[1]) < 3.0


def test_the_unit_stops_later_than_the_switch_drains() -> None:
    unit = (DEPLOY / "hepswitch.service").read_text()
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert int(seconds) > Config().drain
    assert (
        objects()["StatefulSet hepswitch"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > Config().drain
    )


def test_the_container_wants_a_token(tmp_path: Path) -> None:
    text = (DEPLOY / "container.toml").read_text()
    with pytest.raises(ConfigError, match="token"):
        loaded(tmp_path, text)
    assert loaded(tmp_path, CONTROL.sub('[control]\ntoken = "t0ken"', text)).stores.keys() == {"lake"}


def test_the_manifest_fits_together(tmp_path: Path) -> None:
    found = objects()
    pod = found["StatefulSet hepswitch"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["name"]: Path(mount["mountPath"]) for mount in container["volumeMounts"]}
    volumes = {volume["name"] for volume in pod["volumes"]} | {"data"}
    assert mounts.keys() == volumes
    text = found["ConfigMap hepswitch"]["data"]["hepswitch.toml"]
    secret = mounts["secret"] / "token"
    assert f"file:{secret}" in text
    (tmp_path / "token").write_text(found["Secret hepswitch"]["stringData"]["token"])
    config = loaded(tmp_path, text.replace(str(secret), str(tmp_path / "token")))
    assert config.spool_dir.is_relative_to(mounts["data"])
    assert {endpoint.port for endpoint in config.endpoints} == {9060}
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"hep-udp": 9060, "hep-tcp": 9060, "control": 9080}
    for name in ("Service hepswitch", "Service hepswitch-control"):
        assert {port["targetPort"] for port in found[name]["spec"]["ports"]} <= ports.keys()
    assert {container[probe]["httpGet"]["path"] for probe in ("livenessProbe", "startupProbe")} == {"/healthz"}


def test_the_containerfile_copies_what_there_is() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    for source in re.findall(r"^COPY (?!--from)(\S+) ", text, re.MULTILINE):
        assert (DEPLOY.parents[1] / source).exists(), source
    extras = re.findall(r"/src\[(\w+)\]", text)
    assert extras == ["all"]
