"""Sites: how each responds to probes from outside, and when its certificate expires."""

from __future__ import annotations

from dashboards.panels import DOWN_UP, UP_OR_DOWN, Query, board, chooser, figure, graph, servers
from grafana_foundation_sdk.builders import dashboard

METRICS = ("probe_", "up")
# The second probe of a site, which accepts any certificate, is for an alert alone.
SITE = '{instance=~"$site", job!="blackbox_any_certificate"}'
DAY = 86400
EXPIRY = [(None, "red"), (7 * DAY, "orange"), (21 * DAY, "green")]


def build() -> dashboard.Dashboard:
    return board(
        "sites",
        "Sites",
        "How each site responds to probes from outside, and when its certificate expires",
        [
            # Whose deployments are marked
            servers('up{instance!~"https?://.+"}'),
            chooser("site", "Site", "label_values(probe_success, instance)", None),
        ],
        [
            figure(
                "Site", "Whether the site responds to probes from outside; down if any site does not", "none",
                f"min(probe_success{SITE} or up{SITE})",
                steps=DOWN_UP, names=UP_OR_DOWN, width=6, missing="not there",
            ),
            figure(
                "Answered", "Share of successful probes in the selected time range; the worst site",
                "percentunit", f"min(avg_over_time(probe_success{SITE}[$__range]))",
                steps=[(None, "red"), (0.99, "orange"), (0.999, "green")], width=6, decimals=2,
            ),
            figure(
                "Response time", "Duration of the latest probe; the slowest site", "s",
                f"max(probe_duration_seconds{SITE})", steps=[(None, "green"), (0.5, "orange"), (1, "red")], width=6,
            ),
            figure(
                "Certificate", "Time until the first certificate of the chain expires", "s",
                f"min(probe_ssl_earliest_cert_expiry{SITE}) - time()", steps=EXPIRY, width=6, decimals=0,
            ),
            "Over time",
            graph(
                "Response time by phase", "Time spent in each phase of a probe; the mean of all sites", "s",
                Query(f"avg by (phase) (probe_http_duration_seconds{SITE})", "{{phase}}"),
                stacked=True,
            ),
            graph(
                "Response time", "Probe duration of each site", "s",
                Query(f"probe_duration_seconds{SITE}", "{{instance}}"),
            ),
            graph(
                "Status", "HTTP status of each site's response; 0 is no response", "none",
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
