"""What becomes of the scenario's server when a playbook is run, and what the run says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.server import ROOT, TEST_VARS

RunPlaybook = Callable[..., "subprocess.CompletedProcess[str]"]
Converge = Callable[..., "subprocess.CompletedProcess[str]"]


def run_playbook(playbook: Path, variables: dict[str, Any], *words: str) -> subprocess.CompletedProcess[str]:
    """Run a playbook against the scenario's server; later variables win over the scenario's."""
    with started_playbook(playbook, variables, *words) as process:
        out, err = process.communicate()
    print(out[-6000:], err[-2000:])
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def started_playbook(playbook: Path, variables: dict[str, Any], *words: str) -> subprocess.Popen[str]:
    command = [str(Path(sys.executable).with_name("ansible-playbook")), str(playbook)]
    command += ["--inventory", os.environ["MOLECULE_INVENTORY_FILE"]]
    command += ["--extra-vars", f"@{TEST_VARS}", "--extra-vars", json.dumps(variables), *words]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
    environment.pop("ANSIBLE_FORCE_COLOR", None)
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    )


def converge_playbook() -> Path:
    """The playbook that brought the scenario's server to where it is."""
    own = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]) / "converge.yml"
    return own if own.exists() else ROOT / ".config" / "molecule" / "converge.yml"


def folded(text: str) -> str:
    """Ansible's output as a reader takes it in: line breaks, indentation and the escapes of quotes gone."""
    return " ".join(text.replace('\\"', '"').split())
