# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""What a playbook finds on a server and may remove, item by item, and how that is shown."""

from __future__ import annotations

import contextlib
import os
import shutil
import typing as t

# Removes something and returns the error, empty on success
Remover = t.Callable[[], str]


class Removable:
    """Base of a dataclass for something that was found, which stays if it has no *remover*."""

    reason: str
    remover: Remover | None
    state: str

    def __post_init__(self) -> None:
        if self.remover:
            self.state = "removable"

    def remove(self) -> None:
        """Remove it, and note how that ended."""
        if self.remover:
            error = self.remover()
            self.state = "failed" if error else "removed"
            self.reason = error or self.reason


def aligned(rows: t.Sequence[tuple[str, ...]], numbers: int = 0) -> list[str]:
    """Return rows as the lines of a table.

    :param numbers: how many of the first columns are aligned to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(
            cell.rjust(width) if column < numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]


def deleted(*paths: str) -> str:
    """Delete files, and directories with their contents; return the error."""
    try:
        for path in paths:
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
    except OSError as error:
        return f"{error.filename} cannot be deleted: {error.strerror}"
    return ""
