"""Prometheus as its users see it: targets, rules, contributions of services, reloads, refusals and data that stay."""

from __future__ import annotations

import json
import shlex
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from helpers.playbooks import Converge, folded
from helpers.server import ROOT
from helpers.service import Service
from helpers.waiting import eventually
from testinfra.host import Host

PROMETHEUS = Service("prometheus")
CONTRIBUTIONS = "/opt/miniweb/contributions/prometheus"
VOLUME = "miniweb-prometheus_data"
# Runs the other service alone
EXAMPLE = ("--tags", "example")


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
    expected = {"prometheus": 1, "again": 1, "nothing": 0, "example": 1}
    assert eventually(lambda: query(host, "up") == expected), query(host, "up")
    assert query(host, 'up{monitoring="true"}') == {"prometheus": 1}


def test_the_rules_are_loaded_and_evaluated(host: Host) -> None:
    def found() -> list[dict[str, Any]]:
        return [rule for group in api(host, "rules")["groups"] for rule in group["rules"]]

    alerts = {rule["name"] for rule in found() if rule["type"] == "alerting"}
    assert alerts == {runbook.stem for runbook in (ROOT / "roles/prometheus/runbooks").glob("*.md")} | {"Example"}
    assert eventually(lambda: all(rule["health"] == "ok" for rule in found())), found()


def test_a_target_that_is_down_raises_its_alert(host: Host) -> None:
    def firing() -> bool:
        labels = [alert["labels"] for alert in api(host, "alerts")["alerts"]]
        return any(found["alertname"] == "TargetDown" and found["job"] == "nothing" for found in labels)

    assert eventually(firing)


def test_a_job_without_targets_raises_its_alert(host: Host, converge: Converge) -> None:
    def missing() -> dict[str, float]:
        return query(host, 'ALERTS{alertname="ScrapeJobMissing", alertstate="firing"}')

    expected = {"prometheus", "again", "nothing"}
    assert eventually(lambda: set(query(host, "scrape_job_expected")) == expected)
    assert missing() == {}
    lost = {"job_name": "lost", "file_sd_configs": [{"files": ["/etc/prometheus/files/lost.json"]}]}
    given = {"prometheus_scrape_configs": [lost], "prometheus_alert_job_missing_for": "0s"}
    assert converge(given).returncode == 0
    assert eventually(lambda: missing() == {"lost": 1}), query(host, "scrape_job_expected")
    found = {"job_name": "lost", "static_configs": [{"targets": ["prometheus:9090"]}]}
    assert converge({**given, "prometheus_scrape_configs": [found]}).returncode == 0
    assert eventually(lambda: query(host, "up").get("lost") == 1)
    assert eventually(lambda: missing() == {}), missing()


# As compose_service runs it on the server
PROVE = f"cd /opt/miniweb/prometheus && python3 -B prove.py {CONTRIBUTIONS}"


@pytest.mark.parametrize(
    ("file", "text", "missing"),
    [
        ("late.rules.yml", "groups: []", ""),
        ("late.rules.yml", '{"groups": [{"name": "late", "rules": []}]}', 'the rule group "late" of late.rules.yml'),
        ("late.rules.yml", "groups:\n- name: late\n  rules: []", 'the rule group "late" of late.rules.yml'),
        ("late.jobs.yml", "scrape_configs:\n- job_name: late", 'the job "late" of late.jobs.yml'),
        ("late.jobs.yml", '{"scrape_configs": [{"job_name": "late"}]}', 'the job "late" of late.jobs.yml'),
    ],
)
def test_what_prometheus_was_handed_is_asked_for_by_name(host: Host, file: str, text: str, missing: str) -> None:
    assert host.run(PROVE).rc == 0, host.run(PROVE).stderr
    host.check_output("printf %%s %s > %s", text, f"{CONTRIBUTIONS}/{file}")
    try:
        said = host.run(PROVE)
        assert (said.rc, f"Prometheus has not loaded {missing}" in said.stderr) == (
            (1, True) if missing else (0, False)
        )
    finally:
        host.check_output("rm %s", f"{CONTRIBUTIONS}/{file}")


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


