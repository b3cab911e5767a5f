"""Alerts: what is firing, and whether it is delivered."""

from __future__ import annotations

from dashboards.panels import (
    DOWN_UP,
    GOOD,
    NONE_WANTED,
    Column,
    Query,
    board,
    figure,
    graph,
    interval,
    rows,
    servers,
)
from grafana_foundation_sdk.builders import dashboard

STATES = {"firing": ("firing", "red"), "pending": ("pending", "orange")}
SEVERITIES = {"critical": ("critical", "red"), "warning": ("warning", "orange")}

METRICS = ("ALERTS", "prometheus_", "up")
ON = 'instance=~"$instance"'
ALERTS = f'ALERTS{{{ON}, severity!="none"}}'
FIRING = f'ALERTS{{{ON}, severity!="none", alertstate="firing"}}'
PENDING = f'ALERTS{{{ON}, severity!="none", alertstate="pending"}}'


def build() -> dashboard.Dashboard:
    return board(
        "alerts",
        "Alerts",
        "What is firing or pending, and whether it is delivered to an Alertmanager",
        # Some alerts are about no server; they belong to all of them.
        [servers("up", all_value=".*"), interval()],
        [
            figure(
                "Critical", "Critical alerts that are firing", "none",
                f'count(ALERTS{{{ON}, severity="critical", alertstate="firing"}}) or vector(0)',
                steps=NONE_WANTED, width=6,
            ),
            figure(
                "Warnings", "Warnings that are firing", "none",
                f'count(ALERTS{{{ON}, severity="warning", alertstate="firing"}}) or vector(0)',
                steps=[(None, "green"), (1, "orange")], width=6,
            ),
            figure(
                "Pending", "Alerts that will fire soon if nothing changes", "none",
                f"count({PENDING}) or vector(0)", steps=[(None, "green"), (1, "orange")], width=6,
            ),
            figure(
                "Watchdog", "The alert that always fires: as long as it does, rules are evaluated", "none",
                'count(ALERTS{severity="none", alertstate="firing"}) > bool 0 or vector(0)',
                steps=DOWN_UP, names={"0": ("silent", "red"), "1": ("fires", "green")}, width=6,
            ),
            rows(
                "Firing and pending", "Which alerts are firing or pending, and since when",
                [
                    Column("State", label="alertstate", names=STATES),
                    Column("Severity", label="severity", names=SEVERITIES),
                    Column("Alert", label="alertname"),
                    Column("Server", label="instance"),
                    Column("Container", label="name"),
                    Column("File system", label="mountpoint"),
                    Column(
                        "For",
                        "max by (alertstate, severity, alertname, instance, name, mountpoint)"
                        f" ((time() - ALERTS_FOR_STATE) * ignoring (alertstate) group_right () {ALERTS})",
                        unit="s",
                    ),
                ],
                sort="State", missing="all quiet",
            ),
            "Alerts over time",
            graph(
                "Firing", "Firing alerts, by name", "none",
                Query(f"count by (alertname) ({FIRING})", "{{alertname}}"),
                stacked=True, bars=True,
            ),
            graph(
                "Pending", "Pending alerts, by name", "none",
                Query(f"count by (alertname) ({PENDING})", "{{alertname}}"),
                stacked=True, bars=True,
            ),
            "Monitoring itself",
            graph(
                "Delivery to Alertmanager", "Alerts that an Alertmanager accepted or refused, or that were dropped, in each interval", "none",
                Query("sum(increase(prometheus_notifications_sent_total[$interval]))", "taken"),
                Query("sum(increase(prometheus_notifications_errors_total[$interval]))", "refused"),
                Query("sum(increase(prometheus_notifications_dropped_total[$interval]))", "dropped"),
            ),
            graph(
                "Targets", "Targets that are up, and those that are down, by job", "none",
                Query('sum by (job) (up{instance=~"$instance"})', "{{job}} up"),
                Query(
                    'count by (job) (up{instance=~"$instance"}) - sum by (job) (up{instance=~"$instance"})',
                    "{{job}} down",
                ),
            ),
            graph(
                "Rule evaluation", "Evaluation time of each rule group; above its interval, alerts are delayed", "s",
                Query("max by (rule_group) (prometheus_rule_group_last_duration_seconds)", "{{rule_group}}"),
                steps=GOOD, width=8,
            ),
            graph(
                "Samples", "Samples that Prometheus ingests per second, over the interval", "cps",
                Query("sum(rate(prometheus_tsdb_head_samples_appended_total[$interval]))", "samples"),
                width=8,
            ),
            graph(
                "Storage", "Data of Prometheus on disk, except for the last hours", "bytes",
                Query("sum(prometheus_tsdb_storage_blocks_bytes)", "blocks"),
                width=8,
            ),
        ],
    )  # fmt: skip
