"""Writes CHANGELOG.rst as a release now would, from the previous releases, the fragments and the new plugins."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "CHANGELOG.rst"
# What antsibull-changelog reads
SOURCES = ("changelogs", "galaxy.yml", "plugins")


def render() -> str:
    """Render the page in a copy, because a release consumes the fragments.

    :raises subprocess.CalledProcessError: antsibull-changelog rejects a fragment; its output says which.
    """
    with tempfile.TemporaryDirectory(prefix="miniweb-") as directory:
        copy = Path(directory) / "ansible_collections" / "miniweb" / "stack"
        copy.mkdir(parents=True)
        for name in SOURCES:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name)
        command = ["antsibull-changelog", "generate" if is_released(copy) else "release"]
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(command, cwd=copy, env={**os.environ, "PATH": programs}, check=True)
        return (copy / PAGE.name).read_text()


def is_released(collection: Path) -> bool:
    """Whether the changelog already has the version of galaxy.yml."""
    changes = collection / "changelogs" / "changelog.yaml"
    version = yaml.safe_load((collection / "galaxy.yml").read_text())["version"]
    return changes.exists() and version in yaml.safe_load(changes.read_text())["releases"]


if __name__ == "__main__":
    PAGE.write_text(render())
