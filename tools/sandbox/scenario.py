"""Prepares what a molecule scenario needs."""

from __future__ import annotations

import fcntl

import yaml

from sandbox import engine, images, registry
from sandbox.engine import docker, exists
from sandbox.paths import ROOT, STATE, TEST_VARS, write_if_changed
from sandbox.prepared import ensure_prepared
from sandbox.recipes import recipe_hash
from sandbox.server import ensure_key
from sandbox.shell import install, say

REPOSITORY = "miniweb/scenario"
# These start from a bare cloud server, the others from one on which the role docker has already run.
BARE_SCENARIOS = ("docker", "docker_without_systemd", "default")
# Their tests open pages in Debian's Chromium.
SEEN_BY_A_BROWSER = ("default",)
DOUBLES = ROOT / "tests" / "doubles"


def prepare(source: str, scenario: str) -> None:
    """Prepare the engine, the images, the key, the scenario's server and its variables."""
    engine.ensure()
    ensure_key()
    # Several scenarios may start at once; the first one prepares for all.
    with (STATE / "preparation.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        images.ensure(source)
        images.ensure_server(source)
        ensure_server_of(scenario, ensure_prepared())
        write_if_changed(TEST_VARS, test_variables())
        if scenario in SEEN_BY_A_BROWSER:
            install({"chromium": "chromium fonts-dejavu-core"})


def ensure_server_of(scenario: str, prepared: str) -> None:
    """Make the image of the scenario's server: bare, prepared, or built on one of these by the scenario's recipe."""
    base = images.BARE if scenario in BARE_SCENARIOS else prepared
    recipe = (ROOT / "molecule" / scenario / "Dockerfile").resolve()
    if recipe.exists():
        say(f"Building the server of the scenario {scenario}…")
        arguments = ["--network", "host", "--build-arg", f"BASE={base}"]
        docker("build", *arguments, "--tag", f"{REPOSITORY}:{scenario}", str(recipe.parent))
    else:
        docker("tag", base, f"{REPOSITORY}:{scenario}")


def test_variables() -> str:
    """The variables of every scenario: the sandbox's images, and test doubles of those that are not available here."""
    variables = images.host_vars()
    for name in images.left_out_of(variables):
        if (DOUBLES / name / "Dockerfile").exists():
            del variables[f"{name}_state"]
            variables[f"{name}_image"] = double_of(name, registry.on_engine(variables["flask_app_base_image"]))
    return "---\n" + yaml.safe_dump(variables)


def double_of(name: str, base: str) -> str:
    """Build and push the test double of a service; return its name for the servers."""
    recipe = DOUBLES / name
    tag = f"miniweb/{name}-double:{recipe_hash(recipe, {'BASE': base})}"
    if not exists("image", tag):
        say(f"Building the test double of {name}…")
        docker("build", "--network", "host", "--build-arg", f"BASE={base}", "--tag", tag, str(recipe))
    return registry.push(tag)
