"""What was changed by hand on the server: the next run finds it, although nothing that it was given is new."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

import pytest
from helpers.playbooks import Converge, changed
from testinfra.host import Host

NOTES = "/opt/miniweb/settled"
NGINX = "/opt/miniweb/nginx/conf.d/default.conf"
JOBS = "/opt/miniweb/contributions/prometheus/mysql_exporter.jobs.yml"
TIMER = "miniweb-container-metrics.timer"
ALERTMANAGER = "miniweb-alertmanager-alertmanager-1"
PROMETHEUS = "miniweb-prometheus-prometheus-1"
SQL = "docker exec miniweb-mysql-mysql-1 mysql --defaults-file=/run/secrets/root.cnf -BNe %s"


class Change(NamedTuple):
    """A command, what of the server it changes, and the part of the system whose next run mends it."""

    command: tuple[str, ...]
    seen: Callable[[Host], object]
    tag: str


def container(host: Host, name: str) -> tuple[bool, int]:
    """Whether it runs, and how much memory it may have."""
    (found,) = json.loads(host.check_output("docker inspect %s", name))
    return found["State"]["Running"], found["HostConfig"]["Memory"]


def file(path: str) -> Callable[[Host], object]:
    return lambda host: host.run(f"stat --format '%U %a' {path} && sha256sum {path}").stdout


CHANGES = {
    "memory of a container": Change(
        ("docker update --memory 150m --memory-swap 150m %s", PROMETHEUS),
        lambda host: container(host, PROMETHEUS),
        "prometheus",
    ),
    "a stopped container": Change(
        ("docker stop %s", ALERTMANAGER), lambda host: container(host, ALERTMANAGER), "alertmanager"
    ),
    "a configuration file": Change(("echo '# by hand' >> %s", NGINX), file(NGINX), "nginx"),
    "the owner of a contribution": Change(("chown root %s", JOBS), file(JOBS), "prometheus"),
    "rights of an account": Change(
        (SQL, "GRANT INSERT ON miniwebapp.users TO exporter"),
        lambda host: host.check_output(SQL, "SHOW GRANTS FOR exporter"),
        "mysql",
    ),
    "a stopped timer": Change(
        ("systemctl stop %s", TIMER), lambda host: host.run("systemctl is-active %s", TIMER).rc, "node_exporter"
    ),
}


@pytest.fixture(scope="module")
def before(host: Host) -> dict[str, object]:
    """What is seen of the server as the deployment left it."""
    return {name: change.seen(host) for name, change in CHANGES.items()}


@pytest.mark.parametrize("name", CHANGES)
def test_the_next_run_mends_it(host: Host, site: Converge, before: dict[str, object], name: str) -> None:
    command, seen, tag = CHANGES[name]
    host.check_output(*command)
    assert seen(host) != before[name]
    assert changed(site({}, "--tags", tag))
    assert {name: change.seen(host) for name, change in CHANGES.items()} == before


def test_a_run_that_finds_nothing_writes_nothing(host: Host, site: Converge) -> None:
    assert site({}).returncode == 0
    host.check_output("touch /run/before")
    assert not changed(site({}))
    assert host.check_output(f"find {NOTES} -newer /run/before -type f") == ""
