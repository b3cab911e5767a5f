"""Overview: is everything all right?"""

from __future__ import annotations

from dashboards.panels import (
    DOWN_UP,
    NONE_WANTED,
    UP_OR_DOWN,
    Column,
    Query,
    board,
    chooser,
    figure,
    graph,
    rows,
    servers,
)
from grafana_foundation_sdk.builders import dashboard

# Exporters say in a metric of their own, <service>_up, whether their service answers them.
METRICS = (
    *("ALERTS", "[a-z]+_up", "probe_", "up"),
    *("instance:http_", "instance:node_", "instance_mountpoint:node_"),
)
RATIO = [(None, "green"), (0.01, "orange"), (0.05, "red")]
USE = [(None, "green"), (0.75, "orange"), (0.9, "red")]
# What is asked from outside has an address in place of the server's name.
SITES = 'instance=~"https?://.+"'
SERVERS = 'instance!~"https?://.+"'


def build() -> dashboard.Dashboard:
    return board(
        "overview",
        "Overview",
        "Is everything all right? Every service's state, what users experience, and how full the servers are",
        [
            servers(f"up{{{SERVERS}}}"),
            chooser(
                "service", "Service", f'label_values(up{{{SERVERS}, instance=~"$instance"}}, job)', None, hidden=True
            ),
        ],
        [
            figure(
                "$service",
                "Whether the service answers Prometheus or its exporter; down if any server's does not",
                "none",
                'min({__name__=~"up|[a-z]+_up", job=~"$service", instance=~"$instance"})',
                steps=DOWN_UP,
                names=UP_OR_DOWN,
                width=24,
                missing="not there",
                leads_to="miniweb-alerts",
                each="service",
            ),
            figure(
                "Site",
                "Whether the site responds to probes from outside; down if any site does not",
                "none",
                f"min(probe_success or up{{{SITES}}})",
                steps=DOWN_UP,
                names=UP_OR_DOWN,
                width=3,
                missing="not there",
                leads_to="miniweb-sites",
            ),
            figure(
                "Alerts firing",
                "Alerts that are firing, except the Watchdog, which always does",
                "none",
                'count(ALERTS{alertstate="firing", severity!="none"}) or vector(0)',
                steps=NONE_WANTED,
                width=3,
                leads_to="miniweb-alerts",
            ),
            figure(
                "Traffic",
                "Requests per second to all applications, over 5 minutes",
                "reqps",
                'sum(instance:http_requests:rate5m{instance=~"$instance"})',
                width=3,
                missing="none",
                leads_to="miniweb-application",
            ),
            figure(
                "Errors",
                "Share of requests with a status of 500 or above, over 5 minutes; the worst server",
                "percentunit",
                'max(instance:http_request_errors:ratio5m{instance=~"$instance"})',
                steps=RATIO,
                width=3,
                decimals=2,
                missing="no traffic",
                leads_to="miniweb-application",
            ),
            figure(
                "Duration, p95",
                "95th percentile of the response time, over 5 minutes; the slowest server",
                "s",
                'max(instance:http_request_duration_seconds:p95_5m{instance=~"$instance"})',
                steps=[(None, "green"), (0.5, "orange"), (1, "red")],
                width=3,
                missing="no traffic",
                leads_to="miniweb-application",
            ),
            figure(
                "CPU",
                "Share of time in which the CPUs were not idle; the busiest server",
                "percentunit",
                'max(instance:node_cpu_utilisation:ratio{instance=~"$instance"})',
                steps=[(None, "green"), (0.6, "orange"), (0.8, "red")],
                width=2,
                decimals=0,
                leads_to="miniweb-host",
            ),
            figure(
                "Memory",
                "Share of the memory that is not available to programs; the fullest server",
                "percentunit",
                'max(instance:node_memory_utilisation:ratio{instance=~"$instance"})',
                steps=USE,
                width=2,
                decimals=0,
                leads_to="miniweb-host",
            ),
            figure(
                "Disk",
                "Share of a file system that is not available to programs; the fullest one",
                "percentunit",
                'max(instance_mountpoint:node_filesystem_utilisation:ratio{instance=~"$instance"})',
                steps=USE,
                width=2,
                decimals=0,
                leads_to="miniweb-host",
            ),
            figure(
                "Certificate",
                "Time until the first certificate of the site's chain expires",
                "s",
                "min(probe_ssl_earliest_cert_expiry) - time()",
                steps=[(None, "red"), (7 * 86400, "orange"), (21 * 86400, "green")],
                width=3,
                decimals=0,
                leads_to="miniweb-sites",
            ),
            graph(
                "Traffic",
                "Requests per second to each application, by server",
                "reqps",
                Query('instance:http_requests:rate5m{instance=~"$instance"}', "{{instance}} {{job}}"),
                width=8,
                height=7,
            ),
            graph(
                "Errors",
                "Share of requests with a status of 500 or above, by server",
                "percentunit",
                Query('instance:http_request_errors:ratio5m{instance=~"$instance"}', "{{instance}} {{job}}"),
                width=8,
                height=7,
                steps=RATIO,
            ),
            graph(
                "Duration, p95",
                "95th percentile of the response time, by server",
                "s",
                Query('instance:http_request_duration_seconds:p95_5m{instance=~"$instance"}', "{{instance}} {{job}}"),
                width=8,
                height=7,
            ),
            graph(
                "CPU, memory and disk",
                "Usage of CPU, memory, and the fullest file system of each server",
                "percentunit",
                Query('instance:node_cpu_utilisation:ratio{instance=~"$instance"}', "{{instance}} CPU"),
                Query('instance:node_memory_utilisation:ratio{instance=~"$instance"}', "{{instance}} memory"),
                Query(
                    'max by (instance) (instance_mountpoint:node_filesystem_utilisation:ratio{instance=~"$instance"})',
                    "{{instance}} disk",
                ),
                height=7,
                high=1,
            ),
            rows(
                "Alerts firing",
                "Which alerts are firing, and since when",
                [
                    Column("Alert", label="alertname"),
                    Column("Severity", label="severity"),
                    Column("Server", label="instance"),
                    Column(
                        "For",
                        'max by (alertname, severity, instance) ((time() - ALERTS_FOR_STATE{severity!="none"})'
                        ' * ignoring (alertstate) group_right () ALERTS{alertstate="firing", severity!="none"})',
                        unit="s",
                    ),
                ],
                width=12,
                height=7,
                sort="Severity",
                missing="nothing fires",
            ),
        ],
    )
