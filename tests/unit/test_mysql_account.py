"""mysql_account: quoting, rights, and the statements it runs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible import constants
from ansible_collections.miniweb.stack.plugins.action.mysql_account import ActionModule
from ansible_collections.miniweb.stack.plugins.modules import mysql_account
from ansible_collections.miniweb.stack.plugins.plugin_utils.settled import remember


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
  "ps --all"*|"volume ls"*) ;;
  "ps "*oneoff=False*) cat "$here/container" ;;
  "ps "*) echo "0ff000000000 Up 1 second"; cat "$here/container" ;;
  *0ff000000000*) exit 1 ;;
  *--host=127.0.0.1*)
    cat > "$here/login"
    while IFS= read -r password; do ! grep -qF "$password" "$here/login" || exit 0; done < "$here/passwords"
    cat "$here/login_error" >&2
    exit 1 ;;
  *)
    if [ -s "$here/root_error" ]; then cat > /dev/null; cat "$here/root_error" >&2; exit 1; fi
    cat > "$here/statement"
    cat "$here/statement" >> "$here/statements"
    if grep -q "SHOW GRANTS" "$here/statement"; then cat "$here/grants"
    elif grep -q information_schema "$here/statement"; then cat "$here/facts"
    fi ;;
esac
"""
DENIED = "ERROR 1045 (28000): Access denied for user 'app'@'127.0.0.1' (using password: YES)\n"
# The password in ARGUMENTS as it is written in MySQL's option files
WRITTEN = r"p'w\\d-123456"


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """A docker program that answers as MySQL does when everything is as it should be."""
    for name, content in {
        "docker": DOCKER,
        "container": "4c01db0b339c Up 5 minutes (healthy)\n",
        "passwords": f"{WRITTEN}\n",
        "login_error": DENIED,
        "root_error": "",
        "facts": "database\naccount\npassword\n",
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
    assert WRITTEN in login
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


NEW = "'p''w\\\\d-123456'"
SET_AND_KEEP = f"ALTER USER 'app'@'%' IDENTIFIED BY {NEW} RETAIN CURRENT PASSWORD;"
SET = f"ALTER USER 'app'@'%' IDENTIFIED BY {NEW};"
DISCARD = "ALTER USER 'app'@'%' DISCARD OLD PASSWORD;"


@pytest.mark.parametrize(
    ("facts", "login_error", "discard", "actions", "statements", "old_valid"),
    [
        ("password", "", False, [], [], False),
        ("password|old password", "", False, [], [], True),
        ("password", "", True, [], [], False),
        ("password|old password", "", True, ["discard the old password of app@%"], [SET, DISCARD], False),
        (
            "password",
            DENIED,
            False,
            ["set the password of app@%; the old one stays valid alongside it"],
            [SET_AND_KEEP],
            True,
        ),
        ("password", DENIED, True, ["set the password of app@%"], [SET], False),
        (
            "password|old password",
            DENIED,
            True,
            ["set the password of app@%", "discard the old password of app@%"],
            [SET, DISCARD],
            False,
        ),
        # MySQL does not retain an empty password.
        ("", DENIED, False, ["set the password of app@%"], [SET], False),
        (
            "password|old password",
            "Please use --connect-expired-password option or invoke mysql in interactive mode.\n",
            False,
            ["set the password of app@%"],
            [SET],
            True,
        ),
        ("password|old password", "ERROR 1040 (HY000): Too many connections\n", False, [], [], True),
    ],
    ids=[
        "right",
        "right, and the old one still valid",
        "right, nothing to discard",
        "right, the old one goes",
        "another one",
        "another one at once",
        "another one at once, and the old one goes",
        "none before",
        "expired",
        "cannot be tried",
    ],
)
def test_password(
    run_module,
    server: Path,
    facts: str,
    login_error: str,
    discard: bool,
    actions: list[str],
    statements: list[str],
    old_valid: bool,
) -> None:
    (server / "facts").write_text("database\naccount\n" + facts.replace("|", "\n") + "\n")
    (server / "login_error").write_text(login_error)
    if login_error:
        (server / "passwords").write_text("")
    result = run_module("mysql_account", programs=server, discard_old_password=discard, **ARGUMENTS)
    assert (result["actions"], result["changed"]) == (actions, bool(actions))
    assert [line for line in (server / "statements").read_text().splitlines() if "ALTER" in line] == statements
    assert result["old_password_valid"] == old_valid
    assert "d-123456" not in str(result)


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ("in use 123456", "'in use 123456'"),
        ("not accepted any more", None),
        ("", None),
        (None, None),
    ],
)
def test_a_second_change_keeps_the_password_that_is_in_use(
    run_module, server: Path, content: str | None, kept: str | None
) -> None:
    (server / "facts").write_text("database\naccount\npassword\nold password\n")
    (server / "passwords").write_text("in use 123456\nset last 123456\n")
    file = server / "password"
    if content is not None:
        file.write_text(content)
    result = run_module("mysql_account", programs=server, previous_password_file=str(file), **ARGUMENTS)
    first = [f"ALTER USER 'app'@'%' IDENTIFIED BY {kept};"] if kept else []
    statements = (server / "statements").read_text().splitlines()
    assert [line for line in statements if "ALTER" in line] == [*first, SET_AND_KEEP]
    (warning,) = result["warnings"]
    assert "The password of app@% is changed again" in str(warning)
    assert (f"the one in {file}" if kept else "the one set last") in str(warning)
    assert "in use" not in str(result)


