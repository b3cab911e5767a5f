"""The pages: HTML forms, answered by a redirect on success and by the form itself on failure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext, lazy_gettext

from . import account, auth, users
from .models import ADMIN, VIEWER

blueprint = Blueprint("pages", __name__)
ROLE_NAMES = {ADMIN: lazy_gettext("administrator"), VIEWER: lazy_gettext("viewer")}
SORT_NAMES = {
    "name": lazy_gettext("Name"),
    "username": lazy_gettext("Username"),
    "email": lazy_gettext("E-mail"),
    "id": lazy_gettext("Oldest first"),
}


@blueprint.app_context_processor
def _everywhere() -> dict[str, Any]:
    return {"fields": users.FIELDS, "roles": ROLE_NAMES, "sorts": SORT_NAMES, "static_url": static_url}


def static_url(name: str) -> str:
    """The URL of a static file, which changes with its content so that browsers and proxies may cache it."""
    return url_for("static", filename=name, v=_fingerprint(str(current_app.static_folder), name))


@cache
def _fingerprint(folder: str, name: str) -> str:
    return hashlib.sha256(Path(folder, name).read_bytes()).hexdigest()[:12]


def _done(message: str) -> ResponseReturnValue:
    flash(message)
    return redirect(url_for("pages.index"), 303)


def _roled(given: Mapping[str, str]) -> dict[str, str]:
    return users.role(given["role"]) if "role" in given else {}


@blueprint.get("/")
def index() -> ResponseReturnValue:
    asked = request.args
    page = users.page(
        asked.get("search", ""),
        asked.get("sort", "name"),
        asked.get("order") == "desc",
        asked.get("page", 1, type=lambda text: int(text[:9])),
    )
    return render_template("index.html", page=page)


@blueprint.get("/add")
def add() -> ResponseReturnValue:
    return render_template("add.html", values={"role": VIEWER}, errors={})


@blueprint.post("/add")
def create() -> ResponseReturnValue:
    try:
        values = users.validate(request.form) | _roled(request.form)
        users.create(values)
    except users.UserError as error:
        return render_template("add.html", values=request.form, errors=error.errors), error.code
    return _done(gettext("User %(username)s was added.", username=values["username"]))


def _edit(user: sa.Row[Any], values: Mapping[str, str], errors: Mapping[str, str]) -> str:
    tokens = account.tokens_of(user.id)
    return render_template("edit.html", user=user, values=values, errors=errors, tokens=tokens)


@blueprint.get("/edit/<user_id:user_id>")
def edit(user_id: int) -> ResponseReturnValue:
    user = users.find(user_id)
    return _edit(user, {name: getattr(user, name) for name in ("name", "email", "username", "role")}, {})


@blueprint.post("/edit/<user_id:user_id>")
def update(user_id: int) -> ResponseReturnValue:
    user = users.find(user_id)
    given = request.form.to_dict()
    if not given.get("password"):
        given.pop("password", None)  # left empty: unchanged
    try:
        values = users.validate(given, required=("name", "email", "username"), user=user) | _roled(given)
        users.update(user_id, values, by=auth.current_id())
    except users.UserError as error:
        return _edit(user, given, error.errors), error.code
    if auth.current_id() == user_id:
        auth.log_in(users.find(user_id))  # changing one's own password does not end the session
    return _done(gettext("User %(username)s was changed.", username=values["username"]))


@blueprint.post("/edit/<user_id:user_id>/tokens/<user_id:token_id>/revoke")
def revoke_token(user_id: int, token_id: int) -> ResponseReturnValue:
    account.revoke(users.find(user_id).id, token_id)
    flash(gettext("The token was revoked."))
    return redirect(url_for("pages.edit", user_id=user_id), 303)


def _delete(user: sa.Row[Any], problem: str = "") -> str:
    return render_template("delete.html", user=user, problem=problem)


@blueprint.get("/delete/<user_id:user_id>")
def confirm_delete(user_id: int) -> ResponseReturnValue:
    return _delete(users.find(user_id))


@blueprint.post("/delete/<user_id:user_id>")
def delete(user_id: int) -> ResponseReturnValue:
    user = users.find(user_id)
    username = user.username
    try:
        users.delete(user_id)
    except users.UserError as error:
        return _delete(users.find(user_id), error.description or ""), error.code
    return _done(gettext("User %(username)s was deleted.", username=username))
