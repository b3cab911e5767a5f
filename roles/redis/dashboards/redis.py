"""Redis: memory, keys and evictions, commands, connections, and persistence."""

from __future__ import annotations

from dashboards.panels import DOWN_UP, UP_OR_DOWN, Query, board, figure, graph, interval, servers
from grafana_foundation_sdk.builders import dashboard

METRICS = ("redis_", "up")
ON = '{instance=~"$instance"}'
FULL = [(None, "green"), (0.9, "orange"), (1, "red")]
HITS = [(None, "red"), (0.5, "orange"), (0.8, "green")]
WRITTEN = {"0": ("failed", "red"), "1": ("written", "green")}


def rate(name: str) -> str:
    return f"rate(redis_{name}{ON}[$__rate_interval])"


def hits(window: str) -> str:
    """Share of the reads that found their key; 1 if there were no reads."""
    found = f"rate(redis_keyspace_hits_total{ON}[{window}])"
    missed = f"rate(redis_keyspace_misses_total{ON}[{window}])"
    return f"1 - {missed} / clamp_min({found} + {missed}, 1e-9)"


def build() -> dashboard.Dashboard:
    return board(
        "redis",
        "Redis",
        "Cache and queues: memory, keys, commands, connections, and persistence",
        [servers('up{job="redis"}'), interval()],
        [
            figure(
                "State", "Whether Redis answers its exporter; down if any server's does not", "none",
                f'min(redis_up{ON} or up{{job="redis", instance=~"$instance"}})',
                steps=DOWN_UP, names=UP_OR_DOWN, missing="not there",
            ),
            figure(
                "Uptime", "Time since Redis started; the most recent start", "s", f"min(redis_uptime_in_seconds{ON})",
                decimals=1,
            ),
            figure(
                "Memory used", "Share of the memory for data in use; the fullest server", "percentunit",
                f"max(redis_memory_used_bytes{ON} / (redis_memory_max_bytes{ON} > 0))", steps=FULL, decimals=0,
            ),
            figure(
                "Commands", "Commands executed per second, over the interval", "ops",
                f"sum(rate(redis_commands_processed_total{ON}[$interval]))",
            ),
            figure(
                "Hits", "Share of reads that found their key, over the interval; the worst server", "percentunit",
                f"min({hits('$interval')})", steps=HITS, decimals=0,
            ),
            figure(
                "Disk", "Whether the last write to the append-only file succeeded on every server", "none",
                f"min(redis_aof_last_write_status{ON})", steps=DOWN_UP, names=WRITTEN,
            ),
            "Memory and keys",
            graph(
                "Memory", "Memory used by data, resident memory of the process, and the limit for data", "bytes",
                Query(f"redis_memory_used_bytes{ON}", "{{instance}} data"),
                Query(f"redis_memory_used_rss_bytes{ON}", "{{instance}} process"),
                Query(f"redis_memory_max_bytes{ON}", "{{instance}} limit"),
            ),
            graph(
                "Keys", "All keys, and those with a time to live", "none",
                Query(f"sum by (instance) (redis_db_keys{ON})", "{{instance}} all"),
                Query(f"sum by (instance) (redis_db_keys_expiring{ON})", "{{instance}} with a time to live"),
            ),
            graph(
                "Removed keys", "Keys evicted because the memory was full, and expired keys, per second",
                "cps",
                Query(rate("evicted_keys_total"), "{{instance}} evicted"),
                Query(rate("expired_keys_total"), "{{instance}} expired"),
            ),
            graph(
                "Hits", "Share of reads that found their key", "percentunit",
                Query(hits("$__rate_interval"), "{{instance}}"),
                high=1, steps=HITS,
            ),
            "Commands",
            graph(
                "Commands by kind", "The ten most frequent commands, per second", "ops",
                Query(
                    f"topk(10, sum by (cmd) (rate(redis_commands_total{ON}[$__rate_interval])) > 0)", "{{cmd}}",
                ),
                stacked=True,
            ),
            graph(
                "Command duration", "Mean time of the ten slowest kinds of commands", "s",
                Query(
                    f"topk(10, sum by (cmd) (rate(redis_commands_duration_seconds_total{ON}[$__rate_interval]))"
                    f" / sum by (cmd) (rate(redis_commands_total{ON}[$__rate_interval])) > 0)",
                    "{{cmd}}",
                ),
            ),
            graph(
                "Slow commands", "Commands in the slow log", "none",
                Query(f"redis_slowlog_length{ON}", "{{instance}}"),
            ),
            graph(
                "Network", "Bytes received (above) and sent (below) per second", "Bps",
                Query(rate("net_input_bytes_total"), "{{instance}} received"),
                Query(rate("net_output_bytes_total"), "{{instance}} sent"),
                below="/ sent$/",
            ),
            "Connections and disk",
            graph(
                "Connections", "Open connections, those blocked waiting for a queue, and the limit", "none",
                Query(f"redis_connected_clients{ON}", "{{instance}} open"),
                Query(f"redis_blocked_clients{ON}", "{{instance}} waiting"),
                Query(f"redis_max_clients{ON}", "{{instance}} limit"),
            ),
            graph(
                "Rejected connections", "Connections rejected because of the limit, in each interval", "none",
                Query(f"increase(redis_rejected_connections_total{ON}[$interval])", "{{instance}}"),
                bars=True,
            ),
            graph(
                "Append-only file", "Current size, and size after the last rewrite", "bytes",
                Query(f"redis_aof_current_size_bytes{ON}", "{{instance}} size"),
                Query(f"redis_aof_base_size_bytes{ON}", "{{instance}} after rewriting"),
            ),
            graph(
                "Last rewrite", "Duration of the last rewrite of the append-only file", "s",
                Query(f"redis_aof_last_rewrite_duration_sec{ON}", "{{instance}}"),
            ),
        ],
    )  # fmt: skip
