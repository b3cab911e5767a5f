"""The image cache outside the project."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sandbox.shell import HEARTBEAT_SECONDS, Failure, run, say


def location() -> Path:
    """The directory of the cache."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("MINIWEB_CACHE") or Path(root) / "miniweb")


@contextlib.contextmanager
def opened_cache() -> Iterator[Path]:
    """Lock and yield the cache directory, or a temporary one if it cannot be written."""
    directory = location()
    with contextlib.ExitStack() as stack:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((directory / "lock").open("w"))
        except OSError as error:
            say(
                f"No cache: {directory} cannot be written ({error.strerror}); set MINIWEB_CACHE to another directory to keep built images."
            )
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="miniweb-")))
        else:
            hold(lock.fileno(), directory)
        yield directory


def hold(lock: int, directory: Path) -> None:
    """Wait until no other run uses the cache."""
    waited = 0
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if waited % HEARTBEAT_SECONDS == 0:
                say(f"Waiting for another run that is using {directory} ({waited} s)…")
            time.sleep(1)
            waited += 1


def compressor() -> tuple[str, str]:
    """The compression program, and the suffix of its files."""
    return ("zstd", ".zst") if shutil.which("zstd") else ("gzip", ".gz")


def store(producer: list[str], target: Path) -> None:
    """Write the compressed output of `producer` to `target` atomically."""
    partial = target.with_name(f"{target.name}.part")
    try:
        run(producer, [compressor()[0], "-1", "-c"], stdout=partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def feed(source: Path, consumer: list[str]) -> None:
    """Decompress what was stored into `consumer`."""
    run([compressor()[0], "-d", "-c"], consumer, stdin=source)


def restored(source: Path, consumer: list[str], what: str) -> bool:
    """Feed `source` to `consumer` and return whether that worked; a damaged file is deleted."""
    if not source.exists():
        return False
    say(f"Loading {what} from the cache…")
    try:
        feed(source, consumer)
    except Failure as failure:
        say(f"The cached {source.name} is damaged, building it again: {failure}")
        source.unlink()
        return False
    return True
