"""The images of the services have the manners that the roles rely on or have to cope with.

The table tells what the official images do. Where they cannot be pulled, it is asked of those that tools/sandbox builds from
Debian's packages instead, so that no scenario runs on an image that is kinder than the original.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers.server import default_of
from sandbox import registry
from sandbox.engine import docker, exists
from sandbox.paths import ROLES
from sandbox.recipes import service_images

BUSYBOX = {"awk", "cat", "grep", "kill", "sh", "wget"}
NOT_IN_BUSYBOX = {"apt-get", "bash", "curl", "perl", "python3"}
NOTHING = {"sh", "bash", "busybox", "cat", "ls", "wget", "curl"}


@dataclass(frozen=True)
class Original:
    """What an official image is like: programs that it has and lacks, and its settings."""

    has: set[str]
    lacks: set[str]
    entrypoint: str
    user: str = ""
    directory: str = ""
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""


ORIGINALS = {
    "alertmanager_image": Original(
        BUSYBOX | {"alertmanager", "amtool"},
        NOT_IN_BUSYBOX,
        "alertmanager",
        "nobody",
        "/alertmanager",
        ("/alertmanager",),
    ),
    "blackbox_exporter_image": Original(BUSYBOX | {"blackbox_exporter"}, NOT_IN_BUSYBOX, "blackbox_exporter"),
    "flask_app_base_image": Original({"bash", "pip", "python", "sh"}, {"curl", "gcc", "git", "wget"}, ""),
    "mysql_exporter_image": Original(BUSYBOX | {"mysqld_exporter"}, NOT_IN_BUSYBOX, "mysqld_exporter", "nobody"),
    "mysql_image": Original(
        {"bash", "mysql", "mysqladmin", "mysqld"}, {"wget"}, "docker-entrypoint.sh", volumes=("/var/lib/mysql",)
    ),
    "nginx_acme_image": Original({"lego"}, NOTHING, "lego", "0:0"),
    "nginx_exporter_image": Original({"nginx-prometheus-exporter"}, NOTHING, "nginx-prometheus-exporter", "1001:1001"),
    "nginx_image": Original(
        BUSYBOX | {"curl", "envsubst", "nginx"},
        NOT_IN_BUSYBOX - {"curl"},
        "docker-entrypoint.sh",
        stop_signal="SIGQUIT",
    ),
    "node_exporter_image": Original(BUSYBOX | {"node_exporter"}, NOT_IN_BUSYBOX, "node_exporter", "nobody"),
    "prometheus_image": Original(
        BUSYBOX | {"prometheus", "promtool"}, NOT_IN_BUSYBOX, "prometheus", "nobody", "/prometheus", ("/prometheus",)
    ),
    "redis_exporter_image": Original({"redis_exporter"}, NOTHING, "redis_exporter", "59000:59000"),
    "redis_image": Original(
        {"bash", "redis-cli", "redis-server", "sh"},
        {"curl", "ps", "wget"},
        "docker-entrypoint.sh",
        directory="/data",
        volumes=("/data",),
    ),
}
WITH_BUSYBOX = [name for name, original in ORIGINALS.items() if "wget" in original.has]


def image(variable: str) -> str:
    """The name of an image of the scenarios on this machine's engine, which has it afterwards."""
    (role,) = (path.name for path in ROLES.iterdir() if variable.startswith(f"{path.name}_"))
    name = registry.on_engine(default_of(role, variable))
    if not exists("image", name):
        docker("pull", name)
    return name


def files(variable: str) -> dict[str, str]:
    """The paths of everything that an image has, with what links point to; no program of it has to run for this."""
    container = docker("create", image(variable), "-")
    try:
        exported = subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE)
        listed = subprocess.run(
            ["tar", "--list", "--verbose"], stdin=exported.stdout, capture_output=True, text=True, check=True
        )
        assert exported.wait() == 0
    finally:
        docker("rm", "--volumes", container)
    found = (line.split(maxsplit=5)[5].partition(" -> ") for line in listed.stdout.splitlines())
    return {f"/{path}": target for path, dummy, target in found}


