"""mysql_account: quoting, rights, and what it asks of MySQL."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.miniweb.stack.plugins.modules import mysql_account


@pytest.mark.parametrize(
    ("rows", "rights"),
    [
        (["GRANT USAGE ON *.* TO `app`@`%`"], {}),
        (["GRANT SELECT, INSERT ON `app`.* TO `app`@`%`"], {"`app`.*": {"SELECT", "INSERT"}}),
        (
            ["GRANT USAGE ON *.* TO `a`@`%`", "GRANT ALL PRIVILEGES ON `app`.* TO `a`@`%` WITH GRANT OPTION"],
            {"`app`.*": {"ALL PRIVILEGES", "GRANT OPTION"}},
        ),
        (
            ["GRANT SELECT ON `app`.* TO `a`@`%`", "GRANT DROP ON `other`.* TO `a`@`%`"],
            {"`app`.*": {"SELECT"}, "`other`.*": {"DROP"}},
        ),
        (["GRANT `admin`@`%` TO `a`@`%`"], {"role": {"GRANT `admin`@`%` TO `a`@`%`"}}),
        ([], {}),
    ],
)
def test_granted(rows: list[str], rights: dict[str, set[str]]) -> None:
    assert mysql_account.granted(rows) == rights


@pytest.mark.parametrize(
    ("name", "written"), [("app", "`app`.*"), ("my_app", r"`my\_app`.*"), ("a%b`c", r"`a\%b``c`.*")]
)
def test_pattern(name: str, written: str) -> None:
    assert f"{mysql_account.pattern(name)}.*" == written


@pytest.mark.parametrize(
    ("function", "value", "written"),
    [
        (mysql_account.text, "it's a \\", "'it''s a \\\\'"),
        (mysql_account.identifier, "a`b", "`a``b`"),
        (mysql_account.option_value, 'a"b\\c#d', '"a\\"b\\\\c#d"'),
    ],
)
def test_quoting(function, value: str, written: str) -> None:
    assert function(value) == written


ARGUMENTS = {
    "root_password": "r00t-123456789",
    "database": "my_app",
    "user": "app",
    "password": "p'w\\d-123456",
    "privileges": ["SELECT", "insert"],
}

DOCKER = """\
#!/bin/sh
here=$(dirname "$0")
case "$*" in
  "ps "*) cat "$here/container" ;;
  *--host=127.0.0.1*) cat > "$here/login"; exit "$(cat "$here/login_code")" ;;
  *)
    cat > "$here/statement"
    cat "$here/statement" >> "$here/statements"
    if grep -q "SHOW GRANTS" "$here/statement"; then cat "$here/grants"
    elif grep -q information_schema "$here/statement"; then cat "$here/facts"
    fi ;;
esac
"""


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """A docker program that answers as MySQL does when everything is as it should be."""
    for name, content in {
        "docker": DOCKER,
        "container": "4c01db0b339c\n",
        "login_code": "0",
        "facts": "database\naccount\n",
        "grants": "GRANT USAGE ON *.* TO `app`@`%`\nGRANT SELECT, INSERT ON `my\\_app`.* TO `app`@`%`\n",
    }.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "docker").chmod(0o755)
    return tmp_path


def test_nothing_to_do(run_module, server: Path) -> None:
    result = run_module("mysql_account", programs=server, **ARGUMENTS)
    assert (result["changed"], result["actions"]) == (False, [])
    login = (server / "login").read_text()
    assert 'user="app"' in login
    assert r"p'w\\d-123456" in login
    assert "r00t" not in login


def test_new_database_and_account(run_module, server: Path) -> None:
    (server / "facts").write_text("")
    result = run_module("mysql_account", programs=server, **ARGUMENTS)
    assert result["changed"]
    statements = (server / "statements").read_text()
    assert "CREATE DATABASE `my_app`;" in statements
    assert "CREATE USER 'app'@'%' IDENTIFIED BY 'p''w\\\\d-123456';" in statements
    assert r"GRANT INSERT, SELECT ON `my\_app`.* TO 'app'@'%';" in statements
    assert "REVOKE" not in statements
    assert ARGUMENTS["password"] not in str(result)


def test_changed_password(run_module, server: Path) -> None:
    (server / "login_code").write_text("1")
    result = run_module("mysql_account", programs=server, **ARGUMENTS)
    assert result["actions"] == ["set the password of app@%"]
    assert "ALTER USER 'app'@'%'" in (server / "statements").read_text()


def test_rights_that_are_too_many_are_taken_back(run_module, server: Path) -> None:
    (server / "grants").write_text("GRANT ALL PRIVILEGES ON *.* TO `app`@`%`\n")
    assert run_module("mysql_account", programs=server, **ARGUMENTS)["changed"]
    assert "REVOKE ALL PRIVILEGES, GRANT OPTION FROM 'app'@'%';\nGRANT" in (server / "statements").read_text()


def test_check_mode_changes_nothing(run_module, server: Path) -> None:
    (server / "facts").write_text("")
    assert run_module("mysql_account", programs=server, check_mode=True, **ARGUMENTS)["changed"]
    assert "CREATE" not in (server / "statements").read_text()


def test_stopped_service(run_module, server: Path) -> None:
    (server / "container").write_text("")
    result = run_module("mysql_account", programs=server, **ARGUMENTS)
    assert result["failed"]
    assert result["msg"] == 'The service "mysql" does not run on this server; start it first.'
    assert not run_module("mysql_account", programs=server, missing_ok=True, **ARGUMENTS)["changed"]


EXPORTER = {
    "root_password": "r00t-123456789",
    "user": "exporter",
    "password": "p'w\\d-123456",
    "global_privileges": ["PROCESS", "replication  client"],
}


def test_rights_on_the_server_need_no_database(run_module, server: Path) -> None:
    (server / "facts").write_text("")
    result = run_module("mysql_account", programs=server, **EXPORTER)
    granting = "grant PROCESS, REPLICATION CLIENT on the server to exporter@%, and nothing else"
    assert result["actions"] == ["create the account exporter@%", granting]
    statements = (server / "statements").read_text()
    assert "GRANT PROCESS, REPLICATION CLIENT ON *.* TO 'exporter'@'%';" in statements
    assert "CREATE DATABASE" not in statements
    (server / "facts").write_text("account\n")
    (server / "grants").write_text("GRANT PROCESS, REPLICATION CLIENT ON *.* TO `exporter`@`%`\n")
    assert not run_module("mysql_account", programs=server, **EXPORTER)["changed"]


def test_rights_on_both(run_module, server: Path) -> None:
    result = run_module("mysql_account", programs=server, global_privileges=["PROCESS"], **ARGUMENTS)
    assert result["actions"] == ["grant INSERT, SELECT on my_app and PROCESS on the server to app@%, and nothing else"]


def test_rights_on_nothing_are_refused(run_module, server: Path) -> None:
    without = {name: value for name, value in ARGUMENTS.items() if name != "privileges"}
    assert (
        "privileges, global_privileges: both are empty"
        in run_module("mysql_account", programs=server, **without)["msg"]
    )
    without = {name: value for name, value in ARGUMENTS.items() if name != "database"}
    assert "database: it is missing" in run_module("mysql_account", programs=server, **without)["msg"]
