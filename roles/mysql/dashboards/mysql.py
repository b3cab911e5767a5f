"""MySQL: connections, queries, and memory efficiency."""

from __future__ import annotations

from dashboards.panels import DOWN_UP, UP_OR_DOWN, Query, board, figure, graph, interval, servers
from grafana_foundation_sdk.builders import dashboard

METRICS = ("mysql_", "up")
ON = '{instance=~"$instance"}'
STATUS = "mysql_global_status"
FULL = [(None, "green"), (0.8, "orange"), (0.9, "red")]
HITS = [(None, "red"), (0.9, "orange"), (0.98, "green")]


def rate(name: str) -> str:
    return f"rate({STATUS}_{name}{ON}[$__rate_interval])"


def hits(window: str) -> str:
    """Share of the reads that needed no disk; 1 if there were no reads."""
    misses = f"rate({STATUS}_innodb_buffer_pool_reads{ON}[{window}])"
    reads = f"rate({STATUS}_innodb_buffer_pool_read_requests{ON}[{window}])"
    return f"1 - {misses} / clamp_min({reads}, 1e-9)"


def build() -> dashboard.Dashboard:
    return board(
        "mysql",
        "MySQL",
        "The database: connections, queries, and memory efficiency",
        [servers('up{job="mysql"}'), interval()],
        [
            figure(
                "State", "Whether MySQL answers its exporter; down if any server's does not", "none",
                f'min(mysql_up{ON} or up{{job="mysql", instance=~"$instance"}})',
                steps=DOWN_UP, names=UP_OR_DOWN, missing="not there",
            ),
            figure(
                "Uptime", "Time since MySQL started; the most recent start", "s", f"min({STATUS}_uptime{ON})", decimals=1,
            ),
            figure(
                "Connections used", "Share of the allowed connections that are open; the fullest server", "percentunit",
                f"max({STATUS}_threads_connected{ON} / mysql_global_variables_max_connections)", steps=FULL, decimals=0,
            ),
            figure(
                "Queries", "Statements executed per second, over the interval", "ops",
                f"sum(rate({STATUS}_queries{ON}[$interval]))",
            ),
            figure(
                "Slow queries", "Queries that exceeded long_query_time, over the interval", "none",
                f"sum(increase({STATUS}_slow_queries{ON}[$interval]))",
                steps=[(None, "green"), (1, "orange"), (50, "red")], decimals=0,
            ),
            figure(
                "Buffer pool hits", "Share of reads that needed no disk, over the interval; the worst server",
                "percentunit", f"min({hits('$interval')})", steps=HITS, decimals=2,
            ),
            "Connections and threads",
            graph(
                "Connections", "Open connections, their maximum so far, and the limit", "none",
                Query(f"{STATUS}_threads_connected{ON}", "{{instance}} open"),
                Query(f"{STATUS}_max_used_connections{ON}", "{{instance}} most"),
                Query(f"mysql_global_variables_max_connections{ON}", "{{instance}} limit"),
            ),
            graph(
                "Threads", "Threads that are executing a statement, and those cached for new connections", "none",
                Query(f"{STATUS}_threads_running{ON}", "{{instance}} running"),
                Query(f"{STATUS}_threads_cached{ON}", "{{instance}} cached"),
            ),
            graph(
                "Failed and aborted connections", "Failed logins, and clients that disconnected without closing the connection, per second",
                "cps",
                Query(rate("aborted_connects"), "{{instance}} refused"),
                Query(rate("aborted_clients"), "{{instance}} lost"),
            ),
            graph(
                "Network", "Bytes received (above) and sent (below) per second", "Bps",
                Query(rate("bytes_received"), "{{instance}} received"),
                Query(rate("bytes_sent"), "{{instance}} sent"),
                below="/ sent$/",
            ),
            "Queries",
            graph(
                "Queries", "Statements executed per second, and those sent by clients", "ops",
                Query(rate("queries"), "{{instance}} executed"),
                Query(rate("questions"), "{{instance}} sent by clients"),
            ),
            graph(
                "Statements by kind", "The ten most frequent kinds, per second", "ops",
                Query(
                    f"topk(10, sum by (command) (rate({STATUS}_commands_total{ON}[$__rate_interval])) > 0)",
                    "{{command}}",
                ),
                stacked=True,
            ),
            graph(
                "Slow queries", "Queries that exceeded long_query_time, in each interval", "none",
                Query(f"increase({STATUS}_slow_queries{ON}[$interval])", "{{instance}}"),
                bars=True,
            ),
            graph(
                "Temporary tables", "Temporary tables created for queries per second; those on disk are slow", "cps",
                Query(rate("created_tmp_tables"), "{{instance}} made"),
                Query(rate("created_tmp_disk_tables"), "{{instance}} on the disk"),
            ),
            "InnoDB",
            graph(
                "Row operations", "Rows read and changed by the storage engine per second", "ops",
                Query(
                    f'sum by (handler) (rate({STATUS}_handlers_total{{instance=~"$instance",'
                    ' handler=~"read_.*|write|update|delete"}[$__rate_interval]))',
                    "{{handler}}",
                ),
            ),
            graph(
                "Row locks", "Statements that had to wait for a row lock, per second", "cps",
                Query(rate("innodb_row_lock_waits"), "{{instance}}"),
            ),
            graph(
                "Buffer pool hits", "Share of reads that needed no disk", "percentunit",
                Query(hits("$__rate_interval"), "{{instance}}"),
                low=None, high=1, steps=HITS,
            ),
            graph(
                "Buffer pool", "Contents of the memory for data and indexes, and its size", "bytes",
                Query(
                    f'sum by (instance, state) ({STATUS}_buffer_pool_pages{{instance=~"$instance", state!="old"}})'
                    f" * on (instance) group_left () {STATUS}_innodb_page_size{ON}",
                    "{{instance}} {{state}}",
                ),
                Query(f"mysql_global_variables_innodb_buffer_pool_size{ON}", "{{instance}} size"),
            ),
        ],
    )  # fmt: skip
