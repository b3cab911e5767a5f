"""Database connections that are alive: one that rested is asked before it is used again."""

from __future__ import annotations

import time

from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry, Pool, PoolProxiedConnection

# No database starts again in less. What breaks a connection in use ends all that are idle, too.
RESTED_SECONDS = 1.0


def register() -> None:
    event.listen(Pool, "checkin", _returned)
    # Before what counts those that are lent: a dead one is replaced, and asked for again.
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
