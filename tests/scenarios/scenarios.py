"""Run a molecule scenario."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# They share one container, the instance of the double of AWS.
ONE_AT_A_TIME = {path.parts[-3] for path in ROOT.glob("molecule/*/tests/*.py") if "hypervisor" in path.read_text()}
# The lines in which pytest and Ansible report a failure
TELLING = re.compile(r"\bE  +\S|\b(FAILED|ERROR)\b|fatal: |\bmsg: | (failed|passed) in ")
ALL = {path.parent.name for path in ROOT.glob("molecule/*/molecule.yml")}
# The tests that molecule runs, as `make soak` chooses them
SOAK = "MINIWEB_MARKS" in os.environ
# For `make soak` as a whole: a rare kind of server, and servers of an old version
LONG = {"docker_without_systemd", "takeover"}
WITH_LONG_TESTS = {path.parts[-3] for path in ROOT.glob("molecule/*/tests/*.py") if "mark.soak" in path.read_text()}
CHOSEN = LONG | WITH_LONG_TESTS if SOAK else ALL - LONG


def server() -> dict[str, str]:
    """The name and address of the test server, of which each of pytest's workers has its own."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return {"MINIWEB_TEST_SERVER": f"miniweb-test-{number}", "MINIWEB_TEST_ADDRESS": f"127.0.81.{number + 1}"}


def run(scenario: str) -> None:
    """Run `molecule test`; after a failure, repeat the telling lines, as the whole output is long."""
    with contextlib.ExitStack() as stack:
        if scenario in ONE_AT_A_TIME:
            lock = stack.enter_context((ROOT / ".sandbox" / "instances.lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        _run(scenario)


def _run(scenario: str) -> None:
    binaries = Path(sys.executable).parent
    environment = {**os.environ, **server(), "PATH": f"{binaries}:{os.environ['PATH']}"}
    command = [str(binaries / "molecule"), "test", "--scenario-name", scenario]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        told = []
        for line in process.stdout:
            print(line, end="")
            if TELLING.search(line):
                told.append(line)
    assert process.returncode == 0, f"molecule test -s {scenario} failed:\n{''.join(told[-60:])}"
