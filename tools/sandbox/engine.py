"""This machine's Docker engine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from sandbox.paths import STATE
from sandbox.shell import Failure, install, run, say

NETWORK = "miniweb-sandbox"
LOG = STATE / "dockerd.log"
PID = STATE / "dockerd.pid"
# The PID files of the engine, which removes its own last when it stops, and of its containerd
RUNS = Path("/run/docker.pid")
CONTAINERD_RUNS = Path("/run/docker/containerd/containerd.pid")
PATIENCE_SECONDS = 60


def docker(*arguments: str) -> str:
    """Run docker and return its output."""
    return run(["docker", *arguments])


def exists(kind: str, name: str) -> bool:
    """Whether the engine has this container, image, network or volume."""
    return silent("docker", kind, "inspect", name)


def tags_of(repository: str) -> list[str]:
    """The tags of the engine's images that match this name; * matches anything but a slash."""
    found = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", repository).splitlines()
    # An image whose tag has moved to another one is listed without it.
    return [tag for tag in found if not tag.endswith(":<none>")]


def remove_container(name: str) -> None:
    """Remove a container and the volume of the same name, if they exist."""
    if exists("container", name):
        docker("rm", "--force", "--volumes", name)
    if exists("volume", name):
        docker("volume", "rm", name)


def ensure_network() -> None:
    """Create the network of the servers and the registry if it is missing."""
    if not exists("network", NETWORK):
        docker("network", "create", NETWORK)


def silent(*command: str) -> bool:
    """Whether the command succeeds."""
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def answers() -> bool:
    """Whether a Docker engine answers."""
    return bool(shutil.which("docker")) and silent("docker", "version")


def ensure() -> None:
    """Find a Docker engine, or install and start one."""
    if answers():
        return
    if os.geteuid():
        raise Failure(
            "No Docker engine answers: start it, or add your user to the group docker (sudo usermod -aG docker "
            f"{os.environ.get('USER', '$USER')}) and log in again."
        )
    install({"dockerd": "docker.io iptables", "ip": "iproute2"})
    STATE.mkdir(exist_ok=True)
    say("Starting the Docker engine…")
    if Path("/run/systemd/system").is_dir():
        run(["systemctl", "start", "docker"])
    else:
        start()
    until(answers, f"The Docker engine does not answer within {PATIENCE_SECONDS} s: see {LOG}.")
    cut_off_strays()


def start() -> None:
    """Start an engine without systemd, and save its process ID."""
    # A killed process leaves a stale PID file, whose number another process may have by now.
    for path in (RUNS, CONTAINERD_RUNS):
        path.unlink(missing_ok=True)
    with LOG.open("ab") as log:
        process = subprocess.Popen(
            ["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    PID.write_text(str(process.pid))


def cut_off_strays() -> None:
    """Delete the interfaces that a killed engine left on the sandbox's network: their addresses will be reused."""
    if exists("network", NETWORK) and docker("network", "inspect", "--format", "{{len .Containers}}", NETWORK) == "0":
        bridge = "br-" + docker("network", "inspect", "--format", "{{.Id}}", NETWORK)[:12]
        for interface in Path(f"/sys/class/net/{bridge}/brif").glob("*"):
            run(["ip", "link", "delete", interface.name])


def stop() -> None:
    """Stop the engine that `start` started."""
    if not PID.exists():
        return
    process = int(PID.read_text())
    name = Path(f"/proc/{process}/comm")
    if name.exists() and name.read_text() == "dockerd\n":
        say("Stopping the Docker engine…")
        os.kill(process, signal.SIGTERM)
        sentence = f"The engine, process {process}, did not stop within {PATIENCE_SECONDS} s: kill it."
        until(lambda: not RUNS.exists(), sentence)


def until(condition: Callable[[], bool], sentence: str) -> None:
    """Wait for the condition; fail with this sentence on timeout."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise Failure(sentence)
        time.sleep(0.2)
