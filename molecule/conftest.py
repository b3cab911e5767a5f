"""What the tests of all scenarios share."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import testinfra
from helpers import authority as pebble
from helpers.playbooks import Converge, RunPlaybook, converge_playbook, restoring, run_playbook, started_playbook
from helpers.receiver import Receiver
from helpers.server import ADDRESS, ROOT, default_of
from helpers.waiting import eventually
from testinfra.host import Host


@pytest.fixture(scope="module")
def host() -> Host:
    """The server, as its administrator sees it: over SSH, with sudo."""
    key = ROOT / ".sandbox" / "ssh_key"
    options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    options += " -o ControlMaster=auto -o ControlPersist=60s -o ControlPath=/tmp/miniweb-test-%C"
    return testinfra.get_host(
        f"ssh://admin@{ADDRESS}:2222", ssh_identity_file=str(key), ssh_extra_args=options, sudo=True
    )


@pytest.fixture(scope="module")
def receiver(host: Host) -> Iterator[Receiver]:
    """What is sent to http://receiver:8000 and smtp://receiver:2525 on the monitoring network."""
    host.run("docker rm --force receiver")
    command = "docker run --detach --name receiver --network miniweb-monitor %s python3 -c %s"
    program = (ROOT / "tests" / "doubles" / "receiver.py").read_text()
    host.check_output(command, default_of("flask_app", "flask_app_base_image"), program)
    yield Receiver(host)
    host.check_output("docker rm --force receiver")


@pytest.fixture(scope="module")
def authority(host: Host) -> Iterator[pebble.Authority]:
    """An ACME authority on the server."""
    with pebble.running(host) as found:
        yield found


@pytest.fixture(name="run_playbook")
def run_playbook_fixture() -> RunPlaybook:
    """Run any playbook against the scenario's server."""
    return run_playbook


@pytest.fixture
def converge() -> Iterator[Converge]:
    """Run the scenario's converge playbook with other variables, and restore the server after the test."""

    def run(variables: dict[str, Any], *words: str) -> subprocess.CompletedProcess[str]:
        return run_playbook(converge_playbook(), variables, *words)

    with restoring(run) as restored:
        yield restored


@pytest.fixture
def interrupted(host: Host) -> Callable[[dict[str, Any], Callable[[], bool]], None]:
    """Run the scenario's converge playbook with other variables and kill it, here and on the server, mid-run."""

    def run(variables: dict[str, Any], when: Callable[[], bool]) -> None:
        with started_playbook(converge_playbook(), variables) as process:
            assert eventually(when), process.communicate()
            process.kill()
            # A module is piped to its interpreter, whose command line therefore has no arguments.
            host.run("pkill -KILL -xf %s", "/usr/bin/python3[.0-9]*")

    return run
