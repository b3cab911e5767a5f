"""The rules of a user's fields, and everything that reads or changes users."""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.security import generate_password_hash

from .models import User, db


@dataclass(frozen=True)
class Field:
    longest: int
    pattern: re.Pattern[str] = re.compile(r".*", re.DOTALL)
    rule: str = ""


# E-mail and username are ASCII: then every case-insensitive collation agrees on what is a duplicate, and no two
# usernames look alike. The e-mail pattern is the one browsers use for <input type=email>.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
FIELDS = {
    "name": Field(User.name.type.length),
    "email": Field(
        User.email.type.length,
        re.compile(rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{_LABEL}(?:\.{_LABEL})*"),
        "must be an address such as ada@example.com",
    ),
    "username": Field(
        User.username.type.length,
        re.compile(r"[A-Za-z0-9._+@-]+"),
        "may contain only the letters A to Z, digits and . _ + - @",
    ),
    "password": Field(256),
}
UNIQUE = ("email", "username")

# scrypt takes 32 MiB for each hash: one at a time bounds the memory and leaves the processor to others.
_hashing = threading.Lock()


class UserError(HTTPException):
    """What is wrong with the values given, a sentence per field."""

    def __init__(self, code: int, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(errors.values()))
        self.code = code
        self.errors = errors


def validate(given: Mapping[str, object], *, required: Collection[str] = tuple(FIELDS)) -> dict[str, str]:
    """Return the clean values of the known fields given, or raise UserError with all that is wrong."""
    values: dict[str, str] = {}
    errors: dict[str, str] = {}
    for name, field in FIELDS.items():
        if name not in given:
            if name in required:
                errors[name] = f"{name} is missing"
            continue
        value = given[name]
        if isinstance(value, str) and name != "password":
            value = value.strip(" ")
        if problem := _problem(value, field):
            errors[name] = f"{name} {problem}"
        else:
            values[name] = str(value)
    if errors:
        raise UserError(400, errors)
    return values


def _problem(value: object, field: Field) -> str | None:
    if not isinstance(value, str):
        return "must be text"
    if not value.strip():
        return "must not be empty"
    if len(value) > field.longest:
        return f"is too long: {len(value)} characters, {field.longest} are allowed"
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in value):
        return "must not contain control characters"
    if not field.pattern.fullmatch(value):
        return field.rule
    return None


def all_users() -> Sequence[User]:
    return db.session.scalars(sa.select(User).order_by(User.id)).all()


def find(user_id: int) -> User:
    if user := db.session.get(User, user_id):
        return user
    raise NotFound("User not found")


def create(values: Mapping[str, str]) -> int:
    user = User(**_columns(values))
    with _saving(values):
        db.session.add(user)
        db.session.flush()
        user_id = user.id
    return user_id


def update(user_id: int, values: Mapping[str, str]) -> None:
    with _saving(values, user_id):
        _matched(sa.update(User).where(User.id == user_id).values(_columns(values)))


def delete(user_id: int) -> None:
    _matched(sa.delete(User).where(User.id == user_id))
    db.session.commit()


def _columns(values: Mapping[str, str]) -> dict[str, str]:
    columns = dict(values)
    if password := columns.pop("password", None):
        with _hashing:
            columns["password_hash"] = generate_password_hash(password, method="scrypt")
    return columns


def _matched(statement: sa.Update | sa.Delete) -> None:
    """Execute; the row may have been deleted by somebody else since it was read."""
    if db.session.execute(statement, execution_options={"synchronize_session": False}).rowcount == 0:
        raise NotFound("User not found")


@contextmanager
def _saving(values: Mapping[str, str], user_id: int = 0) -> Iterator[None]:
    """Commit; the unique indexes alone decide what is a duplicate, so there is no gap between check and write."""
    try:
        yield
        db.session.commit()
    except IntegrityError as error:
        db.session.rollback()
        taken = [
            field
            for field in UNIQUE
            if field in values
            and db.session.scalar(
                sa.select(sa.exists().where(getattr(User, field) == values[field], User.id != user_id))
            )
        ]
        # Nothing is found when the other user vanished in the meantime.
        raise UserError(
            409, {field: f"{field} is already used by another user" for field in taken or UNIQUE}
        ) from error
