"""MySQL as its users see it: rows that stay, rights, settings that take effect, passwords that change, bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.playbooks import Converge, folded, run_playbook
from helpers.server import SERVER
from helpers.service import Service
from helpers.waiting import eventually
from testinfra.host import Host

MYSQL = Service("mysql")
VOLUME = "miniweb-mysql_data"
DIRECTORY = "/opt/miniweb/mysql"
PASSWORD = 'account\'s "password" \\ $HOME ${HOME} %d %(user)s # ; ñ€ of the scenario'
EXPORTERS_PASSWORD = 'exporter\'s "password" \\ $HOME %d # ; ñ€ of the scenario'


def sql(host: Host, statement: str, options: str = "/run/secrets/client.cnf", database: str = "app") -> str:
    """Run a statement with an option file of the container; return the output or the error."""
    command = "docker exec %s mysql --defaults-file=%s --host=127.0.0.1 --protocol=TCP --batch"
    done = host.run(
        command + " --skip-column-names --execute=%s %s", MYSQL.container(host), options, statement, database
    )
    return done.stdout.strip() if done.rc == 0 else done.stderr.strip()


def login(host: Host, password: str, user: str = "app") -> bool:
    quoted = password.replace("\\", "\\\\").replace('"', '\\"')
    options = f'[client]\nuser={user}\npassword="{quoted}"\n'
    command = (
        "printf %%s %s | docker exec --interactive %s mysql --defaults-file=/dev/stdin --host=127.0.0.1 -e 'SELECT 1'"
    )
    return host.run(command, options, MYSQL.container(host)).rc == 0


def settled(variables: dict[str, Any]) -> int:
    """Do a complete run and return how many of its tasks changed something."""
    done = run_playbook(Path(__file__).parents[1] / "settle.yml", variables)
    assert done.returncode == 0
    return int(done.stdout.rpartition("changed=")[2].split()[0])


def test_rows_stay_when_the_container_is_recreated(host: Host, converge: Converge) -> None:
    sql(host, "CREATE TABLE IF NOT EXISTS kept (word VARCHAR(20)); DELETE FROM kept; INSERT INTO kept VALUES ('ñandú')")
    host.check_output("docker rm --force %s", MYSQL.container(host))
    assert converge({}).returncode == 0
    assert sql(host, "SELECT word FROM kept") == "ñandú"
    sql(host, "DROP TABLE kept")


def test_the_account_has_the_rights_it_needs_and_no_others(host: Host) -> None:
    grants = sql(host, "SHOW GRANTS").splitlines()
    assert len(grants) == 2
    assert grants[0].startswith("GRANT USAGE ON *.*")
    assert "ALL PRIVILEGES" not in grants[1]
    assert "ON `app`.*" in grants[1]
    assert "denied" in sql(host, "SELECT * FROM user", database="mysql")
    assert "denied" in sql(host, "CREATE USER intruder")


EXPORTER = Service("mysql_exporter")
LEFT = {"prometheus/mysql_exporter.jobs.yml", "prometheus/mysql_exporter.rules.yml", "grafana/mysql_exporter.json"}


def measured(host: Host) -> dict[str, float]:
    lines = host.check_output(
        "docker exec %s wget -q -O - http://127.0.0.1:9104/metrics", EXPORTER.container(host)
    ).splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def test_it_is_measured_without_access_to_the_tables(host: Host) -> None:
    assert eventually(lambda: measured(host)["mysql_up"] == 1)
    assert measured(host)["mysql_global_variables_max_connections"] == 20
    grants = host.check_output(
        "docker exec %s mysql --defaults-file=/run/secrets/root.cnf -BNe %s",
        MYSQL.container(host),
        "SHOW GRANTS FOR exporter",
    )
    assert grants == "GRANT PROCESS, REPLICATION CLIENT ON *.* TO `exporter`@`%`"
    EXPORTER.confined(host, "65534:65534")


def test_it_brings_what_prometheus_and_grafana_need(host: Host) -> None:
    left = EXPORTER.contributions(host)
    assert set(left) == LEFT
    (job,) = yaml.safe_load(left["prometheus/mysql_exporter.jobs.yml"])["scrape_configs"]
    assert job["job_name"] == "mysql"
    assert job["static_configs"] == [{"targets": ["mysql_exporter:9104"], "labels": {"instance": SERVER}}]
    group, expected = yaml.safe_load(left["prometheus/mysql_exporter.rules.yml"])["groups"]
    assert [rule["labels"] for rule in expected["rules"]] == [{"job": "mysql", "instance": SERVER}]
    assert {rule["alert"] for rule in group["rules"]} >= {"MysqlDown", "MysqlTooManyConnections"}
    assert json.loads(left["grafana/mysql_exporter.json"])["title"] == "MySQL"


def test_a_changed_threshold_touches_nothing_else(host: Host, converge: Converge) -> None:
    before = MYSQL.started(host), EXPORTER.started(host)
    assert converge({"mysql_alert_connections_percent": 55}).returncode == 0
    assert "> 55" in EXPORTER.contributions(host)["prometheus/mysql_exporter.rules.yml"]
    assert (MYSQL.started(host), EXPORTER.started(host)) == before


def test_the_exporter_gets_a_new_password_and_is_removed(host: Host, converge: Converge) -> None:
    assert converge({"mysql_exporter_password": "another password of the exporter"}).returncode == 0
    assert eventually(lambda: measured(host)["mysql_up"] == 1)
    before = MYSQL.started(host)
    assert converge({"mysql_exporter_state": "absent"}).returncode == 0
    assert EXPORTER.container(host) == ""
    assert EXPORTER.contributions(host) == {}
    assert MYSQL.started(host) == before


def test_no_port_is_published(host: Host) -> None:
    found = MYSQL.inspected(host)
    assert not found["HostConfig"]["PortBindings"]
    assert not host.socket("tcp://0.0.0.0:3306").is_listening
    assert host.check_output("docker network inspect --format '{{.Internal}}' miniweb-data") == "true"


def test_root_logs_in_only_inside_the_container(host: Host) -> None:
    rows = host.check_output(
        "docker exec %s mysql --defaults-file=/run/secrets/root.cnf -BNe %s",
        MYSQL.container(host),
        "SELECT host FROM mysql.user WHERE user = 'root'",
    )
    assert rows.split() == ["localhost"]


def test_secrets_are_in_no_output_of_the_engine(host: Host) -> None:
    seen = host.check_output("docker inspect %s", MYSQL.container(host)) + host.check_output(
        "docker logs %s 2>&1", MYSQL.container(host)
    )
    assert "of the scenario" not in seen


def test_changed_settings_take_effect(host: Host, converge: Converge) -> None:
    assert sql(host, "SELECT @@max_connections") == "20"
    assert converge({"mysql_max_connections": 33, "mysql_settings": {"sort_buffer_size": "1M"}}).returncode == 0
    assert sql(host, "SELECT @@max_connections, @@sort_buffer_size").split() == ["33", "1048576"]


# mysqld's own check of its configuration does not look at the data.
FAILS_WITH_THESE_DATA = {"innodb_page_size": "4k"}


def test_a_setting_that_mysql_does_not_know_changes_nothing(host: Host, converge: Converge) -> None:
    broken = {"mysql_max_connections": 33, "mysql_settings": {"no_such_setting": 1}}
    MYSQL.refuses(host, converge, broken, "unknown variable 'no_such_setting=1'. The files are as they were before.")


def test_a_setting_with_which_mysql_does_not_start_is_rolled_back(host: Host, converge: Converge) -> None:
    broken = {"mysql_max_connections": 33, "mysql_settings": FAILS_WITH_THESE_DATA}
    MYSQL.gives_way(host, converge, broken, "innodb_page_size")
    assert sql(host, "SELECT @@max_connections") == "20"
    assert converge({"mysql_max_connections": 33}).returncode == 0
    assert sql(host, "SELECT @@max_connections") == "33"


def test_the_old_password_stays_valid_until_all_have_the_new_one(host: Host, converge: Converge) -> None:
    settled({})
    assert login(host, PASSWORD)
    new, exporters = "another 'password' of 2026", "another password of the exporter"
    changed = {"mysql_password": new, "mysql_exporter_password": exporters}
    done = converge(changed)
    assert done.returncode == 0
    assert new not in done.stdout + done.stderr
    for user, old, password in (("app", PASSWORD, new), ("exporter", EXPORTERS_PASSWORD, exporters)):
        assert login(host, password, user)
        assert login(host, old, user)
    assert " changed=0 " in converge(changed).stdout
    assert settled(changed) > 0
    for user, old, password in (("app", PASSWORD, new), ("exporter", EXPORTERS_PASSWORD, exporters)):
        assert login(host, password, user)
        assert not login(host, old, user)
    assert settled(changed) == 0


@pytest.mark.soak
def test_a_changed_password_can_be_taken_back(host: Host, converge: Converge) -> None:
    settled({})
    assert converge({"mysql_password": "a password for a short time"}).returncode == 0
    assert settled({}) > 0
    assert login(host, PASSWORD)
    assert not login(host, "a password for a short time")
    assert converge({}).returncode == 0


def test_clients_with_the_old_password_keep_working_when_the_new_version_fails(host: Host, converge: Converge) -> None:
    settled({})
    broken = {"mysql_password": "a password that never served", "mysql_settings": FAILS_WITH_THESE_DATA}
    MYSQL.gives_way(host, converge, broken, "innodb_page_size")
    assert login(host, PASSWORD)
    done = converge({"mysql_password": "the password of the next try"})
    assert done.returncode == 0
    assert "The password of app@% is changed again" in done.stderr
    assert login(host, "the password of the next try")
    assert login(host, PASSWORD)
    assert not login(host, "a password that never served")
    assert settled({}) > 0


def test_changed_rights_take_effect(host: Host, converge: Converge) -> None:
    assert converge({"mysql_privileges": ["SELECT"]}).returncode == 0
    assert "denied" in sql(host, "CREATE TABLE forbidden (id INT)")


BAD_INPUT: list[tuple[dict[str, Any], str]] = [
    (
        {"mysql_remove_data": True},
        'mysql_remove_data is true while mysql_state is "present": set mysql_state to absent, too',
    ),
    (
        {"mysql_exporter_enabled": False},
        "mysql_exporter_enabled is now called mysql_exporter_state (present or absent): rename it.",
    ),
    (
        {"mysql_exporter_password": "short"},
        "mysql_exporter_password: the password has 5 characters; give one of at least 12",
    ),
    ({"mysql_root_password": ""}, "mysql_root_password: the password has 0 characters; give one of at least 12."),
    ({"mysql_password": "short"}, "mysql_password: the password has 5 characters; give one of at least 12."),
    (
        {"mysql_password": "two lines of\na password"},
        "mysql_password: the password has a line break or another control character in it",
    ),
    (
        {"mysql_exporter_password": "a `password` of the exporter"},
        'mysql_exporter_password: the password has a backquote or "%(…)s" in it; give one without.',
    ),
    (
        {"mysql_settings": {"datadir": "/var/lib/mysql/other"}},
        "mysql_settings has ['datadir'], which the role decides",
    ),
    ({"mysql_user": "root"}, 'mysql_user: "root" cannot be used'),
    ({"mysql_database": "my-app"}, 'mysql_database: "my-app" cannot be used'),
    ({"mysql_innodb_buffer_pool_mb": 1000}, "mysql_innodb_buffer_pool_mb: 1000 MB do not fit"),
]


def test_bad_input_is_refused_in_one_sentence_each(host: Host, converge: Converge) -> None:
    MYSQL.refuses_each(host, converge, BAD_INPUT)


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (
            {"mysql_image": "registry:5000/none:1"},
            'The image "registry:5000/none:1" of the service "mysql" cannot be pulled',
        ),
        ({"mysql_root_password": "another root password"}, "does not accept this root password"),
    ],
)
def test_what_only_the_server_can_tell_is_refused_in_one_sentence(
    host: Host, converge: Converge, variables: dict[str, Any], sentence: str
) -> None:
    MYSQL.refuses(host, converge, variables, sentence)


DATA = f"/var/lib/docker/volumes/{VOLUME}/_data"


def as_root(host: Host, statement: str) -> str:
    """Run a statement as root, who logs in only over MySQL's socket."""
    command = (
        "docker exec %s mysql --defaults-file=/run/secrets/root.cnf --batch --skip-column-names --execute=%s mysql"
    )
    return host.check_output(command, MYSQL.container(host), statement)


