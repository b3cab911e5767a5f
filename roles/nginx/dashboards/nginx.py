"""nginx: incoming traffic, and whether nginx keeps up with it."""

from __future__ import annotations

from dashboards.panels import DOWN_UP, NONE_WANTED, UP_OR_DOWN, Query, board, figure, graph, interval, servers
from grafana_foundation_sdk.builders import dashboard

METRICS = ("nginx_", "up")
ON = '{instance=~"$instance"}'


def build() -> dashboard.Dashboard:
    return board(
        "nginx",
        "nginx",
        "Incoming traffic, and whether nginx keeps up with it",
        [servers('up{job="nginx"}'), interval()],
        [
            figure(
                "nginx", "nginx answers its exporter; down as soon as one server's does not", "none",
                f'min(nginx_up{ON} or up{{job="nginx", instance=~"$instance"}})',
                steps=DOWN_UP, names=UP_OR_DOWN, width=6, missing="not there",
            ),
            figure("Connections", "Open client connections", "none", f"sum(nginx_connections_active{ON})", width=6),
            figure(
                "Requests", "Requests per second, over the interval", "reqps",
                f"sum(rate(nginx_http_requests_total{ON}[$interval]))", width=6,
            ),
            figure(
                "Connections dropped", "Connections that nginx accepted but could not handle, over the interval", "none",
                f"sum(increase(nginx_connections_accepted{ON}[$interval])"
                f" - increase(nginx_connections_handled{ON}[$interval]))",
                steps=NONE_WANTED, width=6, decimals=0,
            ),
            graph(
                "Requests", "Requests per second, over the interval, by server", "reqps",
                Query(f"rate(nginx_http_requests_total{ON}[$interval])", "{{instance}}"),
            ),
            graph(
                "Connections by state", "Reading a request, writing a response, or waiting for the next request", "none",
                Query(f"sum(nginx_connections_reading{ON})", "reading"),
                Query(f"sum(nginx_connections_writing{ON})", "writing"),
                Query(f"sum(nginx_connections_waiting{ON})", "waiting"),
                stacked=True,
            ),
            graph(
                "New connections", "Connections accepted per second, over the interval, by server", "cps",
                Query(f"rate(nginx_connections_accepted{ON}[$interval])", "{{instance}}"),
            ),
            graph(
                "Connections dropped", "Connections that nginx accepted but could not handle, in each interval", "none",
                Query(
                    f"increase(nginx_connections_accepted{ON}[$interval])"
                    f" - increase(nginx_connections_handled{ON}[$interval])",
                    "{{instance}}",
                ),
                bars=True,
            ),
        ],
    )  # fmt: skip
