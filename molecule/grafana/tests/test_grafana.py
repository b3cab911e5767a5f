"""Grafana as its users see it. The same tests hold for the real image and for the test double."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import yaml
from helpers.playbooks import Converge, folded
from helpers.server import SERVER
from helpers.service import Service
from helpers.waiting import eventually
from testinfra.host import Host

GRAFANA = Service("grafana")
PASSWORD = 'administrator\'s "password" \\ $HOME %d # ; ñ€ of the scenario'
OWN = {"miniweb-overview", "miniweb-alerts"}
VISITOR = Path(__file__).with_name("visitor.json")
BROUGHT = "/opt/miniweb/contributions/grafana/visitor.json"
EXTRA = {"uid": "extra", "title": "Extra", "schemaVersion": 37, "panels": []}


def call(host: Host, path: str, *options: str) -> tuple[int, str]:
    """Status and body of a request from the server, as nginx would send it."""
    found = GRAFANA.inspected(host)["NetworkSettings"]["Networks"]
    url = f"http://{found['miniweb-monitor']['IPAddress']}:3000{path}"
    words = ["curl", "--silent", "--write-out", "\n%{http_code}", *options, url]
    body, dummy, code = host.check_output(shlex.join(words)).rpartition("\n")
    return int(code), body


def api(host: Host, path: str, password: str = PASSWORD) -> Any:
    code, body = call(host, path, "--user", f"admin:{password}")
    assert code == 200, body
    return json.loads(body)


def dashboards(host: Host) -> set[str]:
    return {found["uid"] for found in api(host, "/api/search?type=dash-db")}


def brought(content: Any) -> dict[str, Any]:
    """The variables with which another service contributes a dashboard."""
    text = content if isinstance(content, str) else json.dumps(content)
    return {"scenario_contributions": [{"reader": "grafana", "ext": "json", "content": text}]}


def test_it_is_healthy(host: Host) -> None:
    code, body = call(host, "/api/health")
    assert (code, json.loads(body)["database"]) == (200, "ok")


def test_nobody_gets_in_without_the_password(host: Host) -> None:
    assert call(host, "/api/org")[0] == 401
    assert call(host, "/api/search")[0] == 401
    assert call(host, "/api/org", "--user", "admin:admin")[0] == 401
    assert call(host, "/")[0] == 302


def test_the_login_works_and_its_cookie_needs_tls(host: Host) -> None:
    def login(password: str) -> tuple[int, str]:
        given = json.dumps({"user": "admin", "password": password})
        return call(host, "/login", "--include", "--header", "Content-Type: application/json", "--data", given)

    code, answer = login(PASSWORD)
    assert code == 200
    cookie = next(line for line in answer.lower().splitlines() if line.startswith("set-cookie: grafana_session="))
    assert "secure" in cookie
    assert "httponly" in cookie
    assert login("wrong")[0] == 401


def test_prometheus_is_the_data_source(host: Host) -> None:
    source = api(host, "/api/datasources/uid/prometheus")
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    assert source["isDefault"] is True
    assert source["readOnly"] is True
    assert source["jsonData"]["timeInterval"] == "15s"
    assert call(host, "/api/datasources/uid/alertmanager", "--user", f"admin:{PASSWORD}")[0] == 404


def test_its_dashboards_are_there_and_the_overview_is_the_first_page(host: Host) -> None:
    assert eventually(lambda: dashboards(host) == OWN)
    for uid in sorted(OWN):
        found = api(host, f"/api/dashboards/uid/{uid}")
        assert found["meta"]["provisioned"] is True
        assert found["dashboard"]["panels"]
        assert [annotation["name"] for annotation in found["dashboard"]["annotations"]["list"]][-1] == "Deployments"
    home = api(host, "/api/dashboards/home")
    # Newer versions redirect to the dashboard, older ones return its file.
    assert "miniweb-overview" in home.get("redirectUri", "") or home["dashboard"]["uid"] == "miniweb-overview"


def test_its_metrics_are_not_public(host: Host) -> None:
    code, body = call(host, "/metrics")
    assert code != 200
    assert "grafana_build_info" not in body


def test_a_contributed_dashboard_is_there_at_once_and_goes_with_its_service(host: Host, converge: Converge) -> None:
    before = GRAFANA.started(host)
    # As a role passes it: text that Ansible does not template
    result = converge(brought(f"{{{{ lookup('ansible.builtin.file', '{VISITOR}') }}}}"))
    assert result.returncode == 0, result.stdout
    assert dashboards(host) == OWN | {"visitor"}
    found = api(host, "/api/dashboards/uid/visitor")
    assert found["meta"]["provisioned"] is True
    (panel,) = found["dashboard"]["panels"]
    (target,) = panel["targets"]
    assert (target["datasource"]["uid"], target["expr"]) == ("prometheus", 'visitors{instance=~"$instance"}')
    assert panel["fieldConfig"]["defaults"]["unit"] == "percent"
    assert [variable["name"] for variable in found["dashboard"]["templating"]["list"]] == ["instance"]
    assert converge({}).returncode == 0
    assert dashboards(host) == OWN
    assert GRAFANA.started(host) == before


def test_a_dashboard_that_cannot_be_shown_is_refused_and_named(host: Host, converge: Converge) -> None:
    before = GRAFANA.started(host)
    for content, sentence in (
        ('{"uid": ', "visitor.json is no dashboard"),
        (EXTRA | {"uid": "miniweb-overview"}, "has the uid miniweb-overview, as"),
    ):
        result = converge(brought(content))
        assert result.returncode != 0
        assert sentence in folded(result.stdout)
        assert "grafana keeps what it had" in folded(result.stdout)
        assert not host.file(BROUGHT).exists
        assert dashboards(host) == OWN
    assert GRAFANA.started(host) == before


def test_it_runs_without_rights_and_publishes_nothing(host: Host) -> None:
    found = GRAFANA.confined(host, "472:0")
    assert PASSWORD not in json.dumps(found)


def test_another_dashboard_needs_no_restart(host: Host, converge: Converge) -> None:
    before = GRAFANA.started(host)
    more = EXTRA | {"uid": "more", "title": "More"}
    given = [{"name": "extra", "content": json.dumps(EXTRA)}, {"name": "more", "content": json.dumps(more)}]
    result = converge({"grafana_dashboards": given})
    assert result.returncode == 0, result.stdout
    assert dashboards(host) == OWN | {"extra", "more"}
    assert converge({}).returncode == 0
    assert dashboards(host) == OWN
    assert GRAFANA.started(host) == before


def test_broken_dashboards_are_refused_before_anything_changes(host: Host, converge: Converge) -> None:
    for content, sentence in (
        ('{"uid": ', "no valid JSON object as content of broken"),
        (json.dumps(EXTRA | {"uid": "miniweb-overview"}), "a uid of its own other than miniweb-alerts, "),
        (json.dumps({"uid": "untitled"}), "give each of the 1 dashboards a title"),
    ):
        variables = {"grafana_dashboards": [{"name": "broken", "content": content}]}
        GRAFANA.refuses(host, converge, variables, sentence)
    named = {"grafana_dashboards": [{"name": "overview", "content": json.dumps(EXTRA)}]}
    GRAFANA.refuses(host, converge, named, "grafana_dashboards has the names ['overview']: give each one a name")
    assert dashboards(host) == OWN


def test_wrong_input_is_refused_in_one_sentence(host: Host, converge: Converge) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"grafana_admin_password": "short"}, "grafana_admin_password has 5 characters: set it to at least 12"),
        ({"grafana_root_url": "http://x"}, "set it to an address that begins with https://"),
        ({"grafana_prometheus_url": "prometheus:9090"}, "set it to an address such as http://prometheus:9090"),
        ({"grafana_alertmanager_url": "alertmanager"}, "set it to an address such as http://alertmanager:9093"),
        ({"grafana_metrics_password": "short"}, "grafana_metrics_password has 5 characters: set it to at least 12"),
        ({"grafana_remove_data": True}, 'grafana_remove_data is true while grafana_state is "present"'),
        ({"grafana_enabled": False}, "grafana_enabled is now called grafana_state (present or absent): rename it."),
    ]
    GRAFANA.refuses_each(host, converge, cases)


def test_alertmanager_and_metrics_come_with_their_variables(host: Host, converge: Converge) -> None:
    password = "a password of the measurements"
    result = converge({"grafana_alertmanager_url": "http://alertmanager:9093", "grafana_metrics_password": password})
    assert result.returncode == 0, result.stdout
    source = api(host, "/api/datasources/uid/alertmanager")
    assert (source["type"], source["jsonData"]["implementation"]) == ("alertmanager", "prometheus")
    assert call(host, "/metrics")[0] == 401
    code, body = call(host, "/metrics", "--user", f"prometheus:{password}")
    assert code == 200
    assert "grafana_build_info" in body
    assert password not in json.dumps(GRAFANA.inspected(host))
    left = GRAFANA.contributions(host)
    assert set(left) == {f"prometheus/grafana.{ext}" for ext in ("jobs.yml", "password", "rules.yml")}
    assert left["prometheus/grafana.password"] == password
    (job,) = yaml.safe_load(left["prometheus/grafana.jobs.yml"])["scrape_configs"]
    assert job["basic_auth"]["password_file"] == "/etc/prometheus/contributions/grafana.password"
    assert job["static_configs"] == [
        {"targets": ["grafana:3000"], "labels": {"instance": SERVER, "monitoring": "true"}}
    ]
    assert converge({}).returncode == 0
    assert GRAFANA.contributions(host) == {}
    assert call(host, "/api/datasources/uid/alertmanager", "--user", f"admin:{PASSWORD}")[0] == 404


def test_the_first_password_survives_a_new_container(host: Host, converge: Converge) -> None:
    before = GRAFANA.container(host)
    another = {"grafana_admin_password": "another password of the scenario"}
    result = converge(another)
    assert result.returncode == 0, result.stdout
    assert GRAFANA.container(host) != before
    assert api(host, "/api/org")["id"] == 1
    assert call(host, "/api/org", "--user", f"admin:{another['grafana_admin_password']}")[0] == 401
    # This password no longer gives access to the dashboards, which is not a failure.
    result = converge(another | brought(EXTRA))
    assert result.returncode == 0, result.stdout
    assert eventually(lambda: dashboards(host) == OWN | {"extra"})
    assert converge({}).returncode == 0
    assert eventually(lambda: dashboards(host) == OWN)


def test_a_setting_that_it_refuses_is_rolled_back(host: Host, converge: Converge) -> None:
    refused = {"grafana_extra_environment": {"GF_SECURITY_ADMIN_PASSWORD": "beside the file of the same setting"}}
    GRAFANA.gives_way(host, converge, refused, "it keeps exiting")
    assert dashboards(host) == OWN


def test_absent_keeps_the_data_unless_told_to_delete_it(host: Host, converge: Converge) -> None:
    def volumes() -> list[str]:
        return host.check_output("docker volume ls --quiet --filter name=miniweb-grafana").split()

    another = {"grafana_admin_password": "another password of the scenario"}
    for gone, kept in (({}, ["miniweb-grafana_data"]), ({"grafana_remove_data": True}, [])):
        result = converge({"grafana_state": "absent", **gone, **brought(EXTRA)})
        assert result.returncode == 0, result.stdout
        assert GRAFANA.container(host) == ""
        assert not host.file("/opt/miniweb/grafana").exists
        assert host.file(BROUGHT).exists
        assert volumes() == kept
        result = converge(another | brought(EXTRA))
        assert result.returncode == 0, result.stdout
        # Only new data takes the password; the contribution that waited is there.
        password = PASSWORD if kept else another["grafana_admin_password"]
        found = {one["uid"] for one in api(host, "/api/search?type=dash-db", password)}
        assert found == OWN | {"extra"}
    assert converge({"grafana_state": "absent", "grafana_remove_data": True}).returncode == 0
