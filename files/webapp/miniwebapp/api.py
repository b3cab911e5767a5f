"""The JSON API."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from flask import Blueprint, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest

from . import users
from .models import User

blueprint = Blueprint("api", __name__, url_prefix="/api")


def _document(user: User | sa.Row[Any]) -> dict[str, Any]:
    return {"id": user.id, "name": user.name, "email": user.email, "username": user.username}


def _body() -> dict[str, Any]:
    request.get_data()
    request.stream.read(1)  # a chunked body was cut at the limit without a word: reading on raises 413
    try:
        body = request.get_json()
    except (BadRequest, RecursionError) as error:
        raise BadRequest("The body is not valid JSON") from error
    if not isinstance(body, dict):
        raise BadRequest("The body must be a JSON object")
    return body


@blueprint.get("/users")
def index() -> ResponseReturnValue:
    return [
        {"id": key, "name": name, "email": email, "username": username}
        for key, name, email, username in users.all_rows()
    ]


@blueprint.get("/users/<user_id:user_id>")
def show(user_id: int) -> ResponseReturnValue:
    return _document(users.find(user_id))


@blueprint.post("/users")
def create() -> ResponseReturnValue:
    user_id = users.create(users.validate(_body()))
    return {"message": "User created successfully"}, 201, {"Location": url_for("api.show", user_id=user_id)}


@blueprint.put("/users/<user_id:user_id>")
def update(user_id: int) -> ResponseReturnValue:
    values = users.validate(_body(), required=(), user=users.find(user_id))
    if not values:
        raise BadRequest(f"Give at least one of {', '.join(users.FIELDS)}")
    users.update(user_id, values)
    return {"message": "User updated successfully"}


@blueprint.delete("/users/<user_id:user_id>")
def delete(user_id: int) -> ResponseReturnValue:
    users.delete(user_id)
    return {"message": "User deleted successfully"}
