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


@pytest.fixture(scope="module")
def packed(tarball: Path) -> set[Path]:
    """The names of the collection's files in the archive."""
    with tarfile.open(tarball) as archive:
        names = {Path(member.name) for member in archive if not member.isdir()}
    return names - {Path("MANIFEST.json"), Path("FILES.json")}


@pytest.fixture(scope="module")
def known() -> set[Path]:
    """The names of the files that git tracks."""
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {Path(name) for name in listed.split("\0") if name and (ROOT / name).is_file()}


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
