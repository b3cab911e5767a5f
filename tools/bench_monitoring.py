"""Measures what monitoring costs in the running sandbox, and how long it takes until a failure is notified."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml
from role_templates import ROLES, worked_out
from role_variables import defaults
from sandbox import playbook
from sandbox.engine import docker
from sandbox.paths import ROOT
from sandbox.server import NAME, address
from sandbox.shell import Failure, say, told

PROMETHEUS = "miniweb-prometheus-prometheus-1"
REST_SECONDS = 120
PATIENCE_SECONDS = 600
RECEIVER = "receiver"
GOT = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/got').read().decode())"
# A second Prometheus writes a copy of the first one's head as a block, as the first would after two hours.
SNAPSHOT_OPTIONS = ("--rm", "--network", "none", "--volumes-from", f"{PROMETHEUS}:ro", "--entrypoint", "sh")
SNAPSHOT = """
set -e
mkdir /tmp/data
cp -r /prometheus/wal /prometheus/chunks_head /tmp/data
: > /tmp/empty.yml
here=127.0.0.1:9099
prometheus --config.file=/tmp/empty.yml --storage.tsdb.path=/tmp/data --web.enable-admin-api --web.listen-address=$here \
    2> /tmp/log &
until wget -q -O /dev/null http://$here/-/ready; do sleep 1; done
wget -q -O /dev/null --post-data '' http://$here/api/v1/admin/tsdb/snapshot
cd /tmp/data/snapshots/*/*
echo "{\\"bytes\\": $(du -sb . | cut -f1),"
tail -n +2 meta.json
"""
ONE_RUN = """
import resource, subprocess
command = ["python3", "-BEs", "/opt/miniweb/node_exporter/container_metrics.py", "/tmp/containers.prom"]
subprocess.run(command, check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime)
"""


def inside(*words: str) -> str:
    return docker("exec", NAME, *words)


def ask(query: str) -> float:
    url = f"http://127.0.0.1:9090/api/v1/query?{urlencode({'query': query})}"
    text = inside("docker", "exec", PROMETHEUS, "wget", "-q", "-O", "-", url)
    found: list[dict[str, Any]] = json.loads(text)["data"]["result"]
    if not found:
        raise Failure(f"Prometheus has no answer to {query}: wait a minute after `make up`.")
    return float(found[0]["value"][1])


def monitoring(role: Path) -> list[str]:
    """The role's services that run only for monitoring."""
    named = yaml.safe_load((role / "meta" / "service.yml").read_text())["services"]
    switched = [name for name in named if f"{name}_state" in defaults(role)]
    return [name for name in switched if state(role, name, True) != state(role, name, False)]


def state(role: Path, service: str, measured: bool) -> str:
    return worked_out(role, f"{{{{ {service}_state }}}}", miniweb_monitoring=measured)


def containers() -> dict[str, str]:
    """The running parts of monitoring, by container name."""
    parts = [name for path in ROLES.glob("*/meta/service.yml") for name in monitoring(path.parents[1])]
    names = inside("docker", "ps", "--format", "{{.Names}}").split()
    return {name: part for name in names for part in parts if name.startswith(f"miniweb-{part}-")}


def rest() -> None:
    time.sleep(REST_SECONDS)
    say("\n| part | MiB | CPU, % of one core |\n| --- | --- | --- |")
    total = 0.0
    for name, part in sorted(containers().items(), key=lambda item: item[1]):
        memory = ask(f'container_memory_working_set_bytes{{name="{name}"}}') / 2**20
        busy = 100 * ask(f'rate(container_cpu_usage_seconds_total{{name="{name}"}}[{REST_SECONDS}s])')
        total += memory
        say(f"| {part} | {memory:.0f} | {busy:.2f} |")
    say(f"| all | {total:.0f} | |")
    used = inside("python3", "-c", ONE_RUN)
    say(f"\nMeasuring the containers: {1000 * float(used):.0f} ms of CPU time per run.")
    samples = ask("sum(rate(prometheus_tsdb_head_samples_appended_total[5m]))")
    say(f"Series: {ask('prometheus_tsdb_head_series'):.0f}; samples per second: {samples:.0f}.")
    measured = json.loads(inside("docker", "run", *SNAPSHOT_OPTIONS, image_of(PROMETHEUS), "-c", SNAPSHOT))
    each = measured["bytes"] / measured["stats"]["numSamples"]
    minutes = (measured["maxTime"] - measured["minTime"]) / 60_000
    say(
        f"A block of {minutes:.0f} minutes takes {each:.2f} bytes per sample, including the index: "
        f"{each * samples * 86_400 / 1e6:.0f} MB per day."
    )


def image_of(container: str) -> str:
    return inside("docker", "inspect", "--format", "{{.Config.Image}}", container).strip()


def received() -> list[dict[str, Any]]:
    return json.loads(inside("docker", "exec", RECEIVER, "python3", "-c", GOT))


def failure() -> None:
    program = (ROOT / "tests" / "doubles" / "receiver.py").read_text()
    options = ("--detach", "--name", RECEIVER, "--network", "miniweb-monitor")
    inside("docker", "run", *options, image_of("miniweb-app-app-1"), "python3", "-c", program)
    try:
        variables = {
            "miniweb_webhooks": [{"name": "bench", "url": f"http://{RECEIVER}:8000/"}],
            "ansible_host": address(),
        }
        words = ("-i", "inventory/sandbox.yml", "site.yml", "--tags", "alertmanager")
        if not playbook.succeeds(*words, "-e", json.dumps(variables)):
            raise Failure("site.yml failed, see above.")
        say("Stopping MySQL and waiting for the notification…")
        start = time.time()
        inside("docker", "stop", "miniweb-mysql-mysql-1")
        stopped = time.time()
        while not (moments := [one["at"] for one in received() if "MysqlDown" in one["body"]]):
            if time.time() > start + PATIENCE_SECONDS:
                raise Failure(f"No notification arrived within {PATIENCE_SECONDS} s: see Alertmanager's log.")
            time.sleep(1)
        say(f"From stopping the database to the delivered notification: {moments[0] - stopped:.0f} s.")
    finally:
        inside("docker", "start", "miniweb-mysql-mysql-1")
        inside("docker", "rm", "--force", RECEIVER)
        playbook.succeeds("-i", "inventory/sandbox.yml", "site.yml", "--tags", "alertmanager")


def main() -> None:
    with told():
        rest()
        failure()


if __name__ == "__main__":
    main()
