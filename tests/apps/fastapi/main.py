"""An ASGI application: a page, server-sent events, a WebSocket that sends back what it gets, and its own measurements.

With ALLOWED_HOSTS it serves these hosts only, and everything over HTTPS.
"""

import asyncio
import os
import time

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest
from starlette.middleware.httpsredirect import HTTPSRedirectMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

app = FastAPI()
requests = Counter("http_requests", "Requests that were answered.", ["route", "method", "status"])
durations = Histogram("http_request_duration_seconds", "Time until the answer began.", ["route", "method"])
in_flight = Gauge("http_requests_in_flight", "Requests that are being answered.")


@app.middleware("http")
async def measure(request: Request, call_next):
    """Count a request and the time it takes."""
    begun = time.perf_counter()
    with in_flight.track_inprogress():
        response = await call_next(request)
    route = getattr(request.scope.get("route"), "path", "none")
    durations.labels(route, request.method).observe(time.perf_counter() - begun)
    requests.labels(route, request.method, response.status_code).inc()
    return response


if "ALLOWED_HOSTS" in os.environ:
    app.add_middleware(HTTPSRedirectMiddleware)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=os.environ["ALLOWED_HOSTS"].split(","))


@app.get("/")
async def index():
    """The page."""
    return {"hello": "from FastAPI"}


@app.get("/metrics")
async def metrics():
    """What Prometheus collects."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@app.get("/events")
async def events():
    """A stream that does not end."""

    async def stream():
        number = 0
        while True:
            yield f"data: {number}\n\n"
            number += 1
            await asyncio.sleep(0.1)

    return StreamingResponse(stream(), media_type="text/event-stream")


@app.websocket("/echo")
async def echo(websocket: WebSocket):
    """Each message, sent back."""
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)