def root_has_no_password(host: Host) -> None:
    """As after a kill between the initialisation of the data directory and the SQL that sets the password."""
    statements = "DROP USER app@'%'; DROP USER exporter@'%'; DROP DATABASE app; DELETE FROM mysql.time_zone_name;"
    statements += " ALTER USER root@localhost IDENTIFIED BY '';"
    assert as_root(host, statements) == ""


def nothing_is_complete(host: Host) -> None:
    """As after a kill while mysqld itself initialises the data directory."""
    host.check_output("docker stop %s", MYSQL.container(host))
    host.check_output(f"cd {DATA} && rm -rf app sys performance_schema mysql.ibd && : > ibdata1")
    host.check_output("docker start %s", MYSQL.container(host))
    assert eventually(lambda: MYSQL.inspected(host)["RestartCount"] >= 2)


@pytest.mark.parametrize("cut_short", [root_has_no_password, nothing_is_complete])
def test_an_initialisation_that_was_cut_short_is_completed(
    host: Host, converge: Converge, cut_short: Callable[[Host], None]
) -> None:
    as_root(host, "DROP DATABASE app; CREATE DATABASE app")
    cut_short(host)
    # It was never healthy.
    host.check_output(f"rm {DIRECTORY}/state.json")
    assert converge({}).returncode == 0
    assert sql(host, "SELECT 1") == "1"
    nobody = "docker exec %s mysql --no-defaults --user=root --execute='SELECT 1'"
    assert "ERROR 1045" in host.run(nobody, MYSQL.container(host)).stderr
    assert login(host, PASSWORD)
    assert as_root(host, "SELECT COUNT(*) > 100 FROM mysql.time_zone_name") == "1"


