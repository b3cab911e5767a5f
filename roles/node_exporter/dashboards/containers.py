"""Containers: what each one uses, and whether it is well."""

from __future__ import annotations

from dashboards.panels import NONE_WANTED, Column, Query, board, chooser, figure, graph, interval, rows, servers
from grafana_foundation_sdk.builders import dashboard

METRICS = ("container_", "instance_name:container_")
LABELS = 'instance=~"$instance", name=~"$name"'
ON = f"{{{LABELS}}}"
NAME = "{{instance}} {{name}}"
RUNNING = {"0": ("stopped", "red"), "1": ("running", "green")}
HEALTHY = {"0": ("unhealthy", "red"), "1": ("healthy", "green")}


def latest(metric: str) -> str:
    return f"max by (instance, name) ({metric}{ON})"


def build() -> dashboard.Dashboard:
    return board(
        "containers",
        "Containers",
        "What each container uses, and whether it is well",
        [
            servers("container_running"),
            chooser("name", "Container", 'label_values(container_running{instance=~"$instance"}, name)'),
            interval(),
        ],
        [
            figure("Running", "Containers that run", "none", f"sum(container_running{ON})"),
            figure(
                "Stopped", "Containers that do not run", "none",
                f"count(container_running{ON}) - sum(container_running{ON})", steps=NONE_WANTED,
            ),
            figure(
                "Unhealthy", "Containers whose health check fails", "none",
                f"count(container_healthy{ON}) - sum(container_healthy{ON})", steps=NONE_WANTED,
            ),
            figure(
                "Restarts", "Containers restarted by Docker, over the interval", "none",
                f"sum(increase(container_restarts_total{ON}[$interval]))", steps=NONE_WANTED, decimals=0,
            ),
            figure(
                "OOM kills", "Processes killed because a container's memory was full, over the interval", "none",
                f"sum(increase(container_oom_events_total{ON}[$interval]))", steps=NONE_WANTED, decimals=0,
            ),
            figure(
                "Age of these figures", "Time since the containers were last looked at; the oldest", "s",
                'time() - min(container_scrape_timestamp_seconds{instance=~"$instance"})',
                steps=[(None, "green"), (120, "orange"), (300, "red")], decimals=0,
            ),
            rows(
                "State", "Each container as it is now",
                [
                    Column("Server", label="instance"),
                    Column("Container", label="name"),
                    Column("State", latest("container_running"), names=RUNNING),
                    Column("Health", latest("container_healthy"), names=HEALTHY),
                    Column("Up for", f"time() - {latest('container_start_time_seconds')}", unit="s"),
                    Column("Processors", latest("instance_name:container_cpu_usage:rate1m")),
                    Column("Memory", latest("container_memory_working_set_bytes"), unit="bytes"),
                    Column(
                        "Of its limit", latest("instance_name:container_memory_utilisation:ratio"), unit="percentunit"
                    ),
                    Column("Restarts", latest("container_restarts_total")),
                    Column("OOM kills", latest("container_oom_events_total")),
                ],
                sort="Container",
            ),
            "Processors and memory",
            graph(
                "CPU", "Processors in use", "none",
                Query(f"instance_name:container_cpu_usage:rate1m{ON}", NAME), stacked=True,
            ),
            graph(
                "Memory", "Memory that a container cannot give back at once", "bytes",
                Query(f"container_memory_working_set_bytes{ON}", NAME), stacked=True,
            ),
            graph(
                "Memory of the limit", "Share of its limit that a container uses; those without a limit are left out",
                "percentunit", Query(f"instance_name:container_memory_utilisation:ratio{ON}", NAME),
                high=1, steps=[(None, "green"), (0.8, "orange"), (0.95, "red")],
            ),
            graph(
                "Memory limits", "What each container may use at most; 0 is no limit", "bytes",
                Query(f"container_spec_memory_limit_bytes{ON}", NAME),
            ),
            "Restarts and OOM kills",
            graph(
                "Restarts", "Containers restarted by Docker in each interval", "none",
                Query(f"increase(container_restarts_total{ON}[$interval])", NAME), bars=True,
            ),
            graph(
                "OOM kills", "Processes killed in each interval because a container's memory was full", "none",
                Query(f"increase(container_oom_events_total{ON}[$interval])", NAME), bars=True,
            ),
            "Network and disk",
            graph(
                "Network", "Bytes received (above) and sent (below) each second", "Bps",
                Query(f"rate(container_network_receive_bytes_total{ON}[$__rate_interval])", f"{NAME} received"),
                Query(f"rate(container_network_transmit_bytes_total{ON}[$__rate_interval])", f"{NAME} sent"),
                below="/ sent$/",
            ),
            graph(
                "Disk I/O", "Bytes read (above) and written (below) each second", "Bps",
                Query(f"rate(container_fs_reads_bytes_total{ON}[$__rate_interval])", f"{NAME} read"),
                Query(f"rate(container_fs_writes_bytes_total{ON}[$__rate_interval])", f"{NAME} written"),
                below="/ written$/",
            ),
        ],
    )  # fmt: skip
