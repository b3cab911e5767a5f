"""A double of the `docker` program for tests of what is found on a server: its engine is a file, `state.json`."""

from __future__ import annotations

import sys
from pathlib import Path

# Every call ends here while `answers` in the file is false.
BEGINNING = """
import json, sys
from pathlib import Path

file = Path(__file__).parent / "state.json"
state, words = json.loads(file.read_text()), sys.argv[1:]
if not state["answers"]:
    sys.exit("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.")
kind = " ".join(words[:2])
"""


def install(path: Path, answers: str) -> Path:
    """Write the program to `programs` below a directory, beside whose `state.json` it is; return where programs are.

    :param answers: Python that answers `words`, of which `kind` is the first two, from `state`.
    """
    (path / "docker.py").write_text(BEGINNING + answers)
    program = path / "programs" / "docker"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -IS {path}/docker.py "$@"\n')
    program.chmod(0o755)
    return program.parent
