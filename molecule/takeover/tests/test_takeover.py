"""One run of the current site.yml on a server that an earlier version deployed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from helpers.playbooks import RunPlaybook, folded
from helpers.server import ADDRESS, ROOT, SERVER
from helpers.waiting import eventually
from helpers.web import curl, json_from, status
from testinfra.host import Host

URL = f"https://{ADDRESS}"
SECRETS = Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent.parent / "secrets" / SERVER


def site(run_playbook: RunPlaybook, variables: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    return run_playbook(ROOT / "site.yml", variables)


def seen(host: Host) -> dict[str, Any]:
    """What must be the same before and after."""
    mysql = "docker exec miniweb-mysql-mysql-1 mysql --defaults-file=/run/secrets/root.cnf -BNe %s"
    return {
        "volumes": host.check_output("docker volume ls --quiet"),
        "containers": host.check_output("docker ps --all --format '{{.Names}}' | sort"),
        "mysql": host.check_output("docker inspect --format '{{.Id}}' miniweb-mysql-mysql-1"),
        "rows": host.check_output(mysql, "SELECT id, username, email FROM miniwebapp.users ORDER BY id"),
        # Whatever their files are called
        "passwords": sorted(path.read_text() for path in SECRETS.iterdir()),
        "certificate": host.check_output("cat /opt/miniweb/nginx/tls/certificate.pem"),
    }


@pytest.fixture(scope="module")
def before(host: Host) -> dict[str, Any]:
    return seen(host)


def test_old_variable_names_stop_the_run_with_the_new_names(
    host: Host, run_playbook: RunPlaybook, before: dict[str, Any]
) -> None:
    old = {
        "grafana_enabled": False,
        "mysql_exporter_enabled": False,
        "alert_responder_enabled": True,
        "prometheus_alert_cpu_percent": 90,
        "prometheus_alert_mysql_down_for": "5m",
    }
    done = site(run_playbook, old)
    assert done.returncode != 0
    said = folded(done.stdout)
    for sentence in (
        "grafana_enabled is now called grafana_state",
        "mysql_exporter_enabled is now called mysql_exporter_state",
        "alert_responder_enabled is now called alert_responder_state",
        "prometheus_alert_cpu_percent is now called node_exporter_alert_cpu_percent",
        "prometheus_alert_mysql_down_for is now called mysql_alert_down_for",
    ):
        assert sentence in said
    assert seen(host) == before


def test_one_run_takes_the_server_over(host: Host, run_playbook: RunPlaybook, before: dict[str, Any]) -> None:
    assert "ada" in before["rows"]
    done = site(run_playbook, {})
    assert done.returncode == 0
    assert "no role of this play manages it" not in folded(done.stderr)
    # MySQL's container gets bounds that it did not have; its volume and its rows stay.
    after = seen(host)
    assert after.pop("mysql") != before["mysql"]
    assert after == {name: value for name, value in before.items() if name != "mysql"}
    password = (SECRETS / "app_admin_password").read_text().strip()
    assert "ada" in curl("--user", f"admin:{password}", f"{URL}/api/users")


def test_everything_is_measured_and_shown_as_before(host: Host) -> None:
    def targets() -> dict[str, str]:
        found = json_from(f"{URL}:9090/api/v1/targets")["data"]["activeTargets"]
        return {target["labels"]["job"]: target["health"] for target in found}

    jobs = [
        "alertmanager",
        "app",
        "blackbox",
        "blackbox_any_certificate",
        "grafana",
        "mysql",
        "nginx",
        "node",
        "prometheus",
    ]
    assert eventually(lambda: targets() == dict.fromkeys(jobs, "up")), targets()
    groups = json_from(f"{URL}:9090/api/v1/rules")["data"]["groups"]
    assert {"MysqlDown", "HighCpuUsage", "SiteDown", "ServerDown"} <= {
        rule["name"] for group in groups for rule in group["rules"]
    }
    password = (SECRETS / "grafana_admin_password").read_text().strip()
    found = json_from("-u", f"admin:{password}", f"{URL}:3000/api/search?type=dash-db")
    assert {"miniweb-overview", "miniweb-host", "miniweb-mysql"} <= {dashboard["uid"] for dashboard in found}
    assert status(f"{URL}/readyz") == "200"


def test_a_second_run_changes_nothing(run_playbook: RunPlaybook) -> None:
    done = site(run_playbook, {})
    assert done.returncode == 0
    assert " changed=0 " in done.stdout.rsplit(SERVER, 1)[1]
