"""Write each container's memory, CPU, restarts, health and OOM kills for node_exporter's textfile collector.

The Docker engine is asked over its unix socket. The file of the run before is the only state: the OOM kills counted
so far and the moment up to which they were counted are read back from it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from docker_engine import Engine, EngineError, Gone

METRICS = {
    "container_cpu_usage_seconds_total": ("counter", "CPU time used."),
    "container_memory_working_set_bytes": ("gauge", "Memory used, excluding reclaimable page cache."),
    "container_spec_memory_limit_bytes": ("gauge", "Memory limit of the container, 0 without a limit."),
    "container_start_time_seconds": ("gauge", "When the container was last started, in seconds since 1970."),
    "container_running": ("gauge", "1 if the container is running."),
    "container_healthy": ("gauge", "1 if the health check of the running container succeeds."),
    "container_restarts_total": ("counter", "Restarts by the container's restart policy."),
    "container_oom_events_total": ("counter", "OOM kills in the container."),
    "container_network_receive_bytes_total": ("counter", "Bytes received over the container's own network."),
    "container_network_transmit_bytes_total": ("counter", "Bytes sent over the container's own network."),
    "container_fs_reads_bytes_total": ("counter", "Bytes read from disks."),
    "container_fs_writes_bytes_total": ("counter", "Bytes written to disks."),
}
OOM_EVENTS = "container_oom_events_total"
TIMESTAMP = "container_scrape_timestamp_seconds"
TIMESTAMP_HELP = "When the containers' metrics were collected, in seconds since 1970."
NEVER = "0001-"
UNREADABLE = (LookupError, TypeError, ValueError, AttributeError)


class MetricsError(Exception):
    """The metrics cannot be taken or written; the message says why and what to do, in one sentence."""


def asked(engine: Engine, path: str, **query: str) -> Any:
    """Return what the engine says; None when what was asked for is gone."""
    try:
        return engine.call("GET", path, **query)
    except Gone:
        return None


def seconds(moment: str) -> int:
    """Return the engine's notation of a moment, always UTC, as seconds since 1970."""
    return int(datetime.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc).timestamp())


def working_set(memory: dict[str, Any]) -> int:
    """Return the memory in use without the inactive page cache, as ``docker stats`` does for cgroup v1 and v2."""
    stats = memory.get("stats") or {}
    inactive = stats.get("total_inactive_file", stats.get("inactive_file", 0))
    return max(memory["usage"] - inactive, 0)


def described(container: dict[str, Any]) -> dict[str, float]:
    """Return what an inspected container says of itself."""
    state = container["State"]
    # While it waits for its next restart, the engine calls a container both running and restarting.
    running = state["Running"] and not state.get("Restarting")
    health = (state.get("Health") or {}).get("Status", "none")
    found = {
        "container_spec_memory_limit_bytes": container["HostConfig"]["Memory"],
        "container_running": int(running),
        "container_restarts_total": container["RestartCount"],
    }
    if not state["StartedAt"].startswith(NEVER):
        found["container_start_time_seconds"] = seconds(state["StartedAt"])
    if running and health != "none":
        found["container_healthy"] = int(health == "healthy")
    return found


def measured(stats: dict[str, Any]) -> dict[str, float]:
    """Return what the kernel counted for a container; nothing when it stopped before it was asked."""
    if stats["read"].startswith(NEVER):
        return {}
    found = {"container_cpu_usage_seconds_total": stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9}
    if "usage" in stats["memory_stats"]:
        found["container_memory_working_set_bytes"] = working_set(stats["memory_stats"])
    # A container in the server's own network has none.
    networks = stats.get("networks")
    if networks:
        for name, key in (("receive", "rx_bytes"), ("transmit", "tx_bytes")):
            found[f"container_network_{name}_bytes_total"] = sum(network[key] for network in networks.values())
    transfers = (stats.get("blkio_stats") or {}).get("io_service_bytes_recursive") or []
    for name, operation in (("reads", "read"), ("writes", "write")):
        values = (transfer["value"] for transfer in transfers if transfer["op"].lower() == operation)
        found[f"container_fs_{name}_bytes_total"] = sum(values)
    return found


