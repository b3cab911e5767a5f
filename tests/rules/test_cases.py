"""Every rule has its cases, which promtool runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import role_rules
import yaml
from role_templates import ROLES

each_role = pytest.mark.parametrize("role", role_rules.roles(), ids=lambda role: role.name)


def names(role: Path, kind: str) -> set[str]:
    """The names of a role's rules of a kind: alert or record."""
    return {rule[kind] for rule in role_rules.rules(role) if kind in rule}


def checks(role: Path, kind: str) -> list[dict[str, Any]]:
    """What the cases expect: of alerts in alert_rule_test, of recording rules in promql_expr_test."""
    tests = yaml.safe_load((role / "tests/rules.yml").read_text())["tests"]
    return [check for test in tests for check in test.get(kind, [])]


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
    role = ROLES / "flask_app"
    shop = role_rules.text(role, flask_app_name="shop")
    assert shop == role_rules.text(role).replace('job="app"', 'job="shop"')
    assert shop.count('job="shop"') >= len(role_rules.rules(role))
