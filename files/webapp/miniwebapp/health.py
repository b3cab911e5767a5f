"""Liveness and readiness."""

from __future__ import annotations

import sqlalchemy as sa
from flask import Blueprint, current_app
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import SQLAlchemyError

from .models import read

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def alive() -> ResponseReturnValue:
    return {"status": "ok"}


@blueprint.get("/readyz")
def ready() -> ResponseReturnValue:
    try:
        read(sa.text("SELECT 1"))
    except SQLAlchemyError as error:
        current_app.logger.warning("Not ready: %s", getattr(error, "orig", error))
        return {"status": "unavailable", "message": "The database cannot be reached"}, 503
    return {"status": "ok"}
