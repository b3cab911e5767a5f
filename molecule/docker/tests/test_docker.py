"""The engine as its users see it: containers run, settings come and go, logs rotate, bad input is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.playbooks import Converge, changes, folded
from helpers.server import default_of
from helpers.waiting import eventually
from testinfra.host import Host

IMAGE = default_of("flask_app", "flask_app_base_image")

# A signed apt repository laid out like Docker's, which holds Debian's packages under Docker's names.
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


# A proxy that writes down what it was asked for
PROXY = """
set -eu
apt-get install --yes --no-install-recommends tinyproxy-bin
cat > /run/proxy.conf <<END
Listen 127.0.0.1
Port 3128
LogFile "/run/proxy.log"
PidFile "/run/proxy.pid"
LogLevel Connect
MaxClients 20
END
tinyproxy -c /run/proxy.conf
dpkg --purge --force-depends docker-buildx
rm -f /var/cache/apt/archives/*.deb
"""

CONFIGURATION = "/etc/docker/daemon.json"
SOURCE = "/etc/apt/sources.list.d/docker.sources"
THEIRS = "/etc/apt/sources.list.d/theirs.list"


@pytest.fixture
def container(host: Host) -> Iterator[str]:
    """Id of a running container with a volume."""
    yield host.check_output("docker run --detach --name kept --volume kept:/data %s sleep 600", IMAGE)
    host.check_output("docker rm --force kept; docker volume rm kept")


def info(host: Host) -> dict[str, Any]:
    return json.loads(host.check_output("docker info --format '{{json .}}'"))


def set_by_others(host: Host, **options: Any) -> None:
    """Write options into the engine's file as an administrator would; None removes one."""
    found = {**json.loads(host.file(CONFIGURATION).content_string), **options}
    text = json.dumps({name: value for name, value in found.items() if value is not None})
    host.check_output("echo %s > %s", text, CONFIGURATION)


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
    assert "max-concurrent-downloads" not in host.file(CONFIGURATION).content_string


def runs(host: Host, container: str) -> str:
    """Whether a container runs, and since when."""
    return host.check_output("docker inspect --format '{{.State.Running}} {{.State.StartedAt}}' %s", container)


def test_containers_survive_a_restart_of_the_engine(host: Host, converge: Converge, container: str) -> None:
    before, process = runs(host, container), engine_process(host)
    assert converge({"docker_log_max_files": 5}).returncode == 0
    assert engine_process(host) != process
    assert runs(host, container) == before
    assert before.startswith("true")


@pytest.mark.parametrize(
    ("variables", "sentences"),
    [
        # Each is already a command-line flag of the engine: the first in systemd's unit, the second in the init script.
        (
            {"docker_daemon_options": {"hosts": ["unix:///run/docker.sock"], "pidfile": "/run/docker.pid"}},
            ["with a changed hosts, max-concurrent-downloads and pidfile the engine does not run", "specified both as a"],
        ),
        (
            {
                "docker_daemon_options": {"max-concurrent-downloads": 2, "storage-driver": "no-such-driver"},
                "docker_hide_existing": True,
            },
            ["with a changed storage-driver the engine does not run: ", "driver not supported: no-such-driver"],
        ),
    ],
    ids=["conflict", "no_driver"],
)  # fmt: skip
def test_options_that_fail_are_rolled_back(
    host: Host, converge: Converge, container: str, variables: dict[str, Any], sentences: list[str]
) -> None:
    before, file = runs(host, container), host.file(CONFIGURATION).content_string
    done = converge(variables)
    assert done.returncode != 0
    back = f"the old {CONFIGURATION} is back, and the engine runs as before, with 1 container running"
    for sentence in [*sentences, back]:
        assert sentence in folded(done.stdout)
    assert host.file(CONFIGURATION).content_string == file
    assert runs(host, container) == before
    assert converge({"docker_registry_mirrors": ["https://other.example.com"]}).returncode == 0
    assert info(host)["RegistryConfig"]["Mirrors"] == ["https://other.example.com/"]
    assert runs(host, container) == before


@pytest.mark.parametrize(
    ("options", "change"),
    [
        ({"data-root": "/var/lib/docker-elsewhere"}, 'data-root would change from "/var/lib/docker" to'),
        ({"storage-driver": "vfs"}, 'storage-driver would change from "overlay2" to "vfs"'),
        ({"userns-remap": "default"}, 'userns-remap would change from "" to "default"'),
        ({"features": {"containerd-snapshotter": True}}, "features.containerd-snapshotter would change from false to true"),
    ],
    ids=["data_root", "storage_driver", "userns", "snapshotter"],
)  # fmt: skip
def test_options_that_hide_what_the_engine_has_are_refused(
    host: Host, converge: Converge, container: str, options: dict[str, Any], change: str
) -> None:
    before, file, process = runs(host, container), host.file(CONFIGURATION).content_string, engine_process(host)
    done = converge({"docker_daemon_options": {"max-concurrent-downloads": 2, **options}})
    assert done.returncode != 0
    said = folded(done.stdout)
    assert f"docker_daemon_options: {change}" in said
    assert "1 container, 1 volume and " in said
    assert "or set docker_hide_existing to true" in said
    assert host.file(CONFIGURATION).content_string == file
    assert (runs(host, container), engine_process(host)) == (before, process)


def test_what_others_set_stays(host: Host, converge: Converge, container: str) -> None:
    set_by_others(host, labels=["rack=7"])
    before = runs(host, container)
    assert converge({"docker_registry_mirrors": []}).returncode == 0
    assert info(host)["Labels"] == ["rack=7"]
    assert not info(host)["RegistryConfig"]["Mirrors"]
    done = converge({"docker_daemon_options": {"labels": ["rack=8"]}})
    assert done.returncode != 0
    assert f'labels is ["rack=7"] in {CONFIGURATION} of this server' in folded(done.stdout)
    assert 'and ["rack=8"] here' in folded(done.stdout)
    assert runs(host, container) == before
    set_by_others(host, labels=None)


@pytest.mark.soak
def test_without_live_restore_a_policy_brings_containers_back(host: Host, converge: Converge) -> None:
    # Its first process ignores SIGTERM, so that the engine takes long to stop.
    host.check_output("docker run --detach --restart always --name returns %s sleep 600", IMAGE)
    assert converge({"docker_live_restore": False}).returncode == 0
    before = runs(host, "returns")
    assert converge({"docker_live_restore": False, "docker_log_max_files": 5}).returncode == 0
    assert not info(host)["LiveRestoreEnabled"]
    assert runs(host, "returns") != before
    assert runs(host, "returns").startswith("true")
    host.check_output("docker rm --force returns")


def test_an_engine_that_failed_runs_again(host: Host, converge: Converge) -> None:
    host.check_output('echo \'{"registry-mirrors": ["ftp://mirror.example.com"]}\' > %s', CONFIGURATION)
    # More failures than systemd's start limit allows: it refuses further starts.
    host.run("for attempt in 1 2 3 4 5; do service docker restart; done")
    assert host.run("docker version").rc != 0
    assert converge({}).returncode == 0
    assert info(host)["RegistryConfig"]["Mirrors"] == ["https://mirror.example.com/"]


@pytest.fixture
def small_disk(host: Host) -> Iterator[str]:
    """A small disk on which a stopped engine has its data."""
    host.check_output("systemctl stop docker.service docker.socket")
    host.check_output("mount -t tmpfs -o size=64m,mode=0710 tmpfs /var/lib/docker")
    yield "/var/lib/docker"
    host.check_output("systemctl stop docker.service docker.socket")
    host.check_output("umount /var/lib/docker && systemctl start docker.service")


def test_an_engine_without_room_comes_back_as_soon_as_there_is_some(host: Host, small_disk: str) -> None:
    host.run("dd if=/dev/zero of=%s/filler bs=1M", small_disk)
    assert host.run("systemctl start docker.service").rc != 0
    assert eventually(lambda: host.run("systemctl is-failed docker.service").rc == 0)
    # Nobody waits for an engine that has given up.
    assert host.run("docker version").rc != 0
    host.check_output("rm %s/filler", small_disk)
    assert eventually(lambda: host.run("docker version").rc == 0)


def test_a_missed_restart_is_done_by_the_next_run(host: Host, converge: Converge) -> None:
    before = engine_process(host)
    host.check_output("touch %s", CONFIGURATION)
    done = converge({})
    assert done.returncode == 0
    assert engine_process(host) != before


def test_a_configuration_the_engine_refuses_is_never_written(host: Host, converge: Converge) -> None:
    before = host.file(CONFIGURATION).content_string
    done = converge({"docker_daemon_options": {"no-such-setting": 1}})
    assert done.returncode != 0
    assert "no-such-setting" in done.stdout
    assert host.file(CONFIGURATION).content_string == before


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (
            {"docker_source": "elsewhere"},
            "value of docker_source must be one of: auto, distribution, docker, got: elsewhere",
        ),
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


# As if the server had been switched off in the middle
CUT_SHORT = """
set -eu
cd /tmp
apt-get download docker.io docker-buildx
dpkg --unpack docker.io_*.deb
dpkg --purge --force-depends docker-buildx docker-compose
dpkg --unpack docker-buildx_*.deb
touch /var/lib/dpkg/updates/0001
"""


def test_an_installation_that_was_cut_short_is_completed(host: Host, converge: Converge, container: str) -> None:
    before = runs(host, container)
    host.check_output("sh -c %s", CUT_SHORT)
    assert "dpkg was interrupted" in host.run("apt-get install --yes hello").stderr
    assert converge({}).returncode == 0
    assert host.check_output("dpkg --audit") == ""
    assert host.run("docker buildx version; docker compose version").rc == 0
    assert runs(host, container) == before


def test_a_proxy_is_for_packages_and_images(host: Host, converge: Converge, container: str) -> None:
    host.check_output("sh -c %s", PROXY)
    before = runs(host, container)
    assert converge({"docker_http_proxy": "http://127.0.0.1:3128"}).returncode == 0
    assert host.run("docker buildx version").rc == 0
    assert host.run("docker pull registry.example.com/app:1").rc != 0
    asked = host.file("/run/proxy.log").content_string
    assert re.search(r"GET http://\S+/docker-buildx_\S+\.deb", asked)
    assert "CONNECT registry.example.com:443" in asked
    assert runs(host, container) == before
    assert "proxy" not in host.check_output("docker exec kept env").lower()

    assert converge({}).returncode == 0
    assert not info(host)["HttpProxy"]
    host.check_output("kill $(cat /run/proxy.pid)")


def test_dockers_own_repository_is_a_source(host: Host, converge: Converge) -> None:
    host.check_output("sh -c %s", REPOSITORY)
    variables = {"docker_source": "docker", "docker_repository_url": "http://127.0.0.1:8099"}
    done = converge(variables)
    assert "this server has docker.io" in folded(done.stdout)
    assert "docker_replace_engine to true" in folded(done.stdout)
    replace = {**variables, "docker_replace_engine": True}
    assert converge(replace, "--check").returncode == 0
    assert not host.package("docker-ce").is_installed

    # It has a key and no packages.
    host.check_output("mkdir -p /srv/apt/empty/debian && cp /srv/apt/debian/gpg /srv/apt/empty/debian/")
    done = converge({**replace, "docker_repository_url": "http://127.0.0.1:8099/empty"})
    assert "apt cannot use http://127.0.0.1:8099/empty/debian trixie" in folded(done.stdout)
    assert not host.file(SOURCE).exists
    assert host.package("docker.io").is_installed

    assert converge(replace).returncode == 0
    assert host.package("docker-ce").is_installed
    assert "changed=0" in converge(variables).stdout


def test_an_engine_from_elsewhere_is_kept(host: Host, converge: Converge, container: str) -> None:
    """It came by the test before; here, its source has another name and another key, as if somebody had added it."""
    host.check_output("mv /etc/apt/keyrings/docker.asc /etc/apt/keyrings/theirs.asc; rm %s", SOURCE)
    host.check_output(
        "echo 'deb [signed-by=/etc/apt/keyrings/theirs.asc] http://127.0.0.1:8099/debian trixie stable' > %s", THEIRS
    )
    before, process = runs(host, container), engine_process(host)
    url = {"docker_repository_url": "http://127.0.0.1:8099"}
    assert "changed=0" in converge({}).stdout
    assert "changed=0" in converge({**url, "docker_source": "docker"}).stdout
    # A plugin that is missing comes from their source; ours, which an earlier version added, would break apt.
    host.check_output("dpkg --remove --force-depends docker-compose-plugin")
    ours = "Types: deb\nURIs: http://127.0.0.1:8099/debian\nSuites: trixie\nComponents: stable\nSigned-By: %s\n"
    host.check_output("printf %s > %s", ours % "/etc/apt/keyrings/docker.asc", SOURCE)
    assert host.run("apt-get update").rc != 0
    assert converge(url).returncode == 0
    assert host.run("docker compose version").rc == 0
    assert not host.file(SOURCE).exists
    assert host.run("apt-get update").rc == 0
    assert "this server has docker-ce" in folded(converge({"docker_source": "distribution"}).stdout)
    assert (runs(host, container), engine_process(host)) == (before, process)
    host.check_output("kill $(cat /run/repository.pid); rm %s /etc/apt/keyrings/theirs.asc", THEIRS)


def test_a_distribution_that_is_not_supported_is_named(host: Host, converge: Converge) -> None:
    host.check_output("cp --dereference /etc/os-release /root/os-release")
    host.check_output("sed -i 's/13/11/; s/trixie/bullseye/' /etc/os-release /etc/debian_version")
    try:
        done = converge({"docker_source": "distribution", "docker_replace_engine": True}, "--flush-cache")
    finally:
        host.check_output(
            "cp /root/os-release /usr/lib/os-release; sed -i 's/11/13/; s/bullseye/trixie/' /etc/debian_version"
        )
    assert done.returncode != 0
    assert "for Debian 11; the source distribution serves Debian 13, Ubuntu 22.04, Ubuntu 24.04." in folded(done.stdout)
    assert converge({}, "--flush-cache").returncode == 0


PORTS = [9095, 9100]
LISTENERS = """
import socket, sys, threading
def serve(port):
    with socket.create_server(("172.17.0.1", port)) as server:
        while True:
            server.accept()[0].close()
for port in (9095, 9100, 9101):
    threading.Thread(target=serve, args=(port,)).start()
"""
CONNECT = """
import socket
for port in (9095, 9100, 9101):
    try:
        socket.create_connection(("host.docker.internal", port), 2).close()
        print(port)
    except OSError:
        pass
"""
# How an administrator closes a server, and opens it again
USUAL = [
    "INPUT --in-interface lo --jump ACCEPT",
    "INPUT --match conntrack --ctstate ESTABLISHED,RELATED --jump ACCEPT",
    "INPUT --protocol tcp --dport 22 --jump ACCEPT",
]
REJECT = "INPUT --jump REJECT"
FIREWALLS = {
    "policy": (
        [*(f"iptables --append {rule}" for rule in USUAL), "iptables --policy INPUT DROP"],
        ["iptables --policy INPUT ACCEPT", *(f"iptables --delete {rule}" for rule in USUAL)],
    ),
    "rule": (
        [f"iptables --append {rule}" for rule in [*USUAL, REJECT]],
        [f"iptables --delete {rule}" for rule in [REJECT, *USUAL]],
    ),
    "ufw": (
        ["apt-get install --yes ufw", "ufw allow 22/tcp", "ufw --force enable"],
        ["ufw --force disable", "apt-get purge --yes ufw"],
    ),
}


def reached(host: Host, firewall: str = "") -> list[int]:
    """The ports of the server that a container on a network of its own reaches."""
    closed, opened = FIREWALLS.get(firewall, ([], []))
    words = "docker run --rm --network firewalled --add-host host.docker.internal:host-gateway %s python3 -c %s"
    for command in closed:
        host.check_output(command)
    try:
        return [int(port) for port in host.check_output(words, IMAGE, CONNECT).split()]
    finally:
        for command in opened:
            host.check_output(command)


@pytest.fixture
def listeners(host: Host) -> Iterator[None]:
    """Programs of the server that containers connect to."""
    host.check_output("docker network create firewalled")
    host.check_output("setsid python3 -c %s > /dev/null 2>&1 < /dev/null & echo $! > /run/listeners.pid", LISTENERS)
    yield
    host.check_output("kill $(cat /run/listeners.pid); docker network rm firewalled")


def test_containers_reach_what_they_need_through_a_firewall(host: Host, converge: Converge, listeners: None) -> None:
    assert {name: reached(host, name) for name in FIREWALLS} == dict.fromkeys(FIREWALLS, [])
    assert converge({"docker_server_ports": PORTS}).returncode == 0
    assert {name: reached(host, name) for name in FIREWALLS} == dict.fromkeys(FIREWALLS, PORTS)
    # Whatever empties the chain takes the rule away, too: the next run sees it.
    host.check_output("iptables --flush INPUT")
    assert reached(host, "policy") == []
    assert changes(converge({"docker_server_ports": PORTS})) == 1
    assert reached(host, "policy") == PORTS
    assert changes(converge({"docker_server_ports": PORTS})) == 0
    assert converge({"docker_server_ports": [9100]}).returncode == 0
    assert reached(host, "policy") == [9100]
    assert converge({}).returncode == 0
    assert reached(host, "policy") == []
    assert not host.file("/etc/systemd/system/miniweb-firewall.service").exists
    assert "miniweb.stack" not in host.check_output("iptables-save")


NFTABLES = """
table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        iif lo accept
        ct state vmap { established : accept, related : accept, invalid : drop }
        tcp dport { 22, 443 } counter accept
        %s
    }
}
"""


def test_rules_of_nftables_in_the_way_are_named_beforehand(host: Host, converge: Converge) -> None:
    host.check_output("apt-get install --yes nftables")
    for rule, problem in (("", True), ('iifname "br-*" tcp dport { 9095, 9100 } accept', False)):
        host.check_output("echo %s | nft -f -", NFTABLES % rule)
        done = converge({"docker_server_ports": [*PORTS, 443]})
        host.check_output("nft delete table inet filter")
        assert (done.returncode != 0) is problem
        said = 'the chain "input" of the nftables table "inet filter" of this server drops what containers send to its ports'
        assert (f"docker_server_ports: {said} 9095, 9100: add the rule" in folded(done.stdout)) is problem
