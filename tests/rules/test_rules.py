"""The alert rules, rendered with the role's defaults and judged by promtool from the Prometheus image."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ROLE = ROOT / "roles/prometheus"
DEFAULTS: dict[str, Any] = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
CASES = sorted(HERE.glob("*.yml"))


def image() -> str:
    """The image the sandbox runs, under the name by which this machine reaches it; otherwise the role's default."""
    sandbox = ROOT / "inventory/host_vars/sandbox/images.yml"
    images = yaml.safe_load(sandbox.read_text()) if sandbox.exists() else {}
    return str(images.get("prometheus_image", DEFAULTS["prometheus_image"])).replace(
        "registry:5000/", "127.0.0.1:5055/", 1
    )


def promtool(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["docker", "run", "--rm", "--network=none", f"--user={os.getuid()}", f"--volume={directory}:/rules:ro"]
    return subprocess.run(
        [*command, "--workdir=/rules", "--entrypoint=/bin/promtool", image(), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A directory with the rendered rules and the cases beside them."""
    environment = jinja2.Environment(
        variable_start_string="<<", variable_end_string=">>", undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    template = environment.from_string((ROLE / "templates/rules.yml.j2").read_text())
    (tmp_path / "rules.yml").write_text(template.render(DEFAULTS))
    for case in CASES:
        shutil.copy(case, tmp_path)
    return tmp_path


def names(rules: Path, kind: str) -> set[str]:
    """The names of the rules of a kind: alert or record."""
    groups = yaml.safe_load((rules / "rules.yml").read_text())["groups"]
    return {rule[kind] for group in groups for rule in group["rules"] if kind in rule}


def checks(kind: str) -> list[dict[str, Any]]:
    """What the cases expect: of alerts in alert_rule_test, of recording rules in promql_expr_test."""
    return [
        check for case in CASES for test in yaml.safe_load(case.read_text())["tests"] for check in test.get(kind, [])
    ]


def test_promtool_accepts_the_rules(rules: Path) -> None:
    result = promtool(rules, "check", "rules", "rules.yml")
    assert result.returncode == 0, result.stdout + result.stderr
    found = len(names(rules, "alert") | names(rules, "record"))
    assert f"{found} rules found" in result.stdout + result.stderr


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_the_rules_do_what_they_should(rules: Path, case: Path) -> None:
    result = promtool(rules, "test", "rules", case.name)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_has_a_firing_and_a_silent_case(rules: Path) -> None:
    alerts, cases = names(rules, "alert"), checks("alert_rule_test")
    assert {check["alertname"] for check in cases if check.get("exp_alerts")} == alerts, "without a firing case"
    silent = {check["alertname"] for check in cases if not check.get("exp_alerts")}
    assert silent == alerts - {"Watchdog"}, "without a silent case; the Watchdog is never silent"


def test_every_recording_rule_has_a_case(rules: Path) -> None:
    cases = [check["expr"] for check in checks("promql_expr_test") if check.get("exp_samples")]
    without = [name for name in sorted(names(rules, "record")) if not any(name in expr for expr in cases)]
    assert not without, "without a case"
