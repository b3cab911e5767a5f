"""The lookup rules: a role's rules for Prometheus, whose alerts lead to their runbooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import lookup_loader
from ansible.template import Templar, trust_as_template
from ansible_collections.miniweb.stack.plugins.lookup import rules as plugin

ADDRESS = "https://docs.example.com/roles/mysql/runbooks/"
TEMPLATE = """\
{% set job = 'job="mysql"' %}
groups:
  - name: mysql
    rules:
      - record: instance:mysql:up
        expr: mysql_up{<< job >>}
      # Nobody reads this.
      - alert: MysqlDown
        expr: instance:mysql:up == 0
        for: << mysql_alert_down_for >>
        annotations:
          summary: "{{ $labels.instance }}: no answer – for {{ printf \\"%.0f\\" $value }} s"
      - alert: MysqlSilent
        expr: absent(mysql_up)
"""


def test_alerts_get_the_address_of_their_runbook_and_nothing_else_changes() -> None:
    text = TEMPLATE.split("\n", 1)[1]
    given, made = yaml.safe_load(text), plugin.with_runbooks(yaml.safe_load(text), ADDRESS)
    record, down, silent = given["groups"][0]["rules"]
    assert made["groups"][0]["name"] == "mysql"
    assert made["groups"][0]["rules"] == [
        record,
        {**down, "annotations": {**down["annotations"], "runbook_url": f"{ADDRESS}MysqlDown.md"}},
        {**silent, "annotations": {"runbook_url": f"{ADDRESS}MysqlSilent.md"}},
    ]


def test_the_order_of_the_keys_stays() -> None:
    rules = yaml.safe_load("groups: [{name: a, rules: [{alert: Z, expr: up, annotations: {s: é}}]}]")
    text = plugin.text_of(plugin.with_runbooks(rules, "a/"))
    assert (
        " ".join(text.split()) == "groups: - name: a rules: - alert: Z expr: up annotations: s: é runbook_url: a/Z.md"
    )


def look_up(directory: Path, **variables: Any) -> list[dict[str, Any]]:
    (directory / "templates").mkdir(exist_ok=True)
    (directory / "templates" / "rules.yml.j2").write_text(TEMPLATE)
    loader = DataLoader()
    given = {"ansible_search_path": [str(directory)], "mysql_alert_down_for": "2m", **variables}
    lookup = lookup_loader.get("miniweb.stack.rules", loader=loader, templar=Templar(loader, variables=given))
    (text,) = lookup.run(["rules.yml.j2"], variables=given)
    rules: list[dict[str, Any]] = yaml.safe_load(text)["groups"][0]["rules"]
    return rules


@pytest.mark.parametrize("name", ["mysql", "miniweb.stack.mysql"])
def test_the_role_and_its_variables_are_those_of_the_caller(tmp_path: Path, name: str) -> None:
    record, down, dummy = look_up(tmp_path, ansible_role_name=name)
    assert record["expr"] == 'mysql_up{job="mysql"}'
    assert down["for"] == "2m"
    assert down["annotations"]["summary"].startswith("{{ $labels.instance }}: ")
    assert down["annotations"]["runbook_url"] == (
        "https://git.example.org/miniweb/stack/roles/mysql/runbooks/MysqlDown.md"
    )


def test_the_runbooks_may_be_elsewhere(tmp_path: Path) -> None:
    address = trust_as_template("https://{{ wiki }}/")
    dummy, down, dummy = look_up(
        tmp_path, ansible_role_name="mysql", miniweb_runbook_url=address, wiki="wiki.example.com"
    )
    assert down["annotations"]["runbook_url"] == "https://wiki.example.com/mysql/runbooks/MysqlDown.md"


@pytest.mark.parametrize("address", ["", "ftp://a/", "https://a/b", "https://a b/"])
def test_a_wrong_address_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(AnsibleError, match=rf'^miniweb_runbook_url is "{address}": set it to an address'):
        look_up(tmp_path, ansible_role_name="mysql", miniweb_runbook_url=address)


def test_it_needs_a_role(tmp_path: Path) -> None:
    with pytest.raises(AnsibleError, match="outside a role"):
        look_up(tmp_path)


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        ({"static_configs": [{"targets": ["a:1"]}]}, True),
        ({"static_configs": [{"targets": []}, {"targets": ["a:1"]}]}, True),
        ({"dns_sd_configs": [{"names": ["a"]}]}, True),
        ({"static_configs": []}, False),
        ({"static_configs": [{"targets": []}]}, False),
        ({"file_sd_configs": []}, False),
        ({}, False),
    ],
)
def test_jobs_that_should_have_targets_are_recorded(job: dict[str, Any], expected: bool) -> None:
    jobs = [{"job_name": "shop", **job}]
    groups = plugin.with_jobs({"groups": [{"name": "a", "rules": []}]}, jobs, "www")["groups"]
    labels = {"job": "shop", "instance": "www"}
    recorded = {"record": "scrape_job_expected", "expr": "vector(1)", "labels": labels}
    assert groups[1:] == ([{"name": "jobs", "rules": [recorded]}] if expected else [])


def test_jobs_may_come_without_other_rules() -> None:
    loader = DataLoader()
    given = {"ansible_role_name": "shop", "inventory_hostname": "www"}
    lookup = lookup_loader.get("miniweb.stack.rules", loader=loader, templar=Templar(loader, variables=given))
    jobs = [{"job_name": "shop", "static_configs": [{"targets": ["a:1"]}]}]
    (text,) = lookup.run([], variables=given, jobs=jobs)
    (group,) = yaml.safe_load(text)["groups"]
    assert [rule["labels"]["job"] for rule in group["rules"]] == ["shop"]
