"""Where the scenario's server is, and what variables it was given."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from role_variables import defaults

ROOT = Path(__file__).resolve().parents[2]
# tests/scenarios gives each of its workers its own server.
ADDRESS = os.environ.get("MINIWEB_TEST_ADDRESS", "127.0.80.2")
SERVER = os.environ.get("MINIWEB_TEST_SERVER", "miniweb-test")
TEST_VARS = ROOT / ".sandbox" / "test_vars.yml"


def default_of(role: str, variable: str) -> Any:
    """The value a variable has in these tests: the sandbox's own, or else the role's default."""
    return yaml.safe_load(TEST_VARS.read_text()).get(variable, defaults(ROOT / "roles" / role)[variable])
