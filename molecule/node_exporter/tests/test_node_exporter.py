"""node_exporter as Prometheus sees it: the server's own numbers, over TLS, for those who know the password."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

import yaml
from helpers import web
from helpers.playbooks import Converge
from helpers.server import ADDRESS, SERVER, default_of
from helpers.service import Service
from helpers.waiting import eventually
from testinfra.host import Host

NODE_EXPORTER = Service("node_exporter")
PASSWORD = 'Prometheus\'s "password" \\ $HOME ${HOME} %d %(user)s # ; ñ€'
PROGRAM = "/opt/miniweb/node_exporter/container_metrics.py"
TEXTFILES = "/var/lib/node_exporter/textfile"
UNIT = "miniweb-container-metrics"
CERTIFICATE = "/opt/miniweb/node_exporter/config/tls/certificate.pem"
CONTRIBUTIONS = "/opt/miniweb/contributions/prometheus"


def status(host: Host, *options: str, url: str = "https://localhost:9100/metrics") -> str:
    """The HTTP status; 000 if there was no answer."""
    words = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--cacert", CERTIFICATE]
    return host.run(shlex.join([*words, "--connect-to", f"::{gateway(host)}:", *options, url])).stdout


def gateway(host: Host) -> str:
    """The address of Docker's bridge."""
    return host.check_output("ip -4 -oneline address show docker0 | awk '{split($4, found, \"/\"); print found[1]}'")


def metrics(host: Host, password: str = PASSWORD) -> dict[str, float]:
    user = shlex.quote(f"prometheus:{password}")
    url = "https://localhost:9100/metrics"
    words = f"curl --silent --fail --cacert {CERTIFICATE} --user {user} --connect-to ::{gateway(host)}: {url}"
    text = host.check_output(words)
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, dummy, value in lines}


def label(series: str, name: str) -> str:
    return re.findall(rf'{name}="([^"]*)"', series)[0]


def test_the_root_disk_is_the_servers(host: Host) -> None:
    size = int(host.check_output("df --block-size=1 --output=size / | tail -n 1"))
    found = {name: value for name, value in metrics(host).items() if name.startswith("node_filesystem_size_bytes")}
    roots = [value for name, value in found.items() if label(name, "mountpoint") == "/"]
    assert roots == [size], found


def test_container_layers_and_memory_do_not_count_as_disks(host: Host) -> None:
    found = [name for name in metrics(host) if name.startswith("node_filesystem_size_bytes")]
    assert not [name for name in found if label(name, "mountpoint").startswith(("/var/lib/docker/", "/run", "/etc"))]
    # Here the engine's directory is a disk of its own.
    assert [name for name in found if label(name, "mountpoint") == "/var/lib/docker"]
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
    # The lowest security level, so that the server refuses and not this client.
    assert status(host, *login, "--ciphers", "DEFAULT@SECLEVEL=0", "--tlsv1.0", "--tls-max", "1.1") == "000"
    assert status(host, *login, "--tlsv1.2", "--tls-max", "1.2") == "200"
    assert status(host, *login, "--tlsv1.3") == "200"


def listening(host: Host) -> set[str]:
    """The addresses on which node_exporter accepts connections."""
    lines = host.check_output("ss --listening --tcp --numeric --no-header 'sport = :9100'").splitlines()
    return {line.split()[3] for line in lines}


def container_gets(host: Host, address: str) -> str:
    """What a container on a network of its own gets there: a healthy exporter refuses plain HTTP with 400."""
    program = "import http.client as h, sys; c = h.HTTPConnection(sys.argv[1], 9100, timeout=5); "
    program += "c.request('GET', '/'); print(c.getresponse().status)"
    host.run("docker network create elsewhere")
    words = "docker run --rm --network elsewhere --add-host host.docker.internal:host-gateway %s python3 -c %s %s"
    done = host.run(words, default_of("flask_app", "flask_app_base_image"), program, address)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def test_only_containers_of_this_server_reach_it(host: Host, converge: Converge) -> None:
    assert listening(host) == {f"{gateway(host)}:9100"}
    assert container_gets(host, "host.docker.internal") == "400"
    assert web.status(f"https://{ADDRESS}:9100/metrics") == "000"

    # For a Prometheus on another server
    assert converge({"node_exporter_listen_address": "0.0.0.0:9100"}).returncode == 0
    assert listening(host) == {"*:9100"}
    assert container_gets(host, "host.docker.internal") == "400"
    assert web.status(f"https://{ADDRESS}:9100/metrics") == "401"
    assert as_prometheus(host) == "200"

    # On one network alone, which the server's own Prometheus reaches, too
    private = host.check_output("hostname -I").split()[0]
    assert converge({"node_exporter_listen_address": f"{private}:9100"}).returncode == 0
    assert listening(host) == {f"{private}:9100"}
    assert container_gets(host, private) == "400"
    (job,) = yaml.safe_load(host.check_output(f"cat {CONTRIBUTIONS}/node_exporter.jobs.yml"))["scrape_configs"]
    assert job["static_configs"][0]["targets"] == [f"{private}:9100"]


