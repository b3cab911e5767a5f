"""The alert responder as Alertmanager sees it: what it does for clients with the password, and what it never does."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import shlex
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import yaml
from helpers.playbooks import Converge, folded
from helpers.server import SERVER, default_of
from helpers.waiting import eventually
from testinfra.host import Host

UNIT = "miniweb-alert-responder"
DIRECTORY = "/opt/miniweb/alert_responder"
STARTED = f"/opt/miniweb/units/{UNIT}"
NOTED = "/opt/miniweb/images.json"
CONTRIBUTIONS = "/opt/miniweb/contributions/prometheus"
PASSWORD = "a-password's-\"\\$HOME${HOME}%d%(user)s#;-of-the-scenario"
LOGIN = f"alertmanager:{PASSWORD}"
RESTART, PRUNE = "restart_container", "prune_images"


def address(host: Host) -> str:
    """Its URL, on Docker's default bridge."""
    gateway = "ip -4 -oneline address show docker0 | awk '{split($4, found, \"/\"); print found[1]}'"
    return f"http://{host.check_output(gateway)}:9095"


def curl(host: Host, path: str, *options: str) -> str:
    words = ["curl", "--silent", "--noproxy", "*", *options, f"{address(host)}{path}"]
    return host.run(shlex.join(words)).stdout


def status(host: Host, path: str, *options: str) -> str:
    """The HTTP status; 000 if there was no answer."""
    return curl(host, path, "--output", "/dev/null", "--write-out", "%{http_code}", *options)


def alert(alertname: str, state: str = "firing", /, **labels: str) -> dict[str, Any]:
    return {
        "status": state,
        "labels": {"alertname": alertname, "instance": SERVER, **labels},
        "annotations": {},
    }


def notification(*alerts: dict[str, Any]) -> str:
    return json.dumps({"version": "4", "status": "firing", "receiver": "responder", "alerts": alerts})


def notify(host: Host, *alerts: dict[str, Any]) -> list[dict[str, Any]]:
    """What happened to each alert of a notification."""
    options = ("--user", LOGIN, "--header", "Content-Type: application/json", "--data", notification(*alerts))
    return json.loads(curl(host, "/alerts", "--fail", *options))["responses"]


def results(host: Host, *alerts: dict[str, Any]) -> list[str]:
    return [found["result"] for found in notify(host, *alerts)]


def metrics(host: Host) -> dict[str, float]:
    text = curl(host, "/metrics", "--fail", "--user", LOGIN)
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, dummy, value in lines}


def counted(host: Host, action: str, result: str) -> float:
    return metrics(host)[f'alert_responder_actions_total{{action="{action}",result="{result}"}}']


def image() -> str:
    """An image that the server can pull."""
    return default_of("node_exporter", "node_exporter_image")


def inspected(host: Host, name: str) -> dict[str, Any]:
    return json.loads(host.check_output("docker inspect %s", name))[0]


def started(host: Host, name: str) -> str:
    return inspected(host, name)["State"]["StartedAt"]


def unhealthy(host: Host, name: str) -> bool:
    return inspected(host, name)["State"]["Health"]["Status"] == "unhealthy"


@contextmanager
def sick(host: Host, name: str, project: str = "miniweb-sick") -> Iterator[dict[str, Any]]:
    """Run a container whose health check fails while the block runs; yield the alert that it raises."""
    options = ["--name", name, "--label", f"com.docker.compose.project={project}", "--network", "none"]
    options += ["--health-cmd", "false", "--health-interval", "1s", "--health-retries", "1", "--stop-timeout", "1"]
    host.check_output(shlex.join(["docker", "run", "--detach", *options, "--entrypoint", "sleep", image(), "600"]))
    try:
        assert eventually(lambda: unhealthy(host, name))
        yield alert("ContainerUnhealthy", name=name)
    finally:
        host.check_output("docker rm --force --volumes %s", name)


def running(host: Host) -> str:
    """What changes when the program is restarted."""
    return host.check_output(f"systemctl show --property MainPID,ExecMainStartTimestampMonotonic {UNIT}.service")


# -- access -----------------------------------------------------------------------------------------------------------


def test_a_password_is_needed(host: Host) -> None:
    for path, data in (("/metrics", ()), ("/alerts", ("--data", notification()))):
        assert status(host, path, *data) == "401"
        assert status(host, path, *data, "--user", "alertmanager:wrong") == "401"
        assert status(host, path, *data, "--user", f"other:{PASSWORD}") == "401"
        assert status(host, path, *data, "--header", "Authorization: Bearer wrong") == "401"
        assert status(host, path, *data, "--user", LOGIN) == "200"
        assert status(host, path, *data, "--header", f"Authorization: Bearer {PASSWORD}") == "200"
    assert status(host, "/-/healthy") == "200"


