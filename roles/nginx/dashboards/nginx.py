"""nginx and TLS: the way in, from both of its ends."""

from __future__ import annotations

from dashboards.panels import DOWN_UP, UP_OR_DOWN, Query, board, chooser, figure, graph, interval, servers
from grafana_foundation_sdk.builders import dashboard

METRICS = ("nginx_", "probe_", "up")
ON = '{instance=~"$instance"}'
SITE = '{instance=~"$site"}'
DAY = 86400
EXPIRY = [(None, "red"), (7 * DAY, "orange"), (21 * DAY, "green")]


def build() -> dashboard.Dashboard:
    return board(
        "web",
        "nginx and TLS",
        "The way in: what nginx serves, and how the site answers who asks it over TLS",
        [
            servers('up{job="nginx"}'),
            chooser("site", "Site", "label_values(probe_success, instance)", None),
            interval(),
        ],
        [
            figure(
                "Site", "The site answers through nginx and TLS; down as soon as one site does not", "none",
                f"min(probe_success{SITE} or up{SITE})",
                steps=DOWN_UP, names=UP_OR_DOWN, missing="not there",
            ),
            figure(
                "Answered", "Share of the questions that the site answered in the time shown; the worst site",
                "percentunit", f"min(avg_over_time(probe_success{SITE}[$__range]))",
                steps=[(None, "red"), (0.99, "orange"), (0.999, "green")], decimals=2,
            ),
            figure(
                "Answer time", "How long the last answer took; the slowest site", "s",
                f"max(probe_duration_seconds{SITE})", steps=[(None, "green"), (0.5, "orange"), (1, "red")],
            ),
            figure(
                "Certificate", "Time until the first certificate of the chain expires", "s",
                f"min(probe_ssl_earliest_cert_expiry{SITE}) - time()", steps=EXPIRY, decimals=0,
            ),
            figure(
                "nginx", "nginx answers its exporter; down as soon as one server's does not", "none",
                f'min(nginx_up{ON} or up{{job="nginx", instance=~"$instance"}})',
                steps=DOWN_UP, names=UP_OR_DOWN, missing="not there",
            ),
            figure("Connections", "Open connections of clients", "none", f"sum(nginx_connections_active{ON})"),
            "nginx",
            graph(
                "Requests", "Requests each second, over the interval, by server", "reqps",
                Query(f"rate(nginx_http_requests_total{ON}[$interval])", "{{instance}}"),
            ),
            graph(
                "Connections by state", "Reading a request, writing an answer, or waiting for the next request", "none",
                Query(f"sum(nginx_connections_reading{ON})", "reading"),
                Query(f"sum(nginx_connections_writing{ON})", "writing"),
                Query(f"sum(nginx_connections_waiting{ON})", "waiting"),
                stacked=True,
            ),
            graph(
                "New connections", "Connections accepted each second, over the interval, by server", "cps",
                Query(f"rate(nginx_connections_accepted{ON}[$interval])", "{{instance}}"),
            ),
            graph(
                "Connections dropped", "Connections that nginx accepted and had no room for, in each interval", "none",
                Query(
                    f"increase(nginx_connections_accepted{ON}[$interval])"
                    f" - increase(nginx_connections_handled{ON}[$interval])",
                    "{{instance}}",
                ),
                bars=True,
            ),
            "The site, asked from outside",
            graph(
                "Answer time by phase", "Where the time of an answer goes; the mean of the sites", "s",
                Query(f"avg by (phase) (probe_http_duration_seconds{SITE})", "{{phase}}"),
                stacked=True,
            ),
            graph(
                "Answer time", "How long each site took to answer", "s",
                Query(f"probe_duration_seconds{SITE}", "{{instance}}"),
            ),
            graph(
                "Status", "The status that each site answered with; 0 is no answer", "none",
                Query(f"probe_http_status_code{SITE}", "{{instance}}"),
                steps=[(None, "red"), (200, "green"), (400, "red")],
            ),
            graph(
                "Certificate expires in", "Time until the first certificate of each site's chain expires", "s",
                Query(f"probe_ssl_earliest_cert_expiry{SITE} - time()", "{{instance}}"),
                steps=EXPIRY,
            ),
        ],
    )  # fmt: skip
