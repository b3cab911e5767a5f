"""Ansible's part: a playbook of this project."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sandbox.paths import ROOT


def succeeds(*words: str) -> bool:
    """Whether ansible-playbook with these words does; it shows itself what it does."""
    command = [str(Path(sys.executable).with_name("ansible-playbook")), *words]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "PYTHONUNBUFFERED": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0
