"""Generates the table of variables in every role's README.md, and the list of roles in the project's README.md."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
MARKER = "<!-- variables -->\n"
ROLES_BEGIN, ROLES_END = "<!-- roles -->\n", "<!-- end of roles -->\n"


def words(description: str | list[str]) -> str:
    """Convert a description to Markdown."""
    text = " ".join([description] if isinstance(description, str) else description)
    return re.sub(r"\b[VOCMU]\((.*?)\)", r"`\1`", text).replace("|", "\\|")


def default(option: dict[str, Any]) -> str:
    if option.get("required"):
        return "**required**"
    if "default" not in option:
        return ""
    value = option["default"]
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return f"`{text}`".replace("|", "\\|")


def table(options: dict[str, dict[str, Any]]) -> str:
    """The variables as a Markdown table."""
    rows = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for name, option in options.items():
        rows.append(f"| `{name}` | {default(option)} | {words(option['description'])} |")
        for key, item in (option.get("options") or {}).items():
            rows.append(f"| `{name}[].{key}` | {default(item)} | {words(item['description'])} |")
    return "\n".join(rows) + "\n"


def rendered(role: Path) -> str:
    """The README of a role with a current table; everything after the marker is replaced."""
    specification = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())
    head, marker, dummy = (role / "README.md").read_text().partition(MARKER)
    if not marker:
        raise SystemExit(f"{role / 'README.md'} has no line {MARKER.strip()}: add it where the table belongs.")
    return f"{head}{MARKER}\n{table(specification['argument_specs']['main']['options'])}"


def roles() -> list[Path]:
    return sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())


def rendered_list() -> str:
    """The project's README with a current list of roles."""
    head, begin, rest = (ROOT / "README.md").read_text().partition(ROLES_BEGIN)
    dummy, end, tail = rest.partition(ROLES_END)
    if not (begin and end):
        raise SystemExit(f"README.md has no lines {ROLES_BEGIN.strip()} and {ROLES_END.strip()}: add them.")
    rows = ["| role | what it is |", "| --- | --- |"]
    for role in roles():
        about = yaml.safe_load((role / "meta" / "main.yml").read_text())["galaxy_info"]["description"]
        rows.append(f"| [{role.name}](roles/{role.name}/README.md) | {about} |")
    return head + begin + "\n".join(rows) + "\n" + end + tail


if __name__ == "__main__":
    (ROOT / "README.md").write_text(rendered_list())
    for role in roles():
        (role / "README.md").write_text(rendered(role))
