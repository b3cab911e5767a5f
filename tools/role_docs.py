"""The table of variables in every role's README.md, made of its argument specification."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
MARKER = "<!-- variables -->\n"


def words(description: str | list[str]) -> str:
    """A description in Markdown."""
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
    """The README of a role with today's table; what follows the marker is replaced."""
    specification = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())
    head, marker, dummy = (role / "README.md").read_text().partition(MARKER)
    if not marker:
        raise SystemExit(f"{role / 'README.md'} has no line {MARKER.strip()}: add it where the variables shall stand.")
    return f"{head}{MARKER}\n{table(specification['argument_specs']['main']['options'])}"


def roles() -> list[Path]:
    return sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())


if __name__ == "__main__":
    for role in roles():
        (role / "README.md").write_text(rendered(role))
