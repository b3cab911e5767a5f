"""Compares the role's settings for an application that is not ours: how many fast requests, alone and beside slow ones.

Each setting is deployed to the same sandbox server in turn, in several rounds; what is printed are the medians. The application
is tests/apps/paces, without a database; its slow page waits for 0.2 s.
"""

from __future__ import annotations

import statistics
import subprocess
from collections import defaultdict
from typing import Any

import bench
from sandbox.engine import remove_container
from sandbox.paths import ROOT
from sandbox.scenario import REPOSITORY, prepare
from sandbox.server import start_new
from sandbox.shell import install, say

SETTINGS: dict[str, dict[str, Any]] = {
    "one `sync` worker": {"flask_app_worker_class": "sync", "flask_app_workers": 1},
    "2 `sync` workers": {"flask_app_worker_class": "sync", "flask_app_workers": 2},
    "4 `sync` workers": {"flask_app_worker_class": "sync", "flask_app_workers": 4},
    "2 `gthread` workers of 4 threads, the defaults": {},
    "2 `gthread` workers of 1 thread": {"flask_app_threads": 1},
    "2 `gthread` workers of 2 threads": {"flask_app_threads": 2},
    "2 `gthread` workers of 16 threads": {"flask_app_threads": 16},
    "4 `gthread` workers of 4 threads": {"flask_app_workers": 4},
}
APPLICATION = {
    "flask_app_source_dir": str(ROOT / "tests" / "apps" / "paces"),
    "flask_app_environment": {},
    "mysql_state": "absent",
}
FAST, SLOW = 32, 8


def load(url: str, connections: int, seconds: int) -> bench.Result:
    done = subprocess.run(bench.wrk(url, connections, seconds, threads=1), capture_output=True, text=True, check=False)
    return bench.parse(done.stdout + done.stderr)


def beside_slow_ones(url: str, seconds: int) -> bench.Result:
    """The fast page, while SLOW visitors ask for the slow one again and again."""
    slow = bench.wrk(f"{url}/slow", SLOW, seconds + 2, threads=1)
    with subprocess.Popen(slow, stdout=subprocess.DEVNULL) as others:
        found = load(f"{url}/", FAST, seconds)
        others.wait()
    return found


def run(source: str, seconds: int, rounds: int) -> None:
    install({"wrk": "wrk", "curl": "curl"})
    prepare(source, "role")
    server = bench.Server(bench.Subject("settings", "127.0.82.9"))
    alone: dict[str, list[bench.Result]] = defaultdict(list)
    beside: dict[str, list[bench.Result]] = defaultdict(list)
    memory: dict[str, list[float]] = defaultdict(list)
    try:
        start_new(server.subject.server, server.subject.address, f"{REPOSITORY}:role")
        server.deploy(APPLICATION)
        for number in range(1, rounds + 1):
            for name, variables in SETTINGS.items():
                say(f"Round {number} of {rounds}: {name}…")
                server.deploy({**APPLICATION, **variables}, "--tags", "app")
                load(f"{server.url}/", FAST, 2)
                alone[name].append(load(f"{server.url}/", FAST, seconds))
                beside[name].append(beside_slow_ones(server.url, seconds))
                memory[name].append(server.memory())
    finally:
        remove_container(server.subject.server)
    say("\n| setting | requests/s | times the first | p99 ms | beside slow ones: requests/s | p99 ms | MiB | errors |")
    say("| --- | --- | --- | --- | --- | --- | --- | --- |")
    first = bench.middle(next(iter(alone.values()))).rate
    for name in SETTINGS:
        one, other = bench.middle(alone[name]), bench.middle(beside[name])
        say(
            f"| {name} | {one.rate:.0f} | {one.rate / first:.1f} | {one.slow:.0f} | {other.rate:.0f} | {other.slow:.0f}"
            f" | {statistics.median(memory[name]):.0f} | {one.errors + other.errors} |"
        )


if __name__ == "__main__":
    bench.main(__doc__, run, seconds=5)
