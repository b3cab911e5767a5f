"""The hypervisor's part: a sandbox server with cloud-init, which runs as an instance that AWS's double only describes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import sandbox
import yaml

NAME = "miniweb-instance"


@contextlib.contextmanager
def instance(scenario: str, directory: Path, at: str, seed: dict[str, str], *options: str) -> Iterator[str]:
    """Run the scenario's server, published at this address, port 22 as 22; the container's name.

    :param directory: for the files that cloud-init reads, seed: their contents by name (user-data, meta-data).
    """
    for name, content in seed.items():
        (directory / name).write_text(content)
    nobody = directory / "nobody"
    nobody.write_text("# cloud-init brings the key.\n")
    words = sandbox.server_options(NAME, at)
    words = [
        word.replace(f"{at}:2222:22", f"{at}:22:22").replace(str(sandbox.KEY) + ".pub", str(nobody)) for word in words
    ]
    words += ["--volume", f"{directory}:/var/lib/cloud/seed/nocloud:ro", *options]
    sandbox.remove_container(NAME)
    try:
        sandbox.docker("run", "--detach", *words, f"{sandbox.SCENARIO}:{scenario}")
        yield NAME
    finally:
        sandbox.remove_container(NAME)


def seed(identifier: str, public_key: str = "", user_data: str = "#cloud-config\n{}\n") -> dict[str, str]:
    """What cloud-init is told: the instance's id, the key that may log in, and the user data."""
    keys = {"public-keys": [public_key]} if public_key else {}
    return {"meta-data": yaml.safe_dump({"instance-id": identifier, **keys}), "user-data": user_data}
