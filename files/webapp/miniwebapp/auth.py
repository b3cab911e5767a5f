"""Who is asking, and what may they do: everything is closed but what is named here."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import sqlalchemy as sa
from flask import Flask, current_app, g, redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import Forbidden, TooManyRequests, Unauthorized

from . import metrics, passwords
from .models import ADMIN, ApiToken, LoginFailure, User, db

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
WINDOW = timedelta(minutes=15)
FAILURES_PER_USERNAME = 5
FAILURES_PER_ADDRESS = 50


@dataclass(frozen=True)
class Account:
    """Whoever is logged in."""

    id: int
    username: str
    role: str

    @property
    def is_admin(self) -> bool:
        return self.role == ADMIN


# In a demonstration everybody may do everything.
EVERYBODY = Account(0, "", ADMIN)


def register(app: Flask) -> None:
    app.before_request(_guard)
    app.context_processor(lambda: {"account": current(), "open_access": current_app.config["OPEN_ACCESS"]})


def current() -> Account | None:
    return g.get("account")


def _guard() -> ResponseReturnValue | None:
    if request.routing_exception or request.endpoint in OPEN_TO_ALL:
        if request.endpoint in OPEN_TO_ALL - {"static", "health.alive", "health.ready", "metrics.show"}:
            g.account = _of_session()
        return None
    g.account = EVERYBODY if current_app.config["OPEN_ACCESS"] else _of_header() or _of_session()
    if g.account is None:
        if request.blueprint == "api":
            raise Unauthorized("Log in, with HTTP Basic or a token", www_authenticate=_challenge())
        return redirect(
            url_for("account.login", next=request.full_path.rstrip("?") if request.method == "GET" else None)
        )
    if not g.account.is_admin and request.endpoint not in OPEN_TO_VIEWERS:
        raise Forbidden("Only administrators may do this")
    return None


def _challenge():  # type: ignore[no-untyped-def]
    from werkzeug.datastructures import WWWAuthenticate

    return WWWAuthenticate("basic", {"realm": "MiniWebApp", "charset": "UTF-8"})


def _of_session() -> Account | None:
    """The session's user, unless deleted or with another password since."""
    if "user" not in session:
        return None
    found = db.session.execute(
        sa.select(User.id, User.username, User.role, User.password_hash).where(User.id == session["user"])
    ).one_or_none()
    if not found or not secrets.compare_digest(_mark(found.password_hash), session["mark"]):
        session.clear()
        return None
    return Account(found.id, found.username, found.role)


def _of_header() -> Account | None:
    given = request.authorization
    if given is None:
        return None
    if given.type == "bearer" and given.token:
        found = db.session.execute(
            sa.select(User.id, User.username, User.role).join(ApiToken).where(ApiToken.digest == digest(given.token))
        ).one_or_none()
        if found:
            return Account(found.id, found.username, found.role)
        raise Unauthorized("The token is not valid", www_authenticate=_challenge())
    if given.type == "basic" and given.username is not None and given.password is not None:
        user = check(given.username, given.password)
        return Account(user.id, user.username, user.role)
    raise Unauthorized("Log in, with HTTP Basic or a token", www_authenticate=_challenge())


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _mark(password_hash: str) -> str:
    """What a session remembers of the password: enough to notice another one."""
    return hashlib.sha256(f"session {password_hash}".encode()).hexdigest()[:32]


def log_in(user: User) -> None:
    session.clear()
    session.permanent = True
    session["user"], session["mark"] = user.id, _mark(user.password_hash)
    g.account = Account(user.id, user.username, user.role)


def next_page(given: str | None) -> str:
    """Where to go after the login: a path of this application, whatever was given."""
    parts = urlsplit((given or "").replace("\\", "/"))
    if not given or parts.scheme or parts.netloc or not parts.path.startswith("/") or given.startswith("//"):
        return url_for("pages.index")
    return given


def check(username: str, password: str) -> User:
    """Return the user with this name and password.

    :raises TooManyRequests: too many have failed lately.
    :raises Unauthorized: there is none.
    """
    now = datetime.now(UTC).replace(tzinfo=None)
    address = request.remote_addr or ""
    sources = {
        digest(f"{username.casefold()} {address}"): FAILURES_PER_USERNAME,
        digest(f"* {address}"): FAILURES_PER_ADDRESS,
    }
    _throttle(sources, now)
    user = db.session.scalar(sa.select(User).where(User.username == username)) if username.isascii() else None
    if not passwords.matches(password[:1024], user.password_hash if user else None) or not user:
        db.session.execute(sa.delete(LoginFailure).where(LoginFailure.at < now - WINDOW))
        db.session.add_all(LoginFailure(source=source, at=now) for source in sources)
        db.session.commit()
        metrics.LOGIN_FAILURES.inc()
        raise Unauthorized("The username or the password is wrong", www_authenticate=_challenge())
    db.session.execute(sa.delete(LoginFailure).where(LoginFailure.source == next(iter(sources))))
    if passwords.is_outdated(user.password_hash):
        user.password_hash = passwords.make_hash(password)
    db.session.commit()
    return user


def _throttle(sources: dict[str, int], now: datetime) -> None:
    counts = sa.select(LoginFailure.source, sa.func.count(), sa.func.min(LoginFailure.at))
    lately = LoginFailure.source.in_(sources), LoginFailure.at >= now - WINDOW
    for source, count, first in db.session.execute(counts.where(*lately).group_by(LoginFailure.source)):
        if count >= sources[source]:
            wait = max(1, int((first + WINDOW - now).total_seconds()) + 1)
            raise TooManyRequests(f"Too many failed logins: try again in {wait // 60 + 1} minutes", retry_after=wait)
