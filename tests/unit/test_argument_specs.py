"""Every role's specification and its defaults say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())


# The variables of the role that wires the whole system are the whole system's.
PREFIXES = {"site": ("site_", "miniweb_")}


def load(role: str, name: str) -> dict[str, Any]:
    path = ROOT / "roles" / role / name
    return yaml.safe_load(path.read_text()) or {} if path.exists() else {}


def options(role: str) -> dict[str, dict[str, Any]]:
    return load(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]


@pytest.mark.parametrize("role", ROLES)
def test_defaults_are_equal(role: str) -> None:
    specified = {name: option["default"] for name, option in options(role).items() if "default" in option}
    assert specified == load(role, "defaults/main.yml")


@pytest.mark.parametrize("role", ROLES)
def test_required_has_no_default(role: str) -> None:
    for name, option in options(role).items():
        assert not (option.get("required") and "default" in option), name


@pytest.mark.parametrize("role", ROLES)
def test_every_option_is_described_and_of_this_role(role: str) -> None:
    for name, option in options(role).items():
        assert name.startswith(PREFIXES.get(role, f"{role}_"))
        assert option["type"], name
        assert option["description"], name


@pytest.mark.parametrize("role", ROLES)
def test_private_variables_are_marked(role: str) -> None:
    assert [name for name in load(role, "vars/main.yml") if not name.startswith(f"__{role}_")] == []


@pytest.mark.parametrize("role", ROLES)
def test_entry_points(role: str) -> None:
    specs = load(role, "meta/argument_specs.yml")["argument_specs"]
    if role == "ec2":
        assert specs["check"] == specs["main"]
    else:
        assert list(specs) == ["main"]
