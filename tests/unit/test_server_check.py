"""server_check: what listens, and the sentences it says."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from ansible_collections.miniweb.stack.plugins.modules import server_check

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:01BB 0200007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1
   2: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0
"""
TABLE6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr inode
   0: 00000000000000000000000000000000:0BB8 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 4714 1
"""


@pytest.mark.parametrize(
    ("table", "found"),
    [(TABLE, {8080: "4711", 80: "4713"}), (TABLE6, {3000: "4714"}), ("", {}), ("  sl  local_address\n", {})],
)
def test_listening(table: str, found: dict[int, str]) -> None:
    assert server_check.listening(table) == found


def test_free_port_and_disk(run_module, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        result = run_module(
            "server_check",
            service="nginx",
            ports={"nginx_https_port": port},
            disk_path=str(tmp_path / "does" / "not" / "exist"),
            disk_free_mb={"docker_min_free_disk_mb": 1},
        )
    assert not result.get("failed")
    assert not result["changed"]
    assert result["free_mb"] > 0


def test_taken_port_names_variable_program_and_remedy(run_module, no_docker: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = run_module("server_check", programs=no_docker, service="nginx", ports={"nginx_https_port": port})
    assert result["failed"]
    assert result["msg"].startswith(f"nginx_https_port: port {port} of this server is already taken by ")
    assert f"(process {os.getpid()})" in result["msg"]
    assert result["msg"].endswith("stop it, or choose another port.")


def test_port_of_the_service_itself_is_not_taken(run_module, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        docker = tmp_path / "docker"
        docker.write_text(f"#!/bin/sh\necho 'a1b2 0.0.0.0:{port}->443/tcp'\n")
        docker.chmod(0o755)
        result = run_module("server_check", programs=tmp_path, service="nginx", ports={"nginx_https_port": port})
    assert not result.get("failed")


def test_full_disk(run_module, tmp_path: Path) -> None:
    result = run_module(
        "server_check", service="docker", disk_path=str(tmp_path), disk_free_mb={"docker_min_free_disk_mb": 10**12}
    )
    assert result["failed"]
    assert result["msg"].startswith(f"docker_min_free_disk_mb: {10**12} MB must be free for {tmp_path} on this server")


@pytest.fixture
def no_docker(tmp_path: Path) -> Path:
    """A docker program whose engine does not answer."""
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\nexit 1\n")
    docker.chmod(0o755)
    return tmp_path
