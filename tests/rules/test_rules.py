"""The rules of each role, rendered with its defaults and judged by promtool from the Prometheus image.

A role's cases are its tests/rules.yml, which finds the rules beside it as rules.yml.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import role_rules
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = role_rules.roles()
each_role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


def image() -> str:
    """The image the sandbox runs, under the name by which this machine reaches it; otherwise the role's default."""
    sandbox = ROOT / "inventory/host_vars/sandbox/images.yml"
    images = yaml.safe_load(sandbox.read_text()) if sandbox.exists() else {}
    default = role_rules.defaults(ROOT / "roles/prometheus")["prometheus_image"]
    return str(images.get("prometheus_image", default)).replace("registry:5000/", "127.0.0.1:5055/", 1)


def promtool(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["docker", "run", "--rm", "--network=none", f"--user={os.getuid()}", f"--volume={directory}:/rules:ro"]
    return subprocess.run(
        [*command, "--workdir=/rules", "--entrypoint=/bin/promtool", image(), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def names(role: Path, kind: str) -> set[str]:
    """The names of a role's rules of a kind: alert or record."""
    return {rule[kind] for rule in role_rules.rules(role) if kind in rule}


def checks(role: Path, kind: str) -> list[dict[str, Any]]:
    """What the cases expect: of alerts in alert_rule_test, of recording rules in promql_expr_test."""
    tests = yaml.safe_load((role / "tests/rules.yml").read_text())["tests"]
    return [check for test in tests for check in test.get(kind, [])]


def test_promtool_accepts_the_rules(tmp_path: Path) -> None:
    for role in ROLES:
        (tmp_path / f"{role.name}.yml").write_text(role_rules.text(role))
    result = promtool(tmp_path, "check", "rules", *(f"{role.name}.yml" for role in ROLES))
    said = result.stdout + result.stderr
    assert result.returncode == 0, said
    for role in ROLES:
        found = len(names(role, "alert") | names(role, "record"))
        assert f"Checking {role.name}.yml\n  SUCCESS: {found} rules found" in said


@each_role
def test_the_rules_do_what_they_should(role: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(role_rules.text(role))
    shutil.copy(role / "tests/rules.yml", tmp_path / "cases.yml")
    result = promtool(tmp_path, "test", "rules", "cases.yml")
    assert result.returncode == 0, result.stdout + result.stderr


@each_role
def test_every_alert_has_a_firing_and_a_silent_case(role: Path) -> None:
    alerts, cases = names(role, "alert"), checks(role, "alert_rule_test")
    assert {check["alertname"] for check in cases if check.get("exp_alerts")} == alerts, "without a firing case"
    silent = {check["alertname"] for check in cases if not check.get("exp_alerts")}
    assert silent == alerts - {"Watchdog"}, "without a silent case; the Watchdog is never silent"


@each_role
def test_every_recording_rule_has_a_case(role: Path) -> None:
    cases = [check["expr"] for check in checks(role, "promql_expr_test") if check.get("exp_samples")]
    without = [name for name in sorted(names(role, "record")) if not any(name in expr for expr in cases)]
    assert not without, "without a case"


def test_each_application_has_the_rules_for_its_own_job() -> None:
    role = ROOT / "roles/flask_app"
    shop = role_rules.text(role, flask_app_name="shop")
    assert shop == role_rules.text(role).replace('job="app"', 'job="shop"')
    assert shop.count('job="shop"') >= len(role_rules.rules(role))
