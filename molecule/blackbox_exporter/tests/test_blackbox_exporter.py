"""blackbox_exporter as Prometheus sees it: what answers, what does not, reloads and refusals."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from asking import Converge, Service, default_of, eventually
from testinfra.host import Host

BLACKBOX = Service("blackbox_exporter")
IMAGE = default_of("flask_app", "flask_app_base_image")


@pytest.fixture(scope="module", autouse=True)
def site(host: Host) -> Iterator[None]:
    """A site without TLS."""
    host.run("docker rm --force site")
    host.check_output(
        "docker run --detach --name site --network miniweb-monitor %s python3 -m http.server --directory /etc 8000",
        IMAGE,
    )
    yield
    host.check_output("docker rm --force site")


def probe(host: Host, module: str, target: str = "http://site:8000/hostname") -> dict[str, float]:
    url = f"http://127.0.0.1:9115/probe?module={module}&target={target}"
    lines = host.check_output("docker exec %s wget -q -O - %s", BLACKBOX.container(host), url).splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def test_what_answers_is_measured(host: Host) -> None:
    assert eventually(lambda: probe(host, "plain")["probe_success"] == 1)
    assert probe(host, "plain")["probe_http_status_code"] == 200


def test_what_does_not_answer_as_it_should_is_no_success(host: Host) -> None:
    assert probe(host, "plain", "http://site:8000/nothing")["probe_http_status_code"] == 404
    assert probe(host, "plain", "http://site:8000/nothing")["probe_success"] == 0
    assert probe(host, "plain", "http://site:8001/")["probe_success"] == 0
    assert probe(host, "tls")["probe_success"] == 0


def test_it_runs_without_rights_and_publishes_nothing(host: Host) -> None:
    BLACKBOX.confined(host, "65534:65534")


def test_new_modules_are_reloaded_without_a_restart(host: Host, converge: Converge) -> None:
    before = BLACKBOX.started(host)
    missing = {"prober": "http", "http": {"valid_status_codes": [404], "preferred_ip_protocol": "ip4"}}
    assert converge({"blackbox_exporter_modules": {"missing": missing}}).returncode == 0
    assert probe(host, "missing", "http://site:8000/nothing")["probe_success"] == 1
    assert BLACKBOX.started(host) == before


def test_wrong_input_is_refused(host: Host, converge: Converge) -> None:
    for variables, sentence in (
        ({"blackbox_exporter_modules": {}}, "blackbox_exporter_modules has the modules []: give at least one"),
        ({"blackbox_exporter_modules": {"a": {"http": {}}}}, "blackbox_exporter_modules has the modules ['a']"),
        ({"blackbox_exporter_files": [{"name": "a/b", "content": ""}]}, "blackbox_exporter_files has the wrong names"),
        ({"blackbox_exporter_modules": {"a": {"prober": "http", "speed": 1}}}, "field speed not found"),
    ):
        BLACKBOX.refuses(host, converge, variables, sentence)
