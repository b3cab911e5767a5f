"""The cache of images holds nothing incomplete."""

from __future__ import annotations

from pathlib import Path

import pytest
from sandbox import cache
from sandbox.shell import Failure


def test_store_leaves_nothing_incomplete(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="failed"):
        cache.store(["sh", "-c", "echo half; exit 3"], tmp_path / "archive")
    assert list(tmp_path.iterdir()) == []


def test_restored_gives_back_what_was_stored(tmp_path: Path) -> None:
    archive, copy = tmp_path / "archive", tmp_path / "copy"
    cache.store(["echo", "whole"], archive)
    assert cache.restored(archive, ["sh", "-c", f"cat > {copy}"], "it")
    assert copy.read_text() == "whole\n"


def test_restored_throws_a_damaged_archive_away(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(b"not compressed")
    assert not cache.restored(archive, ["cat"], "it")
    assert not archive.exists()
