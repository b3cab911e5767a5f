"""Every alert leads to a runbook, and every runbook is found by an alert."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles/prometheus"
RUNBOOKS = sorted((ROOT / "docs/runbooks").glob("*.md"))
SECTIONS = ["What it means", "How to look", "What to do"]


def rules(**given: str) -> list[dict[str, Any]]:
    environment = jinja2.Environment(
        variable_start_string="<<", variable_end_string=">>", undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    template = environment.from_string((ROLE / "templates/rules.yml.j2").read_text())
    text = template.render(yaml.safe_load((ROLE / "defaults/main.yml").read_text()) | given)
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def alerts(**given: str) -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules(**given) if "alert" in rule}


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert {runbook.stem for runbook in RUNBOOKS} == set(alerts())


def test_alerts_lead_to_their_runbook() -> None:
    for name, alert in alerts(prometheus_runbook_url="https://docs.example.com/").items():
        assert alert["annotations"]["runbook_url"] == f"https://docs.example.com/{name}.md"


def test_runbooks_are_looked_for_where_the_collection_is() -> None:
    repository = yaml.safe_load((ROOT / "galaxy.yml").read_text())["repository"]
    for alert in alerts().values():
        assert alert["annotations"]["runbook_url"].startswith(f"{repository}/docs/runbooks/")


def test_alerts_say_what_is_wrong_and_how_bad_it_is() -> None:
    for name, alert in alerts().items():
        assert alert["labels"]["severity"] in {"critical", "warning", "none"}, name
        assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}, name
        assert len(alert["annotations"]["summary"]) <= 120, name


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda runbook: runbook.stem)
def test_runbooks_say_what_it_means_how_to_look_and_what_to_do(runbook: Path) -> None:
    text = runbook.read_text()
    assert text.startswith(f"# {runbook.stem}\n")
    title, *parts = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)
    assert parts[::2] == SECTIONS
    assert all(part.strip() for part in parts[1::2])
    assert "```promql\n" in text


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda runbook: runbook.stem)
def test_links_of_runbooks_lead_somewhere(runbook: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", runbook.read_text()):
        assert (runbook.parent / link).is_file(), link


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda runbook: runbook.stem)
def test_variables_in_runbooks_exist(runbook: Path) -> None:
    roles = {path.name for path in (ROOT / "roles").iterdir() if path.is_dir()}
    known = {name for role in roles for name in yaml.safe_load((ROOT / f"roles/{role}/defaults/main.yml").read_text())}
    named = set(re.findall(r"`([a-z_]+)`", runbook.read_text()))
    assert {name for name in named if name.startswith(tuple(f"{role}_" for role in roles))} - known == set()


def test_the_documentation_lists_every_alert_and_recording_rule() -> None:
    text = (ROOT / "docs/monitoring.md").read_text()
    listed = re.findall(r"^\| \[(\w+)\]\(runbooks/\1\.md\) \| (\w+) \|", text, flags=re.MULTILINE)
    assert dict(listed) == {name: alert["labels"]["severity"] for name, alert in alerts().items()}
    assert [rule["record"] for rule in rules() if "record" in rule and f"`{rule['record']}`" not in text] == []