def test_malformed_notifications_are_refused(host: Host) -> None:
    login = ("--user", LOGIN)
    assert status(host, "/alerts", *login, "--data", "{") == "400"
    assert curl(host, "/alerts", *login, "--data", "{}") == "The notification's version is None: send version '4'.\n"


def test_containers_of_the_server_reach_it_and_others_do_not(host: Host) -> None:
    options = ["--rm", "--add-host", "host.docker.internal:host-gateway", "--entrypoint", "wget", image()]
    ask = ["-q", "-T", "10", "-O", "-", "http://host.docker.internal:9095/-/healthy"]
    assert host.check_output(shlex.join(["docker", "run", *options, *ask])) == "alert_responder is healthy."
    listening = host.check_output("ss --listening --tcp --numeric --no-header 'sport = :9095'").splitlines()
    assert [line.split()[3] for line in listening] == [address(host).removeprefix("http://")]


def test_it_has_no_right_it_does_not_need(host: Host) -> None:
    assert status(host, "/-/healthy") == "200"
    host.check_output(f"systemd-analyze security --threshold=10 {UNIT}.service")
    process = host.check_output(f"systemctl show --value --property MainPID {UNIT}.service")
    lines = dict(line.split(":", 1) for line in host.file(f"/proc/{process}/status").content_string.splitlines())
    assert "0" not in lines["Uid"].split()
    assert set(lines["CapEff"].strip()) == {"0"}
    assert lines["NoNewPrivs"].strip() == "1"


def test_only_root_can_read_the_password(host: Host) -> None:
    found = host.file(f"{DIRECTORY}/password")
    assert (found.user, found.mode) == ("root", 0o400)
    assert host.file(STARTED).mode == 0o400
    assert host.run("grep -r --fixed-strings %s /etc/systemd/system", PASSWORD).rc == 1
    assert PASSWORD not in host.check_output(f"systemctl show {UNIT}.service {UNIT}.socket")
    assert PASSWORD not in host.check_output("ps -e -ww -o args")


def as_prometheus(host: Host) -> str:
    """The HTTP status for a client that has only what the role leaves for Prometheus."""
    (job,) = yaml.safe_load(host.check_output(f"cat {CONTRIBUTIONS}/alert_responder.jobs.yml"))["scrape_configs"]
    (targets,) = job["static_configs"]
    assert (job["job_name"], targets["labels"]) == ("alert_responder", {"instance": SERVER})
    assert targets["targets"] == ["host.docker.internal:9095"]
    login = job["basic_auth"]
    path = login["password_file"].replace("/etc/prometheus/contributions", CONTRIBUTIONS)
    return status(host, "/metrics", "--user", f"{login['username']}:{host.check_output(f'cat {path}')}")


def test_what_it_leaves_for_prometheus_gives_access(host: Host) -> None:
    assert as_prometheus(host) == "200"
    found = host.file(f"{CONTRIBUTIONS}/alert_responder.password")
    assert found.mode == 0o400
    assert host.run(f"su -s /bin/sh nobody -c 'cat {CONTRIBUTIONS}/alert_responder.password'").rc != 0


# -- what it does -----------------------------------------------------------------------------------------------------


def test_an_unhealthy_container_is_restarted_up_to_the_limit(host: Host) -> None:
    with sick(host, "miniweb-sick-1") as raised:
        moments, done = [started(host, "miniweb-sick-1")], counted(host, RESTART, "done")
        for times in (1, 2):
            (found,) = notify(host, raised)
            expected = {"alert": "ContainerUnhealthy", "action": RESTART, "name": "miniweb-sick-1", "result": "done"}
            assert found == expected
            logged = json.loads(host.check_output(f"journalctl --unit {UNIT}.service --output cat --lines 1"))
            assert logged.pop("time")
            assert logged == expected
            assert counted(host, RESTART, "done") == done + times
            moments.append(started(host, "miniweb-sick-1"))
            assert eventually(lambda: unhealthy(host, "miniweb-sick-1"))
        assert len(set(moments)) == 3
        last = metrics(host)[f'alert_responder_last_action_timestamp_seconds{{action="{RESTART}"}}']
        assert abs(float(host.check_output("date +%s")) - last) < 120
        assert results(host, raised) == ["limited"]
        assert counted(host, RESTART, "limited") == 1
        host.check_output(f"systemctl restart {UNIT}.service")
        assert results(host, raised) == ["limited"], "the limit survives a restart of the program"
        assert started(host, "miniweb-sick-1") == moments[-1]


