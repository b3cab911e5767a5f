"""Alertmanager: whether the messages about alerts arrive."""

from __future__ import annotations

from dashboards.panels import DOWN_UP, NONE_WANTED, UP_OR_DOWN, Query, board, figure, graph, interval, servers
from grafana_foundation_sdk.builders import dashboard

METRICS = ("alertmanager_", "up")
ON = '{instance=~"$instance"}'


def build() -> dashboard.Dashboard:
    return board(
        "alertmanager",
        "Alertmanager",
        "Whether the messages about alerts arrive, and what is held back",
        [servers("alertmanager_build_info"), interval()],
        [
            figure(
                "Alertmanager", "Alertmanager answers Prometheus; down as soon as one does not", "none",
                f"min(up{ON} and on (job, instance) last_over_time(alertmanager_build_info{ON}[$__range]))",
                steps=DOWN_UP, names=UP_OR_DOWN, width=6, missing="not there",
            ),
            figure(
                "Messages failed", "Messages that Alertmanager could not deliver, over the interval", "none",
                f"sum(increase(alertmanager_notifications_failed_total{ON}[$interval]))",
                steps=NONE_WANTED, width=6, decimals=0,
            ),
            figure(
                "Held back", "Alerts that are not delivered, because of a silence or of another alert", "none",
                'sum(alertmanager_alerts{instance=~"$instance", state="suppressed"})', width=6,
            ),
            figure(
                "Silences", "Silences in force", "none",
                'sum(alertmanager_silences{instance=~"$instance", state="active"})', width=6,
            ),
            "Over time",
            graph(
                "Messages sent", "Messages that Alertmanager sent in each interval, by the way they go", "none",
                Query(
                    f"sum by (integration) (increase(alertmanager_notifications_total{ON}[$interval]))",
                    "{{integration}}",
                ),
                bars=True, stacked=True,
            ),
            graph(
                "Messages failed", "Messages that Alertmanager could not deliver in each interval", "none",
                Query(
                    f"sum by (integration) (increase(alertmanager_notifications_failed_total{ON}[$interval]))",
                    "{{integration}}",
                ),
                bars=True, stacked=True,
            ),
            graph(
                "Alerts", "Alerts that it sends, and those that it holds back", "none",
                Query(f"sum by (state) (alertmanager_alerts{ON})", "{{state}}"),
            ),
            graph(
                "Silences", "Silences in force", "none",
                Query('sum(alertmanager_silences{instance=~"$instance", state="active"})', "in force"),
            ),
        ],
    )  # fmt: skip
