"""playbooks/uninstall.yml: the data stay unless told, what others have stays, and nothing else of the collection is left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.playbooks import Converge, RunPlaybook, changed, folded
from helpers.server import ROOT, SERVER
from helpers.service import Service
from testinfra.host import Host

PLAYBOOK = ROOT / "playbooks" / "uninstall.yml"
MYSQL = Service("mysql")
CONFIRMED = {"uninstall_confirm": SERVER}
VOLUME = "miniweb-mysql_data"


def sql(host: Host, statement: str) -> str:
    command = "docker exec %s mysql --defaults-file=/run/secrets/root.cnf --skip-column-names --batch app --execute=%s"
    return host.check_output(command, MYSQL.container(host), statement)


def left(host: Host) -> list[str]:
    """What has the collection's name or label, and is not of others."""
    commands = (
        "docker ps --all --filter label=miniweb.stack.configuration --format '{{.Names}}'",
        "docker network ls --format '{{.Name}}' | grep ^miniweb- || true",
        "docker volume ls --quiet | grep ^miniweb- || true",
        "find /etc/systemd/system /var/lib/node_exporter /opt/miniweb -name '*miniweb*' -o -name '*.prom' -o -path '/opt/miniweb/*'",
        "systemctl list-units --all --plain --no-legend 'miniweb-*' | cut -d ' ' -f 1",
        "iptables --list-rules INPUT | grep miniweb.stack || true",
    )
    return sorted({word for one in commands for word in host.run(one).stdout.splitlines()} - {"/opt/miniweb"})


@pytest.fixture
def others(host: Host, converge: Converge) -> Iterator[None]:
    """A container, a volume and a network of somebody else; afterwards the server is as the scenario wants it."""
    image = MYSQL.inspected(host)["Config"]["Image"]
    host.check_output("docker network create theirs && docker volume create theirs")
    host.check_output(
        "docker run --detach --name theirs --network theirs --volume theirs:/data --entrypoint sleep %s infinity", image
    )
    yield
    host.check_output("docker rm --force theirs && docker network rm theirs && docker volume rm theirs")
    assert converge({}).returncode == 0


def test_uninstall(host: Host, run_playbook: RunPlaybook, converge: Converge, others: None) -> None:
    sql(host, "CREATE TABLE IF NOT EXISTS kept (word VARCHAR(20)); DELETE FROM kept; INSERT INTO kept VALUES ('word')")
    shown = run_playbook(PLAYBOOK, {})
    assert not changed(shown)
    assert "\\n" not in shown.stdout
    assert f"Nothing was removed. -e uninstall_confirm={SERVER} removes" in folded(shown.stdout)
    refused = run_playbook(PLAYBOOK, {"uninstall_confirm": "another", "uninstall_data": True})
    assert refused.returncode != 0
    assert f'uninstall_confirm: "another" is not {SERVER}' in folded(refused.stdout)
    assert sql(host, "SELECT word FROM kept") == "word"

    assert changed(run_playbook(PLAYBOOK, CONFIRMED))
    assert [one for one in left(host) if one != "/opt/miniweb/docker.json"] == [VOLUME]
    assert not changed(run_playbook(PLAYBOOK, CONFIRMED))

    # What is kept is found again.
    assert converge({}).returncode == 0
    assert sql(host, "SELECT word FROM kept") == "word"

    host.check_output("rm --recursive /opt/miniweb/units /opt/miniweb/mysql_exporter")
    assert changed(run_playbook(PLAYBOOK, {**CONFIRMED, "uninstall_data": True}))
    assert left(host) == []
    assert not host.file("/opt/miniweb").exists
    assert not changed(run_playbook(PLAYBOOK, {**CONFIRMED, "uninstall_data": True}))
    assert host.check_output("docker inspect --format '{{.State.Running}}' theirs") == "true"
    assert host.run("docker network inspect theirs && docker volume inspect theirs").rc == 0
