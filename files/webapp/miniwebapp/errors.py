"""Error responses: JSON under /api, a page elsewhere."""

from __future__ import annotations

from flask import Flask, current_app, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext, lazy_gettext
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import HTTPException, ServiceUnavailable
from werkzeug.routing import RequestRedirect

from . import room

PAGES = {
    400: (lazy_gettext("Bad Request"), lazy_gettext("The request cannot be understood.")),
    403: (lazy_gettext("Forbidden"), lazy_gettext("You may not do this.")),
    404: (lazy_gettext("Not Found"), lazy_gettext("There is nothing at this address.")),
    405: (lazy_gettext("Method Not Allowed"), lazy_gettext("This cannot be done at this address.")),
    409: (lazy_gettext("Conflict"), None),
    413: (lazy_gettext("Too Large"), lazy_gettext("That is more than this server takes.")),
    500: (lazy_gettext("Internal Server Error"), lazy_gettext("The server made a mistake, which is in its log.")),
    503: (lazy_gettext("Service Unavailable"), None),
    507: (lazy_gettext("Insufficient Storage"), None),
}


class InsufficientStorage(HTTPException):
    """The database has no room for what is to be stored."""

    code = 507


def register(app: Flask) -> None:
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(CSRFError, _csrf_error)
    for error in (OperationalError, InterfaceError, PoolTimeoutError):
        app.register_error_handler(error, _database_away)
    app.register_error_handler(DBAPIError, _database_fault)


def _http_error(error: HTTPException) -> ResponseReturnValue:
    if isinstance(error, RequestRedirect):
        return error
    response = error.get_response()  # keeps headers such as Allow
    if request.path == "/api" or request.path.startswith("/api/"):
        response.data = jsonify(message=error.description).data
        response.content_type = "application/json"
    else:
        name, standard = PAGES.get(error.code or 500, (error.name, None))
        # Werkzeug's own descriptions are English; this application's are in the reader's language.
        own = standard is None or error.description != type(error).description
        response.data = render_template("error.html", name=name, description=error.description if own else standard)
    return response


def _csrf_error(error: CSRFError) -> ResponseReturnValue:
    error.description = gettext(
        "The form is too old, or was sent from another site. Go back, reload the page and send the form again."
    )
    return _http_error(error)


def _database_fault(error: DBAPIError) -> ResponseReturnValue:
    if not room.lacks(error):
        raise error
    return _database_away(error)


def _database_away(error: Exception) -> ResponseReturnValue:
    current_app.logger.error("%s %s: %s", request.method, request.path, getattr(error, "orig", error))
    if isinstance(error, DBAPIError) and room.lacks(error):
        problem = gettext(
            "There is no room left in the database: nothing can be stored until its operator makes room. What is there "
            "can be read."
        )
        return _http_error(InsufficientStorage(problem))
    return _http_error(ServiceUnavailable(gettext("The database cannot be reached; try again in a moment")))
