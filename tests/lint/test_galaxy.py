"""The archive that a Galaxy server would get holds what users need, and galaxy-importer has nothing to say about it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import changelog
import pytest
import yaml
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
# Directories that the archive holds completely, except for the tests in them
SHIPPED = ("LICENSES", "files/webapp", "meta", "playbooks", "plugins", "roles")
DIRECTORIES_OF_DEVELOPMENT = {"molecule", "tests", "tools"}


def names_in(tarball: Path) -> set[Path]:
    """The names of the collection's files in an archive."""
    with tarfile.open(tarball) as archive:
        names = {Path(member.name) for member in archive if not member.isdir()}
    return names - {Path("MANIFEST.json"), Path("FILES.json")}


@pytest.fixture(scope="module")
def packed(tarball: Path) -> set[Path]:
    """The names of the collection's files in the archive."""
    return names_in(tarball)


@pytest.fixture(scope="module")
def known() -> set[Path]:
    """The names of the files that git tracks."""
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {Path(name) for name in listed.split("\0") if name and (ROOT / name).is_file()}


PRIVATE = (
    *(
        "inventory/production.ini",
        "inventory/hosts",
        "inventory/production.yml",
        "inventory/aws.yml",
        "inventory/aws_ec2.yml.bak",
    ),
    *("inventory/staging.aws_ec2.yml", "inventory/local_servers.yml", "inventory/local.yml~", "inventory/azure.yml"),
    *(
        "inventory/host_vars/www.yml",
        "inventory/group_vars/all/passwords.yml",
        "inventory/lab/hosts.ini",
        "inventory/location.py",
    ),
    *("hosts.ini", "hosts", "production.ini", "production.yml", "staging.yml", "autoscale.yml", "vars.yml"),
    *(
        "group_vars/all/passwords.yml",
        "host_vars/www/secrets.yml",
        "playbooks/group_vars/all.yml",
        "playbooks/host_vars/www.yml",
    ),
    *(
        ".env",
        ".env.production",
        ".vault_pass",
        "vault.yml",
        "group_vars/all/vault.yml",
        "playbooks/vault_password.txt",
    ),
    *(
        "files/webapp/.env",
        "files/webapp/.env.local",
        "files/webapp/production.env",
        "files/webapp/.netrc",
        "files/webapp/.my.cnf",
    ),
    *(
        "files/webapp/.docker/config.json",
        "files/webapp/.direnv/a",
        "files/webapp/backup.sql",
        "files/webapp/tls/site.key",
    ),
    *("files/certificate.pem", "roles/nginx/files/private_key.pem", "playbooks/id_rsa", "roles/ec2/files/id_ed25519"),
    *(
        "secrets/www/app_admin_password",
        "playbooks/secrets/www/app_admin_password",
        "playbooks/inventory.ini",
        "site.p12",
    ),
)


@pytest.fixture(scope="module")
def packed_in_use(known: set[Path], tmp_path_factory: pytest.TempPathFactory) -> set[Path]:
    """The same of an archive that was built in a directory with which somebody deploys."""
    tree, target = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("archive")
    for path in known:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes((ROOT / path).read_bytes())
    for name in PRIVATE:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("secret\n")
    command = [Path(sys.executable).with_name("ansible-galaxy"), "collection", "build", "--output-path", target]
    subprocess.run(command, cwd=tree, capture_output=True, check=True)
    return names_in(next(target.iterdir()))


@pytest.mark.parametrize("name", PRIVATE)
def test_what_is_private_is_not_packed(packed_in_use: set[Path], name: str) -> None:
    assert Path(name) not in packed_in_use


def test_nothing_else_is_missing_for_that(packed: set[Path], packed_in_use: set[Path]) -> None:
    assert packed_in_use == packed
    assert {Path("inventory/aws_ec2.yml"), Path("inventory/local.yml")} <= packed
    assert not any("group_vars" in path.parts for path in packed)


def is_development(path: Path) -> bool:
    """Whether only developers of the collection need the file."""
    is_for_a_tool = path.parts[0].startswith(".") or not DIRECTORIES_OF_DEVELOPMENT.isdisjoint(path.parts)
    return is_for_a_tool or path.name in {"requirements-dev.txt", "requirements-test.txt"}


def test_only_tracked_files_are_packed(packed: set[Path], known: set[Path]) -> None:
    assert packed - known == set()


def test_what_users_run_is_packed(packed: set[Path], known: set[Path]) -> None:
    needed = {path for path in known if path.as_posix().startswith(tuple(f"{name}/" for name in SHIPPED))}
    assert {path for path in needed if not is_development(path)} - packed == set()


def test_what_only_development_needs_is_not_packed(packed: set[Path]) -> None:
    assert {path for path in packed if is_development(path)} == set()


def test_nothing_is_newer_than_the_collection() -> None:
    version = Version(yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"])
    for path in (ROOT / "plugins").rglob("*.py"):
        for added in re.findall(r"^ *version_added: *['\"]?([0-9.]+)", path.read_text(), re.MULTILINE):
            assert Version(added) <= version, path


def test_the_changelog_is_current() -> None:
    assert changelog.PAGE.read_text() == changelog.render(), "run: make docs"


def test_galaxy_importer(tarball: Path, tmp_path: Path) -> None:
    surroundings = {
        "GALAXY_IMPORTER_ANSIBLE_LOCAL_TMP": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = [sys.executable, "-m", "galaxy_importer.main", str(tarball)]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **surroundings}, capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert re.findall(r"^(?:WARNING|ERROR|CRITICAL).*", said, re.MULTILINE) == []
