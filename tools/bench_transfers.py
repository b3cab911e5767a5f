"""Measures nginx and an application in the running sandbox while three slow visitors transfer large files, up and down."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path

from sandbox import playbook
from sandbox.engine import docker
from sandbox.paths import ROOT
from sandbox.server import NAME, address
from sandbox.shell import Failure, say, told

MEGABYTES = 500
VISITORS = 3
RATE = "8M"
SAMPLE_SECONDS = 0.5
HOST = "transfers.example.com"
URL = f"https://{HOST}"
CONTAINERS = {"nginx": "miniweb-nginx-nginx-1", "application": "miniweb-transfers-transfers-1"}
APPLICATION = {
    "flask_app_name": "transfers",
    "flask_app_source_dir": str(ROOT / "tests" / "apps" / "uploads"),
    "flask_app_volumes": {"uploads": {"url": "/kept/"}},
    "nginx_server_names": [HOST],
    "nginx_max_body_mb": MEGABYTES + 100,
}
# With cgroup v1 and v2
STATISTICS = "cat /sys/fs/cgroup/memory/memory.stat || cat /sys/fs/cgroup/memory.stat"


def deploy(state: str) -> None:
    entry = {**APPLICATION, "flask_app_state": state, "flask_app_remove_data": state == "absent"}
    variables = json.dumps({"miniweb_applications": [entry], "ansible_host": address()})
    if not playbook.succeeds("-i", "inventory/sandbox.yml", "site.yml", "-e", variables):
        raise Failure("site.yml failed, see above.")


def memory(container: str) -> tuple[int, int]:
    """What a container holds of memory itself, and with what the kernel caches of its files, in bytes."""
    text = docker("exec", NAME, "docker", "exec", container, "sh", "-c", f"({STATISTICS}) 2> /dev/null")
    found = dict(line.split() for line in text.splitlines())
    own = int(found.get("total_rss") or found["anon"])
    return own, own + int(found.get("total_cache") or found["file"])


def curl(*words: str) -> list[str]:
    return ["curl", "--silent", "--insecure", "--resolve", f"{HOST}:443:{address()}", "--output", "/dev/null", *words]


def transfers(what: str, words: list[list[str]], wanted: str) -> None:
    """Report on transfers that run at the same time; each must end with these words: status, bytes sent and received."""
    report = ("--limit-rate", RATE, "--write-out", "%{http_code} %{size_upload} %{size_download}")
    most = dict.fromkeys(CONTAINERS, (0, 0))
    slowest, asked, start = 0.0, 0, time.monotonic()
    running = [subprocess.Popen(curl(*report, *one), stdout=subprocess.PIPE, text=True) for one in words]
    while any(one.poll() is None for one in running):
        other = subprocess.run(
            curl("--write-out", "%{http_code} %{time_total}", f"https://{address()}/healthz"),
            capture_output=True,
            text=True,
            check=False,
        ).stdout.split()
        if other[0] != "200":
            raise Failure(f"Meanwhile another visitor got {other[0]}.")
        slowest, asked = max(slowest, float(other[1])), asked + 1
        for name, container in CONTAINERS.items():
            found = memory(container)
            most[name] = (max(most[name][0], found[0]), max(most[name][1], found[1]))
        time.sleep(SAMPLE_SECONDS)
    seconds = time.monotonic() - start
    results = {one.communicate()[0] for one in running}
    if results != {wanted}:
        raise Failure(f"{what}: a visitor got {', '.join(sorted(results))} instead of {wanted}.")
    figures = " | ".join(f"{own / 2**20:.0f} | {cached / 2**20:.0f}" for own, cached in most.values())
    say(f"| {what} | {seconds:.0f} | {figures} | {asked}, {slowest:.2f} s |")


def ends() -> list[str]:
    format_ = "{{.RestartCount}} {{.State.OOMKilled}}"
    return docker("exec", NAME, "docker", "inspect", "--format", format_, *CONTAINERS.values()).splitlines()


def measure() -> None:
    size, numbers = MEGABYTES << 20, range(VISITORS)
    say(
        "\n| three at once | seconds | nginx, MiB | with caches | application, MiB | with caches | other visitors: requests, slowest |"
    )
    say("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(size)
        path = Path(file.name)
        transfers("uploads", [["--upload-file", str(path), f"{URL}/{n}"] for n in numbers], f"201 {size} 0")
    transfers("downloads that nginx serves", [[f"{URL}/kept/{n}"] for n in numbers], f"200 0 {size}")
    transfers("downloads through the application", [[f"{URL}/{n}"] for n in numbers], f"200 0 {size}")
    if ends() != ["0 false"] * len(CONTAINERS):
        raise Failure(f"A container was restarted or killed (restarts, out of memory): {', '.join(ends())}.")


def main() -> None:
    with told():
        deploy("present")
        try:
            measure()
        finally:
            # The volume goes with the second run: during the first, nginx still has it.
            deploy("absent")
            deploy("absent")


if __name__ == "__main__":
    main()
