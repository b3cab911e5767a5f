"""Checks that idle database connections are alive before they are used again."""

from __future__ import annotations

import time

from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry, Pool, PoolProxiedConnection

# No database restarts faster, and SQLAlchemy drops all idle connections when one in use breaks.
RESTED_SECONDS = 1.0


def register() -> None:
    event.listen(Pool, "checkin", _returned)
    # Before the metrics count the checkout: a dead connection is replaced and checked out again.
    event.listen(Pool, "checkout", _lent, insert=True)


def _returned(connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    record.info["returned"] = time.monotonic()


def _lent(connection: DBAPIConnection, record: ConnectionPoolEntry, lent: PoolProxiedConnection) -> None:
    returned = record.info.get("returned")
    if returned is None or time.monotonic() - returned < RESTED_SECONDS:
        return
    try:
        connection.ping()  # type: ignore[attr-defined]
    except Exception as error:
        raise InvalidatePoolError from error
