"""The double keeps the contract of Grafana's image, and refuses what it should refuse."""

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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

HERE = Path(__file__).parent
DASHBOARDS = HERE.parents[2] / "roles/grafana/files/dashboards"
DASHBOARD = DASHBOARDS / "servers.json"
SOURCE = {"name": "Prometheus", "uid": "prometheus", "type": "prometheus", "url": "http://127.0.0.1:1"}
PASSWORD = "a password of the test"


class Instance:
    """One run of the double with its own provisioning and data."""

    def __init__(self, directory: Path) -> None:
        self.datasources, self.dashboards = directory / "p/datasources", directory / "p/dashboards"
        self.data = directory / "data"
        for path in (self.datasources, self.dashboards, self.data):
            path.mkdir(parents=True)
        self.sources([SOURCE])
        self.providers([{"name": "test", "type": "file", "options": {"path": str(self.dashboards)}}])
        (self.dashboards / "servers.json").write_text(DASHBOARD.read_text())
        self.secret = directory / "password"
        self.secret.write_text(PASSWORD)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process: subprocess.Popen[str] | None = None

    def sources(self, sources: list[dict[str, Any]]) -> None:
        (self.datasources / "test.yml").write_text(yaml.safe_dump({"apiVersion": 1, "datasources": sources}))

    def providers(self, providers: list[dict[str, Any]]) -> None:
        (self.dashboards / "test.yml").write_text(yaml.safe_dump({"apiVersion": 1, "providers": providers}))

    def start(self, **environment: str) -> subprocess.Popen[str]:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "grafana_double.py")],
            env={
                **os.environ,
                "GF_PATHS_PROVISIONING": str(self.datasources.parent),
                "GF_PATHS_DATA": str(self.data),
                "GF_SERVER_HTTP_PORT": str(self.port),
                "GF_SECURITY_ADMIN_PASSWORD__FILE": str(self.secret),
                **environment,
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        return self.process

    def run(self, **environment: str) -> None:
        process = self.start(**environment)
        while process.poll() is None:
            try:
                self.get("/api/health")
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(process.communicate()[1])

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.communicate()

    def refusal(self, **environment: str) -> str:
        process = self.start(**environment)
        dummy, log = process.communicate(timeout=30)
        assert process.returncode != 0
        return log

    def get(self, path: str, password: str | None = None) -> tuple[int, Any]:
        status, body = self.ask(path, password)
        return status, json.loads(body)

    def status(self, path: str, password: str | None = None) -> int:
        return self.ask(path, password)[0]

    def ask(self, path: str, password: str | None) -> tuple[int, bytes]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        if password is not None:
            request.add_header("Authorization", "Basic " + base64.b64encode(f"admin:{password}".encode()).decode())
        try:
            with urllib.request.urlopen(request) as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


@pytest.fixture
def grafana(tmp_path: Path) -> Iterator[Instance]:
    instance = Instance(tmp_path)
    yield instance
    instance.stop()


def test_it_serves_what_is_provisioned(grafana: Instance) -> None:
    grafana.run()
    assert grafana.get("/api/health")[1]["database"] == "ok"
    assert grafana.get("/api/org")[0] == 401
    assert grafana.get("/api/org", "wrong")[0] == 401
    assert grafana.get("/api/org", PASSWORD) == (200, {"id": 1, "name": "Main Org."})
    assert grafana.get("/api/datasources/uid/prometheus", PASSWORD)[1]["url"] == SOURCE["url"]
    assert grafana.get("/api/datasources/uid/prometheus/health", PASSWORD)[0] == 400
    assert [found["uid"] for found in grafana.get("/api/search?query=hos", PASSWORD)[1]] == ["miniweb-servers"]
    status, found = grafana.get("/api/dashboards/uid/miniweb-servers", PASSWORD)
    assert (status, found["dashboard"]) == (200, json.loads(DASHBOARD.read_text()))
    assert grafana.get("/api/dashboards/uid/none", PASSWORD)[0] == 404


def test_it_takes_every_dashboard_of_the_role(grafana: Instance) -> None:
    files = sorted(DASHBOARDS.glob("*.json"))
    for file in files:
        (grafana.dashboards / file.name).write_text(file.read_text())
    grafana.run(GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH=str(DASHBOARDS / "overview.json"))
    assert len(grafana.get("/api/search", PASSWORD)[1]) == len(files)
    assert grafana.get("/api/dashboards/home", PASSWORD)[1]["dashboard"]["uid"] == "miniweb-overview"


def test_its_measurements_may_be_off_or_need_a_password(grafana: Instance) -> None:
    grafana.run()
    assert grafana.status("/metrics") == 200
    grafana.stop()
    grafana.run(GF_METRICS_ENABLED="false")
    assert grafana.status("/metrics") == 401
    grafana.stop()
    grafana.run(GF_METRICS_BASIC_AUTH_USERNAME="admin", GF_METRICS_BASIC_AUTH_PASSWORD="measured")
    assert grafana.status("/metrics") == 401
    assert grafana.status("/metrics", PASSWORD) == 401
    assert grafana.status("/metrics", "measured") == 200


def test_the_first_password_stays(grafana: Instance) -> None:
    grafana.run()
    grafana.stop()
    grafana.secret.write_text("another password")
    grafana.run()
    assert grafana.get("/api/org", "another password")[0] == 401
    assert grafana.get("/api/org", PASSWORD)[0] == 200


def test_a_changed_dashboard_is_taken_and_a_broken_one_is_not(grafana: Instance) -> None:
    grafana.run()
    changed = json.loads(DASHBOARD.read_text()) | {"title": "Changed"}
    (grafana.dashboards / "servers.json").write_text(json.dumps(changed))
    assert grafana.get("/api/dashboards/uid/miniweb-servers", PASSWORD)[1]["dashboard"]["title"] == "Changed"
    (grafana.dashboards / "servers.json").write_text("{")
    assert grafana.get("/api/dashboards/uid/miniweb-servers", PASSWORD)[1]["dashboard"]["title"] == "Changed"


def test_it_refuses_broken_yaml(grafana: Instance) -> None:
    (grafana.datasources / "test.yml").write_text("datasources: [")
    assert "test.yml" in grafana.refusal()


@pytest.mark.parametrize(
    ("sources", "reason"),
    [
        ([SOURCE, SOURCE | {"name": "Other"}], "used twice"),
        ([SOURCE | {"isDefault": True}, SOURCE | {"name": "b", "uid": "b", "isDefault": True}], "marked as default"),
        ([SOURCE | {"isDefault": "yes"}], "isDefault is unknown or has the wrong type"),
        ([SOURCE | {"Url": "http://x"}], "Url is unknown"),
        ([SOURCE | {"type": "prometeus"}], "unknown type"),
        ([SOURCE | {"uid": "other"}], "datasource 'prometheus' was not found"),
    ],
)
def test_it_refuses_wrong_data_sources(grafana: Instance, sources: list[dict[str, Any]], reason: str) -> None:
    grafana.sources(sources)
    assert reason in grafana.refusal()


def test_it_refuses_a_missing_directory(grafana: Instance) -> None:
    grafana.providers([{"name": "test", "type": "file", "options": {"path": "/nowhere"}}])
    assert "cannot read directory" in grafana.refusal()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "failed to load dashboard"),
        ('{"uid": "a"}', "title cannot be empty"),
        ('{"uid": "miniweb-servers", "title": "Twice"}', "used more than once"),
        ('{"uid": "a", "title": "Host"}', "not unique in folder"),
        ('{"uid": "a", "title": "A", "panels": [{"type": "worldmap"}]}', "unknown panel type"),
        ('{"uid": "a", "title": "A", "panels": [{"type": "row", "panels": [{"type": "map"}]}]}', "unknown panel type"),
    ],
)
def test_it_refuses_wrong_dashboards(grafana: Instance, content: str, reason: str) -> None:
    (grafana.dashboards / "wrong.json").write_text(content)
    assert reason in grafana.refusal()


def test_it_refuses_a_home_that_is_not_there(grafana: Instance) -> None:
    assert "Failed to load home" in grafana.refusal(GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH="/nowhere/home.json")


def test_it_refuses_two_passwords(grafana: Instance) -> None:
    assert "exclusive" in grafana.refusal(GF_SECURITY_ADMIN_PASSWORD="x")
