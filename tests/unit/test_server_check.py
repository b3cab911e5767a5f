"""server_check: what listens, and the problems it reports."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
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


@pytest.mark.parametrize(
    ("ports", "found"),
    [
        ("", set()),
        ("9113/tcp", set()),
        ("0.0.0.0:80->8080/tcp, [::]:80->8080/tcp, 9000/tcp", {80}),
        ("127.0.0.1:9090-9092->9090-9092/tcp, 0.0.0.0:53->53/udp", {9090, 9091, 9092}),
    ],
)
def test_published(ports: str, found: set[int]) -> None:
    assert server_check.published(ports) == found


@pytest.fixture
def docker(tmp_path: Path) -> Callable[[str], Path]:
    """Make a docker program that lists these containers; without a list, its engine does not answer."""

    def make(containers: str) -> Path:
        program = tmp_path / "docker"
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{containers}\nEND\n" if containers else "#!/bin/sh\nexit 1\n")
        program.chmod(0o755)
        return tmp_path

    return make


def test_free_port_and_disk(run_module, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        check = {
            "service": "nginx",
            "ports": {"nginx_https_port": port},
            "disk_path": str(tmp_path / "does" / "not" / "exist"),
            "disk_free_mb": {"docker_min_free_disk_mb": 1},
        }
        result = run_module("server_check", check_mode=True, checks=[check])
    assert result["problems"] == []
    assert not result["changed"]


def test_a_path_that_begins_nowhere_is_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert server_check.free_megabytes("does/not/exist") > 0


def test_taken_port_names_variable_program_and_remedy(run_module, docker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        check = {"service": "nginx", "ports": {"nginx_https_port": port}}
        [problem] = run_module("server_check", programs=docker(""), checks=[check])["problems"]
    assert problem.startswith(f"nginx_https_port: port {port} of this server is already taken by ")
    assert f"(process {os.getpid()})" in problem
    assert problem.endswith("stop it, or choose another port.")


def test_container_of_another_service_is_named(run_module, docker) -> None:
    programs = docker("a1b2\tshop-1\tshop\t0.0.0.0:442-443->442-443/tcp")
    check = {"service": "nginx", "ports": {"nginx_https_port": 443}}
    [problem] = run_module("server_check", programs=programs, checks=[check])["problems"]
    assert problem == (
        'nginx_https_port: port 443 of this server is already taken by the container "shop-1"; stop it, or choose '
        "another port."
    )


def test_port_that_the_service_publishes_is_not_taken(run_module, docker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        programs = docker(f"a1b2\tminiweb-nginx-nginx-1\tminiweb-nginx\t0.0.0.0:{port}->443/tcp")
        check = {"service": "nginx", "ports": {"nginx_https_port": port}}
        assert run_module("server_check", programs=programs, checks=[check])["problems"] == []


@pytest.mark.parametrize(("service", "holder"), [("node_exporter", ""), ("nginx", '"node_exporter" (process 42)')])
def test_process_on_the_host_network_belongs_to_its_container(
    monkeypatch: pytest.MonkeyPatch, service: str, holder: str
) -> None:
    files = {"/proc/42/cgroup": "0::/system.slice/docker-a1b2.scope\n", "/proc/42/comm": "node_exporter\n"}
    monkeypatch.setattr(server_check, "read", files.__getitem__)
    server = server_check.Server(module=None)
    container = server_check.Container("a1b2", "miniweb-node_exporter-1", "miniweb-node_exporter", set())
    vars(server).update(sockets={9100: "4711"}, processes={"4711": 42}, containers=[container])
    assert server.holder(service, 9100) == holder


def test_every_problem_of_every_service(run_module, docker, tmp_path: Path) -> None:
    disk = {"disk_path": str(tmp_path), "disk_free_mb": {"docker_min_free_disk_mb": 10**12, "other_mb": 10**13}}
    with socket.create_server(("127.0.0.1", 0)) as server:
        checks = [
            {"service": "docker", **disk},
            {"service": "nginx", "ports": {"nginx_https_port": server.getsockname()[1]}},
        ]
        problems = run_module("server_check", programs=docker(""), checks=checks)["problems"]
    assert [problem.split(":")[0] for problem in problems] == [
        "docker_min_free_disk_mb",
        "other_mb",
        "nginx_https_port",
    ]
    assert problems[0].startswith(f"docker_min_free_disk_mb: {10**12} MB must be free for {tmp_path} on this server")


def test_packages_that_are_installed(run_module, docker, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "dpkg-query"
    program.parent.mkdir(exist_ok=True)
    program.write_text("#!/bin/sh\necho 'git installed'\necho 'curl config-files'\nexit 1\n")
    program.chmod(0o755)
    checks = [{"service": "web", "packages": ["git", "curl"]}, {"service": "shop", "packages": ["unknown"]}]
    for notes in (False, True):
        found = run_module("server_check", programs=program.parent, checks=checks, notes=notes)
        assert (found["packages"], "settled" in found) == (["git"], notes)


def test_volumes_that_exist(run_module, docker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["miniweb-mysql_data", "miniweb-grafana_data"]
    found = run_module("server_check", programs=docker("miniweb-mysql_data\nother"), checks=[], volumes=asked)
    assert found["volumes"] == ["miniweb-mysql_data"]
    assert "volumes" not in run_module("server_check", programs=docker(""), checks=[])
    # The volumes are found although the engine does not answer.
    monkeypatch.setattr(server_check, "VOLUMES", str(tmp_path / "volumes"))
    assert run_module("server_check", programs=docker(""), checks=[], volumes=asked)["volumes"] == []
    (tmp_path / "volumes" / "miniweb-grafana_data").mkdir(parents=True)
    found = run_module("server_check", programs=docker(""), checks=[], volumes=asked)
    assert found["volumes"] == ["miniweb-grafana_data"]
