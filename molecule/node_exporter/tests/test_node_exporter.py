"""node_exporter as Prometheus sees it: the server's own numbers, over TLS, for those who know the password."""

from __future__ import annotations

import re
import shlex

from asking import Converge, Service
from testinfra.host import Host

NODE_EXPORTER = Service("node_exporter")
PASSWORD = "a password of the scenario"
CERTIFICATE = "/opt/miniweb/node_exporter/config/tls/certificate.pem"


def status(host: Host, *options: str, url: str = "https://localhost:9100/metrics") -> str:
    """The HTTP status; 000 when there was none."""
    words = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--cacert", CERTIFICATE]
    return host.run(shlex.join([*words, *options, url])).stdout


def metrics(host: Host, password: str = PASSWORD) -> dict[str, float]:
    user = shlex.quote(f"prometheus:{password}")
    url = "https://localhost:9100/metrics"
    text = host.check_output(f"curl --silent --fail --cacert {CERTIFICATE} --user {user} {url}")
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, dummy, value in lines}


def label(series: str, name: str) -> str:
    return re.findall(rf'{name}="([^"]*)"', series)[0]


def test_the_root_disk_is_the_servers(host: Host) -> None:
    size = int(host.check_output("df --block-size=1 --output=size / | tail -n 1"))
    found = {name: value for name, value in metrics(host).items() if name.startswith("node_filesystem_size_bytes")}
    roots = [value for name, value in found.items() if label(name, "mountpoint") == "/"]
    assert roots == [size], found


def test_no_containers_layer_and_no_memory_counts_as_a_disk(host: Host) -> None:
    found = [name for name in metrics(host) if name.startswith("node_filesystem_size_bytes")]
    assert not [name for name in found if label(name, "mountpoint").startswith(("/var/lib/docker", "/run", "/etc"))]
    assert not [name for name in found if label(name, "fstype") in {"tmpfs", "proc", "sysfs"}]


def test_the_network_is_the_servers(host: Host) -> None:
    devices = set(host.check_output("find /sys/class/net -type l -printf '%f '").split())
    found = {label(name, "device") for name in metrics(host) if name.startswith("node_network_receive_bytes_total")}
    assert found == {device for device in devices if not re.match("veth|br-", device)}


def test_the_processes_are_the_servers(host: Host) -> None:
    seen = metrics(host)["node_processes_pids"]
    inside = len(host.check_output("ls -d /proc/[0-9]*").split())
    own = len(host.check_output("docker top %s", NODE_EXPORTER.container(host)).splitlines()) - 1
    assert seen > 3 * own
    assert abs(seen - inside) < 25


def test_the_name_is_the_servers(host: Host) -> None:
    names = [label(name, "nodename") for name in metrics(host) if name.startswith("node_uname_info")]
    assert names == [host.check_output("uname -n")]


def test_a_password_is_needed(host: Host) -> None:
    assert status(host) == "401"
    assert status(host, "--user", "prometheus:wrong") == "401"
    assert status(host, "--user", f"other:{PASSWORD}") == "401"
    assert status(host, "--user", f"prometheus:{PASSWORD}") == "200"


def test_plain_http_gives_nothing(host: Host) -> None:
    assert status(host, "--user", f"prometheus:{PASSWORD}", url="http://localhost:9100/metrics") == "400"


def test_tls_before_1_2_is_refused(host: Host) -> None:
    login = ["--user", f"prometheus:{PASSWORD}"]
    # The lowest security level, so that it is the server that refuses and not this client.
    assert status(host, *login, "--ciphers", "DEFAULT@SECLEVEL=0", "--tlsv1.0", "--tls-max", "1.1") == "000"
    assert status(host, *login, "--tlsv1.2", "--tls-max", "1.2") == "200"
    assert status(host, *login, "--tlsv1.3") == "200"


def test_it_runs_without_rights(host: Host) -> None:
    fields = "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}}"
    assert (
        host.check_output("docker inspect --format %s %s", fields, NODE_EXPORTER.container(host))
        == "65534:65534 true [ALL]"
    )


def test_the_password_is_nowhere_in_clear(host: Host) -> None:
    assert host.run("grep -r --fixed-strings %s /opt/miniweb/node_exporter", PASSWORD).rc == 1
    assert PASSWORD not in host.check_output("docker inspect %s", NODE_EXPORTER.container(host))


def test_a_new_password_and_name_need_no_restart(host: Host, converge: Converge) -> None:
    before, other = NODE_EXPORTER.started(host), "another password of the scenario"
    names = ["localhost", "renamed.example", "127.0.0.1"]
    result = converge({"node_exporter_password": other, "node_exporter_certificate_names": names})
    assert result.returncode == 0, result.stdout
    assert status(host, "--user", f"prometheus:{PASSWORD}") == "401"
    assert metrics(host, other)
    renamed = ["--user", f"prometheus:{other}", "--resolve", "renamed.example:9100:127.0.0.1"]
    assert status(host, *renamed, url="https://renamed.example:9100/metrics") == "200"
    assert converge({}).returncode == 0
    assert metrics(host)
    assert NODE_EXPORTER.started(host) == before


def test_wrong_input_is_refused_in_one_sentence(host: Host, converge: Converge) -> None:
    for variables, sentence in (
        ({"node_exporter_password": "short"}, "node_exporter_password has 5 characters: set it to 16 to 72"),
        ({"node_exporter_password": ""}, "node_exporter_password has 0 characters: set it to 16 to 72"),
        ({"node_exporter_listen_address": ":9100"}, 'node_exporter_listen_address is ":9100": set it to an IPv4'),
        ({"node_exporter_certificate_names": []}, "list at least one host name"),
    ):
        NODE_EXPORTER.refuses(host, converge, variables, sentence)
