from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, ClassVar

from flask import Flask, current_app
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Dialect, Executable, ForeignKey, Index, MetaData, Row, String
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from . import pool

ADMIN, VIEWER = ROLES = ("admin", "viewer")


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
        }
    )


db = SQLAlchemy(model_class=Base)
READER = "reader"


def register(app: Flask) -> None:
    """Set up a second engine for `read`, with autocommit, beside the session's."""
    reader = {"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True}
    options = {"url": app.config["SQLALCHEMY_DATABASE_URI"], **app.config["SQLALCHEMY_ENGINE_OPTIONS"], **reader}
    app.config["SQLALCHEMY_BINDS"] = {READER: options}
    db.init_app(app)
    with app.app_context():
        for engine in db.engines.values():
            pool.watch(engine)
        app.extensions[READER] = pool.Kept(db.engines[READER])


def read(statement: Executable, **values: Any) -> Sequence[Row[Any]]:
    """Run a query outside the session's transaction: one round trip, nothing to roll back."""
    with db.engines[READER].connect() as connection:
        return connection.execute(statement, values).all()


def read_plain(statement: Executable, values: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
    """Like `read`, with the driver's own rows: for columns of numbers and text only.

    What SQLAlchemy does for each statement and each connection is a quarter of what a short request costs the application.
    """
    kept: pool.Kept = current_app.extensions[READER]
    text, names = _compiled(statement, kept.engine.dialect)
    parameters = dict(values) if names is None else [values[name] for name in names]
    try:
        with kept.connection() as connection:
            cursor = connection.cursor()
            cursor.execute(text, parameters)
            rows: Sequence[tuple[Any, ...]] = cursor.fetchall()
            cursor.close()
            return rows
    except kept.errors as error:
        raise DBAPIError.instance(text, parameters, error, kept.errors, dialect=kept.engine.dialect) from error


@cache
def _compiled(statement: Executable, dialect: Dialect) -> tuple[str, Sequence[str] | None]:
    """The text of a statement, and its parameters in their order, or None for a driver that takes them by name."""
    compiled = statement.compile(dialect=dialect)
    return str(compiled), compiled.positiontup


def read_one(statement: Executable, **values: Any) -> Row[Any] | None:
    """Return the one row of a query, or None."""
    return next(iter(read(statement, **values)), None)


class Table:
    __table_args__: ClassVar[dict[str, str]] = {
        "mysql_engine": "InnoDB",
        "mysql_charset": "utf8mb4",
        "mysql_collate": "utf8mb4_unicode_ci",
    }
    id: Mapped[int] = mapped_column(primary_key=True)


class User(Table, db.Model):
    __tablename__ = "users"

    name: Mapped[str] = mapped_column(String(120), index=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    username: Mapped[str] = mapped_column(String(64), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    role: Mapped[str] = mapped_column(String(16), server_default=VIEWER, index=True)


class ApiToken(Table, db.Model):
    """A token that a program logs in with. It is shown once, and only its hash is stored."""

    __tablename__ = "api_tokens"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]


class LoginFailure(Table, db.Model):
    """A failed login, stored for as long as it counts; `source` is a hash of username and address."""

    __tablename__ = "login_failures"
    __table_args__ = (Index(None, "source", "at"), Index(None, "at"), Table.__table_args__)

    source: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime]
