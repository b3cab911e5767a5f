from logging.config import fileConfig

import click
from alembic import context
from flask import current_app
from sqlalchemy import create_engine, pool
from sqlalchemy.exc import OperationalError

fileConfig(context.config.config_file_name, disable_existing_loggers=False)
db = current_app.extensions["migrate"].db
# A migration of a large table takes longer than a page may.
url = db.engine.url.difference_update_query(["read_timeout", "write_timeout"])


def run_offline() -> None:
    context.configure(url=url, target_metadata=db.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


def run_online() -> None:
    try:
        connection = create_engine(url, poolclass=pool.NullPool).connect()
    except OperationalError as error:
        raise click.ClickException(f"The database cannot be reached: {error.orig}") from error
    with connection:
        context.configure(connection=connection, target_metadata=db.metadata, render_as_batch=True)
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    run_offline()
else:
    run_online()