def test_the_console_contains_its_style_and_script(host: Host, converge: Converge) -> None:
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
    def seconds() -> float:
        found = [rule for group in api(host, "rules")["groups"] for rule in group["rules"]]
        return next(rule["duration"] for rule in found if rule["name"] == "TargetDown")

    # The run itself has made sure that it is loaded.
    assert converge({"prometheus_alert_target_down_for": "7m"}).returncode == 0
    assert seconds() == 420
    assert converge({}).returncode == 0
    assert seconds() == 60


def contributed(host: Host, file: str) -> Any:
    return yaml.safe_load(host.check_output(f"cat {CONTRIBUTIONS}/{file}"))


def test_contributions_are_loaded_without_prometheuss_own_run(host: Host, converge: Converge) -> None:
    before = PROMETHEUS.started(host)
    jobs = [{"job_name": "brought", "static_configs": [{"targets": ["prometheus:9090"]}]}]
    other = {"example_jobs": jobs, "example_rules": [{"alert": "Brought", "expr": "up == 2"}]}
    done = converge(other, *EXAMPLE)
    assert done.returncode == 0
    assert "changed=1" in done.stdout
    assert rules(host) & {"Brought", "Example"} == {"Brought"}
    assert eventually(lambda: query(host, "up").get("brought") == 1)
    assert PROMETHEUS.started(host) == before
    assert "changed=0" in converge(other, *EXAMPLE).stdout
    assert "changed=0" in converge(other).stdout, "Prometheus's own run has nothing left to do"


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"example_rules": [{"alert": "Broken", "expr": "up =="}]}, "example.rules.yml of the service example"),
        ({"example_jobs": [{"job_name": "again"}]}, "again"),
        ({"example_jobs": [{"job_name": "broken", "scrape_interval": "often"}]}, "often"),
    ],
)
def test_contributions_that_promtool_refuses_are_reported_with_their_owner(
    host: Host, converge: Converge, variables: dict[str, Any], why: str
) -> None:
    before, kept = PROMETHEUS.started(host), (contributed(host, "example.jobs.yml"), rules(host))
    done = converge(variables, *EXAMPLE)
    assert done.returncode != 0
    said = folded(done.stdout)
    assert "of the service example" in said
    assert why in said
    assert "prometheus keeps what it had." in said
    assert (contributed(host, "example.jobs.yml"), rules(host)) == kept
    assert PROMETHEUS.started(host) == before
    host.check_output("docker exec %s sh -c 'kill -HUP 1'", PROMETHEUS.container(host))
    assert eventually(lambda: api(host, "status/runtimeinfo")["reloadConfigSuccess"])
    assert rules(host) == kept[1]
    assert "changed=0" in converge({}).stdout


def test_a_contributed_job_cannot_be_defined_again(host: Host, converge: Converge) -> None:
    jobs = [{"job_name": "example", "static_configs": [{"targets": ["prometheus:9090"]}]}]
    PROMETHEUS.refuses(host, converge, {"prometheus_scrape_configs": jobs}, 'job name "example"')


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


def test_wrong_input_is_refused_in_one_sentence_each(host: Host, converge: Converge) -> None:
    wrong = {
        "prometheus_scrape_interval": "15",
        "prometheus_retention_size": "2",
        "prometheus_alert_target_down_for": "1",
        "prometheus_scrape_configs": [{"job_name": "prometheus"}],
        "prometheus_secrets": [{"name": "a b", "content": "x"}, {"name": "empty", "content": ""}],
        "prometheus_external_url": "here",
        "prometheus_alertmanagers": ["http://a:1"],
        "prometheus_remove_data": True,
        "prometheus_runbook_url": "http://a/",
    }
    PROMETHEUS.refuses(
        host,
        converge,
        wrong,
        'prometheus_scrape_interval is "15": set it to a duration',
        'prometheus_retention_size is "2": set it to a number with a unit',
        'prometheus_alert_target_down_for is "1": set it to a duration',
        "prometheus_scrape_configs has the jobs ['prometheus']: give every entry a job_name of its own",
        "has the wrong names ['a b'] and secrets without content ['empty']",
        'prometheus_external_url is "here": set it to an address',
        "prometheus_alertmanagers is ['http://a:1']: write each as host:port",
        'prometheus_remove_data is true while prometheus_state is "present"',
        "prometheus_runbook_url is now called miniweb_runbook_url",
    )
    PROMETHEUS.refuses(host, converge, {"prometheus_state": "off"}, "must be one of: present, absent, got: off")