@pytest.mark.parametrize(
    ("grants", "revoked"),
    [
        ("GRANT ALL PRIVILEGES ON *.* TO `app`@`%`", []),
        ("GRANT `admin`@`%`,`other`@`%` TO `app`@`%`", ["REVOKE `admin`@`%`,`other`@`%` FROM 'app'@'%';"]),
        ("GRANT `admin`@`%` TO `app`@`%` WITH ADMIN OPTION", ["REVOKE `admin`@`%` FROM 'app'@'%';"]),
        ("REVOKE SELECT ON `mysql`.* FROM `app`@`%`", []),
    ],
    ids=["on everything", "roles", "a role to pass on", "all but something"],
)
def test_excess_rights_are_revoked(run_module, server: Path, grants: str, revoked: list[str]) -> None:
    (server / "grants").write_text(f"{grants}\nGRANT SELECT, INSERT ON `my\\_app`.* TO `app`@`%`\n")
    assert run_module("mysql_account", programs=server, **ARGUMENTS)["changed"]
    statements = (server / "statement").read_text().splitlines()
    assert [line for line in statements if line.startswith(("REVOKE", "GRANT"))] == [
        *revoked,
        "REVOKE ALL PRIVILEGES, GRANT OPTION FROM 'app'@'%';",
        r"GRANT INSERT, SELECT ON `my\_app`.* TO 'app'@'%';",
    ]


def test_check_mode_changes_nothing(run_module, server: Path) -> None:
    (server / "facts").write_text("")
    assert run_module("mysql_account", programs=server, check_mode=True, **ARGUMENTS)["changed"]
    assert "CREATE" not in (server / "statements").read_text()


def test_stopped_service(run_module, server: Path) -> None:
    (server / "container").write_text("")
    result = run_module("mysql_account", programs=server, **ARGUMENTS)
    assert result["failed"]
    assert result["msg"] == 'The service "mysql" does not run on this server; start it first.'
    result = run_module("mysql_account", programs=server, missing_ok=True, **ARGUMENTS)
    assert (result["changed"], result["answered"]) == (False, False)


@pytest.mark.parametrize(
    ("container", "root_error", "facts", "sentence"),
    [
        (
            "Restarting (1) 3 seconds ago",
            "Error response from daemon: Container 4c01 is restarting, wait until the container is running\n",
            "",
            "does not answer: Error response from daemon: Container 4c01 is restarting, wait until the container is running.",
        ),
        (
            "Up 3 seconds (health: starting)",
            "ERROR 2002 (HY000): Can't connect to local MySQL server through socket '/var/run/mysqld/mysqld.sock' (2)\n",
            "",
            "does not answer: ERROR 2002 (HY000): Can't connect to local MySQL server",
        ),
        (
            "Up 3 seconds (health: starting)",
            "ERROR 1045 (28000): Access denied for user 'root'@'localhost'\n",
            "",
            "does not answer: ERROR 1045 (28000): Access denied",
        ),
        ("Up 3 seconds (health: starting)", "", "initialising\n", "still initialises its data; run this again later."),
    ],
    ids=["restarting", "starting", "without root's password", "without network"],
)
def test_a_service_that_cannot_answer_yet(
    run_module, server: Path, container: str, root_error: str, facts: str, sentence: str
) -> None:
    (server / "container").write_text(f"4c01db0b339c {container}\n")
    (server / "root_error").write_text(root_error)
    (server / "facts").write_text(facts)
    assert sentence in run_module("mysql_account", programs=server, **ARGUMENTS)["msg"]
    result = run_module("mysql_account", programs=server, missing_ok=True, **ARGUMENTS)
    assert (result["actions"], result["answered"]) == ([], False)
    assert not any("ALTER" in path.read_text() for path in server.glob("statements"))


def test_another_root_password_is_refused(run_module, server: Path) -> None:
    (server / "root_error").write_text("ERROR 1045 (28000): Access denied for user 'root'@'localhost'\n")
    result = run_module("mysql_account", programs=server, missing_ok=True, **ARGUMENTS)
    assert "does not accept this root password" in result["msg"]


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
    (server / "facts").write_text("account\npassword\n")
    (server / "grants").write_text("GRANT PROCESS, REPLICATION CLIENT ON *.* TO `exporter`@`%`\n")
    assert not run_module("mysql_account", programs=server, **EXPORTER)["changed"]


def test_rights_on_both(run_module, server: Path) -> None:
    result = run_module("mysql_account", programs=server, global_privileges=["PROCESS"], **ARGUMENTS)
    assert result["actions"] == ["grant INSERT, SELECT on my_app and PROCESS on the server to app@%, and nothing else"]


