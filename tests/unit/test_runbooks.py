"""Every alert links to a runbook, and every runbook belongs to an alert."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import role_rules
import yaml
from role_variables import defaults

ROOT = Path(__file__).resolve().parents[2]
ROLES = role_rules.roles()
RUNBOOKS = sorted((ROOT / "roles").glob("*/runbooks/*.md"))
SECTIONS = ["What it means", "How to investigate", "What to do"]
ALL = sorted((ROOT / "roles").iterdir())
PREFIXES = tuple(f"{role.name}_" for role in ALL)
VARIABLES = {name for role in ALL for name in defaults(role)}
each_runbook = pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda runbook: runbook.stem)


def alerts() -> list[tuple[Path, str, dict[str, Any]]]:
    """Role, name and rule of every alert."""
    return [(role, name, rule) for role in ROLES for name, rule in role_rules.alerts(role).items()]


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert set(RUNBOOKS) == {role / f"runbooks/{name}.md" for role, name, dummy in alerts()}


def test_no_two_roles_have_an_alert_of_the_same_name() -> None:
    names = [name for _role, name, _rule in alerts()]
    assert len(set(names)) == len(names)


def test_alerts_lead_to_the_runbook_where_the_collection_is() -> None:
    repository = yaml.safe_load((ROOT / "galaxy.yml").read_text())["repository"]
    for role, name, alert in alerts():
        assert alert["annotations"]["runbook_url"] == f"{repository}/roles/{role.name}/runbooks/{name}.md"


def test_alerts_say_what_is_wrong_and_how_bad_it_is() -> None:
    for _role, name, alert in alerts():
        assert alert["labels"]["severity"] in {"critical", "warning", "none"}, name
        assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}, name
        assert len(alert["annotations"]["summary"]) <= 120, name


def test_alerts_say_what_they_explain() -> None:
    labels = {name: alert["labels"] for _role, name, alert in alerts()}
    assert {name for name, own in labels.items() if own.get("explains", "cause") not in {"instance", "cause"}} == set()
    explained = {own.get("cause") for own in labels.values() if own.get("explains") == "cause"}
    assert {own["cause"] for own in labels.values() if "cause" in own} == explained, "an alert explains each cause"


def test_an_application_shares_the_cause_that_it_is_given() -> None:
    role = ROOT / "roles/flask_app"
    given = [rule["labels"] for rule in role_rules.rules(role, flask_app_alert_cause="database") if "alert" in rule]
    assert {labels.get("cause") for labels in given} == {"database"}
    assert [name for name, alert in role_rules.alerts(role).items() if "cause" in alert["labels"]] == []


def test_rules_ask_for_their_own_job_only() -> None:
    asked = {role.name: set(re.findall(r'job(?:=|!=|=~|!~)"(.*?)"', role_rules.text(role))) for role in ROLES}
    assert asked == {role.name: {job["name"] for job in role_rules.jobs(role)} for role in ROLES}


@each_runbook
def test_runbooks_say_what_it_means_how_to_look_and_what_to_do(runbook: Path) -> None:
    text = runbook.read_text()
    assert text.startswith(f"# {runbook.stem}\n")
    title, *parts = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)
    assert parts[::2] == SECTIONS
    assert all(part.strip() for part in parts[1::2])
    assert "```promql\n" in text


@each_runbook
def test_links_of_runbooks_lead_somewhere(runbook: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", runbook.read_text()):
        assert (runbook.parent / link).is_file(), link


@each_runbook
def test_variables_in_runbooks_exist(runbook: Path) -> None:
    named = re.findall(r"`([a-z_]+)`", runbook.read_text())
    assert {name for name in named if name.startswith(PREFIXES)} - VARIABLES == set()