def test_it_runs_without_rights(host: Host) -> None:
    NODE_EXPORTER.confined(host, "65534:65534")


def test_the_password_is_nowhere_in_plain_text(host: Host) -> None:
    assert host.run("grep -r --fixed-strings %s /opt/miniweb/node_exporter", PASSWORD).rc == 1
    assert PASSWORD not in host.check_output("docker inspect %s", NODE_EXPORTER.container(host))


def test_a_new_password_and_name_need_no_restart(host: Host, converge: Converge) -> None:
    before, other = NODE_EXPORTER.started(host), "another password of the scenario"
    names = ["localhost", "renamed.example", "127.0.0.1"]
    result = converge({"node_exporter_password": other, "node_exporter_certificate_names": names})
    assert result.returncode == 0, result.stdout
    assert status(host, "--user", f"prometheus:{PASSWORD}") == "401"
    assert metrics(host, other)
    renamed = ["--user", f"prometheus:{other}"]
    assert status(host, *renamed, url="https://renamed.example:9100/metrics") == "200"
    assert converge({}).returncode == 0
    assert metrics(host)
    assert NODE_EXPORTER.started(host) == before


def as_prometheus(host: Host) -> str:
    """The HTTP status for a client that has only what the role leaves for Prometheus."""
    (job,) = yaml.safe_load(host.check_output(f"cat {CONTRIBUTIONS}/node_exporter.jobs.yml"))["scrape_configs"]
    (targets,) = job["static_configs"]
    assert (job["job_name"], targets["labels"]) == ("node", {"instance": SERVER})
    inside = "/etc/prometheus/contributions"
    password = host.check_output(f"cat {job['basic_auth']['password_file'].replace(inside, CONTRIBUTIONS)}")
    certificate = job["tls_config"]["ca_file"].replace(inside, CONTRIBUTIONS)
    name, port = job["tls_config"]["server_name"], targets["targets"][0].removeprefix("host.docker.internal:")
    words = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--cacert", certificate]
    words += ["--user", f"{job['basic_auth']['username']}:{password}", "--resolve", f"{name}:{port}:{gateway(host)}"]
    return host.run(shlex.join([*words, f"{job['scheme']}://{name}:{port}/metrics"])).stdout


def test_what_it_leaves_for_prometheus_gives_access(host: Host, converge: Converge) -> None:
    assert as_prometheus(host) == "200"
    other = {"node_exporter_password": "a third password of the scenario", "node_exporter_username": "somebody"}
    done = converge({**other, "node_exporter_certificate_names": ["renamed.example"]}, "--diff", "-vvv")
    assert done.returncode == 0
    assert other["node_exporter_password"] not in done.stdout.replace("EXTRA_VARS", "")
    assert status(host, "--user", f"prometheus:{PASSWORD}", "--insecure") == "401"
    assert as_prometheus(host) == "200"
    assert converge({}).returncode == 0
    assert as_prometheus(host) == "200"


def test_it_leaves_its_alerts_and_dashboards(host: Host, converge: Converge) -> None:
    assert set(NODE_EXPORTER.contributions(host)) == {
        "prometheus/node_exporter.jobs.yml",
        "prometheus/node_exporter.password",
        "prometheus/node_exporter.pem",
        "prometheus/node_exporter.rules.yml",
        "grafana/node_exporter.host.json",
        "grafana/node_exporter.containers.json",
    }
    before = NODE_EXPORTER.started(host)
    assert converge({"node_exporter_alert_cpu_percent": 55}).returncode == 0
    groups = yaml.safe_load(NODE_EXPORTER.contributions(host)["prometheus/node_exporter.rules.yml"])["groups"]
    rules = {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}
    assert rules["HighCpuUsage"]["expr"].endswith("> 55")
    assert NODE_EXPORTER.started(host) == before


