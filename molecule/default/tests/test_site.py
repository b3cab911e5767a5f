"""What runs of site.yml do to the deployed system, and what they leave alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from helpers.playbooks import Converge, changed, folded
from helpers.server import ADDRESS, ROOT, SERVER
from helpers.waiting import eventually
from helpers.web import curl, json_from, status
from testinfra.host import Host

URL = f"https://{ADDRESS}"
PROMETHEUS = f"{URL}:9090/api/v1"
CONTRIBUTIONS = "/opt/miniweb/contributions"
# The services that miniweb_monitoring switches on and off
MONITORING = {
    name.removesuffix("_state")
    for path in ROOT.glob("roles/*/defaults/main.yml")
    for name, value in yaml.safe_load(path.read_text()).items()
    if name.endswith("_state") and "miniweb_monitoring" in str(value)
}
# The responder is switched on in this scenario, and is removed with the rest.
RESPONDER = (
    "/opt/miniweb/alert_responder",
    *(f"/etc/systemd/system/miniweb-alert-responder.{unit}" for unit in ("socket", "service")),
)
# One tag for each part, which may have a second one
TAGS = [
    tags if isinstance(tags, str) else tags[-1]
    for play in yaml.safe_load((ROOT / "playbooks" / "site.yml").read_text())
    for task in play.get("tasks", [])
    if (tags := task.get("tags", "always")) != "always"
]


def containers(host: Host) -> dict[str, str]:
    """Ids of the running containers, by service name."""
    names = host.check_output("docker ps --format '{{.Label \"com.docker.compose.service\"}} {{.ID}}'").splitlines()
    return dict(line.split() for line in names)


def contributed(host: Host) -> dict[str, str]:
    """Hashes of all contributions, by path."""
    lines = host.check_output(f"cd {CONTRIBUTIONS} && find . -mindepth 2 -type f -exec sha256sum {{}} +").splitlines()
    return {path: digest for digest, path in (line.split() for line in lines)}


def rule(name: str) -> str:
    """The expression of an alert as Prometheus has loaded it."""
    groups = json_from(f"{PROMETHEUS}/rules")["data"]["groups"]
    return next(one["query"] for group in groups for one in group["rules"] if one["name"] == name)


@pytest.mark.parametrize("tag", [TAGS[0], *(pytest.param(tag, marks=pytest.mark.soak) for tag in TAGS[1:])])
def test_a_run_of_one_part_changes_nothing_where_nothing_changed(host: Host, site: Converge, tag: str) -> None:
    before = containers(host), contributed(host)
    assert not changed(site({}, "--tags", tag))
    assert (containers(host), contributed(host)) == before


def test_a_threshold_of_mysql_reaches_prometheus_without_a_run_of_its_own(host: Host, site: Converge) -> None:
    before = containers(host), contributed(host)
    assert rule("MysqlTooManyConnections").endswith("> 80")
    assert changed(site({"mysql_alert_connections_percent": 70}, "--tags", "mysql"))
    assert rule("MysqlTooManyConnections").endswith("> 70")
    after = containers(host), contributed(host)
    assert after[0] == before[0]
    assert {path for path, digest in after[1].items() if before[1].get(path) != digest} == {
        "./prometheus/mysql_exporter.rules.yml"
    }


def test_all_problems_of_all_roles_are_reported_at_once_before_anything_changes(host: Host, site: Converge) -> None:
    before = containers(host)
    wrong = {
        "nginx_upstream": "app",
        "mysql_database": "a b",
        "grafana_enabled": False,
        "docker_source": "nowhere",
        "miniweb_runbook_url": "http://wiki.example.com",
        "prometheus_runbook_url": "http://wiki.example.com/",
    }
    done = site(wrong)
    assert done.returncode != 0
    said = folded(done.stdout)
    for sentence in (
        "give each as http://host:port",
        'mysql_database: "a b" cannot be used',
        "grafana_enabled is now called grafana_state",
        'docker_source is "nowhere"',
        'miniweb_runbook_url is "http://wiki.example.com": set it to an address that begins with',
        "prometheus_runbook_url is now called miniweb_runbook_url",
    ):
        assert sentence in said
    assert "changed=0" in said
    assert containers(host) == before


def test_a_value_of_mysql_does_not_stop_a_run_of_the_application(site: Converge) -> None:
    wrong = {"mysql_innodb_buffer_pool_mb": 99999}
    assert not changed(site(wrong, "--tags", "app"))
    assert "mysql_innodb_buffer_pool_mb: 99999 MB do not fit" in folded(site(wrong, "--tags", "mysql").stdout)


def test_mysql_goes_only_once_an_application_without_a_database_has_proved_healthy(
    host: Host, site: Converge, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(ROOT / "tests" / "apps" / "uploads", source)
    # Of what it declares, only that it wants no database
    given = {
        "flask_app_source_dir": str(source),
        "flask_app_environment": {},
        "flask_app_processes": {"worker": None},
        "flask_app_volumes": {"uploads": {"url": "/files/"}},
        "flask_app_start_timeout_seconds": 10,
        # The second application wants one, too; it and the third stay, and are named.
        "miniweb_applications": [],
    }
    code = (source / "app.py").read_text()
    before = containers(host)
    (source / "app.py").write_text(code.replace("    return VERSION", "    abort(500)"))
    refused = site(given)
    assert refused.returncode != 0
    assert "The previous version is running again" in folded(refused.stdout)
    assert containers(host)["mysql"] == before["mysql"]
    assert eventually(lambda: status(f"{URL}/healthz") == "200")

    (source / "app.py").write_text(code)
    done = site(given)
    assert done.returncode == 0
    said = folded(done.stderr)
    for name in ("notes", "events"):
        assert f'The service "{name}" is left on {SERVER}' in said
        assert f'miniweb.stack.compose_service -a "name={name} state=absent"' in said
    assert f"The scheduled command miniweb-notes_routes is left on {SERVER}" in said
    assert not {"mysql", "mysql_exporter"} & containers(host).keys()
    # It wants Redis, and has it.
    assert "redis" in containers(host)
    assert status(f"{URL}/") == "200"
    # What it keeps, nginx serves.
    assert status("-X", "PUT", "--data", "from a visitor", f"{URL}/note.txt") == "201"
    assert curl(f"{URL}/files/note.txt") == "from a visitor"
    assert host.run("docker volume inspect miniweb-mysql_data").rc == 0


def test_monitoring_is_removed_and_comes_back_with_its_data(host: Host, site: Converge) -> None:
    def measured() -> int:
        """Samples from before the removal, which only kept data can show."""
        query = f"count_over_time(up{{job='mysql'}}[2h] @ {since})"
        found = json_from("-G", "--data-urlencode", f"query={query}", f"{PROMETHEUS}/query")["data"]["result"]
        return int(found[0]["value"][1]) if found else 0

    since = host.check_output("date +%s")
    samples = measured()
    assert samples > 0
    before = containers(host)
    assert set(before) & MONITORING
    assert changed(site({"miniweb_monitoring": False}))
    left = containers(host)
    assert set(left) == set(before) - MONITORING
    assert left["mysql"] == before["mysql"]
    assert status(f"{URL}/readyz") == "200"
    # nginx's contribution for whatever probes the site
    assert set(contributed(host)) == {"./blackbox_exporter/nginx.pem"}
    assert not {path for path in RESPONDER if host.file(path).exists}
    assert not {f"/opt/miniweb/{name}" for name in MONITORING if host.file(f"/opt/miniweb/{name}").exists}
    assert host.run(f"curl -sk --max-time 3 {URL}:9090/").rc != 0
    assert {"miniweb-prometheus_data", "miniweb-grafana_data", "miniweb-alertmanager_data"} <= set(
        host.check_output("docker volume ls --quiet").split()
    )
    assert not changed(site({"miniweb_monitoring": False}))
    assert changed(site({}))
    assert set(containers(host)) == set(before)
    assert eventually(lambda: measured() >= samples)


@pytest.mark.soak
def test_a_changed_password_leaves_the_previous_version_serving_when_the_new_one_fails(
    host: Host, site: Converge
) -> None:
    """By then MySQL has the new password, and the restored application has the old one."""
    new = {"mysql_password": "another password of the application"}
    done = site({**new, "flask_app_gunicorn_settings": {"worker_class": "no.such.Worker"}})
    assert done.returncode != 0
    assert 'The service "app" did not become healthy' in folded(done.stdout)
    assert "The previous version is running again" in folded(done.stdout)
    assert eventually(lambda: status(f"{URL}/readyz") == "200")
    old = host.check_output("cat /opt/miniweb/app/secrets/database_password")
    assert old != new["mysql_password"]
    assert logs_in(host, old)
    # A successful complete run ends the old password, unless services that it does not deploy may still use it.
    assert changed(site({**new, "miniweb_other_services": ["shop"]}))
    assert status(f"{URL}/readyz") == "200"
    assert logs_in(host, new["mysql_password"])
    assert logs_in(host, old)
    assert changed(site(new))
    assert logs_in(host, new["mysql_password"])
    assert not logs_in(host, old)
    assert not changed(site(new))


def logs_in(host: Host, password: str) -> bool:
    """Whether the application's account accepts this password over the network, as the application logs in.

    It is passed backwards: sudo writes this command to the journal, in which other tests look for passwords.
    """
    program = (
        "import sys, pymysql; pymysql.connect(host='mysql', user='miniwebapp', password=sys.argv[1][::-1], "
        "database='miniwebapp', ssl={'ssl': {}}, ssl_verify_cert=False)"
    )
    return host.run("docker exec miniweb-app-app-1 python -c %s %s", program, password[::-1]).rc == 0


def test_a_broken_setting_of_the_engine_leaves_everything_running(host: Host, site: Converge) -> None:
    before = containers(host)
    file = host.check_output("cat /etc/docker/daemon.json")
    done = site({"docker_daemon_options": {"hosts": ["unix:///var/run/docker.sock"]}}, "--tags", "docker")
    assert done.returncode != 0
    assert host.check_output("cat /etc/docker/daemon.json") == file
    assert containers(host) == before
    assert status(f"{URL}/readyz") == "200"
