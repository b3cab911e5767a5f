"""The sandbox's private registry, from which its servers pull."""

from __future__ import annotations

import time
import urllib.error
import urllib.request

from sandbox.engine import NETWORK, docker, ensure_network, exists
from sandbox.shell import Failure, say

CONTAINER = "miniweb-registry"
# As this machine reaches it, and as the servers do
HERE = "127.0.0.1:5055"
THERE = "registry:5000"
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
PATIENCE_SECONDS = 30


def status(path: str) -> int:
    """HTTP status of the registry's response, 0 if there is none; bypasses proxies, as the registry is on loopback."""
    request = urllib.request.Request(f"http://{HERE}/v2/{path}", method="HEAD", headers={"Accept": MANIFEST_TYPE})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def runs(image: str) -> bool:
    """Whether the container is running, and from this image."""
    if not exists("container", CONTAINER):
        return False
    return docker("inspect", "--format", "{{.State.Running}} {{.Config.Image}}", CONTAINER) == f"true {image}"


def ensure(image: str) -> None:
    """Run the registry from this image."""
    ensure_network()
    if not runs(image):
        if exists("container", CONTAINER):
            docker("rm", "--force", CONTAINER)
        options = ["--network", NETWORK, "--network-alias", "registry", "--publish", f"{HERE}:5000"]
        options += ["--volume", f"{CONTAINER}:/var/lib/docker-registry"]
        options += ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true"]
        docker("run", "--detach", "--name", CONTAINER, *options, image)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while status("") != 200:
        if time.monotonic() > deadline:
            logs = docker("logs", "--tail", "5", CONTAINER)
            raise Failure(f"The registry on {HERE} does not answer: free that address or read its log.\n{logs}")
        time.sleep(0.1)


def push(tag: str) -> str:
    """Push an image from the engine to the registry; return its name for the servers."""
    repository, dummy, version = tag.partition(":")
    if status(f"{repository}/manifests/{version}") != 200:
        say(f"Pushing {tag} to the sandbox's registry…")
        docker("tag", tag, f"{HERE}/{tag}")
        docker("push", f"{HERE}/{tag}")
        docker("rmi", f"{HERE}/{tag}")
    return f"{THERE}/{tag}"


def on_engine(image: str) -> str:
    """The name that an image pulled by the servers has on this machine's engine."""
    return image.removeprefix(f"{THERE}/")
