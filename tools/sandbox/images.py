"""The images of the sandbox: the official ones if a registry answers, otherwise our own from Debian packages."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Callable, Iterable
from typing import Any

import yaml
from role_variables import defaults

from sandbox import registry
from sandbox.build import base_of, ensure_image, found
from sandbox.cache import opened_cache
from sandbox.engine import NETWORK, docker, ensure_network, exists, remove_container, tags_of
from sandbox.paths import HOST_VARS, ROLES, write_if_changed
from sandbox.recipes import REGISTRY, SERVER, left_out, service_images
from sandbox.shell import Failure, say

SOURCES = ("auto", "official", "packages")
OFFICIAL_BASE = "debian:trixie-slim"
BARE = "miniweb/server:current"
PROBE_SECONDS = 25


def decide(requested: str, probe: Callable[[], str | None]) -> tuple[str, str]:
    """Return source and reason; `probe` pulls an official image and returns why it failed, or None."""
    if requested == "packages":
        return requested, "as requested"
    obstacle = probe()
    if obstacle and requested == "official":
        raise Failure(f"IMAGES=official: {obstacle}; reach a registry, or use IMAGES=packages.")
    return ("packages", obstacle) if obstacle else ("official", "they can be pulled")


def probe_official() -> str | None:
    """Pull the smallest official image; return why it failed, or None."""
    image = defaults(ROLES / "node_exporter")["node_exporter_image"]
    say(f"Pulling {image} to check whether a registry answers…")
    try:
        done = subprocess.run(
            ["docker", "pull", "--quiet", image], capture_output=True, text=True, timeout=PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{image} could not be pulled within {PROBE_SECONDS} s"
    reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    return f"{image} cannot be pulled: {reason}" if done.returncode else None


@functools.cache
def chosen_source(requested: str) -> str:
    """Return official or packages, decided once per run."""
    source, reason = decide(requested, probe_official)
    names = {"official": "the official ones", "packages": "built from Debian's packages"}
    say(f"Images: {names[source]} ({reason}).")
    return source


def render_host_vars(names: dict[str, str], absent: Iterable[str] = ()) -> str:
    """Return images.yml: the images that the roles use instead of their defaults, and the services left out."""
    lines = ["---", "# Written by tools/sandbox; a change here lasts until its next run."]
    lines += [f"{variable}: {name}" for variable, name in sorted(names.items())]
    if names:
        lines += ["docker_insecure_registries:", f"  - {registry.THERE}"]
    lines += [f"{name}_state: absent" for name in absent]
    return "\n".join(lines) + "\n"


def host_vars() -> dict[str, Any]:
    """Return the variables that `ensure` wrote."""
    return yaml.safe_load(HOST_VARS.read_text()) or {}


def left_out_of(variables: dict[str, Any]) -> list[str]:
    """The services that images.yml leaves out."""
    return [name.removesuffix("_state") for name, value in variables.items() if value == "absent"]


def ensure(requested: str) -> None:
    """Make the services' images available to the sandbox, and write its images.yml."""
    names: dict[str, str] = {}
    absent: list[str] = []
    if chosen_source(requested) == "packages":
        built = service_images()
        absent = left_out(built)
        with opened_cache() as cache:
            registry.ensure(ensure_image(REGISTRY, cache))
            for image in built:
                names[image.variable] = registry.push(ensure_image(image, cache))
    else:
        ensure_network()
    write_if_changed(HOST_VARS, render_host_vars(names, absent))


def ensure_server(requested: str) -> None:
    """Make the image of a bare server available; one that the engine already has is used whatever its base."""
    bases = [base for base in (OFFICIAL_BASE, "") if found(SERVER, base or base_of(SERVER))]
    if requested != "auto" or not bases:
        bases = [OFFICIAL_BASE if chosen_source(requested) == "official" else ""]
    with opened_cache() as cache:
        docker("tag", ensure_image(SERVER, cache, official_base=bases[0]), BARE)


def remove() -> None:
    """Remove the registry, the network and every image built here, but not the cache."""
    remove_container(registry.CONTAINER)
    if exists("network", NETWORK):
        docker("network", "rm", NETWORK)
    tags = tags_of("miniweb/*") + tags_of(f"{registry.HERE}/miniweb/*")
    if tags:
        docker("rmi", *tags)
