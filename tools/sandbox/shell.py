"""Prints to the user and runs programs."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

HEARTBEAT_SECONDS = 60
LAST_LINES = 40


class Failure(Exception):
    """One sentence for the user."""


@contextlib.contextmanager
def told() -> Iterator[None]:
    """End the program with the sentence of a failure, or silently if it is interrupted."""
    try:
        yield
    except Failure as failure:
        sys.exit(str(failure))
    except KeyboardInterrupt:
        sys.exit(130)


def say(text: str) -> None:
    """Print a line without buffering."""
    print(text, flush=True)


def run(*pipeline: list[str], stdin: Path | None = None, stdout: Path | None = None) -> str:
    """Run the commands, each feeding the next; return what the last one printed, unless it goes to a file."""
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())
        out = stack.enter_context(stdout.open("wb")) if stdout else stack.enter_context(tempfile.TemporaryFile())
        source = stack.enter_context(stdin.open("rb")) if stdin else subprocess.DEVNULL
        processes = start(pipeline, source, out, log)
        for process in processes:
            wait(process, shlex.join(pipeline[0])[:80])
        printed = b""
        if not stdout:
            out.seek(0)
            printed = out.read()
        log.seek(0)
        end = (printed + log.read()).decode(errors="replace").splitlines()[-LAST_LINES:]
        codes = {shlex.join(command): process.returncode for command, process in zip(pipeline, processes, strict=True)}
        # SIGPIPE is only a consequence: the next command failed.
        for command, code in sorted(codes.items(), key=lambda item: item[1] == -signal.SIGPIPE):
            if code:
                raise Failure("\n".join([f"`{command}` failed ({code}):", *end]))
        return printed.decode().strip()


def start(
    pipeline: tuple[list[str], ...], source: Any, out: IO[bytes], log: IO[bytes]
) -> list[subprocess.Popen[bytes]]:
    """The processes of a pipeline from source to out."""
    processes: list[subprocess.Popen[bytes]] = []
    for command in pipeline:
        sink = out if command is pipeline[-1] else subprocess.PIPE
        processes.append(subprocess.Popen(command, stdin=source, stdout=sink, stderr=log))
        if len(processes) > 1:
            # Only the next process keeps the pipe open: if it ends, the one before gets SIGPIPE.
            source.close()
        source = processes[-1].stdout
    return processes


def wait(process: subprocess.Popen[bytes], words: str) -> None:
    """Wait for a process to end, and print regularly that it is still running."""
    begin = time.monotonic()
    while True:
        try:
            process.wait(HEARTBEAT_SECONDS)
            return
        except subprocess.TimeoutExpired:
            say(f"  … {words} ({time.monotonic() - begin:.0f} s)")


def install(packages: dict[str, str]) -> None:
    """Install the packages of missing programs with apt as root; otherwise fail with what to install."""
    missing = {program: package for program, package in packages.items() if not shutil.which(program)}
    if not missing:
        return
    words = " ".join(missing.values())
    if os.geteuid() or not shutil.which("apt-get"):
        programs = " and ".join(missing)
        raise Failure(
            f"{programs} cannot be found: install what is missing (Debian and Ubuntu: apt-get install {words})."
        )
    say(f"Installing {words}…")
    run(["apt-get", "update"])
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *words.split()]
    run(["env", "DEBIAN_FRONTEND=noninteractive", *command])
