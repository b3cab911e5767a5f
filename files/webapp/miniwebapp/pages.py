"""The pages: HTML forms, each answered by a redirect when it succeeds and by itself when it does not."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from . import users
from .models import User

blueprint = Blueprint("pages", __name__)


@blueprint.app_context_processor
def _fields() -> dict[str, Mapping[str, users.Field]]:
    return {"fields": users.FIELDS}


def _done(message: str) -> ResponseReturnValue:
    flash(message)
    return redirect(url_for("pages.index"), 303)


def _index(values: Mapping[str, str], errors: Mapping[str, str]) -> str:
    return render_template("index.html", users=users.all_users(), values=values, errors=errors)


def _edit(user: User, values: Mapping[str, str], errors: Mapping[str, str]) -> str:
    return render_template("edit.html", user=user, values=values, errors=errors)


@blueprint.get("/")
def index() -> ResponseReturnValue:
    return _index({}, {})


@blueprint.post("/")
def create() -> ResponseReturnValue:
    try:
        values = users.validate(request.form)
        users.create(values)
    except users.UserError as error:
        return _index(request.form, error.errors), error.code
    return _done(f"User {values['username']} was added.")


@blueprint.get("/edit/<user_id:user_id>")
def edit(user_id: int) -> ResponseReturnValue:
    user = users.find(user_id)
    return _edit(user, {"name": user.name, "email": user.email, "username": user.username}, {})


@blueprint.post("/edit/<user_id:user_id>")
def update(user_id: int) -> ResponseReturnValue:
    user = users.find(user_id)
    given = request.form.to_dict()
    if not given.get("password"):
        given.pop("password", None)  # left empty: stays as it is
    try:
        values = users.validate(given, required=("name", "email", "username"))
        users.update(user_id, values)
    except users.UserError as error:
        return _edit(user, given, error.errors), error.code
    return _done(f"User {values['username']} was changed.")


@blueprint.get("/delete/<user_id:user_id>")
def confirm_delete(user_id: int) -> ResponseReturnValue:
    return render_template("delete.html", user=users.find(user_id))


@blueprint.post("/delete/<user_id:user_id>")
def delete(user_id: int) -> ResponseReturnValue:
    username = users.find(user_id).username
    users.delete(user_id)
    return _done(f"User {username} was deleted.")
