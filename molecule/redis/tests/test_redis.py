"""Redis as its users see it: who gets in, data that stay, a full memory, settings that take effect, bad input."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from helpers.playbooks import Converge
from helpers.server import SERVER, default_of
from helpers.service import Service
from helpers.waiting import eventually
from testinfra.host import Host

REDIS = Service("redis")
EXPORTER = Service("redis_exporter")
VOLUME = "miniweb-redis_data"
PASSWORD = 'client\'s `id` "password" \\ $HOME ${HOME} %d %(user)s # ; ñ€ of the scenario'
EXPORTERS_PASSWORD = 'exporter\'s `id` "password" \\ $HOME ${HOME} %d %(user)s # ; ñ€ of the scenario'
LEFT = {"prometheus/redis_exporter.jobs.yml", "prometheus/redis_exporter.rules.yml", "grafana/redis_exporter.json"}
PROBE = default_of("flask_app", "flask_app_base_image")


def as_client(host: Host, *words: str, password: str | None = PASSWORD, user: str = "default") -> str:
    """Redis's answer, or error, to a client in another container of its network."""
    command = "printf %%s %s | docker run --rm --interactive --network miniweb-data --entrypoint sh %s -c %s sh"
    ask = "redis-cli -h redis" if password is None else f'REDISCLI_AUTH="$(cat)" redis-cli -h redis --user {user}'
    image = REDIS.inspected(host)["Config"]["Image"]
    done = host.run(command + " %s" * len(words), password or "", image, f'{ask} "$@" 2>&1', *words)
    return done.stdout.strip()


def measured(host: Host) -> dict[str, float]:
    """What Prometheus would get. The exporter's own image has no HTTP client."""
    program = "import urllib.request as u; print(u.urlopen('http://redis_exporter:9121/metrics').read().decode())"
    command = "docker run --rm --network miniweb-monitor %s python3 -c %s"
    lines = host.check_output(command, PROBE, program).splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line and line[0] != "#")}


def test_it_answers_clients_with_the_password(host: Host) -> None:
    assert as_client(host, "SET", "greeting", "ñandú") == "OK"
    assert as_client(host, "--raw", "GET", "greeting") == "ñandú"


def test_it_answers_nobody_else(host: Host) -> None:
    assert "NOAUTH Authentication required" in as_client(host, "GET", "greeting", password=None)
    assert "WRONGPASS" in as_client(host, "GET", "greeting", password="another password")
    assert "WRONGPASS" in as_client(host, "GET", "greeting", password=EXPORTERS_PASSWORD)


def test_clients_may_use_keys_and_change_no_setting(host: Host) -> None:
    assert as_client(host, "CONFIG", "GET", "maxmemory").split() == ["maxmemory", str(24 * 1024 * 1024)]
    for words in ("FLUSHDB", "CLIENT SETNAME me", "EVAL return(1) 0"):
        assert "NOPERM" not in as_client(host, *words.split())
    for words in ("CONFIG SET maxmemory 0", "SHUTDOWN NOSAVE", "REPLICAOF 192.0.2.1 6379", "ACL LIST"):
        assert "NOPERM" in as_client(host, *words.split())
    assert "DEBUG command not allowed" in as_client(host, "DEBUG", "SLEEP", "0")


def test_data_stay_when_the_container_is_killed_and_recreated(host: Host, converge: Converge) -> None:
    assert as_client(host, "SET", "kept", "word") == "OK"
    host.check_output("docker kill %s", REDIS.container(host))
    host.check_output("docker rm --force %s", REDIS.container(host))
    assert converge({}).returncode == 0
    assert as_client(host, "--raw", "GET", "kept") == "word"


def test_it_runs_without_rights_and_publishes_nothing(host: Host) -> None:
    REDIS.confined(host, "999:999")
    EXPORTER.confined(host, "59000:59000")
    assert not host.socket("tcp://0.0.0.0:6379").is_listening
    assert host.check_output("docker network inspect --format '{{.Internal}}' miniweb-data") == "true"


def test_passwords_are_in_no_output_of_the_engine(host: Host) -> None:
    for service in (REDIS, EXPORTER):
        container = service.container(host)
        seen = host.check_output("docker inspect %s", container) + host.check_output("docker logs %s 2>&1", container)
        assert "of the scenario" not in seen
        assert "of the scenario" not in host.check_output("docker top %s -eo pid,args", container)
    assert "of the scenario" not in host.file("/opt/miniweb/redis/config/redis.conf").content_string
    for secret in ("users.acl", "password"):
        file = host.file(f"/opt/miniweb/redis/secrets/{secret}")
        assert (file.mode, file.uid) == (0o400, 999)