def of_container(host: Host, metric: str, name: str) -> float | None:
    return metrics(host).get(f'{metric}{{name="{name}"}}')


@contextmanager
def container(host: Host, name: str, *words: str, options: tuple[str, ...] = ()) -> Iterator[None]:
    """Run a container of an image that is on the server while the block runs."""
    image = NODE_EXPORTER.inspected(host)["Config"]["Image"]
    command = ["docker", "run", "--detach", "--name", name, "--network", "none", *options]
    try:
        host.check_output(shlex.join([*command, "--entrypoint", words[0], image, *words[1:]]))
        yield
    finally:
        host.check_output("docker rm --force --volumes %s", name)


def test_every_container_is_measured(host: Host) -> None:
    with container(host, "limitless", "sleep", "600"):
        assert eventually(lambda: of_container(host, "container_running", "limitless") == 1)
        found = metrics(host)
        running = json.loads(host.check_output("docker inspect $(docker ps --quiet)"))
        assert len(running) >= 2
        for one in running:
            label_ = f'{{name="{one["Name"].lstrip("/")}"}}'
            assert found[f"container_spec_memory_limit_bytes{label_}"] == one["HostConfig"]["Memory"]
            assert found[f"container_running{label_}"] == 1
            assert found[f"container_cpu_usage_seconds_total{label_}"] > 0
            assert 0 < found[f"container_memory_working_set_bytes{label_}"] < 2**31
            assert (f"container_healthy{label_}" in found) == ("Health" in one["State"])
        own = NODE_EXPORTER.inspected(host)["Name"].lstrip("/")
        assert found[f'container_healthy{{name="{own}"}}'] == 1
    assert eventually(lambda: of_container(host, "container_running", "limitless") is None)


def test_containers_are_measured_again_and_again(host: Host) -> None:
    before = metrics(host)["container_scrape_timestamp_seconds"]
    assert eventually(lambda: metrics(host)["container_scrape_timestamp_seconds"] > before)
    assert abs(float(host.check_output("date +%s")) - metrics(host)["container_scrape_timestamp_seconds"]) < 60


def test_an_oom_kill_is_counted_once(host: Host) -> None:
    def kills() -> float:
        return of_container(host, "container_oom_events_total", "hog") or 0

    with container(host, "hog", "sleep", "600", options=("--memory", "16m", "--memory-swap", "16m")):
        assert eventually(lambda: of_container(host, "container_oom_events_total", "hog") == 0)
        assert host.run("docker exec hog tail /dev/zero").rc == 137
        assert eventually(lambda: kills() > 0)
        counted, before = kills(), metrics(host)["container_scrape_timestamp_seconds"]
        assert eventually(lambda: metrics(host)["container_scrape_timestamp_seconds"] > before)
        assert kills() == counted
        assert of_container(host, "container_running", "hog") == 1


def test_restarts_are_counted(host: Host) -> None:
    with container(host, "restless", "sh", "-c", "exit 1", options=("--restart", "on-failure:2")):
        assert eventually(lambda: of_container(host, "container_restarts_total", "restless") == 2)
        assert eventually(lambda: of_container(host, "container_running", "restless") == 0)


def test_the_users_own_metrics_are_served(host: Host) -> None:
    host.check_output(f"echo 'backup_size_bytes 7' > {TEXTFILES}/backup.prom")
    try:
        assert metrics(host)["backup_size_bytes"] == 7
    finally:
        host.check_output(f"rm {TEXTFILES}/backup.prom")


def test_the_program_has_no_right_it_does_not_need(host: Host) -> None:
    host.check_output(f"systemd-analyze security --threshold=15 {UNIT}.service")


def test_another_interval_needs_no_new_container(host: Host, converge: Converge) -> None:
    before = NODE_EXPORTER.started(host)
    assert converge({"node_exporter_containers_interval": 20}).returncode == 0
    assert "OnUnitActiveUSec=20s" in host.check_output(f"systemctl show --property TimersMonotonic {UNIT}.timer")
    assert NODE_EXPORTER.started(host) == before


