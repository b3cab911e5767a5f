"""blackbox_exporter as Prometheus sees it: what answers, what does not, reloads and refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import run_playbook
from helpers.playbooks import Converge, folded
from helpers.server import default_of
from helpers.service import Service
from helpers.waiting import eventually
from testinfra.host import Host

BLACKBOX = Service("blackbox_exporter")
LEFT = {
    "prometheus/blackbox_exporter.jobs.yml",
    "prometheus/blackbox_exporter.rules.yml",
    "grafana/blackbox_exporter.json",
}
RELOADED = "blackbox_exporter_config_last_reload_success_timestamp_seconds"
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


def test_a_wrong_answer_is_no_success(host: Host) -> None:
    assert probe(host, "plain", "http://site:8000/nothing")["probe_http_status_code"] == 404
    assert probe(host, "plain", "http://site:8000/nothing")["probe_success"] == 0
    assert probe(host, "plain", "http://site:8001/")["probe_success"] == 0
    assert probe(host, "tls")["probe_success"] == 0


def test_a_redirect_to_the_servers_own_name_is_followed(host: Host, converge: Converge) -> None:
    program = (
        "import http.server as h\n"
        "class A(h.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200 if self.path == '/login' else 302)\n"
        "        self.send_header('Location', 'http://www.example.com:8899/login'); self.end_headers()\n"
        "h.HTTPServer(('', 8899), A).serve_forever()"
    )
    host.check_output("systemd-run --unit redirecting python3 -c %s", program)
    here = "http://host.docker.internal:8899/"
    try:
        assert probe(host, "plain", here)["probe_success"] == 0
        assert converge({"blackbox_exporter_server_names": ["www.example.com"]}).returncode == 0
        assert eventually(lambda: probe(host, "plain", here)["probe_success"] == 1)
        assert probe(host, "plain", here)["probe_http_redirects"] == 1
    finally:
        host.check_output("systemctl stop redirecting")


def test_it_runs_without_rights_and_publishes_nothing(host: Host) -> None:
    BLACKBOX.confined(host, "65534:65534")


def test_new_modules_are_reloaded_without_a_restart(host: Host, converge: Converge) -> None:
    before = BLACKBOX.started(host)
    missing = {"prober": "http", "http": {"valid_status_codes": [404], "preferred_ip_protocol": "ip4"}}
    given = {"blackbox_exporter_modules": {"missing": missing}, "blackbox_exporter_targets": []}
    assert converge(given).returncode == 0
    assert probe(host, "missing", "http://site:8000/nothing")["probe_success"] == 1
    assert BLACKBOX.started(host) == before


def test_it_leaves_its_job_rules_and_dashboard(host: Host, converge: Converge) -> None:
    left = BLACKBOX.contributions(host)
    assert set(left) == LEFT
    (job,) = yaml.safe_load(left["prometheus/blackbox_exporter.jobs.yml"])["scrape_configs"]
    assert job["static_configs"] == [
        {"targets": ["http://site:8000/hostname"], "labels": {"instance": "the site", "__param_module": "plain"}}
    ]
    assert "SiteDown" in left["prometheus/blackbox_exporter.rules.yml"]
    assert json.loads(left["grafana/blackbox_exporter.json"])["title"] == "Sites"
    before = BLACKBOX.started(host)
    assert converge({"blackbox_exporter_targets": []}).returncode == 0
    assert "http://site" not in BLACKBOX.contributions(host)["prometheus/blackbox_exporter.jobs.yml"]
    assert BLACKBOX.started(host) == before


@pytest.fixture(scope="module")
def certificate(host: Host) -> str:
    """A certificate for the name site, which a site with TLS at secure:8443 has."""
    key = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=site -addext subjectAltName=DNS:site -days 30"
    return host.check_output(f"{key} -keyout /root/site.key -out /root/site.pem 2>/dev/null; cat /root/site.pem")


def contribute(state: str, content: str) -> Any:
    playbook = Path(__file__).parent.parent / "contribute.yml"
    return run_playbook(playbook, {"contribution_state": state, "contribution_content": content})


def test_what_others_leave_for_it_is_loaded(host: Host, certificate: str) -> None:
    def loaded() -> str:
        command = "docker exec %s wget -q -O - http://127.0.0.1:9115/metrics"
        lines = host.check_output(command, BLACKBOX.container(host)).splitlines()
        return next(line for line in lines if line.startswith(f"{RELOADED} "))

    before, first = BLACKBOX.started(host), loaded()
    assert contribute("present", certificate).returncode == 0
    read = "docker exec %s cat /etc/blackbox_exporter/contributions/site.pem"
    assert host.check_output(read, BLACKBOX.container(host)) == certificate
    second = loaded()
    # The file is what it was when this one is refused.
    for wrong in ("", "a certificate"):
        done = contribute("present", wrong)
        assert done.returncode != 0
        assert '"blackbox_exporter/site.pem" of the service "site" holds no certificate' in folded(done.stdout)
    assert host.check_output(read, BLACKBOX.container(host)) == certificate
    assert contribute("absent", "").returncode == 0
    assert len({first, second, loaded()}) == 3
    assert BLACKBOX.started(host) == before
    assert host.run("docker exec %s ls /etc/blackbox_exporter/contributions", BLACKBOX.container(host)).stdout == ""


def test_a_certificate_that_is_empty_or_another_one_differs_from_a_site_that_is_down(
    host: Host, converge: Converge, certificate: str
) -> None:
    """The two probes whose comparison is the alert SiteCertificateRefused."""
    host.check_output(
        "systemd-run --unit secure --working-directory /root openssl s_server -accept 8443 -cert site.pem -key site.key -www"
    )
    strict = {"ca_file": "/etc/blackbox_exporter/contributions/site.pem", "server_name": "site"}
    module = {"prober": "http", "timeout": "5s", "http": {"preferred_ip_protocol": "ip4", "tls_config": strict}}
    url = "https://host.docker.internal:8443/"
    given = {"blackbox_exporter_modules": {"strict": module}}
    targets = [{"url": url, "instance": "the site", "module": "strict"}]
    copy = "/opt/miniweb/contributions/blackbox_exporter/site.pem"

    def probed() -> tuple[float, float]:
        return (
            probe(host, "strict", url)["probe_success"],
            probe(host, "strict_any_certificate", url)["probe_success"],
        )

    try:
        assert contribute("present", certificate).returncode == 0
        assert converge({**given, "blackbox_exporter_targets": targets}).returncode == 0
        left = yaml.safe_load(BLACKBOX.contributions(host)["prometheus/blackbox_exporter.jobs.yml"])["scrape_configs"]
        assert [job["job_name"] for job in left] == ["blackbox", "blackbox_any_certificate"]
        assert eventually(lambda: probed() == (1, 1))
        for broken in (f": > {copy}", f"echo rubbish > {copy}", f"cp /etc/ssl/certs/ca-certificates.crt {copy}"):
            host.check_output(f"{broken}; docker exec {BLACKBOX.container(host)} sh -c 'kill -HUP 1'")
            assert eventually(lambda: probed() == (0, 1))
        # The next run of the service that provides it mends it.
        assert contribute("present", certificate).returncode == 0
        assert eventually(lambda: probed() == (1, 1))
        host.check_output("systemctl stop secure")
        assert eventually(lambda: probed() == (0, 0))
    finally:
        host.run("systemctl stop secure")
        contribute("absent", "")


def test_absent_and_present_again(host: Host, converge: Converge) -> None:
    assert converge({"blackbox_exporter_state": "absent"}).returncode == 0
    assert BLACKBOX.container(host) == ""
    assert BLACKBOX.contributions(host) == {}
    assert not host.file("/opt/miniweb/blackbox_exporter").exists
    again = converge({"miniweb_monitoring": False})
    assert (again.returncode, "changed=0 " in again.stdout) == (0, True)
    assert converge({}).returncode == 0
    assert probe(host, "plain")["probe_success"] == 1
    assert set(BLACKBOX.contributions(host)) == LEFT


def test_wrong_input_is_refused(host: Host, converge: Converge) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"blackbox_exporter_modules": {}}, "blackbox_exporter_modules has the modules []: give at least one"),
        ({"blackbox_exporter_modules": {"a": {"http": {}}}}, "blackbox_exporter_modules has the modules ['a']"),
        ({"blackbox_exporter_files": [{"name": "a/b", "content": ""}]}, "blackbox_exporter_files has the wrong names"),
        (
            {"blackbox_exporter_targets": [{"url": "a", "module": "b"}]},
            "blackbox_exporter_targets names the modules ['b']",
        ),
        ({"blackbox_exporter_targets": [{"url": "a", "module": "tls"}] * 2}, "has the instances ['a', 'a']"),
        ({"blackbox_exporter_server_names": ["a b"]}, 'blackbox_exporter_server_names: "a b" cannot be used'),
        ({"blackbox_exporter_enabled": True}, "blackbox_exporter_enabled is now called blackbox_exporter_state"),
    ]
    BLACKBOX.refuses_each(host, converge, cases)
    unknown = {"blackbox_exporter_modules": {"plain": {"prober": "http", "speed": 1}}, "blackbox_exporter_targets": []}
    BLACKBOX.refuses(host, converge, unknown, "field speed not found")
