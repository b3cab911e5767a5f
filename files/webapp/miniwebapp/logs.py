"""One JSON line per request and per message, with the request ID."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from datetime import UTC, datetime
from typing import TextIO

import orjson
from flask import Flask, Request, has_request_context, request

from .process import process_id

# In the WSGI environment
REQUEST_ID, USER_ID = "miniwebapp.request_id", "miniwebapp.user_id"
QUIET = frozenset({"health.alive", "health.ready", "metrics.show", "static"})
# The longest piece that a pipe takes whole, whoever else writes to it
PIPE_BYTES = 4096
GATHERING_SECONDS = 0.05


def line(at: float, level: str, message: str, **fields: object) -> str:
    """One line of JSON.

    :param at: seconds since 1970
    """
    moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    fields = {"time": moment, "level": level, "message": message, **fields}
    try:
        return orjson.dumps(fields, default=repr).decode()
    except TypeError:  # lone surrogates in a message
        return json.dumps(fields, default=repr)


class JsonFormatter(logging.Formatter):
    """Formats a record as a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        fields = _of(request) if has_request_context() else {}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return line(record.created, record.levelname.lower(), record.getMessage(), **fields)


class GatheringStream:
    """Writes the lines of GATHERING_SECONDS together, because each write costs as much as the lines in it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._process = 0

    def _begin(self) -> None:
        self._process = process_id()
        self._lines: list[str] = []
        self._lock, self._waiting = threading.Lock(), threading.Event()
        threading.Thread(target=self._write_later, daemon=True).start()

    def write(self, line: str) -> None:
        """Take one line."""
        # After a fork, the parent has the lines that were there and the thread that writes them.
        if self._process != process_id():
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
        if self._process != process_id():
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


def register(app: Flask) -> GatheringHandler:
    """Set up the application's log."""
    handler = GatheringHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    app.logger.handlers, app.logger.propagate = [handler], False
    app.logger.setLevel(logging.INFO)
    # Gunicorn sets up its own log before it loads the application
    for given in logging.getLogger("gunicorn.error").handlers:
        given.setFormatter(JsonFormatter())
    return handler


def of_answer(request: Request, status: int, seconds: float) -> str | None:
    """The line of a request that was answered after this time; None if it needs none."""
    if request.endpoint in QUIET and status < 400:
        return None
    return line(
        time.time(),
        "info",
        "request",
        **_of(request),
        status=status,
        duration_ms=round(seconds * 1000, 1),
        user_id=request.environ.get(USER_ID),
    )


def _of(request: Request) -> dict[str, object]:
    return {"request_id": request.environ.get(REQUEST_ID), "method": request.method, "path": request.path}
