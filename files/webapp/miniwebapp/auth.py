"""Authentication and authorization: everything is denied except what is listed here."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, TypeVar
from urllib.parse import urlsplit

import sqlalchemy as sa
from flask import Flask, Request, current_app, g, redirect, request, session, url_for
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from flask.typing import ResponseReturnValue
from flask_babel import gettext, ngettext
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import aliased
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, TooManyRequests, Unauthorized

from . import logs, metrics, passwords, users
from .models import ADMIN, ApiToken, LoginFailure, User, db, read_one, read_plain

OPEN_TO_ALL = frozenset(
    {"static", "health.alive", "health.ready", "metrics.show", "account.login", "account.enter", "api.description"}
)
# Everything else needs an administrator.
OPEN_TO_VIEWERS = frozenset(
    {
        *("pages.index", "api.index", "api.show"),
        *("account.show", "account.change_password", "account.leave", "account.create_token", "account.revoke_token"),
    }
)
CHALLENGES = (
    WWWAuthenticate("basic", {"realm": "MiniWebApp", "charset": "UTF-8"}),
    WWWAuthenticate("bearer", {"realm": "MiniWebApp"}),
)
USER = (User.id, User.username, User.role, User.password_hash)
HOLDER = aliased(User)
HOLDER_COLUMNS = (HOLDER.id, HOLDER.username, HOLDER.role)
OF_TOKEN = ApiToken.digest == sa.bindparam("digest")
BY_TOKEN = sa.select(*HOLDER_COLUMNS).join(ApiToken).where(OF_TOKEN)
# A query of columns, whose first is an id, with at most a condition, and its values
Query = tuple[sa.Select[Any], dict[str, Any]]
View = TypeVar("View", bound=Callable[..., ResponseReturnValue])


@dataclass(frozen=True)
class Account:
    """Whoever is logged in."""

    id: int
    username: str
    role: str

    @property
    def is_admin(self) -> bool:
        return self.role == ADMIN


# With OPEN_ACCESS everyone may do everything.
EVERYBODY = Account(0, "", ADMIN)


class Sessions(SecureCookieSessionInterface):
    """Flask's sessions, without the cost of preparing a signature check if there is no cookie."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        if "Cookie" in request.headers and self.get_cookie_name(app) in request.cookies:
            return super().open_session(app, request)
        return self.session_class()


def register(app: Flask) -> None:
    app.session_interface = Sessions()
    app.before_request(_guard)
    app.context_processor(lambda: {"account": current(), "open_access": current_app.config["OPEN_ACCESS"]})


def _set(account: Account | None) -> None:
    g.account = account
    if account:
        request.environ[logs.USER_ID] = account.id


def current() -> Account | None:
    return g.get("account")


def current_id() -> int:
    """The id of whoever is logged in; 0 is nobody's."""
    account = current()
    return account.id if account else 0


def reads(query: Callable[..., Query | None]) -> Callable[[View], View]:
    """Say what a view reads: with a token, its user and these rows are found by one query.

    :param query: takes the same arguments as the view; None if the view reads something else this time.
    """

    def mark(view: View) -> View:
        view.reads = query  # type: ignore[attr-defined]
        return view

    return mark


def rows(query: Query) -> Sequence[tuple[Any, ...]]:
    """The rows of a query that the view reads, ordered by their first column."""
    found: Sequence[tuple[Any, ...]] | None = g.pop("rows", None)
    # Not sorted by MySQL, which would use a temporary table for what it has read in this order.
    return sorted(read_plain(*query) if found is None else found)


@cache
def _with_token(statement: sa.Select[Any]) -> sa.Select[Any]:
    """The token's user beside each row, or beside nulls; no row without such a token."""
    (wanted,), condition = statement.get_final_froms(), statement.whereclause
    both = sa.join(ApiToken, HOLDER).outerjoin(wanted, sa.true() if condition is None else condition)
    # One flat query: with two subqueries MySQL needs 40 µs more of 250.
    return sa.select(*HOLDER_COLUMNS, *statement.selected_columns).select_from(both).where(OF_TOKEN)


def _of_token(token: str) -> Account | None:
    view = current_app.view_functions[request.endpoint or ""]
    query = view.reads(**(request.view_args or {})) if hasattr(view, "reads") else None
    if not query:
        found = read_one(BY_TOKEN, digest=digest(token))
        return Account(found.id, found.username, found.role) if found else None
    both = read_plain(_with_token(query[0]), {**query[1], "digest": digest(token)})
    if not both:
        return None
    g.rows = [row[3:] for row in both if row[3] is not None]
    return Account(*both[0][:3])


def _guard() -> ResponseReturnValue | None:
    endpoint = request.endpoint
    if request.routing_exception or endpoint in OPEN_TO_ALL:
        if endpoint in OPEN_TO_ALL - {"static", "health.alive", "health.ready", "metrics.show"}:
            _set(_of_session())
        return None
    account = EVERYBODY if current_app.config["OPEN_ACCESS"] else _of_header() or _of_session()
    _set(account)
    if account is None:
        if request.blueprint == "api":
            raise Unauthorized("Log in, with HTTP Basic or a token", www_authenticate=CHALLENGES)
        return redirect(
            url_for("account.login", next=request.full_path.rstrip("?") if request.method == "GET" else None)
        )
    if not account.is_admin and endpoint not in OPEN_TO_VIEWERS:
        raise Forbidden(gettext("Only administrators may do this"))
    return None


