"""Alertmanager: whether notifications are delivered."""

from __future__ import annotations

from dashboards.panels import DOWN_UP, NONE_WANTED, UP_OR_DOWN, Query, board, figure, graph, interval, servers
from grafana_foundation_sdk.builders import dashboard

METRICS = ("alertmanager_", "up")
ON = '{instance=~"$instance"}'


def build() -> dashboard.Dashboard:
    return board(
        "alertmanager",
        "Alertmanager",
        "Whether notifications are delivered, and what is suppressed",
        [servers("alertmanager_build_info"), interval()],
        [
            figure(
                "Alertmanager", "Whether Alertmanager answers Prometheus; down if any instance does not", "none",
                f"min(up{ON} and on (job, instance) last_over_time(alertmanager_build_info{ON}[$__range]))",
                steps=DOWN_UP, names=UP_OR_DOWN, width=6, missing="not there",
            ),
            figure(
                "Failed notifications", "Notifications that Alertmanager could not deliver, over the interval", "none",
                f"sum(increase(alertmanager_notifications_failed_total{ON}[$interval]))",
                steps=NONE_WANTED, width=6, decimals=0,
            ),
            figure(
                "Suppressed", "Alerts that are not delivered because of a silence or another alert", "none",
                'sum(alertmanager_alerts{instance=~"$instance", state="suppressed"})', width=6,
            ),
            figure(
                "Silences", "Active silences", "none",
                'sum(alertmanager_silences{instance=~"$instance", state="active"})', width=6,
            ),
            "Over time",
            graph(
                "Notifications sent", "Notifications sent in each interval, by integration", "none",
                Query(
                    f"sum by (integration) (increase(alertmanager_notifications_total{ON}[$interval]))",
                    "{{integration}}",
                ),
                bars=True, stacked=True,
            ),
            graph(
                "Failed notifications", "Notifications that Alertmanager could not deliver, in each interval", "none",
                Query(
                    f"sum by (integration) (increase(alertmanager_notifications_failed_total{ON}[$interval]))",
                    "{{integration}}",
                ),
                bars=True, stacked=True,
            ),
            graph(
                "Alerts", "Active alerts, and suppressed ones", "none",
                Query(f"sum by (state) (alertmanager_alerts{ON})", "{{state}}"),
            ),
            graph(
                "Silences", "Active silences", "none",
                Query('sum(alertmanager_silences{instance=~"$instance", state="active"})', "in force"),
            ),
        ],
    )  # fmt: skip
