"""One JSON line per request and per message, with the request ID."""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import sys
import threading
import time
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson
from flask import Flask, Response, g, has_request_context, request

WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,64}")
QUIET = frozenset({"health.alive", "health.ready", "metrics.show", "static"})
# The longest piece that a pipe takes whole, whoever else writes to it
PIPE_BYTES = 4096
GATHERING_SECONDS = 0.05
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


class GatheringStream:
    """Writes the lines of GATHERING_SECONDS together, because each write costs as much as the lines in it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._process = 0

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lines: list[str] = []
        self._lock, self._waiting = threading.Lock(), threading.Event()
        threading.Thread(target=self._write_later, daemon=True).start()

    def write(self, line: str) -> None:
        """Take one line."""
        # After a fork, the parent has the lines that were there and the thread that writes them.
        if self._process != os.getpid():
            self._begin()
        with self._lock:
            self._lines.append(line)
        if not self._waiting.is_set():
            self._waiting.set()

    def flush(self) -> None:
        """Do nothing: logging calls this after each line."""

    def _write_later(self) -> None:
        while self._waiting.wait():
            time.sleep(GATHERING_SECONDS)
            self._waiting.clear()
            self.write_out()

    def write_out(self) -> None:
        """Write all lines, as many at a time as a pipe takes whole."""
        if self._process != os.getpid():
            return
        with self._lock:
            pieces = [""]
            for line in self._lines:
                if len(pieces[-1].encode()) + len(line.encode()) > PIPE_BYTES:
                    pieces.append("")
                pieces[-1] += line
            self._lines = []
            for piece in pieces:
                self._stream.write(piece)
                self._stream.flush()


class GatheringHandler(logging.StreamHandler[GatheringStream]):
    """Writes a warning at once, with all lines before it, and what is left at the end of the process."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(GatheringStream(stream))

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        if record.levelno >= logging.WARNING:
            self.stream.write_out()

    def close(self) -> None:
        self.stream.write_out()
        super().close()


def register(app: Flask) -> None:
    handler = GatheringHandler(sys.stdout)
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
