"""Whether a database has refused something because its disk is full."""

from __future__ import annotations

import re

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from .models import read

# MySQL's "disk full", "the table is full" and "temporary file write failure"
FULL = frozenset({1021, 1114, 1878})
# Other errors name the operating system's: "OS errno 28 - No space left on device".
NO_SPACE = re.compile(r"\b(errno:? |error )28\b|No space left on device")
LOST_CONNECTION = 2013
# A commit takes milliseconds.
WAITING_SECONDS = 5


def lacks(error: DBAPIError) -> bool:
    """Whether the database has no room for what it was asked to store."""
    code = (*getattr(error.orig, "args", ()), 0)[0]
    return code in FULL or bool(NO_SPACE.search(str(error.orig))) or (code == LOST_CONNECTION and _commits_wait())


def _commits_wait() -> bool:
    """Whether the application's commits wait: without room for its binary log, MySQL neither finishes nor refuses them."""
    try:
        found = read(sa.text("SHOW PROCESSLIST"))
    except SQLAlchemyError:
        return False
    return any(row.State == "waiting for handler commit" and row.Time >= WAITING_SECONDS for row in found)
