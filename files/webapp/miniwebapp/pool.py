"""Checks that idle database connections are alive before they are used again, and counts connections."""

from __future__ import annotations

import time

from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry, Pool, PoolProxiedConnection

from .metrics import POOL_SIZE, POOL_USED

# No database restarts faster, and SQLAlchemy drops all idle connections when one in use breaks.
RESTED_SECONDS = 1.0


def watch(pool: Pool) -> None:
    event.listen(pool, "connect", _opened)
    event.listen(pool, "close", _closed)
    event.listen(pool, "checkout", _lent)
    event.listen(pool, "checkin", _returned)


def _opened(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    POOL_SIZE.inc()


def _closed(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    POOL_SIZE.dec()


def _lent(connection: DBAPIConnection, record: ConnectionPoolEntry, lent: PoolProxiedConnection) -> None:
    returned = record.info.get("returned")
    if returned is not None and time.monotonic() - returned >= RESTED_SECONDS:
        try:
            connection.ping()  # type: ignore[attr-defined]
        except Exception as error:
            # It is replaced and checked out again.
            raise InvalidatePoolError from error
    record.record_info["lent"] = True
    POOL_USED.inc()


def _returned(connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    record.info["returned"] = time.monotonic()
    # A connection that turned out to be broken is checked in without having been counted as checked out.
    if record.record_info.pop("lent", False):
        POOL_USED.dec()
