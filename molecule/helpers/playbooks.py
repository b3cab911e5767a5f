"""What becomes of the scenario's server when a playbook is run, and what the run says."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from helpers.server import ROOT, TEST_VARS

RunPlaybook = Callable[..., "subprocess.CompletedProcess[str]"]
Converge = Callable[..., "subprocess.CompletedProcess[str]"]
# The role's own, or Ansible's of the types
CHECK = re.compile(r"Check the input|Validating arguments against arg spec")
FAILED_TASK = re.compile(r"^TASK \[([^\]]*)\](?:(?!^TASK \[).)*?^fatal: ", re.MULTILINE | re.DOTALL)


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


@contextlib.contextmanager
def restoring(run: Converge) -> Iterator[Converge]:
    """A run with other variables and options; what it left otherwise is as it was afterwards."""
    left: list[tuple[str, ...]] = []

    def recorded(variables: dict[str, Any], *words: str) -> subprocess.CompletedProcess[str]:
        done = run(variables, *words)
        if variables:
            if not leaves_everything(done, words):
                left.append(words)
        elif done.returncode == 0:
            left[:] = [other for other in left if words and other != words]
        return done

    yield recorded
    if left:
        # Of the parts of the system, what one run left only that one's options reach.
        words = left[0] if len(set(left)) == 1 else ()
        assert run({}, *words).returncode == 0, "the scenario's own state could not be restored"


def leaves_everything(done: subprocess.CompletedProcess[str], words: tuple[str, ...]) -> bool:
    """Whether the run found nothing to change, only looked, or was refused at the check of its input."""
    if "--check" in words:
        return True
    return changes(done) == 0 and all(CHECK.search(task) for task in FAILED_TASK.findall(done.stdout))


def changes(done: subprocess.CompletedProcess[str]) -> int:
    """How many tasks changed something, on whatever host."""
    return sum(int(number) for number in re.findall(r"\bchanged=(\d+)", done.stdout.rpartition("PLAY RECAP")[2]))


def changed(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether a run, which must have succeeded, changed anything."""
    assert done.returncode == 0, done.stdout
    return changes(done) > 0


def converge_playbook() -> Path:
    """The playbook that brought the scenario's server to where it is."""
    own = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]) / "converge.yml"
    return own if own.exists() else ROOT / ".config" / "molecule" / "converge.yml"


def folded(text: str) -> str:
    """Ansible's output as a reader takes it in: line breaks, indentation and the escapes of quotes gone."""
    return " ".join(text.replace('\\"', '"').split())
