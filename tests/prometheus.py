"""The real Prometheus for tests: promtool, a server that ends with the test, and what we give people for both."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from hepswitch.control.metrics import GROUPS
from running import wait_for
from servers import free_port

EXAMPLES = Path(__file__).parents[1] / "examples"
RULES = EXAMPLES / "prometheus" / "hepswitch.rules.yml"
DASHBOARD: dict[str, Any] = json.loads((EXAMPLES / "grafana" / "hepswitch.json").read_text())

GROUPS_OF_RULES = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS_OF_RULES for rule in group["rules"] if "alert" in rule}
RECORDED = {rule["record"]: rule for group in GROUPS_OF_RULES for rule in group["rules"] if "record" in rule}

SUFFIXES = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("",), "gauge": ("",)}
SAMPLES = {family.name + end for group in GROUPS for family in group.families for end in SUFFIXES[family.kind]}

INSTALL = "no Prometheus here: sudo apt-get install prometheus"


def panel_queries() -> list[str]:
    """Every query of the dashboard's panels."""
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]


def promtool(*arguments: str | Path, text: bytes = b"") -> str:
    """What promtool says to `text`; AssertionError with its complaints when it has any."""
    program = shutil.which("promtool")
    assert program, INSTALL
    done = subprocess.run([program, *map(str, arguments)], input=text, capture_output=True, check=False, timeout=60)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


class Prometheus:
    """A server that answers at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, **parameters: str) -> Any:
        """The data that its API gives."""
        question = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(question, timeout=10) as answer:
                return json.loads(answer.read())["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples that an expression gives now."""
        result = self.ask("query", query=expression)
        return list(result["result"])


@contextlib.contextmanager
def prometheus(config: Path) -> Iterator[Prometheus]:
    """A server with this configuration; its data are beside it."""
    program = shutil.which("prometheus")
    assert program, INSTALL
    port = free_port()
    command = [program, f"--config.file={config}", f"--storage.tsdb.path={config.parent / 'tsdb'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    with (config.parent / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    server = Prometheus(f"http://127.0.0.1:{port}")

    def ready() -> bool:
        assert process.poll() is None, (config.parent / "prometheus.log").read_text()
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{server.url}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    try:
        wait_for(ready, "start of Prometheus")
        yield server
    finally:
        process.kill()
        process.wait(30)
