"""Sites: how each answers who asks it from outside, and until when its certificate is valid."""

from __future__ import annotations

from dashboards.panels import DOWN_UP, UP_OR_DOWN, Query, board, chooser, figure, graph, servers
from grafana_foundation_sdk.builders import dashboard

METRICS = ("probe_", "up")
SITE = '{instance=~"$site"}'
DAY = 86400
EXPIRY = [(None, "red"), (7 * DAY, "orange"), (21 * DAY, "green")]


def build() -> dashboard.Dashboard:
    return board(
        "sites",
        "Sites",
        "How each site answers who asks it from outside, and until when its certificate is valid",
        [
            # Whose deployments are marked
            servers('up{instance!~"https?://.+"}'),
            chooser("site", "Site", "label_values(probe_success, instance)", None),
        ],
        [
            figure(
                "Site", "The site answers who asks from outside; down as soon as one site does not", "none",
                f"min(probe_success{SITE} or up{SITE})",
                steps=DOWN_UP, names=UP_OR_DOWN, width=6, missing="not there",
            ),
            figure(
                "Answered", "Share of the questions that the site answered in the time shown; the worst site",
                "percentunit", f"min(avg_over_time(probe_success{SITE}[$__range]))",
                steps=[(None, "red"), (0.99, "orange"), (0.999, "green")], width=6, decimals=2,
            ),
            figure(
                "Answer time", "How long the last answer took; the slowest site", "s",
                f"max(probe_duration_seconds{SITE})", steps=[(None, "green"), (0.5, "orange"), (1, "red")], width=6,
            ),
            figure(
                "Certificate", "Time until the first certificate of the chain expires", "s",
                f"min(probe_ssl_earliest_cert_expiry{SITE}) - time()", steps=EXPIRY, width=6, decimals=0,
            ),
            "Over time",
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
