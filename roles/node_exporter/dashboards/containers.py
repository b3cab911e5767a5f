"""Containers: what each one uses, and whether it is healthy."""

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
        "What each container uses, and whether it is healthy",
        [
            servers("container_running"),
            chooser("name", "Container", 'label_values(container_running{instance=~"$instance"}, name)'),
            interval(),
        ],
        [
            figure("Running", "Running containers", "none", f"sum(container_running{ON})"),
            figure(
                "Stopped", "Stopped containers", "none",
                f"count(container_running{ON}) - sum(container_running{ON})", steps=NONE_WANTED,
            ),
            figure(
                "Unhealthy", "Containers whose health check is failing", "none",
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
                "Age of these metrics", "Time since the containers were last measured; the oldest", "s",
                'time() - min(container_scrape_timestamp_seconds{instance=~"$instance"})',
                steps=[(None, "green"), (120, "orange"), (300, "red")], decimals=0,
            ),
            rows(
                "State", "Current state of each container",
                [
                    Column("Server", label="instance"),
                    Column("Container", label="name"),
                    Column("State", latest("container_running"), names=RUNNING),
                    Column("Health", latest("container_healthy"), names=HEALTHY),
                    Column("Up for", f"time() - {latest('container_start_time_seconds')}", unit="s"),
                    Column("Processors", latest("instance_name:container_cpu_usage:rate1m")),
                    Column("Memory", latest("container_memory_working_set_bytes"), unit="bytes"),
                    Column(
                        "Share of limit", latest("instance_name:container_memory_utilisation:ratio"), unit="percentunit"
                    ),
                    Column("Restarts", latest("container_restarts_total")),
                    Column("OOM kills", latest("container_oom_events_total")),
                ],
                sort="Container",
            ),
            "CPU and memory",
            graph(
                "CPU", "CPUs in use", "none",
                Query(f"instance_name:container_cpu_usage:rate1m{ON}", NAME), stacked=True,
            ),
            graph(
                "Memory", "Memory in use, excluding reclaimable cache", "bytes",
                Query(f"container_memory_working_set_bytes{ON}", NAME), stacked=True,
            ),
            graph(
                "Memory as share of limit", "Share of its limit that a container uses; only for containers with a limit",
                "percentunit", Query(f"instance_name:container_memory_utilisation:ratio{ON}", NAME),
                high=1, steps=[(None, "green"), (0.8, "orange"), (0.95, "red")],
            ),
            graph(
                "Memory limits", "Memory limit of each container; 0 is no limit", "bytes",
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
                "Network", "Bytes received (above) and sent (below) per second", "Bps",
                Query(f"rate(container_network_receive_bytes_total{ON}[$__rate_interval])", f"{NAME} received"),
                Query(f"rate(container_network_transmit_bytes_total{ON}[$__rate_interval])", f"{NAME} sent"),
                below="/ sent$/",
            ),
            graph(
                "Disk I/O", "Bytes read (above) and written (below) per second", "Bps",
                Query(f"rate(container_fs_reads_bytes_total{ON}[$__rate_interval])", f"{NAME} read"),
                Query(f"rate(container_fs_writes_bytes_total{ON}[$__rate_interval])", f"{NAME} written"),
                below="/ written$/",
            ),
        ],
    )  # fmt: skip
