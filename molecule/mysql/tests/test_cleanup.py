"""playbooks/cleanup.yml: what takes room is shown, what is ours and not needed goes, what others made stays."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from helpers.playbooks import Converge, RunPlaybook, changed, folded
from helpers.server import ROOT
from helpers.service import Service
from testinfra.host import Host

PLAYBOOK = ROOT / "playbooks" / "cleanup.yml"
DATA = "/var/lib/docker/volumes/miniweb-mysql_data/_data"
IMAGES = "/opt/miniweb/images.json"
MYSQL = Service("mysql")
# An engine without a network builds these, too.
BUILD = (
    "printf 'FROM scratch\\nLABEL made=%s\\nCOPY file /\\n' > /tmp/made/Dockerfile && docker build --tag %s /tmp/made"
)


def root_sql(host: Host, statement: str) -> str:
    command = "docker exec %s mysql --defaults-file=/run/secrets/root.cnf --skip-column-names --batch --execute=%s"
    return host.check_output(command, MYSQL.container(host), statement)


def images(host: Host) -> set[str]:
    return set(host.check_output("docker image ls --format '{{.Repository}}'").split())


@pytest.fixture
def crowded(host: Host) -> Iterator[None]:
    """An image of ours that nobody needs, one of somebody else, an old binary log and a long slow query log."""
    host.check_output("mkdir -p /tmp/made && head -c 2000000 /dev/urandom > /tmp/made/file")
    for name in ("ours", "theirs"):
        host.check_output(BUILD, name, name)
    identity = host.check_output("docker image inspect --format '{{.Id}}' ours")
    recorded = json.loads(host.file(IMAGES).content_string)
    recorded["images"][identity] = {"reference": "ours:latest", "service": "mysql"}
    host.check_output("echo %s > %s", json.dumps(recorded), IMAGES)
    root_sql(host, "FLUSH BINARY LOGS")
    oldest = f"$(ls {DATA}/binlog.0* | head -n 1)"
    host.check_output(f"touch --date '9 days ago' {oldest} && head -c 2000000 /dev/zero >> {DATA}/slow.log")
    yield
    host.run("docker image rm ours theirs; rm -r /tmp/made")


@pytest.fixture
def no_room(host: Host) -> Iterator[None]:
    """Nothing can be written where programs write temporary files."""
    for path in ("/tmp", "/var/tmp"):
        host.check_output("mount -t tmpfs -o size=16k tmpfs %s && { cat /dev/zero > %s/filler || true; }", path, path)
    yield
    host.check_output("umount /tmp /var/tmp")


def test_what_is_ours_and_not_needed_goes(host: Host, run_playbook: RunPlaybook, crowded: None) -> None:
    binary_logs = host.check_output("ls %s | grep -c 'binlog.0'", DATA)
    shown = run_playbook(PLAYBOOK, {})
    assert not changed(shown)
    assert "-e cleanup_remove=true does that" in folded(shown.stdout)
    assert {"ours", "theirs"} <= images(host)
    assert changed(run_playbook(PLAYBOOK, {"cleanup_remove": True}))
    assert "theirs" in images(host)
    assert "ours" not in images(host)
    assert int(host.check_output("ls %s | grep -c 'binlog.0'", DATA)) < int(binary_logs)
    assert host.file(f"{DATA}/slow.log").size < 100_000
    assert root_sql(host, "SELECT 1") == "1"
    assert not changed(run_playbook(PLAYBOOK, {"cleanup_remove": True}))


def test_it_works_without_any_room(host: Host, run_playbook: RunPlaybook, crowded: None, no_room: None) -> None:
    done = run_playbook(PLAYBOOK, {"cleanup_remove": True})
    assert changed(done)
    # The engine itself needs room to ask MySQL.
    assert "so its binary logs stay" in folded(done.stdout)
    assert "theirs" in images(host)
    assert "ours" not in images(host)
    assert host.file(f"{DATA}/slow.log").size < 100_000


def test_logs_stay_within_their_size(host: Host, converge: Converge) -> None:
    assert converge({"mysql_binlog_mb": 1, "mysql_slow_log_mb": 1}).returncode == 0
    host.check_output("head -c 3000000 /dev/zero >> %s/slow.log", DATA)
    for _number in range(3):
        root_sql(
            host, "CREATE TABLE app.filler (filling LONGBLOB); INSERT INTO app.filler VALUES (REPEAT('x', 700000))"
        )
        root_sql(host, "DROP TABLE app.filler; FLUSH BINARY LOGS")
    host.check_output("systemctl start miniweb-mysql-logs.service")
    assert host.file(f"{DATA}/slow.log").size < 100_000
    assert host.file(f"{DATA}/slow.log.1").size >= 3_000_000
    assert int(host.check_output("cat %s/binlog.0* | wc -c", DATA)) <= 1_000_000
    # MySQL goes on with both.
    root_sql(host, "SELECT SLEEP(1.5)")
    assert "SLEEP(1.5)" in host.file(f"{DATA}/slow.log").content_string
    assert host.check_output("systemctl is-enabled miniweb-mysql-logs.timer") == "enabled"


def test_without_an_engine_it_says_so(host: Host, run_playbook: RunPlaybook) -> None:
    host.check_output("systemctl stop docker.service docker.socket")
    try:
        done = run_playbook(PLAYBOOK, {"cleanup_remove": True})
    finally:
        host.check_output("systemctl start docker.service")
    assert done.returncode == 0
    assert "The Docker engine does not answer (" in folded(done.stdout)
    assert "MySQL does not answer (the Docker engine does not answer)" in folded(done.stdout)
    assert root_sql(host, "SELECT 1") == "1"


def test_a_wrong_choice_is_refused(run_playbook: RunPlaybook) -> None:
    done = run_playbook(PLAYBOOK, {"cleanup_remove": "perhaps"})
    assert done.returncode != 0
    assert 'cleanup_remove is "perhaps": set it to true or false.' in folded(done.stdout)
