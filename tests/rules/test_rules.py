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


def alerts(rules: Path) -> set[str]:
    groups = yaml.safe_load((rules / "rules.yml").read_text())["groups"]
    return {rule["alert"] for group in groups for rule in group["rules"]}


def test_promtool_accepts_the_rules(rules: Path) -> None:
    result = promtool(rules, "check", "rules", "rules.yml")
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(alerts(rules))} rules found" in result.stdout + result.stderr


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_alerts_fire_when_they_should(rules: Path, case: Path) -> None:
    result = promtool(rules, "test", "rules", case.name)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_has_a_firing_and_a_silent_case(rules: Path) -> None:
    checks = [
        check
        for case in CASES
        for test in yaml.safe_load(case.read_text())["tests"]
        for check in test["alert_rule_test"]
    ]
    assert {check["alertname"] for check in checks if check.get("exp_alerts")} == alerts(rules), "without a firing case"
    assert {check["alertname"] for check in checks if not check.get("exp_alerts")} == alerts(rules), (
        "without a silent case"
    )
