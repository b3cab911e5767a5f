"""Runs a role's prove.py as compose_service does on a server, where the double of a service has its container's address."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from docker_engine_double import DockerEngine, Reply, install, serving

NETWORKS = {"none": {"IPAddress": ""}, "one": {"IPAddress": "127.0.0.1"}}


class OneProject(DockerEngine):
    """An engine that knows the containers of one project."""

    def __init__(self, path: Path, project: str, networks: list[dict[str, Any]]) -> None:
        super().__init__(path)
        self.filters = {"label": [f"com.docker.compose.project={project}"]}
        self.found = [{"NetworkSettings": {"Networks": one}} for one in networks]

    def reply_otherwise(self, method: str, words: list[str], query: dict[str, str]) -> Reply:
        assert (method, words, json.loads(query["filters"])) == ("GET", ["containers", "json"], self.filters)
        return 200, json.dumps(self.found)


class ProveProgram:
    """A service's directory on a server, with the networks of each container of the service."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.networks: list[dict[str, Any]] = [NETWORKS]

    def run(self, role: str, port: int, *words: str) -> tuple[int, str]:
        """Run the role's program; return its exit code and all that it prints."""
        socket = self.directory / "docker.sock"
        with serving(OneProject(socket, f"miniweb-{role}", self.networks)):
            result = self.run_alone(role, port, *words)
        socket.unlink()
        return result

    def run_alone(self, role: str, port: int, *words: str) -> tuple[int, str]:
        """Run it without an engine."""
        program = install(role, "prove.py", self.directory, "service_proof.py")
        done = subprocess.run(
            [sys.executable, program, "--port", str(port), "--socket", self.directory / "docker.sock", *words],
            cwd=self.directory,
            env={**os.environ, "http_proxy": "http://x:1"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, (done.stdout + done.stderr).strip()
