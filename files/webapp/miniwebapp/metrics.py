"""Metrics for Prometheus, summed over Gunicorn's processes."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from flask import Blueprint, Request, Response, abort, request
from flask.typing import ResponseReturnValue

from .process import process_id

# Each process writes to files in this directory, and the one that is scraped sums them. The variable must be set before
# prometheus_client is imported, and the directory created before Gunicorn forks.
if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="miniwebapp-")
    _maker = os.getpid()
    atexit.register(
        lambda: os.getpid() == _maker and shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
    )
Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).mkdir(parents=True, exist_ok=True)

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
    values,
)

# As the library provides for servers with IDs of their own, before the first metric is created
values.ValueClass = values.MultiProcessValue(process_id)  # type: ignore[misc]

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
REQUESTS = Counter("http_requests_total", "Requests answered", ["route", "method", "status"])
DURATION = Histogram("http_request_duration_seconds", "Time to answer", ["route", "method"], buckets=BUCKETS)
IN_FLIGHT = Gauge("http_requests_in_flight", "Requests being answered", multiprocess_mode="livesum")
POOL_SIZE = Gauge("database_pool_connections", "Open database connections", multiprocess_mode="livesum")
POOL_USED = Gauge("database_pool_connections_in_use", "Database connections in use", multiprocess_mode="livesum")
LOGIN_FAILURES = Counter("login_failures_total", "Logins with a wrong username or password")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

blueprint = Blueprint("metrics", __name__)


def count(request: Request, status: int, seconds: float) -> None:
    """Count an answer, which took this time."""
    route = request.url_rule.rule if request.url_rule else "unknown"
    method = request.method if request.method in METHODS else "other"
    REQUESTS.labels(route, method, str(status)).inc()
    DURATION.labels(route, method).observe(seconds)


@blueprint.get("/metrics")
def show() -> ResponseReturnValue:
    # A proxy adds this header, but Prometheus connects directly.
    if "X-Forwarded-For" in request.headers:
        abort(404)
    _forget_ended_processes()
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _forget_ended_processes() -> None:
    """Remove the gauges of ended processes, because child_exit does so only if gunicorn.conf.py is used."""
    for file in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob("gauge_live*_*.db"):
        process = int(file.stem.rpartition("_")[2])
        if not Path(f"/proc/{process}").exists():
            multiprocess.mark_process_dead(process)
