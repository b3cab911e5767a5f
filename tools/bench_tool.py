"""Measures how long this tool takes in the running sandbox, as ratios within one run.

A run without changes is compared with one `ansible -m ping`; a first deployment to a server that has the engine and the
images, with `docker compose up --wait` on the same files. The latter recreates the sandbox's services and their data.
"""

from __future__ import annotations

import os
import re
import shlex
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from sandbox.engine import docker
from sandbox.paths import ROOT
from sandbox.server import NAME
from sandbox.shell import Failure, say, told

ROUNDS = 5
DEPLOYMENTS = 3
INVENTORY = ("-i", "inventory/sandbox.yml")
RUNS = {
    "ansible -m ping": ("ansible", *INVENTORY, "all", "-m", "ansible.builtin.ping"),
    "site.yml, no change": ("ansible-playbook", *INVENTORY, "site.yml"),
    "site.yml --tags mysql, no change": ("ansible-playbook", *INVENTORY, "site.yml", "--tags", "mysql"),
}
PROFILE = {
    "ANSIBLE_CALLBACKS_ENABLED": "ansible.posix.profile_tasks",
    "PROFILE_TASKS_TASK_OUTPUT_LIMIT": "all",
    "PROFILE_TASKS_SORT_ORDER": "none",
}
TASK = re.compile(r"^(?:(?:miniweb\.stack\.)?(\w+) : )?.+? -+ ([\d.]+)s$", re.MULTILINE)
# In deployment order, which is that in which their containers were created
SERVICES = """
docker ps --all --format '{{.CreatedAt}} {{.Label "com.docker.compose.project"}}' | sort | sed 's/.* miniweb-//'
"""
EMPTY = """
docker ps --all --quiet | xargs --no-run-if-empty docker rm --force --volumes > /dev/null
docker volume ls --quiet | xargs --no-run-if-empty docker volume rm > /dev/null
docker network ls --quiet --filter type=custom | xargs --no-run-if-empty docker network rm > /dev/null
"""


def server(script: str) -> str:
    """Run a shell script on the server."""
    return docker("exec", NAME, "sh", "-ec", script)


def timed(words: tuple[str, ...]) -> tuple[float, str]:
    """Run an Ansible program; return the seconds it took and its output."""
    command = [str(Path(sys.executable).with_name(words[0])), *words[1:]]
    begin = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **PROFILE}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failure(f"`{shlex.join(words)}` failed:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    return time.monotonic() - begin, done.stdout


def by_role(output: str) -> list[str]:
    """The tasks and seconds of each role, from the profile at the end of a run's output."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for role, took in TASK.findall(output.partition("TASKS RECAP")[2]):
        seconds[role or "the play itself"].append(float(took))
    return [f"  {role:<20} {len(took):>3} tasks {sum(took):>6.2f} s" for role, took in seconds.items()]


def without_changes() -> None:
    """Compare runs without changes with a ping."""
    timed(RUNS["site.yml, no change"])
    taken: dict[str, list[float]] = {name: [] for name in RUNS}
    outputs = {}
    for _round in range(ROUNDS):
        for name, words in RUNS.items():
            seconds, outputs[name] = timed(words)
            taken[name].append(seconds)
            if name != next(iter(RUNS)) and not re.search(r"^sandbox: nothing changed ", outputs[name], re.MULTILINE):
                raise Failure(f"{name}: something changed, so the measurement is meaningless.")
    ping = statistics.median(taken[next(iter(RUNS))])
    for name, seconds in taken.items():
        middle = statistics.median(seconds)
        say(
            f"{name:<34} {middle:>6.2f} s ({min(seconds):.2f} to {max(seconds):.2f}), {middle / ping:>4.1f} times the ping"
        )
    say("By role, site.yml without changes:")
    for line in by_role(outputs["site.yml, no change"]):
        say(line)


def composed() -> float:
    """Return the seconds that Compose takes for the files of the deployed services, after removing everything else."""
    services = list(dict.fromkeys(server(SERVICES).split()))
    networks = server("docker network ls --filter type=custom --format '{{.Name}} {{.Internal}}'").splitlines()
    server(EMPTY)
    for line in networks:
        name, internal = line.split()
        server(f"docker network create {'--internal' if internal == 'true' else ''} {name}")
    begin = time.monotonic()
    for service in services:
        server(f"cd /opt/miniweb/{service} && docker compose --progress quiet up --detach --wait")
    return time.monotonic() - begin


def first_deployment() -> None:
    """Compare a deployment to a server that has the engine and the images with Compose on the same files."""
    pairs = []
    for _round in range(DEPLOYMENTS):
        compose = composed()
        server(f"{EMPTY}\nrm -rf /opt/miniweb")
        deployment, output = timed(RUNS["site.yml, no change"])
        pairs.append((compose, deployment))
        say(f"docker compose up --wait {compose:.1f} s, site.yml {deployment:.1f} s, {deployment / compose:.2f} times")
    middle = statistics.median(deployment / compose for compose, deployment in pairs)
    say(f"First deployment: {middle:.2f} times Compose. By role, in the last round:")
    for line in by_role(output):
        say(line)


if __name__ == "__main__":
    with told():
        without_changes()
        first_deployment()
