"""source_archive: the same source gives the same archive."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest
from ansible_collections.miniweb.stack.plugins.modules import source_archive


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    left_by_tools = (".git/HEAD", ".venv/bin/python", ".hypothesis/examples/x", ".ruff_cache/x", ".nox/x", ".coverage")
    for name in ("app.py", "pkg/__init__.py", "pkg/__pycache__/x.pyc", "note.log", *left_by_tools):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(name)
    (directory / ".dockerignore").write_text("# comment\n**/*.log\nsome/path\n!kept\n")
    return directory


def names(archive: Path) -> set[str]:
    with tarfile.open(archive) as opened:
        return set(opened.getnames())


def test_same_source_same_archive(run_module, source: Path, tmp_path: Path) -> None:
    dest = tmp_path / "new" / "source.tar.gz"
    arguments = {"path": str(source), "dest": str(dest)}
    first = run_module("source_archive", **arguments)
    content, inode = dest.read_bytes(), dest.stat().st_ino
    os.utime(source / "app.py", (1, 1))
    second = run_module("source_archive", **arguments)
    assert (first["changed"], second["changed"]) == (True, False)
    assert first["digest"] == second["digest"]
    assert (dest.read_bytes(), dest.stat().st_ino) == (content, inode)
    assert dest.stat().st_mode & 0o777 == 0o600


def test_excluded_names(run_module, source: Path, tmp_path: Path) -> None:
    dest = tmp_path / "source.tar.gz"
    (source / "secret.txt").write_text("x")
    arguments = {"path": str(source), "dest": str(dest), "exclude": ["secret.*"]}
    run_module("source_archive", **arguments, extra_files={"Dockerfile": "FROM x\n"})
    assert names(dest) == {"Dockerfile", "source/.dockerignore", "source/app.py", "source/pkg/__init__.py"}


@pytest.mark.parametrize("change", ["content", "name", "executable", "extra file"])
def test_digest_sees(run_module, source: Path, tmp_path: Path, change: str) -> None:
    arguments = {"path": str(source), "dest": str(tmp_path / "source.tar.gz")}
    before = run_module("source_archive", **arguments)
    if change == "content":
        (source / "app.py").write_text("another")
    elif change == "name":
        (source / "app.py").rename(source / "other.py")
    elif change == "executable":
        (source / "app.py").chmod(0o755)
    else:
        arguments["extra_files"] = {"Dockerfile": "FROM x\n"}
    after = run_module("source_archive", **arguments)
    assert after["changed"]
    assert after["digest"] != before["digest"]


def test_check_mode_writes_nothing(run_module, source: Path, tmp_path: Path) -> None:
    dest = tmp_path / "new" / "source.tar.gz"
    result = run_module("source_archive", check_mode=True, path=str(source), dest=str(dest))
    assert result["changed"]
    assert not dest.parent.exists()


def test_digest_keeps_names_and_contents_apart() -> None:
    assert source_archive.digest_of({"ab": (b"c", False)}) != source_archive.digest_of({"a": (b"bc", False)})


def test_missing_and_empty_directory(run_module, tmp_path: Path) -> None:
    dest = str(tmp_path / "x.tar.gz")
    missing = run_module("source_archive", path=str(tmp_path / "none"), dest=dest)
    assert "is not a directory on the controller" in missing["msg"]
    (tmp_path / "empty").mkdir()
    empty = run_module("source_archive", path=str(tmp_path / "empty"), dest=dest)
    assert "holds no files to pack" in empty["msg"]
