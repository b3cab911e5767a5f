"""Application: rate, errors and duration of its requests, and the resources they use."""

from __future__ import annotations

from dashboards.panels import DOWN_UP, UP_OR_DOWN, Column, Query, board, chooser, figure, graph, interval, rows, servers
from grafana_foundation_sdk.builders import dashboard

METRICS = ("database_pool_", "http_request", "instance:http_", "instance_route:http_", "login_failures_total", "up")
# Several applications share this dashboard.
ON = '{job=~"$job", instance=~"$instance"}'
ERRORS = [(None, "green"), (0.01, "orange"), (0.05, "red")]
SLOW = [(None, "green"), (0.5, "orange"), (1, "red")]


def quantile(share: float, *labels: str) -> str:
    by = ", ".join(["le", *labels])
    return f"histogram_quantile({share}, sum by ({by}) (rate(http_request_duration_seconds_bucket{ON}[$interval])))"


def build() -> dashboard.Dashboard:
    return board(
        "application",
        "Application",
        "What users experience: rate, errors and duration of requests",
        [
            chooser("job", "Application", "label_values(http_requests_in_flight, job)", None),
            servers('up{job=~"$job"}'),
            interval(),
        ],
        [
            figure(
                "State", "Whether the application answers Prometheus; down if any server's does not", "none",
                f"min(up{ON})", steps=DOWN_UP, names=UP_OR_DOWN, missing="not there",
            ),
            figure(
                "Requests", "Requests per second, over 5 minutes", "reqps",
                f"sum(instance:http_requests:rate5m{ON})", missing="none",
            ),
            figure(
                "Errors", "Share of requests with a status of 500 or above, over 5 minutes; the worst server",
                "percentunit", f"max(instance:http_request_errors:ratio5m{ON})",
                steps=ERRORS, decimals=2, missing="no traffic",
            ),
            figure(
                "Duration, p95", "95th percentile of the response time, over 5 minutes; the slowest server",
                "s", f"max(instance:http_request_duration_seconds:p95_5m{ON})", steps=SLOW, missing="no traffic",
            ),
            figure("In flight", "Requests currently being processed", "none", f"sum(http_requests_in_flight{ON})"),
            figure(
                "Failed logins", "Logins with a wrong user name or password, over the interval", "none",
                f"sum(increase(login_failures_total{ON}[$interval]))",
                steps=[(None, "green"), (20, "orange"), (100, "red")], decimals=0,
            ),
            "Rate, errors, duration",
            graph(
                "Requests by status", "Requests per second, by response status", "reqps",
                Query(f"sum by (status) (rate(http_requests_total{ON}[$__rate_interval]))", "{{status}}"),
                stacked=True,
            ),
            graph(
                "Errors", "Share of requests with a status of 500 or above, by server", "percentunit",
                Query(f"instance:http_request_errors:ratio5m{ON}", "{{instance}} {{job}}"),
                steps=ERRORS,
            ),
            graph(
                "Duration", "50th, 95th and 99th percentiles of the response time, over the interval", "s",
                Query(quantile(0.5), "p50"), Query(quantile(0.95), "p95"), Query(quantile(0.99), "p99"),
                steps=SLOW,
            ),
            graph(
                "In flight", "Requests being processed simultaneously, by server", "none",
                Query(f"http_requests_in_flight{ON}", "{{instance}} {{job}}"),
            ),
            "By route",
            graph(
                "Requests by route", "Requests per second, by route", "reqps",
                Query(f"sum by (job, route) (instance_route:http_requests:rate5m{ON})", "{{job}} {{route}}"),
                stacked=True,
            ),
            graph(
                "Duration by route, p95", "95th percentile of the response time; the slowest server", "s",
                Query(
                    f"max by (job, route) (instance_route:http_request_duration_seconds:p95_5m{ON})",
                    "{{job}} {{route}}",
                ),
            ),
            rows(
                "Routes", "Requests, errors and duration of each route, over the interval",
                [
                    Column("Application", label="job"),
                    Column("Route", label="route"),
                    Column("Method", label="method"),
                    Column(
                        "Requests",
                        f"sum by (job, route, method) (rate(http_requests_total{ON}[$interval]))",
                        unit="reqps",
                    ),
                    Column("p50", quantile(0.5, "job", "route", "method"), unit="s"),
                    Column("p95", quantile(0.95, "job", "route", "method"), unit="s"),
                ],
                sort="Requests", descending=True, missing="no traffic",
            ),
            "Resources used by requests",
            graph(
                "Database connections", "Connections in the application's pool, and those in use", "none",
                Query(f"database_pool_connections{ON}", "{{instance}} {{job}} open"),
                Query(f"database_pool_connections_in_use{ON}", "{{instance}} {{job}} in use"),
            ),
            graph(
                "Failed logins", "Logins with a wrong user name or password in each interval, by server", "none",
                Query(f"increase(login_failures_total{ON}[$interval])", "{{instance}} {{job}}"),
                bars=True,
            ),
        ],
    )  # fmt: skip
