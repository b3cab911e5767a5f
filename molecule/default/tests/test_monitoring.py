"""Monitoring on the deployed system: every query finds its metrics, and an alert reaches its receiver."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dashboards
import pytest
import yaml
from helpers.prometheus import ask, query
from helpers.receiver import Receiver
from helpers.server import ADDRESS, ROOT, SERVER
from helpers.waiting import eventually
from helpers.web import curl, json_from
from testinfra.host import Host

SECRETS = Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent.parent / "secrets" / SERVER
# The applications that have measurements
MEASURED = ("app", "events")
# Selectors that rightly have no series here: part of the selector, and why
ABSENT = {
    '__name__="ALERTS"': "only while an alert is pending or firing",
    '__name__="instance:node_swap_utilisation:ratio"': "the server has no swap",
    '__name__="miniweb_scheduled_command_failed"': "the application schedules nothing",
    'status=~"5.."': "the application has not failed",
}


def rules() -> list[dict[str, Any]]:
    return [rule for group in ask("rules")["groups"] for rule in group["rules"]]


def shown() -> set[str]:
    """The uids of the dashboards that Grafana shows: a service that is off contributes none."""
    password = (SECRETS / "grafana_admin_password").read_text().strip()
    found = json_from("-u", f"admin:{password}", f"https://{ADDRESS}:3000/api/search?type=dash-db")
    return {dashboard["uid"] for dashboard in found}


def expressions() -> list[dashboards.Expression]:
    """The queries of these dashboards."""
    uids = shown()
    return [one for one in dashboards.expressions() if one.dashboard in uids]


def selectors(node: Any) -> Iterator[str]:
    """Every series selector of a parsed expression, as text."""
    if isinstance(node, dict):
        if node.get("type") in ("vectorSelector", "matrixSelector"):
            matchers = [f"{one['name']}{one['type']}{json.dumps(one['value'])}" for one in node["matchers"]]
            yield f"{{{','.join(matchers)}}}"
        for value in node.values():
            yield from selectors(value)
    elif isinstance(node, list):
        for value in node:
            yield from selectors(value)


@pytest.fixture(scope="module", autouse=True)
def traffic() -> None:
    """Send some requests and wait until they are counted."""
    expression = 'rate(http_requests_total{route="/login"}[1m]) > 0'

    # The first request of a route makes its series, and only the second raises it.
    def counted() -> bool:
        for path in ("/login", "/api/users", "/nothing"):
            curl("-o", "/dev/null", f"https://{ADDRESS}{path}")
        return query(expression) != []

    assert eventually(counted)


def jobs(host: Host) -> set[str]:
    """The jobs of the running services, and of programs outside containers, as their roles declare them."""
    running = set(host.check_output("docker ps --format '{{.Label \"com.docker.compose.service\"}}'").split())
    roles = [yaml.safe_load(path.read_text()) for path in ROOT.glob("roles/*/meta/service.yml")]
    names = {
        job["name"]
        for role in roles
        # The MiniWebApp has no further processes.
        if {name.replace("{{ flask_app_services }}", "app") for name in role["services"]} <= running
        for job in role.get("jobs", [])
    }
    return {name.replace("{{ flask_app_name }}", application) for name in names for application in MEASURED}


def test_every_target_is_up(host: Host) -> None:
    def health() -> dict[str, str]:
        return {target["labels"]["job"]: target["health"] for target in ask("targets")["activeTargets"]}

    assert {"app", "mysql", "node"} <= jobs(host)
    assert eventually(lambda: health() == dict.fromkeys(jobs(host), "up")), health()


def test_every_rule_is_evaluated_without_an_error() -> None:
    assert eventually(lambda: {rule["health"] for rule in rules()} == {"ok"}), [
        (rule["name"], rule["lastError"]) for rule in rules() if rule["health"] != "ok"
    ]


def test_every_queried_metric_is_measured() -> None:
    queries = [rule["query"] for rule in rules()] + [found.expr for found in expressions()]
    asked = {selector for expr in queries for selector in selectors(ask("parse_query", query=expr))}
    assert all(any(part in selector for selector in asked) for part in ABSENT)

    def without() -> list[str]:
        return sorted(
            selector
            for selector in asked
            if not any(part in selector for part in ABSENT) and not query(f"last_over_time({selector}[5m])")
        )

    assert eventually(lambda: without() == []), without()


def test_every_panel_gets_an_answer() -> None:
    now = time.time()
    found_expressions = expressions()
    assert {found.dashboard for found in found_expressions} == shown() != set()
    for found in found_expressions:
        ask("query_range", query=found.expr, start=str(now - 900), end=str(now), step="15s")


def test_a_stopped_service_is_reported_and_so_is_its_return(host: Host, receiver: Receiver) -> None:
    def states() -> set[str]:
        found = next(rule for rule in rules() if rule["name"] == "MysqlDown")
        return {alert["state"] for alert in found["alerts"]}

    def told(status: str) -> list[dict[str, Any]]:
        alerts = [alert for message in receiver.messages("/") for alert in json.loads(message["body"])["alerts"]]
        return [one for one in alerts if (one["labels"]["alertname"], one["status"]) == ("MysqlDown", status)]

    assert eventually(lambda: states() == set()), states()
    host.check_output("docker stop --time 20 miniweb-mysql-mysql-1")
    try:
        assert eventually(lambda: states() == {"pending"})
        assert eventually(lambda: states() == {"firing"})
        assert eventually(lambda: told("firing") != [])
        assert told("resolved") == []
        alert = told("firing")[0]
        assert alert["labels"]["severity"] == "critical"
        assert alert["annotations"]["runbook_url"].endswith("/MysqlDown.md")
    finally:
        host.check_output("docker start miniweb-mysql-mysql-1")
    assert eventually(lambda: told("resolved") != [])
    assert states() == set()
