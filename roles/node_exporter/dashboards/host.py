"""Host: CPU, memory, disks and network of each server."""

from __future__ import annotations

from dashboards.panels import NONE_WANTED, Query, board, figure, graph, servers
from grafana_foundation_sdk.builders import dashboard

METRICS = ("node_",)
ON = '{instance=~"$instance"}'
IDLE = '{instance=~"$instance", mode="idle"}'
REAL = '{instance=~"$instance", fstype!~"erofs|iso9660|ramfs|squashfs|tmpfs"}'
DISKS = '{instance=~"$instance", device!~"(loop|ram|zram)[0-9]+"}'
DEVICES = '{instance=~"$instance", device!~"lo|veth.*|br-.*|docker.*"}'


def build() -> dashboard.Dashboard:
    return board(
        "host",
        "Host",
        "CPU, memory, disks and network of each server",
        [servers("node_uname_info")],
        [
            figure(
                "Uptime", "Time since the server started; the most recent start", "s",
                f"time() - max(node_boot_time_seconds{ON})", decimals=1,
            ),
            figure(
                "Processors", "CPUs of all selected servers", "none", f"count(node_cpu_seconds_total{IDLE})",
            ),
            figure(
                "Memory", "Memory of all selected servers", "bytes", f"sum(node_memory_MemTotal_bytes{ON})", decimals=1,
            ),
            figure(
                "Load per CPU",
                "Running and waiting processes per CPU, over 5 minutes; the busiest server",
                "none",
                f"max(node_load5{ON} / on (instance) count by (instance) (node_cpu_seconds_total{IDLE}))",
                steps=[(None, "green"), (1, "orange"), (2, "red")],
                decimals=2,
            ),
            figure(
                "Clock offset", "Deviation of the clock from the correct time; the worst server", "s",
                f"max(abs(node_timex_offset_seconds{ON}))",
                steps=[(None, "green"), (0.05, "orange"), (0.5, "red")],
            ),
            figure(
                "Read-only file systems", "Read-only file systems", "none",
                f"sum(node_filesystem_readonly{REAL})", steps=NONE_WANTED,
            ),
            graph(
                "CPU usage", "Share of time in which the CPUs were not idle", "percent",
                Query(
                    f"100 * (1 - avg by (instance) (rate(node_cpu_seconds_total{IDLE}[$__rate_interval])))",
                    "{{instance}}",
                ),
                high=100, steps=[(None, "green"), (60, "orange"), (80, "red")],
            ),
            graph(
                "CPU by mode", "CPU time by mode, except idle, in CPUs", "none",
                Query(
                    "sum by (instance, mode)"
                    ' (rate(node_cpu_seconds_total{instance=~"$instance", mode!="idle"}[$__rate_interval]))',
                    "{{instance}} {{mode}}",
                ),
                stacked=True,
            ),
            graph(
                "Memory usage", "Share of the memory that is not available to programs", "percent",
                Query(
                    f"100 * (1 - node_memory_MemAvailable_bytes{ON} / node_memory_MemTotal_bytes{ON})", "{{instance}}"
                ),
                high=100, steps=[(None, "green"), (75, "orange"), (90, "red")],
            ),
            graph(
                "Memory by use", "What uses the memory; buffers and cache are released to programs when needed", "bytes",
                Query(
                    f"node_memory_MemTotal_bytes{ON} - node_memory_MemFree_bytes{ON} - node_memory_Buffers_bytes{ON}"
                    f" - node_memory_Cached_bytes{ON} - node_memory_SReclaimable_bytes{ON}",
                    "{{instance}} programs",
                ),
                Query(f"node_memory_Buffers_bytes{ON}", "{{instance}} buffers"),
                Query(f"node_memory_Cached_bytes{ON} + node_memory_SReclaimable_bytes{ON}", "{{instance}} cache"),
                Query(f"node_memory_MemFree_bytes{ON}", "{{instance}} free"),
                stacked=True,
            ),
            graph(
                "Disk usage", "Share of each file system that is not available to programs", "percent",
                Query(
                    f"100 * (1 - node_filesystem_avail_bytes{REAL} / node_filesystem_size_bytes)",
                    "{{instance}} {{mountpoint}}",
                ),
                high=100, steps=[(None, "green"), (75, "orange"), (90, "red")],
            ),
            graph(
                "Disk space left", "Space available to programs on each file system", "bytes",
                Query(f"node_filesystem_avail_bytes{REAL}", "{{instance}} {{mountpoint}}"),
            ),
            graph(
                "Load", "Processes that are running or waiting for a CPU or a disk, over 1, 5 and 15 minutes", "none",
                Query(f"node_load1{ON}", "{{instance}} 1 min"),
                Query(f"node_load5{ON}", "{{instance}} 5 min"),
                Query(f"node_load15{ON}", "{{instance}} 15 min"),
                Query(f"count by (instance) (node_cpu_seconds_total{IDLE})", "{{instance}} processors"),
            ),
            graph(
                "Swapping", "Pages swapped in (above) and swapped out (below) per second",
                "suffix: pages/s",
                Query(f"rate(node_vmstat_pswpin{ON}[$__rate_interval])", "{{instance}} in"),
                Query(f"rate(node_vmstat_pswpout{ON}[$__rate_interval])", "{{instance}} out"),
                below="/ out$/",
            ),
            graph(
                "Network", "Bytes received (above) and sent (below) per second, without containers' devices", "Bps",
                Query(
                    f"rate(node_network_receive_bytes_total{DEVICES}[$__rate_interval])",
                    "{{instance}} {{device}} received",
                ),
                Query(
                    f"rate(node_network_transmit_bytes_total{DEVICES}[$__rate_interval])",
                    "{{instance}} {{device}} sent",
                ),
                below="/ sent$/",
            ),
            graph(
                "Network errors", "Packets with errors and dropped packets, per second", "pps",
                Query(
                    f"sum by (instance) (rate(node_network_receive_errs_total{DEVICES}[$__rate_interval])"
                    f" + rate(node_network_transmit_errs_total{DEVICES}[$__rate_interval]))",
                    "{{instance}} broken",
                ),
                Query(
                    f"sum by (instance) (rate(node_network_receive_drop_total{DEVICES}[$__rate_interval])"
                    f" + rate(node_network_transmit_drop_total{DEVICES}[$__rate_interval]))",
                    "{{instance}} dropped",
                ),
            ),
            graph(
                "Disk I/O", "Bytes read (above) and written (below) per second", "Bps",
                Query(f"rate(node_disk_read_bytes_total{DISKS}[$__rate_interval])", "{{instance}} {{device}} read"),
                Query(
                    f"rate(node_disk_written_bytes_total{DISKS}[$__rate_interval])", "{{instance}} {{device}} written"
                ),
                below="/ written$/",
            ),
            graph(
                "Disk busy", "Share of time in which a disk was busy", "percentunit",
                Query(f"rate(node_disk_io_time_seconds_total{DISKS}[$__rate_interval])", "{{instance}} {{device}}"),
                high=1,
            ),
        ],
    )  # fmt: skip
