"""The collection as users install it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(sys.executable).parent


@pytest.fixture(scope="session")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive that a Galaxy server would get."""
    directory = tmp_path_factory.mktemp("tarball")
    command = [PROGRAMS / "ansible-galaxy", "collection", "build", "--output-path", directory]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [built] = directory.iterdir()
    return built


@pytest.fixture
def collections(tarball: Path, tmp_path: Path) -> Path:
    """A directory of collections with this one, unpacked, and amazon.aws, which its modules for AWS are built on."""
    target = tmp_path / "collections" / "ansible_collections"
    unpacked = target / "miniweb" / "stack"
    unpacked.mkdir(parents=True)
    # Debian 12's Python cannot unpack with a filter, and newer ones warn without.
    subprocess.run(["tar", "--extract", "--file", tarball, "--directory", unpacked], check=True)
    amazon = Path(find_spec("ansible_collections.amazon.aws").submodule_search_locations[0])
    shutil.copytree(amazon, target / "amazon" / "aws", ignore=shutil.ignore_patterns("tests", "docs"))
    return target.parent