def test_data_survive_a_new_container(host: Host, converge: Converge) -> None:
    # The head block is in memory: at the start it is rebuilt from the write-ahead log.
    at = api(host, "query?query=time()")["result"][0]
    assert eventually(lambda: bool(query(host, "up")))
    before = PROMETHEUS.container(host)
    host.check_output("docker rm --force %s", before)
    assert converge({}).returncode == 0
    assert PROMETHEUS.container(host) != before
    found = api(host, f"query?query=up&time={at}")["result"]
    assert {series["metric"]["job"] for series in found} >= {"prometheus", "again"}


def test_it_is_healthy_where_dockers_client_has_a_proxy(host: Host, converge: Converge) -> None:
    """The wget of its image would ask the proxy whatever no_proxy says."""
    proxies = {"default": {"httpProxy": "http://127.0.0.2:3128", "noProxy": "127.0.0.1,localhost"}}
    file = "/root/.docker/config.json"
    host.check_output("mkdir -p /root/.docker && printf %%s %s > %s", json.dumps({"proxies": proxies}), file)
    try:
        image = PROMETHEUS.inspected(host)["Config"]["Image"]
        assert "http_proxy=http://127.0.0.2:3128" in host.check_output("docker run --rm --entrypoint env %s", image)
        host.check_output("docker rm --force %s", PROMETHEUS.container(host))
        assert converge({}).returncode == 0
        assert PROMETHEUS.becomes_healthy(host)
    finally:
        host.check_output("rm %s", file)


def test_a_setting_that_it_refuses_at_start_is_rolled_back(host: Host, converge: Converge) -> None:
    PROMETHEUS.gives_way(host, converge, {"prometheus_extra_arguments": ["--no-such-flag"]}, "no-such-flag")
    assert query(host, "up") != {}
    before = PROMETHEUS.started(host)
    assert converge({}).returncode == 0
    assert PROMETHEUS.started(host) == before


def test_it_is_removed_and_comes_back_with_its_data_and_what_was_left_for_it(host: Host, converge: Converge) -> None:
    at = api(host, "query?query=time()")["result"][0]
    assert eventually(lambda: query(host, "up").get("example") == 1)
    absent = {"prometheus_state": "absent"}
    assert converge(absent).returncode == 0
    assert not PROMETHEUS.container(host)
    assert not host.file("/opt/miniweb/prometheus").exists
    assert VOLUME in host.check_output("docker volume ls --quiet").split()
    assert "changed=0" in converge(absent).stdout
    # Contributions wait for it.
    later = {**absent, "example_rules": [{"alert": "Later", "expr": "up == 2"}]}
    assert converge(later, *EXAMPLE).returncode == 0
    assert contributed(host, "example.jobs.yml")["scrape_configs"][0]["job_name"] == "example"
    assert converge({}, "--tags", "prometheus").returncode == 0
    assert "Later" in rules(host)
    found = api(host, f"query?query=up&time={at}")["result"]
    assert {series["metric"]["job"] for series in found} >= {"prometheus", "again", "example"}
    assert converge({}).returncode == 0
    assert "Later" not in rules(host)


def test_its_data_are_deleted_only_on_request(host: Host, converge: Converge) -> None:
    gone = {"prometheus_state": "absent", "prometheus_remove_data": True}
    assert converge(gone).returncode == 0
    assert VOLUME not in host.check_output("docker volume ls --quiet").split()
    assert "changed=0" in converge(gone).stdout
    assert converge({}).returncode == 0
    assert eventually(lambda: query(host, "up").get("example") == 1)
