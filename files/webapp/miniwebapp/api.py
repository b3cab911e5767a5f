"""The JSON API."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask import Blueprint, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest, NotFound

from . import auth, openapi, users

blueprint = Blueprint("api", __name__, url_prefix="/api")

ORDERS = ("asc", "desc")
LARGEST_LIMIT, LARGEST_OFFSET = 1000, 100_000
LIST_PARAMETERS: dict[str, dict[str, Any]] = {
    "search": {"type": "string", "maxLength": users.SEARCH_LENGTH},
    "sort": {"type": "string", "enum": list(users.SORTS), "default": "id"},
    "order": {"type": "string", "enum": list(ORDERS), "default": "asc"},
    "limit": {"type": "integer", "minimum": 1, "maximum": LARGEST_LIMIT, "default": 100},
    "offset": {"type": "integer", "minimum": 0, "maximum": LARGEST_OFFSET, "default": 0},
}


def _body() -> dict[str, Any]:
    request.get_data()
    request.stream.read(1)  # a chunked body is silently truncated at the limit: reading on raises 413
    try:
        body = request.get_json()
    except (BadRequest, RecursionError) as error:
        raise BadRequest("The body is not valid JSON") from error
    if not isinstance(body, dict):
        raise BadRequest("The body must be a JSON object")
    return body


def _all() -> auth.Query | None:
    return (users.ROWS, {}) if LIST_PARAMETERS.keys().isdisjoint(request.args) else None


@blueprint.get("/users")
@auth.reads(_all)
def index() -> ResponseReturnValue:
    """All users, or those selected by the query string."""
    if query := _all():
        return _documents(auth.rows(query))
    limit, offset = _number("limit"), _number("offset")
    search = request.args.get("search", "").strip()
    if len(search) > users.SEARCH_LENGTH:
        raise BadRequest(f"search is too long: {len(search)} characters, {users.SEARCH_LENGTH} are allowed")
    rows = users.some_rows(search, _choice("sort"), _choice("order") == "desc", limit + 1, offset)
    headers = {}
    if len(rows) > limit and offset + limit <= LARGEST_OFFSET:
        following = url_for("api.index", **request.args.to_dict() | {"limit": limit, "offset": offset + limit})
        headers["Link"] = f'<{following}>; rel="next"'
    return _documents(row[:4] for row in rows[:limit]), headers


def _documents(rows: Iterable[tuple[int, str, str, str]]) -> list[dict[str, Any]]:
    return [{"id": key, "name": name, "email": email, "username": username} for key, name, email, username in rows]


def _number(name: str) -> int:
    schema = LIST_PARAMETERS[name]
    text, lowest, highest = request.args.get(name, str(schema["default"])), schema["minimum"], schema["maximum"]
    if text.isascii() and text.isdigit() and len(text) < 10 and lowest <= int(text) <= highest:
        return int(text)
    raise BadRequest(f"{name} must be a number from {lowest} to {highest}")


def _choice(name: str) -> str:
    schema = LIST_PARAMETERS[name]
    chosen: str = request.args.get(name, schema["default"])
    if chosen not in schema["enum"]:
        raise BadRequest(f"{name} must be one of {', '.join(schema['enum'])}")
    return chosen


@blueprint.get("/openapi.json")
def description() -> ResponseReturnValue:
    return openapi.document(LIST_PARAMETERS)


def _one(user_id: int) -> auth.Query:
    return users.ROW, {"id": user_id}


@blueprint.get("/users/<user_id:user_id>")
@auth.reads(_one)
def show(user_id: int) -> ResponseReturnValue:
    if found := _documents(auth.rows(_one(user_id))):
        return found[0]
    raise NotFound("User not found")


@blueprint.post("/users")
def create() -> ResponseReturnValue:
    user_id = users.create(users.validate(_body()))
    return {"message": "User created successfully"}, 201, {"Location": url_for("api.show", user_id=user_id)}


@blueprint.put("/users/<user_id:user_id>")
def update(user_id: int) -> ResponseReturnValue:
    values = users.validate(_body(), required=(), user=users.find(user_id))
    if not values:
        raise BadRequest(f"Give at least one of {', '.join(users.FIELDS)}")
    users.update(user_id, values, by=auth.current_id())
    return {"message": "User updated successfully"}


@blueprint.delete("/users/<user_id:user_id>")
def delete(user_id: int) -> ResponseReturnValue:
    users.delete(user_id)
    return {"message": "User deleted successfully"}
