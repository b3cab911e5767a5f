"""The API's OpenAPI 3.1 description; its limits are taken from the fields."""

from __future__ import annotations

from typing import Any

from . import users

JSON = "application/json"
ID = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
MESSAGE = {"$ref": "#/components/schemas/Message"}
DESCRIPTIONS = {
    400: "Something in the request is wrong; the message names every wrong field",
    401: "No credentials, or wrong ones",
    403: "Only administrators may do this",
    404: "There is no such user",
    409: "The e-mail or username is in use by another user, or this is the only administrator",
    413: "The body is larger than 64 KiB",
    415: "The body is not application/json",
    429: "Too many failed logins; Retry-After gives the seconds to wait",
    503: "The database cannot be reached",
    507: "The database has no room; reading goes on",
}


def document(limits: dict[str, Any]) -> dict[str, Any]:
    """The description; `limits` are the schemas of the parameters of the list."""
    parameter = {"name": "id", "in": "path", "required": True, "schema": ID}
    return {
        "openapi": "3.1.0",
        "info": {"title": "MiniWebApp", "version": "1.0.0", "description": "A small user administration."},
        "security": [{"token": []}, {"basic": []}, {"session": []}],
        "paths": {
            "/api/users": {
                "get": _operation(
                    "listUsers",
                    "All users ordered by id; with any parameter, those it asks for",
                    {200: _answer("The users", {"type": "array", "items": _ref("User")}, _LINK)},
                    (400,),
                    parameters=[{"name": name, "in": "query", "schema": schema} for name, schema in limits.items()],
                ),
                "post": _operation(
                    "createUser",
                    "Create a user",
                    {201: _answer("Created", MESSAGE, _LOCATION)},
                    (400, 403, 409, 413, 415, 507),
                    requestBody=_body("NewUser"),
                ),
            },
            "/api/users/{id}": {
                "parameters": [parameter],
                "get": _operation("showUser", "Show a user", {200: _answer("The user", _ref("User"))}, (404,)),
                "put": _operation(
                    "changeUser",
                    "Change the fields given; a new password ends the user's sessions and, unless it is one's own, tokens",
                    {200: _answer("Changed", MESSAGE)},
                    (400, 403, 404, 409, 413, 415, 507),
                    requestBody=_body("ChangedUser"),
                ),
                "delete": _operation(
                    "deleteUser", "Delete a user", {200: _answer("Deleted", MESSAGE)}, (403, 404, 409, 507)
                ),
            },
        },
        "components": {
            "schemas": {
                "Message": _object({"message": {"type": "string"}}),
                "User": _object({"id": ID} | {name: {"type": "string"} for name in users.FIELDS if name != "password"}),
                "NewUser": _object(_fields(), additionalProperties=True),
                "ChangedUser": {"type": "object", "properties": _fields(), "minProperties": 1},
            },
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
                "session": {"type": "apiKey", "in": "cookie", "name": "session"},
            },
        },
    }


_LINK = {"Link": {"description": 'The next users, rel="next"', "schema": {"type": "string"}}}
_LOCATION = {"Location": {"description": "The new user", "schema": {"type": "string"}}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    closed = {"additionalProperties": False} | more
    return {"type": "object", "properties": properties, "required": list(properties)} | closed


def _fields() -> dict[str, Any]:
    return {name: _field(field) for name, field in users.FIELDS.items()}


def _field(field: users.Field) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "minLength": field.shortest, "maxLength": field.longest}
    if field.rule:
        schema |= {"pattern": f"^{field.pattern.pattern}$", "description": str(field.rule)}
    return schema


def _body(name: str) -> dict[str, Any]:
    return {"required": True, "content": {JSON: {"schema": _ref(name)}}}


def _answer(description: str, schema: dict[str, Any], headers: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"description": description, "headers": headers or {}, "content": {JSON: {"schema": schema}}}


def _operation(
    name: str, summary: str, answers: dict[int, Any], errors: tuple[int, ...], **more: Any
) -> dict[str, Any]:
    answers |= {code: _answer(DESCRIPTIONS[code], MESSAGE) for code in (*errors, 401, 429, 503)}
    return {"operationId": name, "summary": summary, "responses": {str(code): answers[code] for code in answers}} | more
