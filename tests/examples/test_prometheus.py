"""The rules, the configuration and the dashboard for Prometheus and Grafana, as promtool and the code see them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from prometheus import ALERTS, DASHBOARD, EXAMPLES, RECORDED, RULES, SAMPLES, panel_queries, promtool


def _names(expression: str) -> set[str]:
    """The metrics that an expression reads."""
    return set(re.findall(r"\b(?:hepswitch|heplify|horaclifix)[_:][\w:]*", expression))


def test_promtool_takes_the_rules_and_each_alert_does_what_it_says() -> None:
    promtool("check", "rules", RULES)
    assert "SUCCESS" in promtool("test", "rules", EXAMPLES / "prometheus" / "hepswitch.test.yml")


def test_every_alert_is_tested_and_speaks_to_a_person() -> None:
    tested = {
        each["expr"]: each["exp_samples"]
        for test in yaml.safe_load((EXAMPLES / "prometheus" / "hepswitch.test.yml").read_text())["tests"]
        for each in test["promql_expr_test"]
        if each["exp_samples"]
    }
    fired = {re.search(r'alertname="(\w+)"', expression)[1] for expression in tested}  # type: ignore[index]
    assert fired == set(ALERTS)
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in ("critical", "warning", "info"), name
        assert rule["annotations"]["summary"], name
        assert rule["annotations"]["description"].endswith((".", "?")), name


def test_rules_and_dashboard_name_only_what_the_switch_exposes() -> None:
    known = SAMPLES | set(RECORDED)
    notes = [each["expr"] for each in DASHBOARD["annotations"]["list"]]
    for expression in [*panel_queries(), *notes, *(rule["expr"] for rule in [*ALERTS.values(), *RECORDED.values()])]:
        assert _names(expression) <= known, expression


def test_promtool_takes_the_configuration(tmp_path: Path) -> None:
    for file in (EXAMPLES / "prometheus").glob("*.yml"):
        shutil.copy(file, tmp_path)
    (tmp_path / "token").write_text("secret\n")
    assert "SUCCESS" in promtool("check", "config", tmp_path / "prometheus.yml")


@pytest.mark.parametrize(
    "panel", [each for each in DASHBOARD["panels"] if each["type"] != "row"], ids=lambda each: each["title"]
)
def test_every_panel_has_a_place_and_asks_the_chosen_prometheus(panel: dict[str, Any]) -> None:
    assert panel["type"] in ("timeseries", "stat", "table", "heatmap"), "these come with Grafana"
    place = panel["gridPos"]
    assert 0 <= place["x"] <= place["x"] + place["w"] <= 24
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert panel["datasource"] == chosen
    for target in panel["targets"]:
        assert target["datasource"] == chosen
        assert 'instance=~"$instance"' in target["expr"]


def test_panels_do_not_cover_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
