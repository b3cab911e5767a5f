"""The double keeps the contract of Grafana's image, and refuses what it should refuse."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_instance import PASSWORD, SOURCE, Instance

ROOT = Path(__file__).resolve().parents[3]
DASHBOARDS = sorted(ROOT.glob("roles/*/files/dashboards/*.json"))
DASHBOARD = ROOT / "roles/node_exporter/files/dashboards/host.json"
HOME = ROOT / "roles/grafana/files/dashboards/overview.json"


@pytest.fixture
def grafana(tmp_path: Path) -> Iterator[Instance]:
    instance = Instance(tmp_path)
    (instance.dashboards / "host.json").write_text(DASHBOARD.read_text())
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
    assert [found["uid"] for found in grafana.get("/api/search?query=hos", PASSWORD)[1]] == ["miniweb-host"]
    status, found = grafana.get("/api/dashboards/uid/miniweb-host", PASSWORD)
    assert (status, found["dashboard"]) == (200, json.loads(DASHBOARD.read_text()) | {"id": 1, "version": 1})
    assert (found["meta"]["provisioned"], found["meta"]["provisionedExternalId"]) == (True, "host.json")
    assert grafana.get("/api/dashboards/uid/none", PASSWORD)[0] == 404


def test_it_takes_every_dashboard_of_all_roles(grafana: Instance) -> None:
    (grafana.dashboards / "host.json").unlink()
    for file in DASHBOARDS:
        directory = grafana.dashboards if "grafana" in file.parts else grafana.contributions
        (directory / file.name).write_text(file.read_text())
    grafana.run(GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH=str(HOME))
    assert len(grafana.get("/api/search", PASSWORD)[1]) == len(DASHBOARDS)
    assert grafana.get("/api/dashboards/home", PASSWORD)[1]["dashboard"]["uid"] == "miniweb-overview"


def test_its_metrics_may_be_off_or_need_a_password(grafana: Instance) -> None:
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


def shown(grafana: Instance) -> dict[str, str]:
    """The titles by uid."""
    return {found["uid"]: found["title"] for found in grafana.get("/api/search", PASSWORD)[1]}


def test_a_reload_takes_changes_and_leaves_out_what_is_broken(grafana: Instance) -> None:
    grafana.run()
    file, other = grafana.dashboards / "host.json", grafana.contributions / "other.json"
    file.write_text(json.dumps(json.loads(DASHBOARD.read_text()) | {"title": "Changed"}))
    assert shown(grafana) == {"miniweb-host": "Host"}
    assert grafana.reload() == 200
    assert shown(grafana) == {"miniweb-host": "Changed"}
    assert grafana.get("/api/dashboards/uid/miniweb-host", PASSWORD)[1]["dashboard"]["version"] == 2
    file.write_text("{")
    other.write_text('{"uid": "other", "title": "Other"}')
    assert grafana.reload() == 200
    assert shown(grafana) == {"miniweb-host": "Changed", "other": "Other"}
    assert "failed to load dashboard" in grafana.log.read_text()
    other.unlink()
    assert grafana.reload() == 200
    assert shown(grafana) == {"miniweb-host": "Changed"}


def test_only_the_administrator_can_reload(grafana: Instance) -> None:
    grafana.run(GF_AUTH_ANONYMOUS_ENABLED="true")
    assert [grafana.reload("wrong"), grafana.reload(None), grafana.reload()] == [401, 403, 200]


def test_a_reload_reads_the_providers_and_reports_their_errors(grafana: Instance) -> None:
    grafana.run()
    grafana.providers([grafana.provider("own", Path("/nowhere"))])
    assert grafana.reload() == 500
    assert shown(grafana) == {"miniweb-host": "Host"}


def test_changes_are_polled_without_a_reload(grafana: Instance) -> None:
    grafana.providers([grafana.provider("own", grafana.dashboards, 1)])
    grafana.run()
    (grafana.dashboards / "host.json").unlink()
    deadline = time.monotonic() + 30
    while shown(grafana) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert shown(grafana) == {}


@pytest.mark.parametrize(
    ("twice", "reason"),
    [
        ({"uid": "miniweb-host", "title": "Another"}, "the same UID is used more than once"),
        ({"uid": "another", "title": "Host"}, "title is not unique in folder"),
    ],
)
def test_providers_that_share_a_uid_or_title_write_nothing(
    grafana: Instance, twice: dict[str, str], reason: str
) -> None:
    grafana.run()
    (grafana.contributions / "twice.json").write_text(json.dumps(twice))
    (grafana.contributions / "good.json").write_text('{"uid": "good", "title": "Good"}')
    assert grafana.reload() == 200
    assert shown(grafana) == {"miniweb-host": "Host"}
    assert reason in grafana.log.read_text()
    assert "no database write permissions because of duplicates: contributions" in grafana.log.read_text()
    (grafana.contributions / "twice.json").unlink()
    assert grafana.reload() == 200
    assert shown(grafana) == {"miniweb-host": "Host", "good": "Good"}


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


@pytest.mark.parametrize(
    ("name", "path", "reason"),
    [
        ("other", "/nowhere", "cannot read directory"),
        ("own", "contributions", "used twice"),
        ("other", "p/dashboards", "another one reads directory"),
        ("other", "p", "another one reads directory"),
    ],
)
def test_it_refuses_wrong_providers(grafana: Instance, tmp_path: Path, name: str, path: str, reason: str) -> None:
    providers = [grafana.provider("own", grafana.dashboards), grafana.provider(name, tmp_path / path)]
    grafana.providers(providers)
    assert reason in grafana.refusal()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "failed to load dashboard"),
        ('{"uid": "a"}', "title cannot be empty"),
        ('{"uid": "miniweb-host", "title": "Twice"}', "used more than once"),
        ('{"uid": "a", "title": "Host"}', "not unique in folder"),
        ('{"uid": "a", "title": "A", "panels": [{"type": "worldmap"}]}', "unknown panel type"),
        ('{"uid": "a", "title": "A", "panels": [{"type": "row", "panels": [{"type": "map"}]}]}', "unknown panel type"),
    ],
)
def test_it_refuses_wrong_dashboards(grafana: Instance, content: str, reason: str) -> None:
    (grafana.contributions / "wrong.json").write_text(content)
    assert reason in grafana.refusal()


def test_it_refuses_a_home_that_is_not_there(grafana: Instance) -> None:
    assert "Failed to load home" in grafana.refusal(GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH="/nowhere/home.json")


def test_it_refuses_two_passwords(grafana: Instance) -> None:
    assert "exclusive" in grafana.refusal(GF_SECURITY_ADMIN_PASSWORD="x")
    grafana.run()
    grafana.stop()
    assert "exclusive" in grafana.refusal(GF_SECURITY_ADMIN_PASSWORD="x")
