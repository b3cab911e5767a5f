"""What mysql_account does about an initialisation of MySQL that was cut short."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.miniweb.stack.plugins.module_utils import mysql_data

ARGUMENTS = {
    "root_password": "r00t-123456789",
    "database": "app",
    "user": "app",
    "password": "p-1234567890",
    "privileges": ["SELECT"],
}
DOCKER = """\
#!/bin/sh
here=$(dirname "$0")
echo "$*" >> "$here/told"
case "$*" in
  "ps --all"*) test ! -s "$here/state" || echo 4c01 ;;
  "ps "*) test ! -s "$here/state" || case $(cat "$here/state") in exited|dead|created) ;; *) echo "4c01 Up" ;; esac ;;
  "inspect "*) read -r state restarts < "$here/state"
    printf '[{"Id": "4c01", "RestartCount": %s, "State": {"Status": "%s"}}]' "${restarts:-0}" "$state" ;;
  "volume ls"*) test ! -d "$here/data" || echo miniweb-mysql_data ;;
  "volume inspect"*) echo "$here/data" ;;
  *mysql_tzinfo_to_sql*) echo "INSERT INTO time_zone;" ;;
  "exec "*)
    cat > "$here/input"
    if [ -s "$here/root_error" ]; then
      if ! grep -qF 'password=""' "$here/input"; then
        cat "$here/root_error" >&2; exit 1
      fi
      if [ ! -s "$here/without_password" ]; then
        cat "$here/root_error" >&2; exit 1
      fi
    fi
    if grep -q "@@skip_networking;" "$here/input" && ! grep -q initialising "$here/input"; then
      cat "$here/without_password"
    fi
    ! grep -q "ALTER USER 'root'" "$here/input" || : > "$here/root_error"
    cat "$here/input" >> "$here/statements" ;;
esac
"""
DENIED = "ERROR 1045 (28000): Access denied for user 'root'@'localhost' (using password: YES)\n"
RESTARTING = "Error response from daemon: Container 4c01 is restarting, wait until the container is running\n"
REMOVED = "remove the empty data directory that an interrupted initialisation left"
FINISHED = "finish an interrupted initialisation: set the password of root@localhost"
# What MySQL itself has made when its initialisation is cut short
OWN = ["mysql/", "sys/", "performance_schema/", "#innodb_redo/", "#innodb_temp/", "ibdata1", "auto.cnf", "undo_001"]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A server on which MySQL's container keeps exiting."""
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    for name, content in {"state": "restarting", "root_error": RESTARTING, "without_password": "", "told": ""}.items():
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(mysql_data, "BASE_DIRECTORY", str(tmp_path / "opt"))
    return tmp_path


def data(server: Path, names: list[str]) -> None:
    for name in names:
        path = server / "data" / name
        if name.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")


def healthy(server: Path, ids: list[str]) -> None:
    (server / "opt" / "mysql").mkdir(parents=True)
    (server / "opt" / "mysql" / "state.json").write_text(json.dumps({"healthy": ids}))


@pytest.mark.parametrize(
    ("names", "state", "seen", "removed"),
    [
        (OWN, "restarting", [], True),
        (OWN, "exited", [], True),
        (OWN, "dead", [], True),
        (["ibdata1"], "restarting", [], True),
        # The container was removed by hand, its volume was not.
        (OWN, "", [], True),
        # Nothing to remove: the next start initialises it.
        ([], "restarting", [], False),
        # It is being initialised, or recovers, or somebody paused it.
        (OWN, "running", [], False),
        (OWN, "running 1", [], False),
        (OWN, "running 2", [], True),
        (OWN, "paused", [], False),
        # It worked before.
        (OWN, "restarting", ["4c00"], False),
        # It holds a database.
        ([*OWN, "app/"], "restarting", [], False),
        ([*OWN, "shop/orders.ibd"], "exited", [], False),
    ],
    ids=str,
)
def test_a_data_directory_is_removed_only_if_it_provably_holds_nothing(
    run_module: Any, server: Path, names: list[str], state: str, seen: list[str], removed: bool
) -> None:
    data(server, names)
    healthy(server, seen)
    (server / "state").write_text(f"{state}\n" if state else "")
    for check in (True, False):
        result = run_module("mysql_account", programs=server, missing_ok=True, check_mode=check, **ARGUMENTS)
        assert (result["actions"], result["answered"]) == ([REMOVED] if removed else [], False)
        assert ("volume rm miniweb-mysql_data" in (server / "told").read_text()) == (removed and not check)
    if any(name.startswith(("app", "shop")) for name in names):
        assert "has never worked on this server, but its volume miniweb-mysql_data holds" in json.dumps(result)
        assert "mysql_remove_data: true" in json.dumps(result)


@pytest.mark.parametrize(
    ("answers", "finished"),
    [
        ("0", True),
        # The image is initialising it at this moment: it is not open to the network.
        ("1", False),
        # Root has another password.
        ("", False),
    ],
)
def test_an_initialisation_cut_short_before_root_had_a_password_is_finished(
    run_module: Any, server: Path, answers: str, finished: bool
) -> None:
    (server / "state").write_text("running")
    (server / "root_error").write_text(DENIED)
    (server / "without_password").write_text(answers)
    result = run_module("mysql_account", programs=server, check_mode=True, **ARGUMENTS)
    assert (FINISHED in result.get("actions", [])) == finished
    assert "ALTER USER 'root'" not in (server / "told").read_text()
    result = run_module("mysql_account", programs=server, **ARGUMENTS)
    assert (result.get("actions") or [None])[0] == (FINISHED if finished else None)
    assert ("does not accept this root password" in result.get("msg", "")) != finished
    if finished:
        statements = (server / "statements").read_text()
        assert "ALTER USER 'root'@'localhost' IDENTIFIED BY 'r00t-123456789';" in statements
        assert "INSERT INTO time_zone;" in statements
        assert "r00t" not in json.dumps(result)
