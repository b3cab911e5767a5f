"""server_check: what listens, and the problems it reports."""

from __future__ import annotations

import os
import socket
import subprocess
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
   1: 0000000000000000FFFF0000010011AC:2387 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 4715 1
"""


@pytest.mark.parametrize(
    ("table", "found"),
    [
        (TABLE, {("127.0.0.1", 8080): "4711", ("0.0.0.0", 80): "4713"}),
        (TABLE6, {("::", 3000): "4714", ("172.17.0.1", 9095): "4715"}),
        ("", {}),
        ("  sl  local_address\n", {}),
    ],
)
def test_listening(table: str, found: dict[tuple[str, int], str]) -> None:
    assert server_check.listening(table) == found


@pytest.mark.parametrize(
    ("ports", "found"),
    [
        ("", set()),
        ("9113/tcp", set()),
        ("0.0.0.0:80->8080/tcp, [::]:80->8080/tcp, :::81->81/tcp", {("0.0.0.0", 80), ("::", 80), ("::", 81)}),
        ("127.0.0.1:9090-9091->9090-9091/tcp, 0.0.0.0:53->53/udp", {("127.0.0.1", 9090), ("127.0.0.1", 9091)}),
    ],
)
def test_published(ports: str, found: set[tuple[str, int]]) -> None:
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


@pytest.mark.parametrize("asked", [True, False])
def test_the_size_of_the_disk_is_returned_to_whom_it_concerns(run_module, asked: bool) -> None:
    result = run_module("server_check", checks=[{"service": "mysql", "disk_size": asked}, {"service": "nginx"}])
    assert result["problems"] == []
    assert ("disk_mb" in result) == asked
    assert result.get("disk_mb", 1) > 0


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


CONTAINERS = [
    server_check.Container("a1b2", "miniweb-node_exporter-1", "miniweb-node_exporter", set()),
    server_check.Container("c3d4", "shop-1", "shop", set()),
    server_check.Container("e5f6", "miniweb-nginx-1", "miniweb-nginx", {("0.0.0.0", 443), ("::", 443)}),
    server_check.Container("0789", "cache", "", {("127.0.0.1", 6379)}),
]
FILES = {
    "/proc/1/cgroup": "0::/init.scope\n",
    "/proc/1/comm": "systemd\n",
    "/proc/42/cgroup": "0::/system.slice/docker-a1b2.scope\n",
    "/proc/43/cgroup": "0::/docker/c3d4\n",
    "/proc/44/cgroup": "0::/system.slice/apache2.service\n",
    "/proc/44/comm": "apache2\n",
    "/proc/45/cgroup": "0::/system.slice/docker.service\n",
    "/proc/45/comm": "dockerd\n",
}
SOCKETS = {
    ("0.0.0.0", 9100): "42",
    ("::", 8443): "43",
    ("127.0.0.1", 8080): "44",
    ("0.0.0.0", 80): "44",
    ("0.0.0.0", 8000): "45",
    ("172.17.0.1", 9095): "1",
    ("0.0.0.0", 631): "1",
    ("0.0.0.0", 2049): "none",
}
UNITS = [["172.17.0.1:9095", "miniweb-alert-responder.socket"], ["0.0.0.0:631", "cups.socket"]]
RESPONDER = {"service": "alert_responder", "unit": "miniweb-alert-responder.socket"}


@pytest.mark.parametrize(
    ("check", "port", "holder"),
    [
        # What a service of ours holds itself
        ({"service": "node_exporter"}, "9100", ""),
        ({"service": "nginx"}, "443", ""),
        (RESPONDER, "172.17.0.1:9095", ""),
        # What another service of ours holds
        ({"service": "nginx"}, "9100", 'the container "miniweb-node_exporter-1"'),
        ({"service": "shop"}, "443", 'the container "miniweb-nginx-1"'),
        ({"service": "nginx"}, "9095", 'the unit "miniweb-alert-responder.socket"'),
        # Containers, with published ports and on the host's network
        ({"service": "nginx"}, "6379", 'the container "cache"'),
        ({"service": "nginx"}, "8443", 'the container "shop-1"'),
        ({"service": "nginx"}, "8000", "the swarm of this server"),
        ({"service": "nginx"}, "8088", 'the service "web" of the swarm'),
        # Processes and units
        ({"service": "nginx"}, "80", '"apache2" (process 44)'),
        ({"service": "nginx"}, "631", 'the unit "cups.socket"'),
        ({"service": "nginx"}, "2049", "another program"),
        # At one address only
        ({"service": "node_exporter"}, "172.17.0.1:8080", ""),
        ({"service": "node_exporter"}, "172.17.0.1:6379", ""),
        ({"service": "node_exporter"}, "127.0.0.1:8080", '"apache2" (process 44)'),
        ({"service": "node_exporter"}, "172.17.0.1:80", '"apache2" (process 44)'),
        ({"service": "nginx"}, "8080", '"apache2" (process 44)'),
        ({"service": "nginx"}, "8081", ""),
    ],
)
def test_who_holds_a_port(monkeypatch: pytest.MonkeyPatch, check: dict[str, str], port: str, holder: str) -> None:
    monkeypatch.setattr(server_check, "read", FILES.__getitem__)
    server = server_check.Server(module=None)
    processes = {inode: int(inode) for inode in SOCKETS.values() if inode.isdigit()}
    vars(server).update(sockets=SOCKETS, processes=processes, containers=CONTAINERS, socket_units=UNITS)
    vars(server).update(swarm_services=[("web", server_check.published("*:8088->80/tcp"))])
    found = server.problems({"unit": None, "disk_path": None, "ports": {"the_port": port}, **check})
    number = port.rpartition(":")[2]
    said = f"the_port: port {number} of this server is already taken by {holder}; stop it, or choose another port."
    assert found == ([said] if holder else [])


def test_a_socket_that_processes_share_is_that_of_the_first() -> None:
    """As systemd shares those of its units with their services."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        inode = os.readlink(f"/proc/self/fd/{server.fileno()}")[len("socket:[") : -1]
        child = subprocess.Popen(["sleep", "60"], pass_fds=[server.fileno()])
        try:
            assert os.readlink(f"/proc/{child.pid}/fd/{server.fileno()}") == f"socket:[{inode}]"
            assert server_check.Server(module=None).processes[inode] == min(os.getpid(), child.pid)
        finally:
            child.kill()
            child.wait()


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


def test_a_server_with_services_needs_room_only_for_missing_images(
    run_module, docker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = {"service": "docker", "disk_path": str(tmp_path), "disk_free_mb": {"docker_min_free_disk_mb": 10**12}}
    monkeypatch.setattr(server_check, "BASE_DIRECTORY", str(tmp_path))
    assert len(run_module("server_check", programs=docker(""), checks=[check])["problems"]) == 1
    (tmp_path / "nginx").mkdir()
    (tmp_path / "nginx" / "state.json").write_text("{}")
    assert run_module("server_check", programs=docker(""), checks=[check])["problems"] == []


def test_volumes_that_exist(run_module, docker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["miniweb-mysql_data", "miniweb-grafana_data"]
    found = run_module("server_check", programs=docker("miniweb-mysql_data\nother"), checks=[], volumes=asked)
    assert found["volumes"] == ["miniweb-mysql_data"]
    assert "volumes" not in run_module("server_check", programs=docker(""), checks=[])
    # The volumes are found although the engine does not answer.
    monkeypatch.setattr(server_check, "data_root", lambda path: str(tmp_path))
    assert run_module("server_check", programs=docker(""), checks=[], volumes=asked)["volumes"] == []
    (tmp_path / "volumes" / "miniweb-grafana_data").mkdir(parents=True)
    found = run_module("server_check", programs=docker(""), checks=[], volumes=asked)
    assert found["volumes"] == ["miniweb-grafana_data"]


@pytest.mark.parametrize(
    ("networks", "found"),
    [
        ("", []),
        ("miniweb-edge\tbridge\tlocal\nminiweb-data\tbridge\tlocal", []),
        ("other\toverlay\tswarm\nnone\tnull\tlocal", []),
        ("miniweb-edge\toverlay\tswarm\nminiweb-data\tbridge\tlocal", ["miniweb-edge"]),
        ("miniweb-edge\tmacvlan\tlocal\nminiweb-data\tbridge\tswarm", ["miniweb-edge", "miniweb-data"]),
    ],
)
def test_networks_with_our_names_that_cannot_connect(run_module, docker, networks: str, found: list[str]) -> None:
    repository = {"address": "x", "suite": "x", "file": "x", "key": "x"}
    checks = [{"service": "docker", "engine": {"source": "auto", "repository": repository}}]
    programs = docker("x")
    (programs / "docker").write_text(f'#!/bin/sh\n[ "$1" = network ] && printf "{networks}\\n"\n')
    said = run_module("server_check", programs=programs, checks=checks)["problems"]
    said = [sentence for sentence in said if sentence.startswith("The network ")]
    assert [sentence.split()[2] for sentence in said] == found
    assert all(sentence.endswith(f'("docker network rm {name}").') for sentence, name in zip(said, found, strict=True))


def test_free_space_is_measured_where_the_engine_keeps_its_data(run_module, docker, tmp_path: Path) -> None:
    (tmp_path / "daemon.json").write_text(f'{{"data-root": "{tmp_path}/own"}}')
    engine = {
        "source": "auto",
        "path": str(tmp_path / "daemon.json"),
        "repository": {"address": "x", "suite": "x", "file": "x", "key": "x"},
    }
    check = {"service": "docker", "engine": engine, "disk_free_mb": {"docker_min_free_disk_mb": 10**12}}
    for given, path in (({}, f"{tmp_path}/own"), ({"data-root": "/srv/docker"}, "/srv/docker")):
        if given:
            (tmp_path / "daemon.json").unlink()
        engine["configuration"] = given
        problems = run_module("server_check", programs=docker(""), checks=[check])["problems"]
        assert any(f" MB must be free for {path} on this server" in problem for problem in problems), problems


@pytest.mark.parametrize("ipv6", [True, False])
def test_whether_the_kernel_has_ipv6(monkeypatch: pytest.MonkeyPatch, ipv6: bool) -> None:
    real = socket.socket

    def opened(family: int = -1, *others: int) -> socket.socket:
        if family == socket.AF_INET6 and not ipv6:
            raise OSError(97, "Address family not supported by protocol")
        return real(socket.AF_INET)

    monkeypatch.setattr(socket, "socket", opened)
    assert server_check.has_ipv6() is ipv6


@pytest.mark.parametrize(
    ("time", "there", "problems"),
    [
        ("Mon 08:30", True, []),
        (
            "every day",
            True,
            [
                'schedule.a.at: systemd does not understand "every day" (Failed to parse calendar specification: Invalid '
                'argument); give a time such as "*-*-* 03:00" or "Mon 08:30" (man systemd.time).'
            ],
        ),
        ("Mon 08:30", False, ["schedule.a.at: this server does not run systemd, which would start it; leave it out."]),
    ],
    ids=["a time", "no time", "without systemd"],
)
def test_times_that_systemd_is_to_understand(
    run_module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, time: str, there: bool, problems: list[str]
) -> None:
    program = tmp_path / "systemd-analyze"
    program.write_text(
        '#!/bin/sh\n[ "$2" = "Mon 08:30" ] || { echo "Failed to parse calendar specification: Invalid argument" >&2; exit 1; }\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr(server_check, "SYSTEMD", str(tmp_path if there else tmp_path / "gone"))
    check = {"service": "app", "calendars": {"schedule.a.at": time}}
    assert run_module("server_check", programs=tmp_path, checks=[check])["problems"] == problems