def test_an_interrupted_run_is_finished_by_the_next(host: Host, converge: Converge) -> None:
    host.check_output(f"systemctl disable --now {UNIT}.timer")
    host.check_output(f"sed -i s/=5/=45/ /etc/systemd/system/{UNIT}.timer; rm {PROGRAM}")
    assert converge({}).returncode == 0
    properties = host.check_output(f"systemctl show {UNIT}.timer --property ActiveState,UnitFileState,NeedDaemonReload")
    assert set(properties.split()) == {"ActiveState=active", "UnitFileState=enabled", "NeedDaemonReload=no"}
    assert "OnUnitActiveUSec=5s" in host.check_output(f"systemctl show --property TimersMonotonic {UNIT}.timer")
    before = metrics(host)["container_scrape_timestamp_seconds"]
    assert eventually(lambda: metrics(host)["container_scrape_timestamp_seconds"] > before)
    assert "changed=0" in converge({}).stdout


def test_container_metrics_are_switched_off_without_a_trace(host: Host, converge: Converge) -> None:
    before, off = NODE_EXPORTER.started(host), {"node_exporter_containers_enabled": False}
    assert converge(off).returncode == 0
    assert not host.file(PROGRAM).exists
    assert not host.file(PROGRAM.replace("container_metrics", "docker_engine")).exists
    assert host.check_output(f"find /etc/systemd/system {TEXTFILES} -name '{UNIT}*' -o -name 'containers*'") == ""
    assert host.check_output(f"systemctl list-units --all --plain --no-legend '{UNIT}*'") == ""
    assert not [name for name in metrics(host) if name.startswith("container_")]
    assert "changed=0" in converge(off).stdout
    assert converge({}).returncode == 0
    assert eventually(lambda: "container_scrape_timestamp_seconds" in metrics(host))
    assert NODE_EXPORTER.started(host) == before


def test_it_is_removed_without_a_trace_and_comes_back(host: Host, converge: Converge) -> None:
    host.check_output(f"echo 'backup_size_bytes 7' > {TEXTFILES}/backup.prom")
    brought = set(NODE_EXPORTER.contributions(host))
    absent = {"node_exporter_state": "absent"}
    try:
        assert converge(absent).returncode == 0
        assert not NODE_EXPORTER.container(host)
        assert not host.file("/opt/miniweb/node_exporter").exists
        assert NODE_EXPORTER.contributions(host) == {}
        assert host.check_output(f"find /etc/systemd/system -name '{UNIT}*'") == ""
        assert host.check_output(f"systemctl list-units --all --plain --no-legend '{UNIT}*'") == ""
        assert host.check_output(f"ls {TEXTFILES}") == "backup.prom", "files of others stay"
        assert "changed=0" in converge(absent).stdout
        assert converge({}).returncode == 0
        assert metrics(host)["backup_size_bytes"] == 7
    finally:
        host.check_output(f"rm {TEXTFILES}/backup.prom")
    assert as_prometheus(host) == "200"
    assert set(NODE_EXPORTER.contributions(host)) == brought != set()
    assert eventually(lambda: "container_scrape_timestamp_seconds" in metrics(host))


def test_a_setting_that_it_refuses_at_start_is_rolled_back(host: Host, converge: Converge) -> None:
    NODE_EXPORTER.gives_way(host, converge, {"node_exporter_extra_arguments": ["--no-such-flag"]}, "no-such-flag")
    assert metrics(host)


def test_wrong_input_is_refused_in_one_sentence_each(host: Host, converge: Converge) -> None:
    wrong = {
        "node_exporter_password": "short",
        "node_exporter_listen_address": ":9100",
        "node_exporter_certificate_names": [],
        "node_exporter_textfile_directory": "textfile",
        "node_exporter_containers_interval": 2,
        "node_exporter_alert_cpu_percent": 0,
        "node_exporter_alert_cpu_for": "2",
        "node_exporter_alert_reboot_seconds": 0,
        "prometheus_alert_cpu_percent": 70,
    }
    NODE_EXPORTER.refuses(
        host,
        converge,
        wrong,
        "node_exporter_password has 5 characters, 5 bytes: set it to at least 16 characters and at most 72 bytes",
        'node_exporter_listen_address is ":9100": set it to an IPv4 address of the server or host-gateway',
        "list at least one host name",
        'node_exporter_textfile_directory is "textfile": set it to',
        "node_exporter_containers_interval is 2: set it to 5 to 60 seconds",
        "node_exporter_alert_cpu_percent is 0: set it to a percentage",
        'node_exporter_alert_cpu_for is "2": set it to a duration',
        "node_exporter_alert_reboot_seconds is 0: set it to a number above 0",
        "prometheus_alert_cpu_percent is now called node_exporter_alert_cpu_percent",
    )
    NODE_EXPORTER.refuses(host, converge, {"node_exporter_password": ""}, "node_exporter_password has 0 characters")
