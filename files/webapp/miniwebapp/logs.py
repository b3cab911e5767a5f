"""One JSON line per request and per message, with the request ID."""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
import time
from datetime import UTC, datetime
from typing import Any

import orjson
from flask import Flask, Response, g, has_request_context, request

WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,64}")
QUIET = frozenset({"health.alive", "health.ready", "metrics.show", "static"})
log = logging.getLogger("miniwebapp")


class JsonFormatter(logging.Formatter):
    """Formats a record as a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if has_request_context():
            line |= {"request_id": g.get("request_id"), "method": request.method, "path": request.path}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line, default=repr).decode()
        except TypeError:  # lone surrogates in a message
            return json.dumps(line, default=repr)


def register(app: Flask) -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    for logger in (app.logger, log):
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
    # Gunicorn sets up its own log before it loads the application
    for given in logging.getLogger("gunicorn.error").handlers:
        given.setFormatter(JsonFormatter())
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    given = request.headers.get("X-Request-ID", "")
    g.request_id = given if WELL_FORMED.fullmatch(given) else secrets.token_hex(16)
    g.arrived = time.perf_counter()


def _end(response: Response) -> Response:
    response.headers["X-Request-ID"] = g.get("request_id", "")
    if request.endpoint in QUIET and response.status_code < 400:
        return response
    account = g.get("account")
    fields = {
        "status": response.status_code,
        "duration_ms": round((time.perf_counter() - g.get("arrived", time.perf_counter())) * 1000, 1),
        "user_id": account.id if account else None,
    }
    log.info("request", extra={"fields": fields})
    return response
