"""Reads the variables of a role from its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def files(role: Path, kind: str) -> list[Path]:
    """The files of its defaults or vars: main.yml, or those in the directory main."""
    return sorted([*role.glob(f"{kind}/main.yml"), *role.glob(f"{kind}/main/*.yml")])


def defaults(role: Path) -> dict[str, Any]:
    """The role's defaults, with templates not evaluated."""
    found: dict[str, Any] = {}
    for path in files(role, "defaults"):
        found |= yaml.safe_load(path.read_text()) or {}
    return found
