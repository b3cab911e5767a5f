"""A server on which the role docker has already run, kept as an image for the scenarios."""

from __future__ import annotations

import json
import re
from pathlib import Path

from sandbox import playbook
from sandbox.engine import docker, exists, remove_container
from sandbox.images import BARE
from sandbox.paths import HOST_VARS, ROLES, ROOT
from sandbox.recipes import contents, digest
from sandbox.server import start_new
from sandbox.shell import Failure, say

REPOSITORY = "miniweb/server-docker"
NAME = "miniweb-preparation"
ADDRESS = "127.0.80.3"


def ensure_prepared() -> str:
    """Return the tag of the image, which is built if it is missing."""
    bare = docker("image", "inspect", "--format", "{{.Id}}", BARE)
    tag = f"{REPOSITORY}:{digest(bare.encode(), *contents(made_of(ROLES / 'docker'), ROOT))}"
    if not exists("image", tag):
        say("Preparing a server with Docker for the scenarios…")
        try:
            start_new(NAME, ADDRESS, BARE)
            variables = json.dumps({"ansible_host": ADDRESS, "scenario_role": "miniweb.stack.docker"})
            words = ("-i", "inventory/sandbox.yml", ".config/molecule/converge.yml", "-e", variables)
            if not playbook.succeeds(*words):
                raise Failure("The role docker failed on the server, see above.")
            docker("exec", NAME, "sh", "-c", "apt-get clean; rm -f /etc/ssh/ssh_host_* /home/admin/.ssh/*")
            docker("stop", NAME)
            docker("commit", NAME, tag)
        finally:
            remove_container(NAME)
    return tag


def made_of(role: Path) -> set[Path]:
    """The files that determine what this role does to a server: its own, the plugins they name, and their imports."""
    found = {path for path in role.rglob("*") if path.is_file() and path.suffix != ".md"}
    unread = list(found)
    while unread:
        text = unread.pop().read_text()
        needed = named_plugins(text) | imported_utilities(text)
        unread += needed - found
        found |= needed
    return {*found, HOST_VARS}


def named_plugins(text: str) -> set[Path]:
    """The collection's plugins that a text names."""
    # M(...) in a plugin's documentation only mentions another module.
    names = re.findall(r"(?<!M\()\bminiweb\.stack\.(\w+)", text)
    return {path for name in names for path in (ROOT / "plugins").glob(f"*/{name}.py")}


def imported_utilities(text: str) -> set[Path]:
    """The collection's utilities that a plugin imports."""
    plugins = ROOT / "plugins"
    lines = re.findall(r"^from (\S*\.(?:module|plugin)_utils.*)", text, re.MULTILINE)
    names = {name for line in lines for name in re.findall(r"\w+", line)}
    return {
        path for name in names for path in (*plugins.glob(f"*_utils/{name}.py"), *plugins.glob(f"*_utils/{name}/*.py"))
    }
