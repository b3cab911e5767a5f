"""The rules of the roles, as the lookup miniweb.stack.rules makes them of roles/<role>/templates/rules.yml.j2."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import jinja2
import yaml

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = "templates/rules.yml.j2"


def _lookup() -> Any:
    specification = importlib.util.spec_from_file_location("rules", ROOT / "plugins/lookup/rules.py")
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


LOOKUP = _lookup()
RUNBOOK_URL = yaml.safe_load(LOOKUP.DOCUMENTATION)["options"]["runbook_url"]["default"]


def roles() -> list[Path]:
    """The roles that have rules."""
    return sorted(path.parents[1] for path in (ROOT / "roles").glob(f"*/{TEMPLATE}"))


def defaults(role: Path) -> dict[str, Any]:
    """What the role's variables are unless set."""
    values: dict[str, Any] = yaml.safe_load((role / "defaults/main.yml").read_text())
    return values


def text(role: Path, **given: Any) -> str:
    """The rules of a role as YAML text, with the role's defaults but for the variables given."""
    environment = jinja2.Environment(
        variable_start_string="<<",
        variable_end_string=">>",
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.from_string((role / TEMPLATE).read_text())
    rendered: str = LOOKUP.with_runbooks(template.render(defaults(role) | given), f"{RUNBOOK_URL}{role.name}/runbooks/")
    return rendered


def rules(role: Path, **given: Any) -> list[dict[str, Any]]:
    """The rules of a role, one after the other."""
    return [rule for group in yaml.safe_load(text(role, **given))["groups"] for rule in group["rules"]]


def alerts(role: Path) -> dict[str, dict[str, Any]]:
    """The alerts of a role by name."""
    return {rule["alert"]: rule for rule in rules(role) if "alert" in rule}


def thresholds(role: Path) -> dict[str, list[str]]:
    """The variables <role>_alert_* of each alert, in the order in which it asks them."""
    marks = {name: f"<{name}>" for name in defaults(role) if name.startswith(f"{role.name}_alert_")}
    return {
        rule["alert"]: list(
            dict.fromkeys(re.findall(rf"<({role.name}_alert_\w+)>", f"{rule['expr']} {rule.get('for', '')}"))
        )
        for rule in rules(role, **marks)
        if "alert" in rule
    }


def meanings(role: Path) -> dict[str, str]:
    """What each recording rule says: the comment above it."""
    found = re.findall(r"((?:^ *# .*\n)+) *- record: (\S+)", (role / TEMPLATE).read_text(), flags=re.MULTILINE)
    return {name: " ".join(line.strip().removeprefix("# ") for line in comment.splitlines()) for comment, name in found}
