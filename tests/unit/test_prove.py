"""The programs prove.py of Prometheus and Alertmanager, run as compose_service runs them, against answers like theirs."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prove_program import ProveProgram
from role_templates import ROLES, worked_out

STAMP = "{}_config_last_reload_success_timestamp_seconds 1.7e+09"
JOBS = """\
# job_name: in a comment
scrape_configs:
- job_name: app # the application
  params: {job_name: [no, job]}
- static_configs: []
  "job_name": "a \\"b\\""
- {scheme: http, job_name: 'it''s', static_configs: []}
"""
RULES = """\
groups:
- name: http
  rules:
  - alert: A
    expr: up == 0
    labels: {name: no-group}
- name: "more rules"
  rules: []
"""


class Double:
    """A program with an HTTP interface that answers from a dictionary."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.answers: dict[str, Any] = {}
        double = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = double.answers.get(self.path.partition("?")[0])
                self.send_response(200 if answer is not None else 404)
                self.end_headers()
                self.wfile.write((answer if isinstance(answer, str) else json.dumps(answer)).encode())

            def log_message(self, *given: Any) -> None:
                """Print nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.program = ProveProgram(directory)

    def metrics(self, program: str, successful: int = 1) -> None:
        lines = [f"{program}_config_last_reload_successful {successful}", STAMP.format(program)]
        self.answers["/metrics"] = "\n".join(["# HELP a b", *lines, ""])

    def prove(self, role: str, *words: str) -> tuple[int, str]:
        return self.program.run(role, self.server.server_port, *words)


@pytest.fixture
def double(tmp_path: Path) -> Iterator[Double]:
    double = Double(tmp_path)
    yield double
    double.server.shutdown()


@pytest.fixture
def prometheus(double: Double) -> Double:
    """A Prometheus that has loaded all files."""
    here = double.directory
    for name, text in {
        "config/prometheus.yml": "scrape_configs:\n- job_name: prometheus\n",
        "config/rules/default.yml": "groups: [{name: between braces, rules: [{alert: A, labels: {a: b, name: c}}, {alert: B}]}, {name: d, rules: []}]\n",
        "contributions/app.jobs.yml": JOBS,
        "contributions/app.rules.yml": RULES,
        "contributions/app.password": "job_name: secret",
    }.items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(text)
    double.metrics("prometheus")
    groups = [
        ("default.yml", "between braces"),
        ("default.yml", "d"),
        ("app.rules.yml", "http"),
        ("app.rules.yml", "more rules"),
    ]
    double.answers["/api/v1/rules"] = {
        "data": {"groups": [{"file": f"/a/{file}", "name": name} for file, name in groups]}
    }
    double.answers["/api/v1/scrape_pools"] = {"data": {"scrapePools": ["app", 'a "b"', "it's", "prometheus", "other"]}}
    return double


def test_everything_that_prometheus_was_handed_is_loaded(prometheus: Double) -> None:
    assert prometheus.prove("prometheus", "contributions") == (0, STAMP.format("prometheus"))


@pytest.mark.parametrize("lost", ["app", 'a "b"', "it's", "prometheus"])
def test_a_job_that_prometheus_has_not_loaded_is_named(prometheus: Double, lost: str) -> None:
    prometheus.answers["/api/v1/scrape_pools"]["data"]["scrapePools"].remove(lost)
    file = "prometheus.yml" if lost == "prometheus" else "app.jobs.yml"
    said = f'Prometheus has not loaded the job "{lost}" of {file}: its log says why.'
    assert prometheus.prove("prometheus", "contributions") == (1, said)


@pytest.mark.parametrize(
    ("lost", "file"), [("http", "app.rules.yml"), ("more rules", "app.rules.yml"), ("between braces", "default.yml")]
)
def test_a_rule_group_that_prometheus_has_not_loaded_is_named(prometheus: Double, lost: str, file: str) -> None:
    data = prometheus.answers["/api/v1/rules"]["data"]
    data["groups"] = [group for group in data["groups"] if group["name"] != lost]
    said = f'Prometheus has not loaded the rule group "{lost}" of {file}: its log says why.'
    assert prometheus.prove("prometheus", "contributions") == (1, said)


def test_the_same_group_of_another_file_is_not_taken_for_it(prometheus: Double) -> None:
    prometheus.answers["/api/v1/rules"]["data"]["groups"][2]["file"] = "/a/default.yml"
    assert 'the rule group "http" of app.rules.yml' in prometheus.prove("prometheus", "contributions")[1]


def test_rules_whose_file_is_gone_are_named(prometheus: Double) -> None:
    (prometheus.directory / "contributions/app.rules.yml").unlink()
    said = "Prometheus still has the rules of app.rules.yml, which is gone: its log says why."
    assert prometheus.prove("prometheus", "contributions") == (1, said)


@pytest.mark.parametrize(
    ("role", "words"), [("prometheus", ["contributions"]), ("alertmanager", ['["default", "hook \\u00e9"]'])]
)
def test_a_reload_that_failed_and_silence_are_named(prometheus: Double, role: str, words: list[str]) -> None:
    prometheus.metrics(role, successful=0)
    code, said = prometheus.prove(role, *words)
    assert (code, f"{role.title()} could not load its" in said) == (1, True)
    del prometheus.answers["/metrics"]
    code, said = prometheus.prove(role, *words)
    assert (code, f"{role.title()} does not answer" in said, len(said.splitlines())) == (1, True, 1)
    prometheus.program.networks = []
    assert f"No container of the project miniweb-{role} runs" in prometheus.prove(role, *words)[1]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (["default", "hook é"], STAMP.format("alertmanager")),
        (["default"], 'Alertmanager has not loaded the receiver "hook é": its log says why.'),
        ([], 'Alertmanager has not loaded the receiver "default": its log says why.'),
        (["default", "hook é", "old"], 'Alertmanager still has the receiver "old": its log says why.'),
    ],
)
def test_each_receiver_of_alertmanager_is_asked_for(double: Double, found: list[str], said: str) -> None:
    double.metrics("alertmanager")
    double.answers["/api/v2/receivers"] = [{"name": name} for name in found]
    assert double.prove("alertmanager", '["default", "hook \\u00e9"]') == (0 if "_" in said else 1, said)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"alertmanager_heartbeat_url": "https://a/"},
        {
            "alertmanager_webhooks": [
                {"name": "a", "url": "http://a/"},
                {"name": "b", "url": "http://b/", "alerts": ["X"]},
            ]
        },
        {"alertmanager_extra_receivers": [{"name": "pager"}, {"name": "it's"}]},
    ],
)
def test_the_receivers_that_are_asked_for_are_those_of_the_configuration(given: dict[str, Any]) -> None:
    role = ROLES / "alertmanager"
    configured = yaml.safe_load(
        worked_out(role, "{{ lookup('miniweb.stack.template', 'alertmanager.yml.j2') }}", **given)
    )
    asked = worked_out(role, "{{ __alertmanager_reload_proof }}", **given)["command"][-1]
    assert sorted(json.loads(asked)) == sorted(receiver["name"] for receiver in configured["receivers"])
