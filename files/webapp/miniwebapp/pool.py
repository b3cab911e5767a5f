"""Checks that idle database connections are alive before they are used again, counts connections, and keeps some at hand."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry, ManagesConnection, PoolProxiedConnection

from .metrics import POOL_SIZE, POOL_USED

# No database restarts faster, and SQLAlchemy drops all idle connections when one in use breaks.
RESTED_SECONDS = 1.0
# As many as a pool keeps
MOST = 5


def watch(engine: Engine) -> None:
    def lent(connection: DBAPIConnection, record: ConnectionPoolEntry, lent: PoolProxiedConnection) -> None:
        try:
            _take(engine, connection, record)
        except Exception as error:
            # It is replaced and checked out again.
            raise InvalidatePoolError from error

    event.listen(engine.pool, "connect", _opened)
    event.listen(engine.pool, "close", _closed)
    event.listen(engine.pool, "checkout", lent)
    event.listen(engine.pool, "checkin", _returned)


def _opened(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    POOL_SIZE.inc()


def _closed(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
    POOL_SIZE.dec()


def _returned(connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    _give(record)


def _take(engine: Engine, connection: DBAPIConnection, record: ManagesConnection) -> None:
    """Note that a connection is used again, unless it is broken, which the driver then says."""
    returned = record.info.get("returned")
    if returned is not None and time.monotonic() - returned >= RESTED_SECONDS:
        engine.dialect.do_ping(connection)
    record.record_info["lent"] = True
    POOL_USED.inc()


def _give(record: ManagesConnection) -> None:
    record.info["returned"] = time.monotonic()
    # A connection that turned out to be broken is given back without having been counted as taken.
    if record.record_info.pop("lent", False):
        POOL_USED.dec()


class Kept:
    """Connections that an engine's pool lends once: each time costs it an eighth of what a short request takes."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.errors: type[Exception] = engine.dialect.loaded_dbapi.Error
        self._idle: deque[PoolProxiedConnection] = deque()

    @contextmanager
    def connection(self) -> Iterator[PoolProxiedConnection]:
        """A connection for this block. Whatever the block raises, the connection is then closed."""
        connection = self._next()
        try:
            yield connection
        except BaseException as error:
            connection.invalidate(error)
            raise
        if len(self._idle) < MOST:
            _give(connection)
            self._idle.append(connection)
        else:
            connection.close()

    def _next(self) -> PoolProxiedConnection:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self.engine.raw_connection()
            try:
                _take(self.engine, connection.dbapi_connection, connection)
                return connection
            except self.errors as error:
                connection.invalidate(error)
