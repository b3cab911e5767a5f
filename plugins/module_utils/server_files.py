# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""Reading and replacing files on the server, shared by the collection's modules."""

from __future__ import annotations

import dataclasses
import os
import stat
import tempfile


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


def last_line(text: str) -> str:
    """Return the last non-empty line of a program's output, without its full stop."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "it printed nothing"
