"""Every molecule scenario, each a test of its own. The whole system comes last."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))
SCENARIOS.sort(key=lambda name: name == "default")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str) -> None:
    binaries = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}"}
    command = [str(binaries / "molecule"), "test", "--scenario-name", scenario]
    assert subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0
