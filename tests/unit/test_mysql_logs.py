"""mysql_logs.py: which logs are set aside and deleted, with a docker program that does what MySQL would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "roles" / "mysql" / "files" / "mysql_logs.py"
DOCKER = r"""#!/bin/sh
here=$(dirname "$0")
case "$1" in
volume) [ -d "$here/data" ] || { echo "no such volume" >&2; exit 1; }; echo "$here/data";;
ps) cat "$here/running";;
exec)
    echo "$5" >> "$here/told"
    case "$5" in
    *PURGE*) kept=$(echo "$5" | cut -d"'" -f2)
        for log in "$here"/data/binlog.0*; do [ "$(basename "$log")" = "$kept" ] && break; rm "$log"; done;;
    *FLUSH*) : > "$here/data/slow.log";;
    esac;;
esac
"""


@pytest.fixture
def server(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "running").write_text("mysql\n")
    program = tmp_path / "docker"
    program.write_text(DOCKER)
    program.chmod(0o755)
    return tmp_path


def fill(path: Path, megabytes: float) -> None:
    path.write_bytes(b"")
    with path.open("r+b") as stream:
        stream.truncate(int(megabytes * 1_000_000))


def run(server: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-Es", str(PROGRAM), "--slow-mb", "5", "--binary-mb", "10"]
    environment = {"PATH": f"{server}:/usr/bin:/bin"}
    return subprocess.run(words, capture_output=True, text=True, check=False, env=environment)


def names(server: Path) -> list[str]:
    return sorted(path.name for path in (server / "data").iterdir())


@pytest.mark.parametrize(
    ("megabytes", "kept"),
    [
        ([], []),
        ([3], [1]),
        ([50], [1]),
        ([5, 5], [1, 2]),
        ([5, 5.1], [2]),
        ([1, 1, 1, 9], [3, 4]),
        ([9, 9, 9, 1], [3, 4]),
        ([9, 9, 9, 9], [4]),
        ([1, 1, 1, 50], [4]),
    ],
    ids=str,
)
def test_the_newest_binary_logs_that_fit_stay(server: Path, megabytes: list[float], kept: list[int]) -> None:
    for number, size in enumerate(megabytes, 1):
        fill(server / "data" / f"binlog.{number:06d}", size)
    (server / "data" / "binlog.index").write_text("x" * 20_000)
    done = run(server)
    assert (done.returncode, done.stderr) == (0, "")
    assert names(server) == [*(f"binlog.{number:06d}" for number in kept), "binlog.index"]


@pytest.mark.parametrize(("megabytes", "aside"), [(None, False), (0, False), (5, False), (6, True)])
@pytest.mark.parametrize("before", [True, False])
def test_a_slow_query_log_that_is_too_large_is_set_aside(
    server: Path, megabytes: float | None, aside: bool, before: bool
) -> None:
    slow, older = server / "data" / "slow.log", server / "data" / "slow.log.1"
    if megabytes is not None:
        fill(slow, megabytes)
    if before:
        fill(older, 1)
    assert run(server).returncode == 0
    assert older.exists() == (aside or before)
    if aside:
        assert (slow.stat().st_size, older.stat().st_size) == (0, 6_000_000)


@pytest.mark.parametrize(("missing", "said"), [("running", "MySQL does not run"), ("data", "no such volume")])
def test_what_is_missing_is_said(server: Path, missing: str, said: str) -> None:
    fill(server / "data" / "slow.log", 6)
    if missing == "running":
        (server / "running").write_text("")
    else:
        (server / "data" / "slow.log").unlink()
        (server / "data").rmdir()
    done = run(server)
    assert done.returncode == 1
    assert done.stderr == f"MySQL's logs cannot be kept within their size: {said}.\n"
