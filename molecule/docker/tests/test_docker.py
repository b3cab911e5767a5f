"""The engine as its users see it: containers run, settings come and go, logs rotate, bad input is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asking import Converge, default_of, folded
from testinfra.host import Host

IMAGE = default_of("flask_app", "flask_app_base_image")

# A signed apt repository in the layout of Docker's own, which holds Debian's packages under Docker's names.
REPOSITORY = """
set -eu
apt-get install --yes --no-install-recommends apt-utils dpkg-dev gnupg
architecture=$(dpkg --print-architecture)
rm -rf /srv/apt /tmp/repack; mkdir -p /srv/apt/debian/pool /srv/apt/debian/dists/trixie/stable/binary-$architecture
while read name new depends; do
    mkdir -p /tmp/repack/$new; cd /tmp/repack/$new
    apt-get download $name
    dpkg-deb --raw-extract $name*.deb tree
    sed -i -E "/^(Source|Pre-Depends|Depends|Breaks|Replaces|Conflicts|Provides|Recommends|Suggests|Enhances|Built-Using|\
Static-Built-Using):/d; s/^Package:.*/Package: $new\\nDepends: $depends\\nConflicts: $name\\nReplaces: $name/" tree/DEBIAN/control
    dpkg-deb --build -Znone tree /srv/apt/debian/pool > /dev/null
done <<END
docker.io docker-ce containerd.io, docker-ce-cli
docker-cli docker-ce-cli libc6
containerd containerd.io runc
docker-compose docker-compose-plugin libc6
docker-buildx docker-buildx-plugin libc6
END
cd /srv/apt/debian
apt-ftparchive packages pool > dists/trixie/stable/binary-$architecture/Packages
apt-ftparchive -o APT::FTPArchive::Release::Suite=trixie -o APT::FTPArchive::Release::Components=stable \\
    -o APT::FTPArchive::Release::Architectures=$architecture release dists/trixie > /tmp/Release
gpg --batch --yes --passphrase '' --quick-generate-key tests@example.com
gpg --batch --yes --clearsign --output dists/trixie/InRelease /tmp/Release
gpg --armor --export tests@example.com > gpg
setsid python3 -m http.server --bind 127.0.0.1 --directory /srv/apt 8099 > /dev/null 2>&1 < /dev/null &
echo $! > /run/repository.pid
"""


@pytest.fixture(scope="module", autouse=True)
def restarts_without_limit(host: Host) -> None:
    """The tests restart the engine more often in a minute than systemd allows, where there is systemd."""
    if not host.file("/run/systemd/system").exists:
        return
    directory = "/etc/systemd/system/docker.service.d"
    host.check_output(f"mkdir -p {directory}; printf '[Unit]\\nStartLimitIntervalSec=0\\n' > {directory}/tests.conf")
    host.check_output("systemctl daemon-reload; systemctl reset-failed docker; systemctl start docker")


def info(host: Host) -> dict[str, Any]:
    return json.loads(host.check_output("docker info --format '{{json .}}'"))


def engine_process(host: Host) -> str:
    return host.check_output("cat /run/docker.pid")


def test_a_container_runs(host: Host) -> None:
    assert host.check_output("docker run --rm %s echo ran", IMAGE) == "ran"


def test_compose_and_buildx_are_there(host: Host) -> None:
    assert int(host.check_output("docker compose version --short").lstrip("v").split(".")[0]) >= 2
    assert host.run("docker buildx version").rc == 0
    assert int(info(host)["ServerVersion"].split(".")[0]) >= 25


def test_settings_reach_the_engine(host: Host) -> None:
    found = info(host)
    assert found["LiveRestoreEnabled"]
    assert found["LoggingDriver"] == "json-file"
    assert found["RegistryConfig"]["Mirrors"] == ["https://mirror.example.com/"]


def test_logs_are_rotated(host: Host) -> None:
    host.check_output("docker run --detach --name noisy %s sleep 1", IMAGE)
    options = host.check_output("docker inspect --format '{{json .HostConfig.LogConfig.Config}}' noisy")
    host.check_output("docker rm --force noisy")
    assert json.loads(options) == {"max-size": "10m", "max-file": "3"}


def test_an_emptied_variable_removes_its_setting(host: Host, converge: Converge) -> None:
    assert converge({"docker_registry_mirrors": [], "docker_daemon_options": {}}).returncode == 0
    assert not info(host)["RegistryConfig"]["Mirrors"]
    assert "max-concurrent-downloads" not in host.file("/etc/docker/daemon.json").content_string


def test_containers_live_through_a_restart_of_the_engine(host: Host, converge: Converge) -> None:
    host.check_output("docker run --detach --name lives %s sleep 300", IMAGE)
    started = host.check_output("docker inspect --format '{{.State.StartedAt}}' lives")
    before = engine_process(host)
    assert converge({"docker_log_max_files": 5}).returncode == 0
    assert engine_process(host) != before
    assert (
        host.check_output("docker inspect --format '{{.State.Running}} {{.State.StartedAt}}' lives")
        == f"true {started}"
    )
    host.check_output("docker rm --force lives")


def test_a_restart_that_was_missed_is_caught_up(host: Host, converge: Converge) -> None:
    before = engine_process(host)
    host.check_output("touch /etc/docker/daemon.json")
    done = converge({})
    assert done.returncode == 0
    assert engine_process(host) != before


def test_a_configuration_the_engine_refuses_is_never_written(host: Host, converge: Converge) -> None:
    before = host.file("/etc/docker/daemon.json").content_string
    done = converge({"docker_daemon_options": {"no-such-setting": 1}})
    assert done.returncode != 0
    assert "no-such-setting" in done.stdout
    assert host.file("/etc/docker/daemon.json").content_string == before


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"docker_source": "elsewhere"}, "value of docker_source must be one of: distribution, docker, got: elsewhere"),
        (
            {"docker_min_free_disk_mb": 99999999},
            "docker_min_free_disk_mb: 99999999 MB must be free for /var/lib/docker",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(converge: Converge, variables: dict[str, Any], sentence: str) -> None:
    done = converge(variables)
    assert done.returncode != 0
    assert sentence in folded(done.stdout)


def test_dockers_own_repository_is_a_source(host: Host, converge: Converge) -> None:
    host.check_output("sh -c %s", REPOSITORY)
    variables = {"docker_source": "docker", "docker_repository_url": "http://127.0.0.1:8099"}
    assert converge(variables, "--check").returncode == 0
    assert not host.package("docker-ce").is_installed
    assert converge(variables).returncode == 0
    assert host.package("docker-ce").is_installed
    assert "changed=0" in converge(variables).stdout
    host.check_output(
        "kill $(cat /run/repository.pid); rm /etc/apt/sources.list.d/docker.sources /etc/apt/keyrings/docker.asc"
    )


def test_a_distribution_that_is_not_supported_is_named(host: Host, converge: Converge) -> None:
    host.check_output("cp --dereference /etc/os-release /root/os-release")
    host.check_output("sed -i 's/13/11/; s/trixie/bullseye/' /etc/os-release /etc/debian_version")
    try:
        done = converge({})
    finally:
        host.check_output(
            "cp /root/os-release /usr/lib/os-release; sed -i 's/11/13/; s/bullseye/trixie/' /etc/debian_version"
        )
    assert done.returncode != 0
    assert "for Debian 11; it serves Debian 13, Ubuntu 22.04, Ubuntu 24.04" in folded(done.stdout)
