"""The pages for one's own account: login, logout, password, tokens for programs."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from werkzeug.exceptions import HTTPException, TooManyRequests, Unauthorized

from . import auth, users
from .models import ApiToken, db

blueprint = Blueprint("account", __name__)
TOKENS_PER_USER = 20
TOKEN_NAME_LENGTH = ApiToken.name.type.length


@blueprint.get("/login")
def login() -> ResponseReturnValue:
    if auth.current():
        return redirect(auth.next_page(request.args.get("next")))
    return render_template("login.html", problem=None)


@blueprint.post("/login")
def enter() -> ResponseReturnValue:
    try:
        auth.log_in(auth.check(request.form.get("username", ""), request.form.get("password", "")))
    except (Unauthorized, TooManyRequests) as error:
        answer = error.get_response()  # keeps Retry-After
        answer.headers.pop("WWW-Authenticate", None)
        answer.data = render_template("login.html", problem=error.description)
        return answer
    return redirect(auth.next_page(request.args.get("next")), 303)


@blueprint.post("/logout")
def leave() -> ResponseReturnValue:
    auth.session.clear()
    flash(gettext("You have logged out."))
    return redirect(url_for("account.login"), 303)


def _own() -> sa.Row[Any]:
    return users.find(auth.current_id())


def _show(errors: dict[str, str], code: int = 200, token: str = "") -> ResponseReturnValue:
    user = _own()
    return render_template("account.html", tokens=tokens_of(user.id), errors=errors, token=token, user=user), code


@blueprint.get("/account")
def show() -> ResponseReturnValue:
    return _show({})


@blueprint.post("/account/password")
def change_password() -> ResponseReturnValue:
    user = _own()
    try:
        auth.check(user.username, request.form.get("current_password", ""))
        values = users.validate({"password": request.form.get("password", "")}, required=(), user=user)
        users.update(user.id, values, by=user.id)
    except users.UserError as error:
        return _show(error.errors, error.code)
    except HTTPException as error:
        return _show({"current_password": error.description or ""}, error.code or 400)
    auth.log_in(_own())
    flash(gettext("Your password was changed; other sessions have ended."))
    return redirect(url_for("account.show"), 303)


@blueprint.post("/account/tokens")
def create_token() -> ResponseReturnValue:
    try:
        return _show({}, token=new_token(_own().id, request.form.get("token_name", "").strip()))
    except users.UserError as error:
        return _show(error.errors, error.code)


def tokens_of(user_id: int) -> Sequence[ApiToken]:
    return db.session.scalars(sa.select(ApiToken).where(ApiToken.user_id == user_id).order_by(ApiToken.id)).all()


def new_token(user_id: int, name: str) -> str:
    """Create a token and return it; only its hash is stored."""
    if not name or len(name) > TOKEN_NAME_LENGTH or not name.isprintable():
        problem = gettext("The token's name needs 1 to %(most)d printable characters", most=TOKEN_NAME_LENGTH)
        raise users.UserError(400, {"token_name": problem})
    count = db.session.scalar(sa.select(sa.func.count()).where(ApiToken.user_id == user_id)) or 0
    if count >= TOKENS_PER_USER:
        problem = gettext("There are %(count)d tokens already: revoke one first", count=count)
        raise users.UserError(409, {"token_name": problem})
    token = secrets.token_urlsafe(32)
    now = datetime.now(UTC).replace(tzinfo=None)
    db.session.add(ApiToken(user_id=user_id, name=name, digest=auth.digest(token), created_at=now))
    db.session.commit()
    return token


@blueprint.post("/account/tokens/<user_id:token_id>/revoke")
def revoke_token(token_id: int) -> ResponseReturnValue:
    revoke(_own().id, token_id)
    flash(gettext("The token was revoked."))
    return redirect(url_for("account.show"), 303)


def revoke(user_id: int, token_id: int) -> bool:
    """Revoke one of a user's tokens; return whether there was one."""
    deleted = db.session.execute(sa.delete(ApiToken).where(ApiToken.id == token_id, ApiToken.user_id == user_id))
    db.session.commit()
    return deleted.rowcount > 0
