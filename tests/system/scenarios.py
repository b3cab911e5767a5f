"""What runs a molecule scenario."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# These need no container.
ALONE = {"ec2"}
ALL = {path.parent.name for path in ROOT.glob("molecule/*/molecule.yml")}


def passes(scenario: str) -> bool:
    binaries = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}"}
    command = [str(binaries / "molecule"), "test", "--scenario-name", scenario]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0
