"""The roles' scrape jobs for Prometheus, and their rules as rendered by the lookup miniweb.stack.rules."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import yaml
from role_templates import ROLES, worked_out
from role_variables import defaults

TEMPLATE = "templates/rules.yml.j2"


def roles() -> list[Path]:
    """The roles that have rules."""
    return sorted(path.parents[1] for path in ROLES.glob(f"*/{TEMPLATE}"))


def jobs(role: Path) -> list[dict[str, Any]]:
    """The scrape jobs of the role's services from its meta/service.yml, under their default names."""
    path = role / "meta/service.yml"
    found = yaml.safe_load(path.read_text()).get("jobs", []) if path.is_file() else []
    return [{**job, "name": worked_out(role, job["name"])} for job in found]


@functools.cache
def text(role: Path, **given: Any) -> str:
    """The rules of a role as YAML text, with the role's defaults except for the variables given."""
    return str(worked_out(role, "{{ lookup('miniweb.stack.rules', 'rules.yml.j2') }}", **given))


def rules(role: Path, **given: Any) -> list[dict[str, Any]]:
    """The rules of a role, from all groups."""
    return [rule for group in yaml.safe_load(text(role, **given))["groups"] for rule in group["rules"]]


def alerts(role: Path) -> dict[str, dict[str, Any]]:
    """The alerts of a role by name."""
    return {rule["alert"]: rule for rule in rules(role) if "alert" in rule}


def thresholds(role: Path) -> dict[str, list[str]]:
    """The variables <role>_alert_* of each alert, in the order in which it uses them."""
    marks = {name: f"<{name}>" for name in defaults(role) if name.startswith(f"{role.name}_alert_")}
    return {
        rule["alert"]: list(
            dict.fromkeys(re.findall(rf"<({role.name}_alert_\w+)>", f"{rule['expr']} {rule.get('for', '')}"))
        )
        for rule in rules(role, **marks)
        if "alert" in rule
    }


def meanings(role: Path) -> dict[str, str]:
    """What each recording rule means: the comment above it."""
    found = re.findall(r"((?:^ *# .*\n)+) *- record: (\S+)", (role / TEMPLATE).read_text(), flags=re.MULTILINE)
    return {name: " ".join(line.strip().removeprefix("# ") for line in comment.splitlines()) for comment, name in found}
