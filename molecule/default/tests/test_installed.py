"""The collection as it was installed, and the directory that it is run from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.playbooks import folded
from helpers.server import ADDRESS, SERVER
from testinfra.host import Host

INSTALLED = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "installed"


def site(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the installed collection's playbook in a directory with an inventory and without this project's settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))}
    environment |= {
        "ANSIBLE_COLLECTIONS_PATH": str(INSTALLED / "collections"),
        "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "false",
    }
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "miniweb.stack.site", "-i", "hosts.ini", *words]
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    print(done.stdout[-6000:], done.stderr[-2000:])
    return done


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Another directory with the same inventory and variables, and no secrets."""
    shutil.copy(INSTALLED / "hosts.ini", tmp_path)
    shutil.copytree(INSTALLED / "group_vars", tmp_path / "group_vars")
    return tmp_path


def test_secrets_lie_beside_the_inventory_and_nowhere_else() -> None:
    assert [path.name for path in INSTALLED.rglob("secrets")] == ["secrets"]
    assert (INSTALLED / "secrets" / SERVER / "mysql_root_password").stat().st_mode & 0o777 == 0o600
    # Another run may have had another name for its server.
    assert all(path.name.startswith("miniweb-test") for path in (INSTALLED / "secrets").iterdir())


def test_the_users_inventory_beats_what_the_collection_wires(host: Host) -> None:
    """The wiring has neither these server names nor the responder."""
    certificate = host.check_output(
        "openssl x509 -noout -ext subjectAltName -in /opt/miniweb/nginx/tls/certificate.pem"
    )
    assert "DNS:www.example.com" in certificate
    assert f"IP Address:{ADDRESS}" in certificate
    assert SERVER not in certificate
    assert host.check_output("systemctl is-active miniweb-alert-responder.socket") == "active"


def test_a_run_without_the_secrets_of_the_first_deployment_stops_and_makes_none(host: Host, elsewhere: Path) -> None:
    before = host.check_output("docker ps --no-trunc --quiet")
    done = site(elsewhere)
    assert done.returncode != 0
    assert (
        f'mysql_root_password: "secrets/{SERVER}/mysql_root_password" does not exist, but {SERVER} has data that need '
        "it (volume miniweb-mysql_data): put the file of the first deployment there, or set mysql_root_password."
    ) in folded(done.stdout + done.stderr)
    assert " changed=0 " in done.stdout
    assert not (elsewhere / "secrets").exists()
    assert host.check_output("docker ps --no-trunc --quiet") == before
