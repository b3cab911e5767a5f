"""Runs a role's prove.py as compose_service does on a server, where the double of a service has its container's address."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from docker_engine_double import install

# Answers as the engine would about the container that runs the double
DOCKER = """\
#!/bin/sh
case "$*" in
  "ps --quiet --filter label=com.docker.compose.project=miniweb-"*) echo 0a1b2c ;;
  "inspect --format "*" 0a1b2c") echo 127.0.0.1; echo 127.0.0.2 ;;
  *) exit 1 ;;
esac
"""


class ProveProgram:
    """The program of a role in a service's directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.docker = directory / "bin" / "docker"
        self.docker.parent.mkdir()
        self.engine(DOCKER)

    def engine(self, text: str) -> None:
        """Let `docker` be this script."""
        self.docker.write_text(text)
        self.docker.chmod(0o755)

    def run(self, role: str, port: int, *words: str) -> tuple[int, str]:
        """Run it; return its exit code and all that it prints."""
        program = install(role, "prove.py", self.directory, shared="service_proof.py")
        path = f"{self.docker.parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            [sys.executable, program, "--port", str(port), *words],
            cwd=self.directory,
            env={**os.environ, "PATH": path, "http_proxy": "http://x:1"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, (done.stdout + done.stderr).strip()
