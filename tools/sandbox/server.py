"""A server of the sandbox: a container accessed over SSH."""

from __future__ import annotations

import subprocess
import time

import yaml

from sandbox.engine import docker, remove_container
from sandbox.paths import DEFINITION, KEY, ROOT, STATE
from sandbox.shell import Failure, install, run

NAME = "miniweb-sandbox"
# As it is written in the shared definition
TEST_ADDRESS = "${MINIWEB_TEST_ADDRESS:-127.0.80.2}"
PATIENCE_SECONDS = 60


def address() -> str:
    """The address of the server of `make up`, from inventory/sandbox.yml."""
    inventory = yaml.safe_load((ROOT / "inventory" / "sandbox.yml").read_text())
    return inventory["all"]["hosts"]["sandbox"]["ansible_host"]


def ensure_key() -> None:
    """Install an SSH client and create the key pair if they are missing."""
    install({"ssh-keygen": "openssh-client"})
    STATE.mkdir(mode=0o700, exist_ok=True)
    if not KEY.exists():
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", NAME, "-f", str(KEY)])


def start_new(name: str, at: str, image: str) -> None:
    """Start a new server in place of one that has this name, and wait until the administrator can log in."""
    remove_container(name)
    docker("run", "--detach", *server_options(name, at), image)
    wait_for_ssh(at)


def server_options(name: str, at: str) -> list[str]:
    """The `docker run` options of a server, from the definition that molecule uses."""
    text = DEFINITION.read_text()
    text = text.replace("${MOLECULE_PROJECT_DIRECTORY}", str(ROOT)).replace(TEST_ADDRESS, at)
    platform = yaml.safe_load(text)["platforms"][0]
    options = ["--name", name, "--hostname", name.removeprefix("miniweb-"), "--memory", platform["memory"]]
    options += ["--cgroupns", platform["cgroupns_mode"], "--network", platform["networks"][0]["name"]]
    for option, key in (
        ("--security-opt", "security_opts"),
        ("--cap-add", "capabilities"),
        ("--tmpfs", "tmpfs"),
        ("--publish", "published_ports"),
    ):
        options += [word for value in platform[key] for word in (option, value)]
    for volume in platform["volumes"]:
        options += ["--volume", volume if ":" in volume else f"{name}:{volume}"]
    return options


def wait_for_ssh(at: str) -> None:
    """Wait until the administrator can log in."""
    command = ["ssh", "-i", str(KEY), "-p", "2222", "-o", "BatchMode=yes", "-o", "ConnectTimeout=3"]
    command += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        done = subprocess.run([*command, f"admin@{at}", "true"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        if time.monotonic() > deadline:
            reason = done.stderr.strip()
            raise Failure(f"The server at {at}:2222 does not answer SSH within {PATIENCE_SECONDS} s: {reason}")
        time.sleep(0.3)