def run(variable: str, *words: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = ["docker", "run", "--rm", "--network=none", *options, image(variable), *words]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def test_every_image_is_in_the_table() -> None:
    assert set(ORIGINALS) == {built.variable for built in service_images()}


@pytest.mark.parametrize("variable", ORIGINALS)
def test_an_image_has_the_originals_programs_and_no_others(variable: str) -> None:
    original = ORIGINALS[variable]
    paths = [path for path in files(variable) if path.rpartition("/")[0].endswith(("bin", "/")) or path.count("/") == 1]
    names = {path.rpartition("/")[2] for path in paths}
    assert original.has - names == set()
    assert original.lacks & names == set()


@pytest.mark.parametrize("variable", ORIGINALS)
def test_an_image_has_the_originals_settings(variable: str) -> None:
    original = ORIGINALS[variable]
    found: dict[str, Any] = json.loads(docker("image", "inspect", image(variable)))[0]["Config"]
    assert found["User"] == original.user or {found["User"], original.user} == {"", "root"}
    assert found.get("StopSignal", "") == original.stop_signal
    assert sorted(found.get("Volumes") or {}) == list(original.volumes)
    if original.directory:
        assert found["WorkingDir"] == original.directory
    (entrypoint,) = found["Entrypoint"] or [""]
    assert entrypoint.rpartition("/")[2] in {original.entrypoint, "entrypoint"}


@pytest.mark.parametrize("variable", WITH_BUSYBOX)
def test_wget_and_the_shell_are_busyboxs(variable: str) -> None:
    said = run(variable, "--help", options=("--entrypoint=wget",)).stdout
    assert "BusyBox" in said
    for option in ("--no-proxy", "--tries", "--max-redirect"):
        assert option not in said
    assert "BusyBox" in run(variable, "--help", options=("--entrypoint=sh",)).stdout


@pytest.mark.parametrize("variable", WITH_BUSYBOX)
def test_wget_goes_to_a_proxy_whatever_no_proxy_says(variable: str) -> None:
    """So a health check fails if a container is given Docker's proxy."""
    proxy = ("--env=http_proxy=http://127.0.0.2:3128", "--env=no_proxy=127.0.0.1,localhost", "--env=NO_PROXY=127.0.0.1")
    asked = run(variable, "-O", "-", "http://127.0.0.1:9/", options=(*proxy, "--entrypoint=wget"))
    assert "127.0.0.2:3128" in asked.stdout
    assert asked.returncode != 0


def test_nginx_writes_its_configuration_when_it_starts(tmp_path: Path) -> None:
    (tmp_path / "own.conf.template").write_text("# ${GREETING} of $host\n")
    tmp_path.chmod(0o755)
    given = (f"--volume={tmp_path}:/etc/nginx/templates:ro", "--env=GREETING=word")
    assert "# word of $host\n" in run("nginx_image", "nginx", "-T", options=given).stdout
    # The service's user, and a file system that is read-only, as the role has it
    kept = run("nginx_image", "nginx", "-T", options=(*given, "--user=101", "--read-only"))
    assert "/etc/nginx/conf.d is not writable" in kept.stdout
    assert "word of" not in kept.stdout


def test_nginx_as_its_own_user_cannot_write_where_only_root_can() -> None:
    done = run("nginx_image", "nginx", "-t", options=("--user=101",))
    assert done.returncode != 0
    assert "Permission denied" in done.stdout


@pytest.mark.parametrize("variable", [name for name, original in ORIGINALS.items() if original.lacks == NOTHING])
def test_nothing_but_the_program_can_be_run(variable: str) -> None:
    done = run(variable, "-c", "true", options=("--entrypoint=sh",))
    assert done.returncode == 127
    assert "executable file not found" in done.stdout