def test_a_full_memory_evicts_what_expires_and_nothing_else(host: Host) -> None:
    fill = """
        for i = 1, ARGV[2] do
            redis.call('SET', KEYS[1] .. i, string.rep('x', 100000), unpack(ARGV[1] == '' and {} or {'EX', ARGV[1]}))
        end
        return redis.call('DBSIZE')
    """
    try:
        assert as_client(host, "RPUSH", "jobs", "one", "two") == "2"
        for number in range(4):
            as_client(host, "EVAL", fill, "1", f"cached:{number}:", "1000", "100")
        assert int(as_client(host, "DBSIZE")) < 400
        assert as_client(host, "LLEN", "jobs") == "2"
        for number in range(4):
            said = as_client(host, "EVAL", fill, "1", f"stays:{number}:", "", "100")
        assert "OOM command not allowed" in said
        assert as_client(host, "LLEN", "jobs") == "2"
    finally:
        as_client(host, "FLUSHDB")


def test_it_is_measured_without_access_to_the_keys(host: Host) -> None:
    assert eventually(lambda: measured(host)["redis_up"] == 1)
    found = measured(host)
    assert found["redis_memory_max_bytes"] == 24 * 1024 * 1024
    assert found["redis_max_clients"] == 50
    assert found["redis_aof_last_write_status"] == found["redis_aof_last_bgrewrite_status"] == 1
    for words in ("GET kept", "SET kept x", "KEYS *", "CONFIG GET *", "ACL LIST"):
        assert "NOPERM" in as_client(host, *words.split(), password=EXPORTERS_PASSWORD, user="exporter")
    assert "NOPERM" not in host.check_output("docker logs %s 2>&1", EXPORTER.container(host))


def test_it_brings_what_prometheus_and_grafana_need(host: Host) -> None:
    left = EXPORTER.contributions(host)
    assert set(left) == LEFT
    (job,) = yaml.safe_load(left["prometheus/redis_exporter.jobs.yml"])["scrape_configs"]
    assert job["job_name"] == "redis"
    assert job["static_configs"] == [{"targets": ["redis_exporter:9121"], "labels": {"instance": SERVER}}]
    group, expected = yaml.safe_load(left["prometheus/redis_exporter.rules.yml"])["groups"]
    assert [rule["labels"] for rule in expected["rules"]] == [{"job": "redis", "instance": SERVER}]
    assert {rule["alert"] for rule in group["rules"]} >= {"RedisDown", "RedisMemoryNearlyFull"}
    assert json.loads(left["grafana/redis_exporter.json"])["title"] == "Redis"


def test_what_rules_and_dashboard_query_is_measured(host: Host) -> None:
    as_client(host, "SET", "seen", "x")
    names = {series.partition("{")[0] for series in measured(host)}
    left = EXPORTER.contributions(host)
    asked = set(re.findall(r"\bredis_\w+", left["grafana/redis_exporter.json"]))
    for rule in yaml.safe_load(left["prometheus/redis_exporter.rules.yml"])["groups"][0]["rules"]:
        asked |= set(re.findall(r"\bredis_\w+", rule["expr"]))
    assert len(asked) > 20
    assert asked - names == set()


def test_a_changed_threshold_touches_nothing_else(host: Host, converge: Converge) -> None:
    before = REDIS.started(host), EXPORTER.started(host)
    assert converge({"redis_alert_memory_percent": 55}).returncode == 0
    assert "> 55" in EXPORTER.contributions(host)["prometheus/redis_exporter.rules.yml"]
    assert (REDIS.started(host), EXPORTER.started(host)) == before


def test_the_exporter_can_be_removed_alone(host: Host, converge: Converge) -> None:
    before = REDIS.started(host)
    assert converge({"redis_exporter_state": "absent"}).returncode == 0
    assert EXPORTER.container(host) == ""
    assert EXPORTER.contributions(host) == {}
    assert REDIS.started(host) == before


def test_changed_passwords_take_effect(host: Host, converge: Converge) -> None:
    new, exporters = "another 'password' of 2026", "another password of the exporter"
    done = converge({"redis_password": new, "redis_exporter_password": exporters})
    assert done.returncode == 0
    assert new not in done.stdout + done.stderr
    assert as_client(host, "PING", password=new) == "PONG"
    assert "WRONGPASS" in as_client(host, "PING")
    assert eventually(lambda: measured(host)["redis_up"] == 1)


