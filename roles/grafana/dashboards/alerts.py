"""Alerts: what fires, and whether it is handed on."""

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
        "What fires and what may soon, and whether it is handed on to who sends messages",
        # Some alerts are about no server; they belong to all of them.
        [servers("up", all_value=".*"), interval()],
        [
            figure(
                "Critical", "Critical alerts that fire", "none",
                f'count(ALERTS{{{ON}, severity="critical", alertstate="firing"}}) or vector(0)',
                steps=NONE_WANTED, width=6,
            ),
            figure(
                "Warnings", "Warnings that fire", "none",
                f'count(ALERTS{{{ON}, severity="warning", alertstate="firing"}}) or vector(0)',
                steps=[(None, "green"), (1, "orange")], width=6,
            ),
            figure(
                "Pending", "Alerts that fire soon if nothing changes", "none",
                f"count({PENDING}) or vector(0)", steps=[(None, "green"), (1, "orange")], width=6,
            ),
            figure(
                "Watchdog", "The alert that always fires: as long as it does, rules are evaluated", "none",
                'count(ALERTS{severity="none", alertstate="firing"}) > bool 0 or vector(0)',
                steps=DOWN_UP, names={"0": ("silent", "red"), "1": ("fires", "green")}, width=6,
            ),
            rows(
                "Firing and pending", "What fires or may soon, and since when",
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
                "Firing", "Alerts that fired, by name", "none",
                Query(f"count by (alertname) ({FIRING})", "{{alertname}}"),
                stacked=True, bars=True,
            ),
            graph(
                "Pending", "Alerts that were about to fire, by name", "none",
                Query(f"count by (alertname) ({PENDING})", "{{alertname}}"),
                stacked=True, bars=True,
            ),
            "The monitoring itself",
            graph(
                "Handed on", "Alerts that an Alertmanager took, refused, or did not get, in each interval", "none",
                Query("sum(increase(prometheus_notifications_sent_total[$interval]))", "taken"),
                Query("sum(increase(prometheus_notifications_errors_total[$interval]))", "refused"),
                Query("sum(increase(prometheus_notifications_dropped_total[$interval]))", "dropped"),
            ),
            graph(
                "Targets", "Targets that answer Prometheus, and those that do not, by job", "none",
                Query('sum by (job) (up{instance=~"$instance"})', "{{job}} up"),
                Query(
                    'count by (job) (up{instance=~"$instance"}) - sum by (job) (up{instance=~"$instance"})',
                    "{{job}} down",
                ),
            ),
            graph(
                "Evaluation of the rules", "Time that a group of rules took; above its interval, alerts come late", "s",
                Query("max by (rule_group) (prometheus_rule_group_last_duration_seconds)", "{{rule_group}}"),
                steps=GOOD, width=8,
            ),
            graph(
                "Samples", "Measurements that Prometheus takes each second, over the interval", "cps",
                Query("sum(rate(prometheus_tsdb_head_samples_appended_total[$interval]))", "samples"),
                width=8,
            ),
            graph(
                "Storage", "What Prometheus keeps on the disk, without the last hours", "bytes",
                Query("sum(prometheus_tsdb_storage_blocks_bytes)", "blocks"),
                width=8,
            ),
        ],
    )  # fmt: skip
