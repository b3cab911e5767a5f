"""docs/monitoring.md describes what the roles currently contribute."""

from __future__ import annotations

from pathlib import Path

import monitoring_docs
import pytest
import role_rules

RUNBOOK = """\
# A

## What it means

More than `a_alert_b` of
[MySQL](MysqlDown.md) 8.4 is `a|b`. Then it ends.

## How to investigate
"""


def test_the_page_is_current() -> None:
    assert monitoring_docs.PAGE.read_text() == monitoring_docs.rendered(), "run: make docs"


def test_the_meaning_is_the_first_sentence() -> None:
    assert monitoring_docs.meaning(RUNBOOK) == "More than `a_alert_b` of MySQL 8.4 is `a|b`"


@pytest.mark.parametrize("role", role_rules.roles(), ids=lambda role: role.name)
def test_every_recording_rule_has_a_comment_that_says_what_it_is(role: Path) -> None:
    recorded = {rule["record"] for rule in role_rules.rules(role) if "record" in rule}
    assert set(role_rules.meanings(role)) == recorded


def role_of(directory: Path, rules: str) -> Path:
    role = directory / "shop"
    for name, text in {
        "templates/rules.yml.j2": rules,
        "defaults/main.yml": "shop_name: shop\nshop_alert_percent: 5\nshop_alert_for: 1m\n",
        "meta/service.yml": 'services: [shop]\njobs: [{name: "{{ shop_name }}", what: the shop, metrics: "`shop_*`"}]\n',
        "runbooks/ShopClosed.md": RUNBOOK,
    }.items():
        (role / name).parent.mkdir(parents=True, exist_ok=True)
        (role / name).write_text(text)
    return role


def test_a_service_with_its_job_alerts_and_recording_rules(tmp_path: Path) -> None:
    rules = """\
groups:
  - name: shop
    rules:
      # Share of what was sold
      - record: instance:shop:ratio
        expr: shop_sold / shop_all
      - alert: ShopClosed
        expr: 100 * instance:shop:ratio < << shop_alert_percent >>
        for: << shop_alert_for >>
        labels: {severity: critical}
"""
    assert monitoring_docs.section(role_of(tmp_path, rules)) == (
        "### [shop](../roles/shop/README.md)\n\n"
        "Job `shop`: the shop. Metrics: `shop_*`.\n\n"
        "| alert | severity | meaning | thresholds |\n| --- | --- | --- | --- |\n"
        "| [ShopClosed](../roles/shop/runbooks/ShopClosed.md) | critical |"
        " More than `a_alert_b` of MySQL 8.4 is `a\\|b` | `shop_alert_percent: 5`, `shop_alert_for: 1m` |\n\n"
        "| recording rule | meaning |\n| --- | --- |\n| `instance:shop:ratio` | Share of what was sold |\n"
    )


def test_a_role_without_anything_for_prometheus(tmp_path: Path) -> None:
    (tmp_path / "docker" / "meta").mkdir(parents=True)
    assert monitoring_docs.section(tmp_path / "docker") == ""
