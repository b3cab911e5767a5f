"""The double of Grafana as a process on this machine, with its own provisioning and data."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml

PROGRAM = Path(__file__).parent / "grafana" / "grafana_double.py"
SOURCE = {"name": "Prometheus", "uid": "prometheus", "type": "prometheus", "url": "http://127.0.0.1:1"}
PASSWORD = "a password of the test"
PATIENCE_SECONDS = 30


class Instance:
    """Runs it, one run after another. It polls its dashboards so rarely that no test waits for it."""

    def __init__(self, directory: Path) -> None:
        self.datasources, self.dashboards = directory / "p/datasources", directory / "p/dashboards"
        self.contributions, self.data = directory / "contributions", directory / "data"
        for path in (self.datasources, self.dashboards, self.contributions, self.data):
            path.mkdir(parents=True)
        self.sources([SOURCE])
        self.providers([self.provider("own", self.dashboards), self.provider("contributions", self.contributions)])
        self.secret = directory / "password"
        self.log = directory / "log"
        self.secret.write_text(PASSWORD)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    def sources(self, sources: list[dict[str, Any]]) -> None:
        (self.datasources / "test.yml").write_text(yaml.safe_dump({"apiVersion": 1, "datasources": sources}))

    def providers(self, providers: list[dict[str, Any]]) -> None:
        (self.dashboards / "test.yml").write_text(yaml.safe_dump({"apiVersion": 1, "providers": providers}))

    @staticmethod
    def provider(name: str, path: Path, seconds: int = 3600) -> dict[str, Any]:
        return {"name": name, "type": "file", "updateIntervalSeconds": seconds, "options": {"path": str(path)}}

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM)],
            env={
                **os.environ,
                "GF_PATHS_PROVISIONING": str(self.datasources.parent),
                "GF_PATHS_DATA": str(self.data),
                "GF_SERVER_HTTP_PORT": str(self.port),
                "GF_SECURITY_ADMIN_PASSWORD__FILE": str(self.secret),
                **environment,
            },
            stderr=self.log.open("w"),
        )
        return self.process

    def run(self, **environment: str) -> None:
        process = self.start(**environment)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            try:
                self.get("/api/health")
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"It ended, or did not answer within {PATIENCE_SECONDS} s:\n{self.log.read_text()}")

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.end()

    def end(self) -> int:
        """Wait for it to end; return its exit code."""
        assert self.process
        try:
            return self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def refusal(self, **environment: str) -> str:
        self.start(**environment)
        assert self.end() != 0
        return self.log.read_text()

    def get(self, path: str, password: str | None = None) -> tuple[int, Any]:
        status, body = self.ask(path, password)
        return status, json.loads(body)

    def status(self, path: str, password: str | None = None) -> int:
        return self.ask(path, password)[0]

    def reload(self, password: str | None = PASSWORD) -> int:
        return self.ask("/api/admin/provisioning/dashboards/reload", password, "POST")[0]

    def ask(self, path: str, password: str | None, method: str = "GET") -> tuple[int, bytes]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        if password is not None:
            request.add_header("Authorization", "Basic " + base64.b64encode(f"admin:{password}".encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
