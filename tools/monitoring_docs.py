"""Generates the section of docs/monitoring.md about each service from its role: jobs, alerts and recording rules."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import role_rules
from role_templates import ROLES, ROOT
from role_variables import defaults

PAGE = ROOT / "docs/monitoring.md"
MARKER = "<!-- services -->\n"


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def meaning(runbook: str) -> str:
    """The first sentence of a runbook's section "What it means"."""
    section = runbook.split("## What it means\n", 1)[1].split("\n## ", 1)[0]
    words = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", " ".join(section.split()))
    return re.split(r"(?<=[.!?]) (?=[A-Z`])", words)[0].rstrip(".")


def alerts(role: Path) -> list[str]:
    """The alerts of the role as a Markdown table."""
    rows = ["| alert | severity | meaning | thresholds |", "| --- | --- | --- | --- |"]
    values, thresholds = defaults(role), role_rules.thresholds(role)
    for name, alert in role_rules.alerts(role).items():
        link = f"[{name}](../roles/{role.name}/runbooks/{name}.md)"
        said = cell(meaning((role / f"runbooks/{name}.md").read_text()))
        variables = ", ".join(cell(f"`{variable}: {values[variable]}`") for variable in thresholds[name])
        rows.append(f"| {link} | {alert['labels']['severity']} | {said} | {variables} |")
    return rows if len(rows) > 2 else []


def recordings(role: Path) -> list[str]:
    """The recording rules of the role as a Markdown table."""
    meanings = role_rules.meanings(role)
    names = [rule["record"] for rule in role_rules.rules(role) if "record" in rule]
    rows = [f"| `{name}` | {cell(meanings[name])} |" for name in names]
    return ["| recording rule | meaning |", "| --- | --- |", *rows] if rows else []


def section(role: Path) -> str:
    """The section about a role; empty if it has neither jobs nor rules."""
    has_rules = (role / role_rules.TEMPLATE).is_file()
    parts = [[f"Job `{job['name']}`: {job['what']}. Metrics: {job['metrics']}."] for job in role_rules.jobs(role)]
    if has_rules:
        parts += [alerts(role), recordings(role)]
    parts = [part for part in parts if part]
    if not parts:
        return ""
    title = f"### [{role.name}](../roles/{role.name}/README.md)"
    return "\n\n".join([title, *("\n".join(part) for part in parts)]) + "\n"


def rendered() -> str:
    """The page with current tables; everything after the marker is replaced."""
    head, marker, dummy = PAGE.read_text().partition(MARKER)
    if not marker:
        raise SystemExit(f"{PAGE} has no line {MARKER.strip()}: add it where the services belong.")
    sections: list[Any] = [section(role) for role in sorted(ROLES.iterdir()) if role.is_dir()]
    return "\n".join([f"{head}{MARKER}", *filter(None, sections)])


if __name__ == "__main__":
    PAGE.write_text(rendered())
