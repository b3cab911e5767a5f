"""Every role's argument specification and defaults agree."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import role_variables
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())


def load(role: str, name: str) -> dict[str, Any]:
    path = ROOT / "roles" / role / name
    return yaml.safe_load(path.read_text()) or {} if path.exists() else {}


def defaults(role: str) -> dict[str, Any]:
    return role_variables.defaults(ROOT / "roles" / role)


def options(role: str) -> dict[str, dict[str, Any]]:
    return load(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]


def wired() -> dict[str, str]:
    """The role variables whose defaults come from a variable of the whole system, and that variable."""
    pairs = ((name, re.match(r"{{ (miniweb_\w+) \| default\(", str(value))) for name, value in ROLE_DEFAULTS.items())
    return {name: found[1] for name, found in pairs if found}


ROLE_DEFAULTS = {name: value for role in ROLES if role != "miniweb" for name, value in defaults(role).items()}


@pytest.mark.parametrize("role", ROLES)
def test_defaults_are_equal(role: str) -> None:
    specified = {name: option["default"] for name, option in options(role).items() if "default" in option}
    found = defaults(role)
    if role == "miniweb":
        # Its options are what a user chooses; the rest wires the roles together.
        assert specified.keys() <= found.keys()
        found = {name: value for name, value in found.items() if name in specified}
    assert specified == found


def test_a_wired_default_of_a_role_comes_from_the_whole_system() -> None:
    system = defaults("miniweb")
    for name, source in wired().items():
        assert source in system
        assert source == f"miniweb_{name}" or source in options("miniweb"), name


def test_every_default_of_the_whole_system_is_an_option_or_used() -> None:
    checks = (ROOT / "roles" / "miniweb" / "meta" / "checks.yml").read_text()
    lookups = (ROOT / "plugins" / "plugin_utils" / "applications.py").read_text()
    tasks = (ROOT / "roles" / "miniweb" / "tasks" / "finish.yml").read_text()
    texts = [*map(str, ROLE_DEFAULTS.values()), *map(str, defaults("miniweb").values()), checks, lookups, tasks]
    for name in defaults("miniweb").keys() - options("miniweb").keys():
        assert any(re.search(rf"\b{name}\b", text) for text in texts), name


@pytest.mark.parametrize("role", ROLES)
def test_required_has_no_default(role: str) -> None:
    for name, option in options(role).items():
        assert not (option.get("required") and "default" in option), name


@pytest.mark.parametrize("role", ROLES)
def test_every_option_is_described_and_of_this_role(role: str) -> None:
    for name, option in options(role).items():
        assert name.startswith(f"{role}_")
        assert option["type"], name
        assert option["description"], name


@pytest.mark.parametrize("role", ROLES)
def test_private_variables_are_marked(role: str) -> None:
    assert [name for name in load(role, "vars/main.yml") if not name.startswith(f"__{role}_")] == []


@pytest.mark.parametrize("role", ROLES)
def test_entry_points(role: str) -> None:
    assert list(load(role, "meta/argument_specs.yml")["argument_specs"]) == ["main"]