ANOTHER = {"user": "exporter", "password": "an exporter's password", "global_privileges": ["PROCESS"]}


def test_several_accounts_in_one_call(run_module, server: Path) -> None:
    (server / "facts").write_text("")
    result = run_module("mysql_account", programs=server, **ARGUMENTS, also=[ANOTHER])
    assert result["actions"] == [
        "create the database my_app",
        "create the account app@%",
        "grant INSERT, SELECT on my_app to app@%, and nothing else",
        "create the account exporter@%",
        "grant PROCESS on the server to exporter@%, and nothing else",
    ]
    statements = (server / "statements").read_text()
    assert "CREATE USER 'exporter'@'%' IDENTIFIED BY 'an exporter''s password';" in statements
    assert "GRANT PROCESS ON *.* TO 'exporter'@'%';" in statements


def test_an_old_password_of_any_account_is_reported_and_keeps_the_note_away(
    run_module, server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = []
    monkeypatch.setattr(mysql_account.settled.Notes, "write", lambda self, key, *given: notes.append(key))
    asked = {**ARGUMENTS, "settled": "asked", "login_file": "/run/secrets/root.cnf"}
    # The exporter's password is not the one in use.
    assert run_module("mysql_account", programs=server, **asked, also=[ANOTHER])["old_password_valid"]
    assert notes == []
    (server / "passwords").write_text(f"{WRITTEN}\n{ANOTHER['password']}\n")
    assert not run_module("mysql_account", programs=server, **asked, also=[ANOTHER])["old_password_valid"]
    assert notes == ["mysql_account/app"]


def test_rights_on_nothing_are_refused(run_module, server: Path) -> None:
    without = {name: value for name, value in ARGUMENTS.items() if name != "privileges"}
    assert (
        "privileges, global_privileges: both are empty"
        in run_module("mysql_account", programs=server, **without)["msg"]
    )
    nothing = {"user": "exporter", "password": "an exporter's password"}
    assert (
        "privileges, global_privileges: both are empty"
        in run_module("mysql_account", programs=server, **ARGUMENTS, also=[nothing])["msg"]
    )
    without = {name: value for name, value in ARGUMENTS.items() if name != "database"}
    assert "database: it is missing" in run_module("mysql_account", programs=server, **without)["msg"]


@pytest.mark.parametrize(
    ("facts", "login_error", "given", "noted"),
    [
        ("password", "", {}, True),
        ("password", DENIED, {}, False),
        ("password|old password", "", {}, False),
        # Whether the password is right could not be determined.
        ("password", "ERROR 1040 (HY000): Too many connections\n", {}, False),
        ("password", "", {"discard_old_password": True}, False),
        ("password", "", {"login_file": None}, False),
        ("password", "", {"check_mode": True}, False),
    ],
)
def test_an_account_is_noted_once_it_is_known_to_be_right(
    run_module,
    server: Path,
    monkeypatch: pytest.MonkeyPatch,
    facts: str,
    login_error: str,
    given: dict[str, Any],
    noted: bool,
) -> None:
    (server / "facts").write_text("database\naccount\n" + facts.replace("|", "\n") + "\n")
    (server / "login_error").write_text(login_error)
    if login_error:
        (server / "passwords").write_text("")
    notes = []
    monkeypatch.setattr(mysql_account.settled.Notes, "write", lambda self, key, *given: notes.append((key, *given)))
    asked = {"settled": "asked", "login_file": "/run/secrets/root.cnf", **given}
    run_module("mysql_account", programs=server, **ARGUMENTS, **asked)
    assert [(key, digest) for key, digest, *_rest in notes] == ([("mysql_account/app", "asked")] if noted else [])


@pytest.mark.parametrize(
    ("traces", "given", "asked"),
    [
        ([], {}, False),
        (["mysql"], {}, True),
        (None, {}, True),
        ([], {"missing_ok": False}, True),
        ([], {"service": "other"}, False),
    ],
    ids=["nothing of it", "something of it", "not known", "it must be there", "nothing of another"],
)
def test_a_service_of_which_there_is_nothing_is_not_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, traces: list[str] | None, given: dict[str, Any], asked: bool
) -> None:
    here = {"inventory_hostname": "www", "ansible_play_name": "The whole system"}
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda self, tmp, task_vars: {})
    calls: list[str] = []

    def execute(name: str, *rest: Any, **call: Any) -> dict[str, Any]:
        calls.append(name)
        return {"changed": False, "actions": [], "answered": True}

    remember(here, traces=traces)
    action = object.__new__(ActionModule)
    arguments = {**ARGUMENTS, "service": "mysql", "missing_ok": True, **given}
    action._task = SimpleNamespace(args=arguments, delegate_to=None, check_mode=False)
    action._execute_module = execute
    assert action.run(task_vars=here) == {"changed": False, "actions": [], "answered": asked}
    assert bool(calls) is asked