def _of_session() -> Account | None:
    """The session's user, unless deleted, logged in too long ago, or with a password changed since."""
    if "user" not in session:
        return None
    if time.time() - session.get("since", 0) > current_app.permanent_session_lifetime.total_seconds():
        session.clear()
        return None
    found = read_one(users.BY_ID, id=session["user"])
    if not found or not secrets.compare_digest(_mark(found.password_hash), session["mark"]):
        session.clear()
        return None
    return Account(found.id, found.username, found.role)


def _of_header() -> Account | None:
    if "Authorization" not in request.headers:
        return None
    try:
        given = request.authorization
    except ValueError:  # werkzeug expects HTTP Basic to be ASCII
        given = None
    if given and given.type == "bearer" and given.token:
        if account := _of_token(given.token):
            return account
        raise Unauthorized("The token is not valid", www_authenticate=CHALLENGES)
    if given and given.type == "basic" and given.username is not None and given.password is not None:
        user = check(given.username, given.password)
        return Account(user.id, user.username, user.role)
    raise Unauthorized("Log in, with HTTP Basic or a token", www_authenticate=CHALLENGES)


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _mark(password_hash: str) -> str:
    """A fingerprint of the password hash, which ends the session when the password changes."""
    return hashlib.sha256(f"session {password_hash}".encode()).hexdigest()[:32]


def log_in(user: sa.Row[Any]) -> None:
    session.clear()
    session.permanent = True
    session["user"], session["mark"], session["since"] = user.id, _mark(user.password_hash), int(time.time())
    _set(Account(user.id, user.username, user.role))


def next_page(given: str | None) -> str:
    """The path to redirect to after login; never another site, whatever was given."""
    try:
        parts = urlsplit((given or "").replace("\\", "/"))
    except ValueError:
        return url_for("pages.index")
    # Browsers drop control characters, so that "/\t/" becomes "//".
    if not given or not given.isprintable() or parts.scheme or parts.netloc or not parts.path.startswith("/"):
        return url_for("pages.index")
    return url_for("pages.index") if given.startswith("//") else given


def check(username: str, password: str) -> sa.Row[Any]:
    """Return the user with this name and password.

    :raises TooManyRequests: too many recent logins have failed.
    :raises Unauthorized: there is no such user, or the password is wrong.
    """
    username = username.strip(" ")
    # MySQL ignores control characters and accents in comparisons: such a name must not be counted separately.
    possible = users.FIELDS["username"].pattern.fullmatch(username)
    address = _network(request.remote_addr or "")
    sources = {
        digest(f"{username.casefold() if possible else '-'} {address}"): "LOGIN_FAILURES_PER_USERNAME",
        digest(f"* {address}"): "LOGIN_FAILURES_PER_ADDRESS",
    }
    own = next(iter(sources))
    now = datetime.now(UTC).replace(tzinfo=None)
    user = db.session.execute(_with_failures(username if possible else "", sources, now)).one()
    for source, setting in sources.items():
        if user._mapping[source] >= current_app.config[setting]:
            raise _too_many(source, now)
    if not passwords.matches(password[:1024], user.password_hash):
        _remember(sources, now)
        raise Unauthorized(gettext("The username or the password is wrong"), www_authenticate=CHALLENGES)
    if user._mapping[own]:
        _store_if_possible(sa.delete(LoginFailure).where(LoginFailure.source == own))
    if passwords.is_outdated(user.password_hash):
        renewed = sa.update(User).where(User.id == user.id, User.password_hash == user.password_hash)
        if _store_if_possible(renewed.values(password_hash=passwords.make_hash(password))):
            return users.find(user.id)
    return user


def _store_if_possible(statement: sa.Executable) -> bool:
    """Store what a login can do without, so that people can log in and read while the database has no room."""
    try:
        db.session.execute(statement)
        db.session.commit()
    except OperationalError as error:
        db.session.rollback()
        current_app.logger.warning("Not stored at a login: %s", error.orig)
        return False
    return True


def _network(address: str) -> str:
    """The address, or for IPv6 its /64, which is what a subscriber gets."""
    try:
        return str(ipaddress.ip_network((address, 64), strict=False)) if ":" in address else address
    except ValueError:
        return address


def _window() -> timedelta:
    return timedelta(seconds=current_app.config["LOGIN_WINDOW_SECONDS"])


def _with_failures(username: str, sources: Collection[str], now: datetime) -> sa.Select[Any]:
    """The user, or nulls, and the recent failures of each source, in one query."""
    lately = [
        sa.select(sa.func.count())
        .where(LoginFailure.source == source, LoginFailure.at >= now - _window())
        .scalar_subquery()
        .label(source)
        for source in sources
    ]
    always = sa.select(sa.literal(1)).subquery()
    return sa.select(*USER, *lately).select_from(always.outerjoin(User, User.username == username))


def _remember(sources: Collection[str], now: datetime) -> None:
    """Record a failure and delete expired ones; the table stays small because each failure costs a hash."""
    db.session.execute(sa.delete(LoginFailure).where(LoginFailure.at < now - _window()))
    db.session.execute(sa.insert(LoginFailure), [{"source": source, "at": now} for source in sources])
    db.session.commit()
    metrics.LOGIN_FAILURES.inc()


def _too_many(source: str, now: datetime) -> TooManyRequests:
    lately = sa.select(sa.func.min(LoginFailure.at)).where(LoginFailure.source == source)
    first = db.session.scalar(lately.where(LoginFailure.at >= now - _window())) or now
    wait = max(1, int((first + _window() - now).total_seconds()) + 1)
    minutes = -(-wait // 60)
    problem = ngettext(
        "Too many failed logins: try again in %(num)d minute",
        "Too many failed logins: try again in %(num)d minutes",
        minutes,
    )
    return TooManyRequests(problem, retry_after=wait)
