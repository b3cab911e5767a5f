"""The variables of a role as its files define them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def files(role: Path, kind: str) -> list[Path]:
    """The files of its defaults or vars: main.yml, or those of the directory main."""
    return sorted([*role.glob(f"{kind}/main.yml"), *role.glob(f"{kind}/main/*.yml")])


def defaults(role: Path) -> dict[str, Any]:
    """What its variables are unless set, with templates as they are written."""
    found: dict[str, Any] = {}
    for path in files(role, "defaults"):
        found |= yaml.safe_load(path.read_text()) or {}
    return found