def test_a_program_that_cannot_start_and_holds_a_database_is_left_alone(host: Host, converge: Converge) -> None:
    sql(host, "CREATE TABLE IF NOT EXISTS kept (word VARCHAR(20))")
    host.check_output("docker stop %s", MYSQL.container(host))
    host.check_output(f"mv {DATA}/mysql.ibd {DATA}/../mysql.ibd && rm {DIRECTORY}/state.json")
    try:
        said = folded(converge({}).stderr)
        assert f"has never worked on this server, but its volume {VOLUME} holds the databases app" in said
    finally:
        host.check_output(f"mv {DATA}/../mysql.ibd {DATA}/mysql.ibd")
    assert converge({}).returncode == 0
    assert sql(host, "SELECT COUNT(*) FROM kept") == "0"
    sql(host, "DROP TABLE kept")


def test_absent_and_present_again(host: Host, converge: Converge) -> None:
    sql(host, "CREATE TABLE IF NOT EXISTS kept (word VARCHAR(20)); DELETE FROM kept; INSERT INTO kept VALUES ('ñandú')")
    absent = {"mysql_state": "absent"}
    assert converge(absent).returncode == 0
    assert MYSQL.container(host) == EXPORTER.container(host) == ""
    assert EXPORTER.contributions(host) == {}
    assert not host.file("/opt/miniweb/mysql").exists
    assert VOLUME in host.check_output("docker volume ls --quiet").split()
    assert " changed=0 " in converge(absent).stdout
    assert settled(absent) == 0
    assert converge({}).returncode == 0
    assert sql(host, "SELECT word FROM kept") == "ñandú"
    assert eventually(lambda: measured(host)["mysql_up"] == 1)
    assert set(EXPORTER.contributions(host)) == LEFT


def test_data_are_deleted_on_request(host: Host, converge: Converge) -> None:
    sql(host, "CREATE TABLE IF NOT EXISTS kept (word VARCHAR(20))")
    assert converge({"mysql_state": "absent", "mysql_remove_data": True}).returncode == 0
    assert VOLUME not in host.check_output("docker volume ls --quiet").split()
    assert converge({}).returncode == 0
    assert "doesn't exist" in sql(host, "SELECT word FROM kept")
    assert "ON `app`.*" in sql(host, "SHOW GRANTS")
