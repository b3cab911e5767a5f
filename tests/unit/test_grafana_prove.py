"""prove.py, run as compose_service runs it, against the double of Grafana."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_instance import PASSWORD, Instance
from prove_program import ProveProgram


class Server:
    """The server with Grafana's directory."""

    def __init__(self, directory: Path) -> None:
        self.grafana = Instance(directory)
        self.directory = directory
        self.program = ProveProgram(directory)
        (directory / "secrets").mkdir()
        (directory / "secrets/admin_password").write_text(PASSWORD)
        self.put("own", "overview.json", uid="overview", title="Overview")
        self.put("contributions", "mysql.json", uid="mysql", title="MySQL")

    def path(self, provider: str) -> Path:
        return {"own": self.grafana.dashboards, "contributions": self.grafana.contributions}[provider]

    def put(self, provider: str, name: str, **dashboard: Any) -> None:
        (self.path(provider) / name).write_text(json.dumps(dashboard))

    def prove(self) -> tuple[int, str]:
        directories = [str(self.path(name)) for name in ("own", "contributions")]
        return self.program.run("grafana", self.grafana.port, "--user", "admin", *directories)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.grafana.stop()


def test_files_in_both_directories_are_taken_and_deleted_ones_are_removed(server: Server) -> None:
    server.grafana.run()
    assert server.prove() == (0, "Grafana has taken all 2 dashboards.")
    server.put("contributions", "mysql.json", uid="mysql", title="MySQL 9")
    server.put("contributions", "node_exporter.host.json", uid="host", title="Host")
    assert server.prove() == (0, "Grafana has taken all 3 dashboards.")
    (server.path("contributions") / "mysql.json").unlink()
    assert server.prove() == (0, "Grafana has taken all 2 dashboards.")
    assert {one["uid"] for one in server.grafana.get("/api/search", PASSWORD)[1]} == {"overview", "host"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "redis.json is no dashboard: "),
        ("[]", "redis.json is no dashboard: it has no title and no uid."),
        ('{"title": "Redis"}', "redis.json is no dashboard: it has no uid."),
        (
            '{"title": "Redis", "uid": "mysql"}',
            "redis.json has the uid mysql, as mysql.json has: give it one of its own.",
        ),
        (
            '{"title": "MySQL", "uid": "r"}',
            'redis.json has the title "MySQL", as mysql.json has: give it one of its own.',
        ),
        (
            '{"title": "Redis", "uid": "r", "panels": [{"type": "map"}]}',
            "Grafana has not taken redis.json: its log says",
        ),
    ],
)
def test_a_file_that_is_not_taken_is_named(server: Server, content: str, sentence: str) -> None:
    server.grafana.run()
    (server.path("contributions") / "redis.json").write_text(content)
    code, said = server.prove()
    assert code != 0
    assert said.startswith(sentence)
    assert "\n" not in said


def test_an_older_version_is_not_taken_for_the_new_one(server: Server) -> None:
    server.grafana.run()
    server.put("contributions", "mysql.json", uid="mysql", title="MySQL 9", panels=[{"type": "map"}])
    assert server.prove() == (1, 'Grafana has not taken mysql.json: it shows "MySQL" in place of "MySQL 9".')


def test_what_grafana_does_not_read_is_not_taken(server: Server) -> None:
    """As with a container that is older than the second provider."""
    server.grafana.providers([server.grafana.provider("own", server.path("own"))])
    server.grafana.run()
    assert server.prove() == (1, "Grafana has not taken mysql.json: its log says why.")


def test_another_file_of_the_same_dashboard_is_not_this_one(server: Server) -> None:
    server.grafana.run()
    (server.path("own") / "overview.json").rename(server.path("own") / "home.json")
    server.grafana.providers([server.grafana.provider("contributions", server.path("contributions"))])
    assert server.prove() == (1, "Grafana has not taken home.json: its uid overview belongs to overview.json.")


def test_a_password_that_was_changed_in_grafana_is_no_failure(server: Server) -> None:
    server.grafana.run()
    (server.directory / "secrets/admin_password").write_text("another password")
    code, said = server.prove()
    assert code == 0
    assert said.startswith(
        'WARNING: Grafana does not accept the password of "admin" that its data was made with, so nobody can see'
    )
    assert "the 2 dashboards" in said
    assert "\n" not in said
    (server.path("contributions") / "mysql.json").write_text("{")
    assert server.prove()[0] == 1


def test_a_grafana_that_does_not_run_is_reported(server: Server) -> None:
    code, said = server.prove()
    assert code == 1
    assert said.startswith("Grafana does not answer POST /api/admin/provisioning/dashboards/reload: ")
    server.program.networks = [{"none": {"IPAddress": ""}}]
    assert server.prove()[1].startswith("The container of the project miniweb-grafana has no address: ")
    server.program.networks = []
    assert server.prove()[1].startswith("No container of the project miniweb-grafana runs: ")
    code, said = server.program.run_alone("grafana", 1, "--user", "admin", str(server.path("own")))
    assert (code, said.startswith("The Docker engine does not answer at ")) == (1, True)
