"""What is done around every request, outside Flask, where it costs least: its ID, headers, line in the log and numbers."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from flask import Flask, Request

from . import logs, metrics

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Headers = list[tuple[str, str]]

WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,64}")
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
# "no-referrer" would break the CSRF protection, which compares the referrer with the host.
SECURITY_HEADERS = [
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
]
NOT_CACHED = ("Cache-Control", "no-store")
# The URL of a static file contains a hash of its content.
CACHED = ("Cache-Control", "public, max-age=31536000, immutable")
OWN = frozenset({*(name for name, _value in SECURITY_HEADERS), "Cache-Control", "X-Request-ID"})


class Observer:
    """WSGI middleware between Flask and the server."""

    def __init__(self, application: WSGIApplication, log: logs.GatheringHandler) -> None:
        self.application, self.log = application, log

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        arrived = time.perf_counter()
        given = environ.get("HTTP_X_REQUEST_ID", "")
        request_id = environ[logs.REQUEST_ID] = given if WELL_FORMED.fullmatch(given) else secrets.token_hex(16)

        def answer(status: str, headers: Headers, exc_info: OptExcInfo | None = None, /) -> Callable[[bytes], object]:
            request: Request = environ["werkzeug.request"]
            code = int(status[:3])
            seconds = time.perf_counter() - arrived
            metrics.count(request, code, seconds)
            if line := logs.of_answer(request, code, seconds):
                # Not through logging, which takes twice as long.
                self.log.stream.write(line + self.log.terminator)
            versioned = request.endpoint == "static" and "v" in request.args and code == 200
            headers = [header for header in headers if header[0] not in OWN]
            headers += [*SECURITY_HEADERS, CACHED if versioned else NOT_CACHED, ("X-Request-ID", request_id)]
            return start_response(status, headers, exc_info)

        metrics.IN_FLIGHT.inc()
        try:
            return self.application(environ, answer)
        finally:
            metrics.IN_FLIGHT.dec()


def register(app: Flask) -> None:
    app.wsgi_app = Observer(app.wsgi_app, logs.register(app))  # type: ignore[method-assign]
