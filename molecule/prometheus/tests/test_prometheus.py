"""Prometheus as its users see it: targets, rules, retention, reloads, refusals and data that stay."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import quote

from asking import Converge, Service, eventually
from testinfra.host import Host

PROMETHEUS = Service("prometheus")
RUNBOOKS = Path(__file__).resolve().parents[3] / "docs/runbooks"


def api(host: Host, path: str) -> Any:
    url = shlex.quote(f"http://127.0.0.1:9090/api/v1/{path}")
    return json.loads(host.check_output(f"docker exec {PROMETHEUS.container(host)} wget -q -O - {url}"))["data"]


def query(host: Host, expression: str) -> dict[str, float]:
    """The value of each job."""
    found = api(host, f"query?query={quote(expression)}")["result"]
    return {series["metric"].get("job", ""): float(series["value"][1]) for series in found}


def rules(host: Host) -> set[str]:
    return {rule["name"] for group in api(host, "rules")["groups"] for rule in group["rules"]}


def test_targets_that_answer_are_up_and_others_are_down(host: Host) -> None:
    assert eventually(lambda: query(host, "up") == {"prometheus": 1, "again": 1, "nothing": 0}), query(host, "up")


def test_the_rules_are_loaded_and_evaluated(host: Host) -> None:
    def found() -> list[dict[str, Any]]:
        return [rule for group in api(host, "rules")["groups"] for rule in group["rules"]]

    alerts = {rule["name"] for rule in found() if rule["type"] == "alerting"}
    assert alerts == {runbook.stem for runbook in RUNBOOKS.glob("*.md")}
    assert eventually(lambda: all(rule["health"] == "ok" for rule in found())), found()


def test_a_target_that_is_down_raises_its_alert(host: Host) -> None:
    def firing() -> bool:
        labels = [alert["labels"] for alert in api(host, "alerts")["alerts"]]
        return any(found["alertname"] == "TargetDown" and found["job"] == "nothing" for found in labels)

    assert eventually(firing)


def test_the_retention_is_what_was_asked_for(host: Host) -> None:
    flags = api(host, "status/flags")
    assert (flags["storage.tsdb.retention.time"], flags["storage.tsdb.retention.size"]) in {
        ("7d", "1GB"),
        ("1w", "1GB"),
        ("7d", "1GiB"),
        ("1w", "1GiB"),
    }


def test_nobody_can_change_prometheus_over_http(host: Host) -> None:
    flags = api(host, "status/flags")
    assert {flags["web.enable-lifecycle"], flags["web.enable-admin-api"]} == {"false"}


def test_it_runs_without_rights_and_publishes_nothing(host: Host) -> None:
    found = PROMETHEUS.confined(host, "65534:65534")
    assert "a secret of the scenario" not in json.dumps(found)


def test_the_console_holds_its_style_and_script(host: Host, converge: Converge) -> None:
    command = "docker exec %s wget -q -O - http://127.0.0.1:9090/consoles/overview.html"
    page = host.check_output(command, PROMETHEUS.container(host))
    assert 'data-window="60"' in page
    assert "--series-0:" in page
    assert '"use strict";' in page
    assert converge({"prometheus_console_enabled": False}).returncode == 0
    assert host.run(command, PROMETHEUS.container(host)).rc != 0


def test_new_rules_and_jobs_are_reloaded_without_a_restart(host: Host, converge: Converge) -> None:
    before = PROMETHEUS.started(host)
    extra = {"name": "extra", "rules": [{"alert": "Extra", "expr": "up == 2"}]}
    jobs = [{"job_name": "new", "static_configs": [{"targets": ["prometheus:9090"]}]}]
    result = converge({"prometheus_extra_rule_groups": [extra], "prometheus_scrape_configs": jobs})
    assert result.returncode == 0, result.stdout
    assert eventually(lambda: "Extra" in rules(host))
    assert eventually(lambda: query(host, "up").get("new") == 1)
    assert PROMETHEUS.started(host) == before
    assert converge({}).returncode == 0
    assert eventually(lambda: "Extra" not in rules(host))
    assert PROMETHEUS.started(host) == before


def test_a_threshold_is_reloaded(host: Host, converge: Converge) -> None:
    def expression() -> str:
        found = [rule for group in api(host, "rules")["groups"] for rule in group["rules"]]
        return next(rule["query"] for rule in found if rule["name"] == "HighCpuUsage")

    assert converge({"prometheus_alert_cpu_percent": 55}).returncode == 0
    assert eventually(lambda: expression().endswith("> 55"))
    assert converge({}).returncode == 0
    assert eventually(lambda: expression().endswith("> 80"))


def test_a_configuration_that_promtool_refuses_never_becomes_active(host: Host, converge: Converge) -> None:
    before, config = PROMETHEUS.started(host), api(host, "status/config")["yaml"]
    result = converge({"prometheus_scrape_configs": [{"job_name": "broken", "scrape_interval": "often"}]})
    assert result.returncode != 0
    assert "often" in result.stdout
    assert PROMETHEUS.started(host) == before
    host.check_output("docker exec %s sh -c 'kill -HUP 1'", PROMETHEUS.container(host))
    assert eventually(lambda: api(host, "status/runtimeinfo")["reloadConfigSuccess"])
    assert api(host, "status/config")["yaml"] == config


def test_a_rule_that_promtool_refuses_never_becomes_active(host: Host, converge: Converge) -> None:
    before = rules(host)
    broken = {"name": "broken", "rules": [{"alert": "Broken", "expr": "up =="}]}
    result = converge({"prometheus_extra_rule_groups": [broken]})
    assert result.returncode != 0
    assert rules(host) == before


def test_wrong_input_is_refused_in_one_sentence(host: Host, converge: Converge) -> None:
    for variables, sentence in (
        ({"prometheus_scrape_interval": "15"}, 'prometheus_scrape_interval is "15": set it to a duration'),
        ({"prometheus_retention_size": "2"}, 'prometheus_retention_size is "2": set it to a number with a unit'),
        ({"prometheus_alert_cpu_percent": 0}, "prometheus_alert_cpu_percent is 0: set it to a percentage"),
        (
            {"prometheus_alert_certificate_days": 0},
            "prometheus_alert_certificate_days is 0: set it to a number above 0",
        ),
        ({"prometheus_runbook_url": "http://a/b"}, 'prometheus_runbook_url is "http://a/b": set it to an address'),
        ({"prometheus_alertmanagers": ["http://a:1"]}, "write each as host:port"),
    ):
        PROMETHEUS.refuses(host, converge, variables, sentence)


def test_data_survive_a_new_container(host: Host, converge: Converge) -> None:
    # A head block in memory is written to disk by the log that is read again at the start.
    at = api(host, "query?query=time()")["result"][0]
    assert eventually(lambda: bool(query(host, "up")))
    before = PROMETHEUS.container(host)
    host.check_output("docker rm --force %s", before)
    assert converge({}).returncode == 0
    assert PROMETHEUS.container(host) != before
    found = api(host, f"query?query=up&time={at}")["result"]
    assert {series["metric"]["job"] for series in found} >= {"prometheus", "again"}
