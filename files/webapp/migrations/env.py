from collections.abc import Iterator
from contextlib import contextmanager
from logging.config import fileConfig

import click
import sqlalchemy as sa
from alembic import context
from flask import current_app
from sqlalchemy.exc import OperationalError

LOCK_SECONDS = 600

fileConfig(context.config.config_file_name, disable_existing_loggers=False)
db = current_app.extensions["migrate"].db
# Migrating a large table takes longer than the timeouts allow.
url = db.engine.url.difference_update_query(["read_timeout", "write_timeout"])


def run_offline() -> None:
    context.configure(url=url, target_metadata=db.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


def run_online() -> None:
    try:
        connection = sa.create_engine(url, poolclass=sa.pool.NullPool).connect()
    except OperationalError as error:
        raise click.ClickException(f"The database cannot be reached: {error.orig}") from error
    with connection, alone(connection):
        context.configure(connection=connection, target_metadata=db.metadata)
        with context.begin_transaction():
            context.run_migrations()


@contextmanager
def alone(connection: sa.Connection) -> Iterator[None]:
    """Several servers may start at once: the first migrates, the others wait and find nothing left to do."""
    lock = sa.func.concat("alembic:", sa.func.sha2(sa.func.database(), 224))
    got = connection.scalar(sa.select(sa.func.get_lock(lock, LOCK_SECONDS)))
    connection.commit()  # Alembic joins a transaction that is open already and would not commit its own work
    if not got:
        raise click.ClickException(
            f"Another migration of this database has been running for {LOCK_SECONDS} seconds; "
            "look at it with SHOW PROCESSLIST and try again"
        )
    try:
        yield
    finally:
        connection.scalar(sa.select(sa.func.release_lock(lock)))


if context.is_offline_mode():
    run_offline()
else:
    run_online()
