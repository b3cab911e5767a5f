"""The hypervisor's part: a sandbox server with cloud-init, run as the instance that AWS's double only describes."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import yaml
from sandbox import registry
from sandbox.engine import NETWORK, docker, remove_container
from sandbox.paths import KEY
from sandbox.scenario import REPOSITORY
from sandbox.server import server_options

from helpers.server import default_of

NAME = "miniweb-instance"
DATABASE = "miniweb-database"


@contextlib.contextmanager
def instance(scenario: str, directory: Path, at: str, seed: dict[str, str], *options: str) -> Iterator[str]:
    """Run the scenario's server, published at this address with SSH on port 22; yield the container's name.

    :param directory: takes the files that cloud-init reads
    :param seed: their contents by name (user-data, meta-data)
    """
    for name, content in seed.items():
        (directory / name).write_text(content)
    nobody = directory / "nobody"
    nobody.write_text("# cloud-init brings the key.\n")
    words = server_options(NAME, at)
    words = [word.replace(f"{at}:2222:22", f"{at}:22:22").replace(str(KEY) + ".pub", str(nobody)) for word in words]
    words += ["--volume", f"{directory}:/var/lib/cloud/seed/nocloud:ro", *options]
    remove_container(NAME)
    try:
        docker("run", "--detach", *words, f"{REPOSITORY}:{scenario}")
        yield NAME
    finally:
        remove_container(NAME)


def seed(identifier: str, public_key: str = "", user_data: str = "#cloud-config\n{}\n") -> dict[str, str]:
    """What cloud-init reads: the instance's id, the key that may log in, and the user data."""
    keys = {"public-keys": [public_key]} if public_key else {}
    return {"meta-data": yaml.safe_dump({"instance-id": identifier, **keys}), "user-data": user_data}


@contextlib.contextmanager
def database(password: str) -> Iterator[str]:
    """Run a database outside the instances, named as in the site's variables; yield its address."""
    image = registry.on_engine(default_of("mysql", "mysql_image"))
    options = ["--name", DATABASE, "--network", NETWORK, "--env", f"MYSQL_ROOT_PASSWORD={secrets.token_hex()}"]
    options += ["--env", "MYSQL_DATABASE=miniwebapp", "--env", "MYSQL_USER=miniwebapp"]
    remove_container(DATABASE)
    try:
        docker("run", "--detach", *options, "--env", f"MYSQL_PASSWORD={password}", image)
        yield docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", DATABASE)
    finally:
        remove_container(DATABASE)


def gateway() -> str:
    """This machine's address as the instance sees it."""
    return docker("network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", NETWORK)


@contextlib.contextmanager
def relay(address: str, port: int) -> Iterator[None]:
    """Forward this port of the instance's gateway to the loopback address, which the instance cannot reach."""

    def copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client = listener.accept()[0]
                server = socket.create_connection((address, port))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=copy, args=pair, daemon=True).start()

    with socket.create_server((gateway(), port)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield
        listener.shutdown(socket.SHUT_RDWR)


def surroundings(directory: Path, **environment: str) -> list[str]:
    """Options that give the instance's services these variables, and pip this machine's CA bundle."""
    options = []
    if bundle := os.environ.get("PIP_CERT"):
        options += ["--volume", f"{bundle}:/etc/sandbox/ca.pem:ro"]
        environment["PIP_CERT"] = "/etc/sandbox/ca.pem"
    words = " ".join(f'"{name}={value}"' for name, value in environment.items())
    file = directory / "environment.conf"
    file.write_text(f"[Manager]\nDefaultEnvironment={words}\n")
    return [*options, "--volume", f"{file}:/etc/systemd/system.conf.d/environment.conf:ro"]
