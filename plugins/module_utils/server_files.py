# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""Reading and replacing files on the server, shared by the collection's modules and by programs of its roles.

A role copies this file next to its program. So it imports nothing but Python's standard library.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import re
import stat
import tempfile
import typing as t

URL_PASSWORD = re.compile(r"""(://[^\s/:@"']*:)[^\s/@"']+@""")


@dataclasses.dataclass(frozen=True)
class FileState:
    """A file's content and permissions; owner and group are numeric IDs."""

    content: bytes
    mode: int
    owner: int = 0
    group: int = 0


def read_file(path: str) -> FileState | None:
    """Return a file's content and permissions, or None when it does not exist."""
    try:
        with open(path, "rb") as stream:
            content = stream.read()
            status = os.fstat(stream.fileno())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return FileState(content, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)


def write_file(path: str, wanted: FileState) -> None:
    """Write a file atomically, so that no reader ever sees a part of it.

    :raises OSError: its directory does not exist or cannot be written.
    """
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".miniweb-")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(wanted.content)
            os.fchown(stream.fileno(), wanted.owner, wanted.group)
            os.fchmod(stream.fileno(), wanted.mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


@contextlib.contextmanager
def locked(path: str, wait: bool = True) -> t.Iterator[None]:
    """Hold the lock file; wait for another run that holds it.

    :raises BlockingIOError: another run holds it, and *wait* is false.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


def readable(content: bytes) -> str:
    """Return a file's content as text for a diff, even if it is binary, without the passwords in its URLs."""
    return URL_PASSWORD.sub(r"\1********@", content.decode(errors="replace"))


def difference(path: str, before: FileState | None, after: FileState, hidden: bool) -> dict[str, str]:
    """Return Ansible's diff of a file that is written; of a hidden one, only the name is shown."""
    if hidden:
        old, new = ("(a secret)\n" if before else ""), "(another secret)\n"
    else:
        old, new = (readable(before.content) if before else ""), readable(after.content)
    if old == new and before:
        old = f"mode {before.mode:04o}, owner {before.owner}, group {before.group}\n"
        new = f"mode {after.mode:04o}, owner {after.owner}, group {after.group}\n"
    return {"before_header": path, "after_header": path, "before": old, "after": new}


def _file_system(path: str) -> os.statvfs_result:
    path = os.path.abspath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return os.statvfs(path)


def free_megabytes(path: str) -> int:
    """Return how many megabytes are free on the file system that holds, or will hold, a path."""
    found = _file_system(path)
    return found.f_bavail * found.f_frsize // 1_000_000


def total_megabytes(path: str) -> int:
    """Return how many megabytes the file system has that holds, or will hold, a path."""
    found = _file_system(path)
    return found.f_blocks * found.f_frsize // 1_000_000


# How programs mark the line that says what is wrong; their last one often says only that something is. Redis frames a title.
ERROR_LINE = re.compile(
    r"\[(emerg|ERROR|error|crit|alert)\]|\b(level=(error|ERROR|fatal)|lvl=eror|ERROR|FATAL|FAILED|panic)\b"
)
EXCEPTION = re.compile(r"^Traceback \(most recent call last\):\n(?:\s.*\n)+(\S.*)", re.MULTILINE)


def cause(text: str) -> str:
    """Return the line of a program's output that says what is wrong: the exception, the first error, or the last line."""
    exceptions = EXCEPTION.findall(text)
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("***")]
    errors = [line for line in lines if ERROR_LINE.search(line)]
    return (exceptions[-1:] or errors[:1] or lines[-1:] or ["it printed nothing"])[0].rstrip(".")
