"""The MiniWebApp: a small user administration with pages and a JSON API."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
from babel import negotiate_locale
from flask import Flask, Response, has_request_context, request
from flask.json.provider import DefaultJSONProvider
from flask_babel import Babel
from flask_migrate import Migrate
from flask_wtf import CSRFProtect
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import IntegerConverter

from . import account, api, auth, cli, errors, health, metrics, models, observe, pages
from .config import DEFAULTS, from_environment
from .models import db

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
LANGUAGES = ("en", "es")

csrf = CSRFProtect()


class FastAnswers(DefaultJSONProvider):
    """JSON responses from orjson, which is several times as fast as Python's json."""

    def response(self, *given: Any, **named: Any) -> Response:
        return Response(orjson.dumps(given[0] if given else named), content_type="application/json")


class SynchronousFlask(Flask):
    """Flask without a look, in each request, at whether each function is a coroutine: here none is."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func


class UserIdConverter(IntegerConverter):
    """IDs that fit the column, and no number that int() or the database would reject."""

    regex = "[0-9]{1,10}"


def language() -> str:
    """The reader's language on pages; English in the API and the commands."""
    if not has_request_context() or request.path.startswith("/api"):
        return LANGUAGES[0]
    return negotiate_locale(request.accept_languages.values(), LANGUAGES, sep="-") or LANGUAGES[0]


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Create the application from Flask settings or, if there are none, from the environment."""
    app = SynchronousFlask(__name__)
    app.config.from_mapping(DEFAULTS)
    app.config.from_mapping(from_environment(os.environ) if config is None else config)
    app.json = FastAnswers(app)
    app.url_map.converters["user_id"] = UserIdConverter

    Babel(app, locale_selector=language)
    app.context_processor(lambda: {"language": language()})
    models.register(app)
    Migrate(app, db, directory=str(MIGRATIONS))
    observe.register(app)
    csrf.init_app(app)
    auth.register(app)
    # The API is safe from CSRF without tokens: it accepts only application/json, which no HTML form can send, and
    # methods that no other site's script may use.
    csrf.exempt(api.blueprint)
    for module in (pages, account, api, health, metrics, cli):
        app.register_blueprint(module.blueprint)
    errors.register(app)

    if proxies := app.config["TRUSTED_PROXIES"]:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=1)  # type: ignore[method-assign]
    return app
