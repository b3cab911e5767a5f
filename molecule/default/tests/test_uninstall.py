"""playbooks/uninstall.yml: the data stay unless told, what others have stays, and nothing else of the collection is left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.playbooks import Converge, RunPlaybook, changed, folded
from helpers.server import ADDRESS, ROOT, SERVER, default_of
from helpers.waiting import eventually
from helpers.web import json_from, status
from testinfra.host import Host

PLAYBOOK = ROOT / "playbooks" / "uninstall.yml"
CONFIRMED = {"uninstall_confirm": SERVER}
NOTES = ("--resolve", f"notes.example.com:443:{ADDRESS}", "https://notes.example.com/")
PLACES = "/etc/systemd/system /etc/sudoers.d /usr/local /var/lib/systemd/timers /var/lib/node_exporter /opt/miniweb"


def left(host: Host) -> list[str]:
    """What has the collection's name or label, and is not of others."""
    commands = (
        "docker ps --all --filter label=miniweb.stack.configuration --format '{{.Names}}'",
        "docker network ls --format '{{.Name}}' | grep ^miniweb- || true",
        "docker volume ls --quiet | grep ^miniweb- || true",
        f"find {PLACES} -name '*miniweb*' -o -name '*.prom' -o -path '/opt/miniweb/*'",
        "systemctl list-units --all --plain --no-legend 'miniweb-*' | cut -d ' ' -f 1",
        "iptables --list-rules INPUT | grep miniweb.stack || true",
    )
    return sorted({word for one in commands for word in host.run(one).stdout.splitlines()} - {"/opt/miniweb"})


@pytest.fixture
def others(host: Host) -> Iterator[None]:
    """A container, a volume and a network of somebody else."""
    image = default_of("flask_app", "flask_app_base_image")
    host.check_output("docker network create theirs && docker volume create theirs")
    host.check_output(
        "docker run --detach --name theirs --network theirs --volume theirs:/data %s sleep infinity", image
    )
    yield
    host.check_output("docker rm --force theirs && docker network rm theirs && docker volume rm theirs")


@pytest.mark.soak
def test_data_that_stay_are_found_again(host: Host, run_playbook: RunPlaybook, converge: Converge) -> None:
    assert status("--data", "kept by uninstall", *NOTES) == "201"
    volumes = {one for one in left(host) if one.endswith(("_data", "_uploads"))}
    assert volumes >= {"miniweb-mysql_data", "miniweb-prometheus_data", "miniweb-grafana_data"}
    assert changed(run_playbook(PLAYBOOK, CONFIRMED))
    # Data, certificates of an authority with the account there, and a note of what the engine's settings were
    kept = {one for one in left(host) if not one.startswith("/opt/miniweb/certificate")}
    assert kept == volumes | {"/opt/miniweb/docker.json"}
    assert status(*NOTES) == "000"
    assert not changed(run_playbook(PLAYBOOK, CONFIRMED))
    assert converge({}).returncode == 0
    assert eventually(lambda: "kept by uninstall" in json_from(*NOTES)["notes"])


def test_uninstall(host: Host, run_playbook: RunPlaybook, others: None) -> None:
    shown = run_playbook(PLAYBOOK, {})
    assert not changed(shown)
    assert "\\n" not in shown.stdout
    assert f"Nothing was removed. -e uninstall_confirm={SERVER} removes" in folded(shown.stdout)
    refused = run_playbook(PLAYBOOK, {"uninstall_confirm": "another", "uninstall_data": True})
    assert refused.returncode != 0
    assert f'uninstall_confirm: "another" is not {SERVER}' in folded(refused.stdout)
    assert status(*NOTES) == "200"

    # Somebody has begun to remove it by hand.
    host.check_output("rm --recursive /opt/miniweb/units /opt/miniweb/mysql_exporter")
    assert changed(run_playbook(PLAYBOOK, {**CONFIRMED, "uninstall_data": True}))
    assert left(host) == []
    assert not host.file("/opt/miniweb").exists
    assert not changed(run_playbook(PLAYBOOK, {**CONFIRMED, "uninstall_data": True}))
    assert host.check_output("docker inspect --format '{{.State.Running}}' theirs") == "true"
    assert host.run("docker network inspect theirs && docker volume inspect theirs").rc == 0