def test_only_unhealthy_containers_of_this_collection_are_restarted(host: Host) -> None:
    with sick(host, "shop", project="shop") as raised:
        before, refused = started(host, "shop"), counted(host, RESTART, "refused")
        (found,) = notify(host, raised)
        assert found["result"] == "refused"
        assert found["reason"] == 'its Compose project is "shop" and does not begin with miniweb-'
        assert counted(host, RESTART, "refused") == refused + 1
        assert started(host, "shop") == before
    with sick(host, "miniweb-recovered-1") as raised:
        before = started(host, "miniweb-recovered-1")
        elsewhere = {**raised, "labels": {**raised["labels"], "instance": "elsewhere"}}
        assert results(host, elsewhere) == ["refused"]
        assert notify(host, {**raised, "status": "resolved"}) == []
        host.check_output("docker stop miniweb-recovered-1")
        assert notify(host, raised)[0]["reason"] == "it does not run"
        assert started(host, "miniweb-recovered-1") == before
    assert notify(host, raised)[0]["reason"] == "no container has this name"


def tarball(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def load_image(host: Host, tag: str, created: str) -> None:
    """Load an image with this creation time into the engine."""
    layer = tarball(file=tag.encode())
    configuration = {
        "architecture": host.check_output("docker version --format '{{.Server.Arch}}'"),
        "os": "linux",
        "created": created,
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]
    members = {"config.json": configuration, "manifest.json": manifest}
    archive = tarball(
        **{"layer.tar": layer}, **{name: json.dumps(content).encode() for name, content in members.items()}
    )
    encoded = base64.b64encode(gzip.compress(archive)).decode()
    host.check_output(f"echo {encoded} | base64 --decode | docker load")


def tags(host: Host) -> set[str]:
    return set(host.check_output("docker image ls --format '{{.Repository}}:{{.Tag}}'").split())


def note_images(host: Host, *names: str) -> None:
    """Record that compose_service pulled or built these images."""
    ids = {name: host.check_output("docker image inspect --format '{{.Id}}' %s", name) for name in names}
    noted = {identifier: {"reference": name, "service": "scenario"} for name, identifier in ids.items()}
    host.check_output("umask 022; printf %%s %s > %s", json.dumps({"images": noted}), NOTED)


def test_old_unused_images_of_this_collection_are_pruned_and_nothing_else(host: Host) -> None:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    load_image(host, "old:1", "2020-01-01T00:00:00Z")
    load_image(host, "theirs:1", "2020-01-01T00:00:00Z")
    load_image(host, "new:1", now)
    host.check_output("docker tag old:1 old:2")
    host.check_output("docker volume create unused")
    with sick(host, "miniweb-user-1"):
        host.check_output("docker stop miniweb-user-1")
        assert results(host, alert("LowDiskSpace", mountpoint="/boot")) == ["refused"]
        assert results(host, alert("LowDiskSpace", mountpoint="/")) == ["refused"], "none of them is recorded yet"
        note_images(host, "old:1", "new:1", image())
        assert {"old:1", "old:2", "new:1", image()} <= tags(host)
        (found,) = notify(host, alert("LowDiskSpace", mountpoint="/"))
        assert (found["action"], found["result"]) == (PRUNE, "done")
        assert found["images"] == ["old:1, old:2"]
        assert counted(host, PRUNE, "done") == 1
        assert not {"old:1", "old:2"} & tags(host)
        assert {"theirs:1", "new:1", image()} <= tags(host)
        assert inspected(host, "miniweb-user-1")["State"]["Status"] == "exited"
        host.check_output("docker volume rm unused")
    host.check_output("docker image rm new:1 theirs:1")
    host.check_output("rm %s", NOTED)


def test_an_action_that_is_switched_off_and_a_dry_run_do_nothing(host: Host, converge: Converge) -> None:
    dry = {"alert_responder_dry_run": True, "alert_responder_actions": [RESTART]}
    assert converge(dry).returncode == 0
    assert "changed=0" in converge(dry).stdout
    load_image(host, "old:1", "2020-01-01T00:00:00Z")
    with sick(host, "miniweb-dry-1") as raised:
        before = started(host, "miniweb-dry-1")
        assert results(host, raised, alert("LowDiskSpace", mountpoint="/")) == ["dry_run", "refused"]
        assert counted(host, RESTART, "dry_run") == 1
        assert counted(host, PRUNE, "refused") == 1
        assert started(host, "miniweb-dry-1") == before
    assert "old:1" in tags(host)
    host.check_output("docker image rm old:1")


# -- deployment and removal -------------------------------------------------------------------------------------------


def test_a_new_password_takes_effect_at_once(host: Host, converge: Converge) -> None:
    other = "another-password-of-the-scenario"
    done = converge({"alert_responder_password": other}, "--diff", "-vvv")
    assert done.returncode == 0
    assert other not in done.stdout
    assert status(host, "/metrics", "--user", LOGIN) == "401"
    assert status(host, "/metrics", "--user", f"alertmanager:{other}") == "200"
    assert as_prometheus(host) == "200"


def test_an_error_is_reported_without_the_password(host: Host, converge: Converge) -> None:
    host.check_output(f"rm {DIRECTORY}/password && mkdir {DIRECTORY}/password")
    done = converge({})
    host.check_output(f"rmdir {DIRECTORY}/password")
    assert done.returncode != 0
    assert f"{DIRECTORY}/password cannot be read or written: Is a directory." in folded(done.stdout)
    assert PASSWORD not in done.stdout
    assert converge({}).returncode == 0
    assert status(host, "/metrics", "--user", LOGIN) == "200"


def test_another_address_and_port(host: Host, converge: Converge) -> None:
    assert converge({"alert_responder_listen_address": "127.0.0.1", "alert_responder_port": "9096"}).returncode == 0
    assert status(host, "/-/healthy") == "000"
    assert host.check_output("curl --silent --noproxy '*' http://127.0.0.1:9096/-/healthy")


def test_an_interrupted_run_is_finished_by_the_next(host: Host, converge: Converge) -> None:
    host.check_output(f"systemctl disable --now {UNIT}.socket")
    host.check_output(f"rm {DIRECTORY}/alert_responder.py")
    assert converge({}).returncode == 0
    assert status(host, "/-/healthy") == "200"
    properties = host.check_output(
        f"systemctl show {UNIT}.socket --property ActiveState,UnitFileState,NeedDaemonReload"
    )
    assert set(properties.split()) == {"ActiveState=active", "UnitFileState=enabled", "NeedDaemonReload=no"}
    before = running(host)
    host.check_output(f"rm {STARTED}")
    assert converge({}).returncode == 0
    assert running(host) != before, "it may have been started with other settings"
    assert "changed=0" in converge({}).stdout


def test_it_restarts_after_a_crash(host: Host) -> None:
    host.check_output(f"systemctl kill --signal KILL {UNIT}.service")
    assert eventually(lambda: status(host, "/-/healthy") == "200")


def test_a_port_in_use_is_reported(host: Host, converge: Converge) -> None:
    taken = address(host).removeprefix("http://").replace(":9095", ":9097")
    listener = ["systemd-run", "--unit", "taken", f"--socket-property=ListenStream={taken}", "sleep", "600"]
    host.check_output(shlex.join(listener))
    try:
        done = converge({"alert_responder_port": 9097})
        assert done.returncode != 0
        said = 'alert_responder_port: port 9097 of this server is already taken by the unit "taken.socket"'
        assert said in folded(done.stdout)
    finally:
        host.check_output("systemctl stop taken.socket")
    assert converge({}).returncode == 0
    assert status(host, "/-/healthy") == "200"


def test_it_is_removed_without_a_trace(host: Host, converge: Converge) -> None:
    absent = {"alert_responder_state": "absent", "alert_responder_password": ""}
    assert converge(absent).returncode == 0
    assert status(host, "/-/healthy") == "000"
    # The note that records its removal does not count.
    notes = "-path /opt/miniweb/settled -prune"
    traces = f"find /etc/systemd/system /opt/miniweb /var/lib -maxdepth 3 {notes} -o -name '*alert?responder*' -print"
    assert host.check_output(traces) == ""
    assert host.check_output(f"systemctl list-units --all --plain --no-legend '{UNIT}*'") == ""
    assert "changed=0" in converge(absent).stdout
    assert converge({}).returncode == 0
    assert status(host, "/-/healthy") == "200"
    assert as_prometheus(host) == "200"


def test_wrong_input_is_refused_in_one_sentence_each(host: Host, converge: Converge) -> None:
    assert status(host, "/-/healthy") == "200"
    before = running(host)
    done = converge(
        {
            "alert_responder_password": "short",
            "alert_responder_username": "a b",
            "alert_responder_instance": "$HOME",
            "alert_responder_listen_address": "::",
            "alert_responder_port": 0,
            "alert_responder_actions": [],
            "alert_responder_limit": 0,
            "alert_responder_prune_older_than_hours": -1,
            "alert_responder_enabled": False,
        }
    )
    assert done.returncode != 0
    said = folded(done.stdout)
    for sentence in (
        "alert_responder_password has 5 characters, of which 0 are blanks or outside ASCII: set it to 16 to 128",
        'alert_responder_username is "a b": set it to letters',
        'alert_responder_instance is "$HOME": give it letters',
        'alert_responder_listen_address is "::": set it to an IPv4',
        "alert_responder_port is 0: set it to a port from 1 to 65535.",
        "alert_responder_actions is empty: list prune_images or restart_container",
        "alert_responder_limit is 0: set it to 1 or more.",
        "alert_responder_prune_older_than_hours is -1: set it to 1",
        "alert_responder_enabled is now called alert_responder_state",
    ):
        assert sentence in said
    assert running(host) == before
