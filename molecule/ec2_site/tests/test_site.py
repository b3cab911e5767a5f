"""From an account with nothing in it to the running system, and back; each test is the user's next step."""

from __future__ import annotations

import json
import os
import pty
import pwd
import secrets
import select
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import hypervisor
from helpers.aws import ansible, client, instances, play, succeeds
from helpers.playbooks import folded
from helpers.server import ROOT, TEST_VARS
from helpers.waiting import eventually
from helpers.web import curl, json_from, status
from sandbox.engine import docker

NAME = "miniweb-production"
PASSWORD = secrets.token_urlsafe()
APPLICATION = {
    "flask_app_environment": {"SAMPLE_USERS": "true"},
    "flask_app_secrets": [{"name": "admin_password", "content": PASSWORD}],
}
INVENTORY = ["--inventory", str(ROOT / "inventory" / "aws_ec2.yml")]


def site(**variables: Any) -> subprocess.CompletedProcess[str]:
    """Run site.yml with the dynamic inventory, and with the sandbox's images."""
    given = [
        "--extra-vars",
        f"@{TEST_VARS}",
        "--extra-vars",
        json.dumps({**APPLICATION, **variables}),
    ]
    return ansible("ansible-playbook", *INVENTORY, str(ROOT / "site.yml"), *given)


def operators_networks() -> set[str]:
    groups = client("ec2").describe_security_groups(
        Filters=[{"Name": "group-name", "Values": [f"{NAME}-administrators"]}]
    )["SecurityGroups"]
    return {entry["CidrIp"] for group in groups for rule in group["IpPermissions"] for entry in rule["IpRanges"]}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The instance's address, where the server that stands in for it answers."""
    # A separate home directory, so that the key lies at its default path.
    os.environ["HOME"] = str(tmp_path_factory.mktemp("home"))
    assert succeeds("aws_provision") == "changed"
    done = ansible("ansible-inventory", *INVENTORY, "--host", NAME)
    at = json.loads(done.stdout)["ansible_host"]
    assert at.startswith("127."), "the double gives addresses on loopback only"
    (pair,) = client("ec2").describe_key_pairs(IncludePublicKey=True)["KeyPairs"]
    directory = tmp_path_factory.mktemp("seed")
    identifier = instances()[0]["InstanceId"]
    seed = hypervisor.seed(identifier, pair["PublicKey"])
    with hypervisor.instance("ec2_site", directory, at, seed):
        yield at
    # ssh does not take the home directory from HOME.
    Path(pwd.getpwuid(os.getuid()).pw_dir, ".ssh", f"known_hosts_{identifier}").unlink(missing_ok=True)


def test_the_new_server_is_waited_for_over_ssh(address: str) -> None:
    assert succeeds("aws_provision", ec2_wait_timeout_seconds=120) == "unchanged"
    assert docker("exec", hypervisor.NAME, "cloud-init", "status") == "status: done"


def test_site_yml_finds_the_server_and_first_grants_the_operator_access(address: str) -> None:
    done = site(miniweb_refresh_access=True, ec2_access_operator="alice", ec2_access_addresses=["198.51.100.4"])
    assert done.returncode == 0
    assert operators_networks() == {"198.51.100.4/32"}


def test_the_site_answers_over_https_and_it_is_this_server(address: str) -> None:
    assert "ada" in curl("--user", f"admin:{PASSWORD}", f"https://{address}/api/users")
    assert status(f"https://{address}/readyz") == "200"
    assert status("--location", f"http://{address}/") == "200"
    own = docker("exec", hypervisor.NAME, "cat", "/opt/miniweb/nginx/tls/certificate.pem")
    assert ssl.get_server_certificate((address, 443)).strip() in own


def test_the_administrators_sites_answer_too(address: str) -> None:
    def targets() -> dict[str, str]:
        found = json_from(f"https://{address}:9090/api/v1/targets")["data"]["activeTargets"]
        return {target["labels"]["job"]: target["health"] for target in found}

    assert eventually(lambda: set(targets().values()) == {"up"}), targets()


def test_a_second_run_changes_nothing(address: str) -> None:
    done = site()
    assert done.returncode == 0
    assert f"{NAME} : ok=" in folded(done.stdout)
    assert " changed=0 " in done.stdout


def typed(answer: str) -> tuple[int, str]:
    """Run aws_destroy.yml at a terminal and type this answer; return the exit code and the output."""
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "--inventory", "localhost,"]
    process, terminal = pty.fork()
    if not process:
        os.chdir(ROOT)
        os.execv(command[0], [*command, str(ROOT / "playbooks" / "aws_destroy.yml")])
    shown = b""
    while True:
        # Input typed before the prompt reads it is discarded, so type only when the output has stopped.
        if not select.select([terminal], [], [], 1)[0]:
            if b"to delete all this" in shown:
                os.write(terminal, answer.encode() + b"\r")
            continue
        try:
            shown += os.read(terminal, 4096)
        except OSError:
            break
    os.close(terminal)
    print(shown.decode(errors="replace")[-3000:])
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), shown.decode(errors="replace")


def test_destroy_asks_and_takes_no_other_answer(address: str) -> None:
    code, shown = typed("yes")
    assert code != 0
    assert f'"yes" is not {NAME}, the name of what would be deleted; nothing was deleted.' in folded(shown)
    assert len(instances()) == 1


def test_destroy_with_the_name_as_answer_leaves_nothing(address: str) -> None:
    code, shown = typed(NAME)
    assert code == 0
    assert f"Nothing of {NAME} is left in AWS" in folded(shown)
    assert instances() == []
    done = play("aws_destroy", ec2_confirm=NAME)
    assert f"There is nothing of {NAME} in this account and region." in folded(done.stdout)
