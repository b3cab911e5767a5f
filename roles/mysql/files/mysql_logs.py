# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""Keep MySQL's slow query log and binary logs within a size, for which MySQL itself has no setting. Run by a timer."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

BINARY_LOG = re.compile(r"(.+)\.\d{6,}")
SECONDS = 60
LABELS = ("com.docker.compose.project=miniweb-mysql", "com.docker.compose.service=mysql")


def docker(*words: str) -> str:
    """Run ``docker`` and return its output.

    :raises subprocess.SubprocessError: it failed, or did not end in time.
    """
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False, timeout=SECONDS)
    if done.returncode:
        raise subprocess.SubprocessError((done.stderr or done.stdout).strip() or f"exit code {done.returncode}")
    return done.stdout.strip()


def ask(statement: str) -> None:
    """Have MySQL execute a statement.

    :raises subprocess.SubprocessError: it does not run, or refuses.
    """
    filters = [word for label in LABELS for word in ("--filter", f"label={label}")]
    containers = docker("ps", "--quiet", "--filter", "status=running", *filters).split()
    if not containers:
        raise subprocess.SubprocessError("MySQL does not run")
    docker("exec", containers[0], "mysql", "--defaults-file=/run/secrets/root.cnf", f"--execute={statement}")


def first_kept(logs: list[tuple[str, int]], limit: int) -> str:
    """Return the oldest binary log that stays, empty if all do: the newest ones that take no more than *limit* bytes.

    :param logs: names and sizes, the oldest first; MySQL writes to the last one, which always stays.
    """
    total, kept = 0, ""
    for name, size in reversed(logs):
        total += size
        if kept and total > limit:
            return kept
        kept = name
    return ""


def rotate(slow: Path, limit: int) -> None:
    """Set a slow query log aside that is larger than *limit* bytes, in place of the one before."""
    if slow.exists() and slow.stat().st_size > limit:
        os.replace(slow, slow.with_name(f"{slow.name}.1"))
        ask("FLUSH SLOW LOGS")


def purge(data: Path, limit: int) -> None:
    """Have MySQL delete the oldest binary logs until they take no more than *limit* bytes."""
    logs = sorted((path.name, path.stat().st_size) for path in data.iterdir() if BINARY_LOG.fullmatch(path.name))
    kept = first_kept(logs, limit)
    if kept:
        ask(f"PURGE BINARY LOGS TO '{kept}'")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slow-mb", type=int, required=True, help="size of the slow query log")
    parser.add_argument("--binary-mb", type=int, required=True, help="size of all binary logs")
    arguments = parser.parse_args()
    try:
        data = Path(docker("volume", "inspect", "--format", "{{.Mountpoint}}", "miniweb-mysql_data"))
        rotate(data / "slow.log", arguments.slow_mb * 1_000_000)
        purge(data, arguments.binary_mb * 1_000_000)
    except (OSError, subprocess.SubprocessError) as error:
        sys.exit(f"MySQL's logs cannot be kept within their size: {error}.")


if __name__ == "__main__":
    main()
