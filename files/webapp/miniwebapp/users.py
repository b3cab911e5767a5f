"""The validation of a user's fields, and everything that reads or changes users."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from flask_babel import LazyString, gettext, lazy_gettext
from sqlalchemy.exc import IntegrityError
from werkzeug.exceptions import HTTPException, NotFound

from . import passwords
from .models import ADMIN, ROLES, ApiToken, User, db, read, read_one


@dataclass(frozen=True)
class Field:
    label: LazyString
    longest: int
    shortest: int = 1
    pattern: re.Pattern[str] = re.compile(r".*", re.DOTALL)
    rule: LazyString | str = ""


# E-mail and username are ASCII, so that every case-insensitive collation agrees on what is a duplicate, and no two
# usernames look alike. The e-mail pattern is the one browsers use for <input type=email>.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
FIELDS = {
    "name": Field(lazy_gettext("name"), User.name.type.length),
    "email": Field(
        lazy_gettext("email"),
        User.email.type.length,
        pattern=re.compile(rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{_LABEL}(?:\.{_LABEL})*"),
        rule=lazy_gettext("must be an address such as ada@example.com"),
    ),
    "username": Field(
        lazy_gettext("username"),
        User.username.type.length,
        pattern=re.compile(r"[A-Za-z0-9._+@-]+"),
        rule=lazy_gettext("may contain only the letters A to Z, digits and . _ + - @"),
    ),
    "password": Field(lazy_gettext("password"), 256, shortest=passwords.SHORTEST),
}
UNIQUE = ("email", "username")
SORTS = ("id", "name", "username", "email")
PER_PAGE = 50
SEARCH_LENGTH = 120
# MySQL scans an index up to a page's first row. With 100,000 users that takes 20 ms, but 300 ms in a search.
DEEPEST_PAGE = 2000
MOST_FOUND = 10_000


class UserError(HTTPException):
    """The invalid values, with a sentence per field."""

    def __init__(self, code: int, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(errors.values()))
        self.code = code
        self.errors = errors


@dataclass(frozen=True)
class Page:
    """One page of the list, and the query it answers."""

    rows: Sequence[sa.Row[tuple[int, str, str, str, str]]]
    search: str
    sort: str
    descending: bool
    number: int
    total: int

    @property
    def is_cut(self) -> bool:
        return bool(self.search) and self.total >= MOST_FOUND

    @property
    def last(self) -> int:
        return max(1, -(-self.total // PER_PAGE))


def validate(
    given: Mapping[str, object], *, required: Collection[str] = tuple(FIELDS), user: sa.Row[Any] | None = None
) -> dict[str, str]:
    """Return the cleaned values of the known fields, or raise UserError with all invalid ones.

    :param user: the user to change, whose other fields the password must not equal.
    """
    values: dict[str, str] = {}
    errors: dict[str, str] = {}
    for name, field in FIELDS.items():
        if name not in given:
            if name in required:
                errors[name] = gettext("%(field)s is missing", field=field.label)
            continue
        value = given[name]
        if isinstance(value, str) and name != "password":
            value = value.strip(" ")
        if problem := _problem(value, field):
            errors[name] = f"{field.label} {problem}"
        else:
            values[name] = str(value)
    if "password" in values:
        known = {field: values.get(field) or getattr(user, field, "") for field in ("name", "email", "username")}
        if problem := passwords.problem(values["password"], known.values()):
            errors["password"] = f"{FIELDS['password'].label} {problem}"
    if errors:
        raise UserError(400, errors)
    return values


def _problem(value: object, field: Field) -> str | None:
    if not isinstance(value, str):
        return gettext("must be text")
    if not value.strip():
        return gettext("must not be empty")
    if len(value) > field.longest:
        return gettext("is too long: %(given)d characters, %(most)d are allowed", given=len(value), most=field.longest)
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in value):
        return gettext("must not contain control characters")
    if not field.pattern.fullmatch(value):
        return str(field.rule)
    return None


# Built once, because nearly every request uses one of them.
ROWS = sa.select(User.id, User.name, User.email, User.username)
ROW = ROWS.where(User.id == sa.bindparam("id"))
BY_ID = sa.select(User.__table__).where(User.id == sa.bindparam("id"))


def page(search: str, sort: str, descending: bool, number: int) -> Page:
    """One page of the search results, and their total; numbers beyond the last page mean the last page."""
    sort = sort if sort in SORTS else "name"
    search = search.strip()[:SEARCH_LENGTH]
    counted = sa.select(sa.literal(1)).select_from(User).where(_begins(search))
    if search:
        counted = counted.limit(MOST_FOUND)
    total = read(sa.select(sa.func.count()).select_from(counted.subquery()))[0][0]
    number = max(1, min(number, DEEPEST_PAGE, -(-total // PER_PAGE)))
    rows = some_rows(search, sort, descending, PER_PAGE, (number - 1) * PER_PAGE)
    return Page(rows, search, sort, descending, number, total)


def some_rows(
    search: str, sort: str, descending: bool, limit: int, offset: int
) -> Sequence[sa.Row[tuple[int, str, str, str, str]]]:
    order = [column.desc() if descending else column for column in (getattr(User, sort), User.id)]
    # The page's rows are found in the index alone, so that only they are read.
    found = sa.select(User.id).where(_begins(search)).order_by(*order).limit(limit).offset(offset).subquery()
    rows = sa.select(User.id, User.name, User.email, User.username, User.role).join(found, User.id == found.c.id)
    return read(rows.order_by(*order))


def _begins(search: str) -> sa.ColumnElement[bool]:
    """Match prefixes of name, username or e-mail, which the indexes find without reading all users."""
    columns = [User.name] + ([User.username, User.email] if search.isascii() else [])
    return sa.or_(*(column.startswith(search, autoescape=True) for column in columns)) if search else sa.true()


def find(user_id: int) -> sa.Row[Any]:
    if user := read_one(BY_ID, id=user_id):
        return user
    raise NotFound("User not found")


def create(values: Mapping[str, str]) -> int:
    user = User(**_columns(values))
    with _saving(values):
        db.session.add(user)
        db.session.flush()
        user_id = user.id
    return user_id


def update(user_id: int, values: Mapping[str, str], *, by: int = 0) -> None:
    """Change a user. A password that someone else sets also ends the user's tokens.

    :param by: id of the user who does it; 0 for an operator, and for everyone with OPEN_ACCESS.
    """
    with _saving(values, user_id):
        if values.get("role", ADMIN) != ADMIN:
            _keep_an_admin(user_id, "role")
        if "password" in values and by != user_id:
            db.session.execute(sa.delete(ApiToken).where(ApiToken.user_id == user_id))
        _matched(sa.update(User).where(User.id == user_id).values(_columns(values)))


def role(given: str) -> dict[str, str]:
    """Validate a role and return it as a value for `create` and `update`."""
    if given not in ROLES:
        raise UserError(400, {"role": gettext("role must be one of %(roles)s", roles=", ".join(ROLES))})
    return {"role": given}


def _keep_an_admin(user_id: int, field: str) -> None:
    """Raise UserError if this user is the only administrator; lock the administrators until the transaction ends."""
    admins = db.session.scalars(sa.select(User.id).where(User.role == ADMIN).with_for_update()).all()
    if list(admins) == [user_id]:
        db.session.rollback()
        raise UserError(409, {field: gettext("This is the only administrator: make another user one first")})


def delete(user_id: int) -> None:
    _keep_an_admin(user_id, "username")
    _matched(sa.delete(User).where(User.id == user_id))
    db.session.commit()


def _columns(values: Mapping[str, str]) -> dict[str, str]:
    columns = dict(values)
    if password := columns.pop("password", None):
        columns["password_hash"] = passwords.make_hash(password)
    return columns


def _matched(statement: sa.Update | sa.Delete) -> None:
    """Execute; raise NotFound if someone else has deleted the row since it was read."""
    if db.session.execute(statement, execution_options={"synchronize_session": False}).rowcount == 0:
        raise NotFound("User not found")


@contextmanager
def _saving(values: Mapping[str, str], user_id: int = 0) -> Iterator[None]:
    """Commit; only the unique indexes detect duplicates, so there is no race between check and write."""
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
        # Empty if the other user was deleted in the meantime.
        problem = gettext("is already used by another user")
        raise UserError(409, {field: f"{FIELDS[field].label} {problem}" for field in taken or UNIQUE}) from error
