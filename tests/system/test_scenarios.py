"""Every molecule scenario, each a test of its own. The whole system comes last.

Those with containers share addresses and images: one after the other, beside everything that needs none.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))
SCENARIOS.sort(key=lambda name: name == "default")


GROUPS = {"ec2": "aws"}


def scenarios() -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.xdist_group(GROUPS.get(name, "containers"))) for name in SCENARIOS]


@pytest.mark.parametrize("scenario", scenarios())
def test_scenario(scenario: str) -> None:
    binaries = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}"}
    command = [str(binaries / "molecule"), "test", "--scenario-name", scenario]
    assert subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0
