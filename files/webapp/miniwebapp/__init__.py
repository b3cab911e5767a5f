"""The MiniWebApp: a small user administration with pages and a JSON API."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask, Response, request
from flask_migrate import Migrate
from flask_wtf import CSRFProtect
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import IntegerConverter

from . import api, cli, errors, health, pages
from .config import DEFAULTS, from_environment
from .models import db

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

csrf = CSRFProtect()


class UserIdConverter(IntegerConverter):
    """All that fits the column, and no number that int() or the database would refuse."""

    regex = "[0-9]{1,10}"


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Make the application from Flask settings or, when there are none, from the environment."""
    app = Flask(__name__)
    app.config.from_mapping(DEFAULTS)
    app.config.from_mapping(from_environment(os.environ) if config is None else config)
    app.json.sort_keys = False
    app.url_map.converters["user_id"] = UserIdConverter

    db.init_app(app)
    Migrate(app, db, directory=str(MIGRATIONS))
    csrf.init_app(app)
    # An exempt API is safe from forged requests because it takes application/json only, which no HTML form can send.
    csrf.exempt(api.blueprint)
    for blueprint in (pages.blueprint, api.blueprint, health.blueprint, cli.blueprint):
        app.register_blueprint(blueprint)
    errors.register(app)
    app.after_request(_secure)

    if proxies := app.config["TRUSTED_PROXIES"]:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=1)  # type: ignore[method-assign]
    return app


def _secure(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    # "no-referrer" would break the CSRF protection, which compares the referrer with the host.
    response.headers["Referrer-Policy"] = "same-origin"
    if request.endpoint != "static":
        response.headers["Cache-Control"] = "no-store"
    return response