def test_changed_settings_take_effect(host: Host, converge: Converge) -> None:
    settings = {
        "notify-keyspace-events": "Ex",
        "activedefrag": False,
        "client-output-buffer-limit": ["pubsub 16mb 4mb 60", "normal 32mb 8mb 60"],
    }
    changed = {"redis_settings": settings, "redis_maxmemory_policy": "allkeys-lru", "redis_denied_commands": ["keys"]}
    assert converge(changed).returncode == 0
    assert "NOPERM" in as_client(host, "KEYS", "*")
    assert as_client(host, "CONFIG", "GET", "maxmemory-policy").split()[-1] == "allkeys-lru"
    assert set(as_client(host, "CONFIG", "GET", "notify-keyspace-events").split()[-1]) == {"E", "x"}
    limits = as_client(host, "--raw", "CONFIG", "GET", "client-output-buffer-limit")
    assert "normal 33554432 8388608 60" in limits
    assert "pubsub 16777216 4194304 60" in limits


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"redis_settings": {"no-such-setting": 1}}, "'no-such-setting 1'"),
        ({"redis_denied_commands": ["nosuchcommand"]}, "Error in applying operation '-nosuchcommand'"),
    ],
)
def test_a_setting_that_redis_refuses_is_rolled_back(
    host: Host, converge: Converge, variables: dict[str, Any], reason: str
) -> None:
    assert as_client(host, "SET", "kept", "word") == "OK"
    REDIS.gives_way(host, converge, variables, reason)
    assert as_client(host, "--raw", "GET", "kept") == "word"


BAD_INPUT: list[tuple[dict[str, Any], str]] = [
    (
        {"redis_remove_data": True},
        'redis_remove_data is true while redis_state is "present": set redis_state to absent, too',
    ),
    ({"redis_password": "short"}, "redis_password: the password has 5 characters; give one of at least 12."),
    (
        {"redis_password": "one line\nand another"},
        "redis_password: the password has a line break or another control character in it",
    ),
    ({"redis_exporter_password": "short"}, "redis_exporter_password: the password has 5 characters"),
    ({"redis_maxmemory_mb": 90}, "redis_maxmemory_mb: 90 MB do not fit into redis_memory_limit_mb, 96 MB"),
    (
        {"redis_memory_reservation_mb": 97},
        "redis_memory_reservation_mb is 97: set it to at most redis_memory_limit_mb",
    ),
    ({"redis_maxclients": 0}, "redis_maxclients is 0: set it to a number above 0."),
    ({"redis_denied_commands": ["KEYS", "get set"]}, "redis_denied_commands has ['KEYS', 'get set']"),
    (
        {"redis_settings": {"requirepass": "x", "AppendFilename": "other.aof"}},
        "redis_settings has ['requirepass', 'appendfilename'], which the role decides itself",
    ),
    ({"redis_alert_down_for": "soon"}, 'redis_alert_down_for is "soon": set it to a duration'),
    ({"redis_alert_memory_percent": 100}, "redis_alert_memory_percent is 100: set it to a percentage"),
    ({"redis_alert_rejected_connections": -1}, "redis_alert_rejected_connections is -1: set it to 0"),
]


def test_bad_input_is_refused_in_one_sentence_each(host: Host, converge: Converge) -> None:
    REDIS.refuses_each(host, converge, BAD_INPUT)
    # Ansible itself refuses what is not among the choices, and looks no further.
    choices = "value of redis_maxmemory_policy must be one of: noeviction, allkeys-lru"
    REDIS.refuses(host, converge, {"redis_maxmemory_policy": "oldest"}, choices)


def test_absent_and_present_again(host: Host, converge: Converge) -> None:
    assert as_client(host, "SET", "kept", "word") == "OK"
    absent = {"redis_state": "absent"}
    assert converge(absent).returncode == 0
    assert REDIS.container(host) == EXPORTER.container(host) == ""
    assert EXPORTER.contributions(host) == {}
    assert not host.file("/opt/miniweb/redis").exists
    assert VOLUME in host.check_output("docker volume ls --quiet").split()
    assert " changed=0 " in converge(absent).stdout
    assert converge({}).returncode == 0
    assert as_client(host, "--raw", "GET", "kept") == "word"
    assert eventually(lambda: measured(host)["redis_up"] == 1)
    assert set(EXPORTER.contributions(host)) == LEFT


def test_data_are_deleted_on_request(host: Host, converge: Converge) -> None:
    assert as_client(host, "SET", "kept", "word") == "OK"
    assert converge({"redis_state": "absent", "redis_remove_data": True}).returncode == 0
    assert VOLUME not in host.check_output("docker volume ls --quiet").split()
    assert converge({}).returncode == 0
    assert as_client(host, "DBSIZE") == "0"
