"""Runs this project's playbooks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sandbox.paths import ROOT


def succeeds(*words: str) -> bool:
    """Run ansible-playbook with these arguments and return whether it succeeded; its output goes to the terminal."""
    command = [str(Path(sys.executable).with_name("ansible-playbook")), *words]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "PYTHONUNBUFFERED": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0
