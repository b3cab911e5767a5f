from __future__ import annotations

from typing import ClassVar

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import MetaData, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention={"uq": "uq_%(table_name)s_%(column_0_name)s", "pk": "pk_%(table_name)s"})


db = SQLAlchemy(model_class=Base)


def caseless(length: int) -> String:
    """ASCII text (see users.FIELDS) compared without regard to case: by SQLite too, as by MySQL's collation."""
    return String(length).with_variant(String(length, collation="NOCASE"), "sqlite")


class User(db.Model):
    __tablename__ = "users"
    __table_args__: ClassVar[dict[str, str]] = {
        "mysql_engine": "InnoDB",
        "mysql_charset": "utf8mb4",
        "mysql_collate": "utf8mb4_unicode_ci",
    }

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    email: Mapped[str] = mapped_column(caseless(254), unique=True)
    username: Mapped[str] = mapped_column(caseless(64), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