def oom_events(engine: Engine, since: int, until: int) -> Counter[str]:
    """Count the OOM kills after one moment up to another, in milliseconds since 1970, by the container's name."""
    filters = json.dumps({"type": ["container"], "event": ["oom"]})
    # When the clock was set back, nothing can be said about the time between.
    limits = {"since": f"{min(since, until) / 1e3:.3f}", "until": f"{until / 1e3:.3f}"}
    events = engine.lines("GET", "/events", **limits, filters=filters)
    # The engine counts both moments in; so that no event is counted twice, only one of them belongs to the span.
    within = (event for event in events if since * 10**6 < event["timeNano"] <= until * 10**6)
    return Counter(event["Actor"]["Attributes"]["name"] for event in within)


def collect(engine: Engine, since: int, now: int, counted: dict[str, int]) -> dict[str, dict[str, float]]:
    """Return every container's metrics, by its name."""
    containers: dict[str, dict[str, float]] = {}
    for listed in asked(engine, "/containers/json", all="true"):
        address = f"/containers/{listed['Id']}"
        container = asked(engine, f"{address}/json")
        if container is None:
            continue
        found = described(container)
        if found["container_running"]:
            stats = asked(engine, f"{address}/stats", **{"stream": "false", "one-shot": "true"})
            if stats is None:
                continue
            found.update(measured(stats))
        containers[container["Name"].lstrip("/")] = found
    kills = oom_events(engine, since, now)
    for name, found in containers.items():
        found[OOM_EVENTS] = counted.get(name, 0) + kills[name]
    return containers


def escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def unescaped(value: str) -> str:
    return re.sub(r"\\(.)", lambda match: {"n": "\n"}.get(match[1], match[1]), value)


def render(containers: dict[str, dict[str, float]], now: int) -> str:
    """Return the metrics in Prometheus's text format."""
    lines = []
    for metric, (kind, description) in METRICS.items():
        having = {name: found[metric] for name, found in sorted(containers.items()) if metric in found}
        if having:
            lines += [f"# HELP {metric} {description}", f"# TYPE {metric} {kind}"]
            lines += [f'{metric}{{name="{escaped(name)}"}} {value}' for name, value in having.items()]
    lines += [f"# HELP {TIMESTAMP} {TIMESTAMP_HELP}", f"# TYPE {TIMESTAMP} gauge", f"{TIMESTAMP} {now / 1e3:.3f}"]
    return "\n".join(lines) + "\n"


def last_run(text: str, now: int) -> tuple[int, dict[str, int]]:
    """Return when the last run was, in milliseconds since 1970, and the OOM kills counted until then."""
    timestamp = re.search(rf"^{TIMESTAMP} (\S+)$", text, re.MULTILINE)
    counters = re.findall(rf'^{OOM_EVENTS}\{{name="((?:[^"\\]|\\.)*)"\}} (\d+)$', text, re.MULTILINE)
    since = round(float(timestamp[1]) * 1000) if timestamp else now
    return since, {unescaped(name): int(value) for name, value in counters}


def write(path: Path, text: str) -> None:
    """Replace the file in one step, so that node_exporter never reads half of it."""
    temporary = path.with_name(f"{path.name}.tmp")
    with open(temporary, "w", encoding="utf-8") as stream:
        os.fchmod(stream.fileno(), 0o644)
        stream.write(text)
    os.replace(temporary, path)


def run(path: Path, engine_socket: str, timeout: float) -> None:
    """Take the metrics and write them.

    :raises EngineError, MetricsError: nothing was written; the file is as it was.
    """
    now = time.time_ns() // 10**6
    try:
        since, counted = last_run(path.read_text(encoding="utf-8") if path.exists() else "", now)
        containers = collect(Engine(engine_socket, timeout), since, now, counted)
        write(path, render(containers, now))
    except UNREADABLE as error:
        raise MetricsError(
            f"The Docker engine at {engine_socket} gives an answer that is not understood ({error!r}): "
            "look at its version, or set node_exporter_containers_enabled: false."
        ) from error
    except OSError as error:
        raise MetricsError(f"{path} cannot be written ({error}): run the role node_exporter again.") from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="file to write, in the textfile collector's directory")
    parser.add_argument("--socket", default="/run/docker.sock", help="socket of the Docker engine")
    parser.add_argument("--timeout", type=float, default=10, help="seconds to wait for an answer")
    arguments = parser.parse_args()
    try:
        run(arguments.output, arguments.socket, arguments.timeout)
    except (EngineError, MetricsError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
