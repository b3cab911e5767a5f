"""Every error as the reader can use it: JSON under /api, a page elsewhere."""

from __future__ import annotations

from flask import Flask, current_app, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import HTTPException, ServiceUnavailable
from werkzeug.routing import RequestRedirect


def register(app: Flask) -> None:
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(CSRFError, _csrf_error)
    for error in (OperationalError, InterfaceError, PoolTimeoutError):
        app.register_error_handler(error, _database_away)


def _http_error(error: HTTPException) -> ResponseReturnValue:
    if isinstance(error, RequestRedirect):
        return error
    response = error.get_response()  # keeps headers such as Allow
    if request.path == "/api" or request.path.startswith("/api/"):
        response.data = jsonify(message=error.description).data
        response.content_type = "application/json"
    else:
        response.data = render_template("error.html", error=error)
    return response


def _csrf_error(error: CSRFError) -> ResponseReturnValue:
    error.description = f"{error.description} Go back, reload the page and send the form again."
    return _http_error(error)


def _database_away(error: Exception) -> ResponseReturnValue:
    current_app.logger.error("%s %s: %s", request.method, request.path, getattr(error, "orig", error))
    return _http_error(ServiceUnavailable("The database cannot be reached; try again in a moment"))
