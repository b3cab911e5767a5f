"""tools/setup prints a line, keeps what pip prints in a file, and begins again after a failure or an interruption."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SETUP = Path(__file__).resolve().parents[2] / "tools" / "setup"
BEGIN = "Making .venv from requirements-dev.txt, about a minute…\n"
# A Python whose virtual environments contain the pip of the test
PYTHON = """\
#!/bin/sh
case "$1 $2" in
    "-m venv") mkdir -p "$3/bin" && cp pip "$3/bin/pip" ;;
esac
"""
GOOD = "#!/bin/sh\necho Collecting everything\n"
BAD = "#!/bin/sh\necho 'ERROR: No matching distribution found for nothing==1' >&2\nexit 1\n"


def run(directory: Path, pip: str, python: str = "./python") -> subprocess.CompletedProcess[str]:
    for name, text in (("python", PYTHON), ("pip", pip)):
        (directory / name).write_text(text)
        (directory / name).chmod(0o755)
    environment = {**os.environ, "PYTHON": python}
    return subprocess.run([SETUP], cwd=directory, env=environment, capture_output=True, text=True, check=False)


def test_one_line_and_a_log(tmp_path: Path) -> None:
    done = run(tmp_path, GOOD)
    assert (done.returncode, done.stdout, done.stderr) == (0, BEGIN, "")
    assert (tmp_path / ".venv" / "setup.log").read_text() == "Collecting everything\n"
    assert (tmp_path / ".ansible" / "collections" / "ansible_collections" / "miniweb" / "stack").resolve() == tmp_path


@pytest.mark.parametrize("left", ["", "ready"])
def test_a_failure_names_reason_and_log(tmp_path: Path, left: str) -> None:
    if left:
        (tmp_path / ".venv").mkdir()
        (tmp_path / ".venv" / left).touch()
    done = run(tmp_path, BAD)
    assert (done.returncode, done.stdout) == (1, BEGIN)
    assert done.stderr == (
        "Installing requirements-dev.txt failed (No matching distribution found for nothing==1): see .venv/setup.log.\n"
    )
    assert not (tmp_path / ".venv" / "ready").exists()
    assert run(tmp_path, GOOD).returncode == 0
    assert (tmp_path / ".venv" / "ready").exists()


def test_a_missing_python_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, GOOD, python="./none")
    assert done.returncode == 1
    assert done.stderr == "./none cannot be found: install Python 3.11 or newer, or set PYTHON to one.\n"
