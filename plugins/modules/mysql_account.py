#!/usr/bin/python
# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a database and its account right inside a MySQL service."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mysql_account
short_description: Keep a database and its account right inside a MySQL service
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Makes sure that the database exists and that the account has this password and these rights on it, and no others.
  - The image's own variables do so on an empty data directory only; this module also does it later.
  - A changed password does not lock out who still has the old one. That stays valid beside the new one, until a call with
    O(discard_old_password=true) says that nobody needs it any more. MySQL keeps two passwords at most; which one stays
    when it changes again in between is decided by O(previous_password_file), and a warning says so.
  - It runs C(mysql) inside the container of a service made by M(miniweb.stack.compose_service), over standard input,
    so that no port is published and no password stands on a command line.
requirements:
  - MySQL 8.0.14 or newer
options:
  service:
    description: Name of the MySQL service.
    type: str
    default: mysql
  root_password:
    description: Password of root, who logs in inside the container.
    type: str
    required: true
  database:
    description: Name of the database. Required with O(privileges).
    type: str
  user:
    description: Name of the account.
    type: str
    required: true
  host:
    description: Host part of the account.
    type: str
    default: "%"
  password:
    description: Password of the account.
    type: str
    required: true
  previous_password_file:
    description:
      - File on the server with the password that was in use until now.
      - It decides which of two valid passwords is kept when the password changes once more. Without it, with a file that
        does not exist, or with one whose password MySQL no longer accepts, that is the one that was set last.
    type: path
  discard_old_password:
    description:
      - O(password) is the only one that is valid afterwards.
      - Say so when all that log in with this account have O(password) and are healthy.
    type: bool
    default: false
  privileges:
    description: Rights on the database. Other rights are revoked.
    type: list
    elements: str
    default: []
  global_privileges:
    description: Rights on the whole server, such as C(PROCESS) for an exporter. Other rights are revoked.
    type: list
    elements: str
    default: []
  missing_ok:
    description:
      - A service that does not run, or that cannot answer while it starts, initialises or restarts, is left alone.
      - For a first run, in which the image makes the account, and for a MySQL that must be mended first.
    type: bool
    default: false
extends_documentation_fragment:
  - miniweb.stack.attributes
attributes:
  diff_mode:
    support: none
    description: RV(actions) says what changed.
"""

EXAMPLES = r"""
- name: Let the application read and write its tables
  miniweb.stack.mysql_account:
    root_password: "{{ root_password }}"
    database: app
    user: app
    password: "{{ app_password }}"
    privileges: [SELECT, INSERT, UPDATE, DELETE]

- name: Let an exporter read the server's state
  miniweb.stack.mysql_account:
    root_password: "{{ root_password }}"
    user: exporter
    password: "{{ exporter_password }}"
    global_privileges: [PROCESS, REPLICATION CLIENT]
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode, in words.
  returned: always
  type: list
  elements: str
  sample: ["set the password of app@%; the old one stays valid beside it"]
answered:
  description: Whether MySQL was asked. V(false) only with O(missing_ok=true) or in check mode.
  returned: always
  type: bool
old_password_valid:
  description: Whether another password than O(password) is still valid.
  returned: when RV(answered) is true
  type: bool
"""

import re
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import last_line, read_file

PROJECT_PREFIX = "miniweb-"

# Reads the login from the first three lines of its input, SQL from the rest: neither stands on a command line. `read`
# takes no byte more than its line.
WITH_LOGIN = """
umask 077
file=/tmp/.miniweb-login-$$
trap 'rm -f "$file"' EXIT
for line in 1 2 3; do IFS= read -r text; printf '%s\\n' "$text"; done > "$file"
mysql --defaults-file="$file" "$@"
"""

# What the client says when no server listens, and the engine when the container is not up
SILENT = re.compile(r"ERROR 2002 |[Cc]ontainer \S+ is (not running|restarting|paused)")
WRONG_PASSWORD = "ERROR 1045 "
EXPIRED_PASSWORD = "--connect-expired-password"


class Unavailable(Exception):
    """MySQL cannot be asked now; the message says why in one sentence."""


def text(value: str) -> str:
    """Return a value as an SQL string literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def identifier(value: str) -> str:
    """Return a name as an SQL identifier."""
    return "`" + value.replace("`", "``") + "`"


def pattern(database: str) -> str:
    """Return a database's name as GRANT takes it, where ``_`` and ``%`` would otherwise be wildcards."""
    return identifier(database.replace("_", r"\_").replace("%", r"\%"))


def option_value(value: str) -> str:
    """Return a value as MySQL's option files quote it."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def login_options(user: str, password: str) -> str:
    """Return a login as the three lines that WITH_LOGIN reads."""
    return f"[client]\nuser={option_value(user)}\npassword={option_value(password)}\n"


def granted(rows: list[str]) -> dict[str, set[str]]:
    """Return the rights in the output of SHOW GRANTS: rights by what they are granted on.

    >>> granted(["GRANT SELECT, INSERT ON `app`.* TO `app`@`%`"])["`app`.*"] == {"SELECT", "INSERT"}
    True
    """
    found: dict[str, set[str]] = {}
    for row in rows:
        match = re.match(r"GRANT (.+?) ON (.+?) TO ", row)
        if not match:
            found.setdefault("role", set()).add(row)
            continue
        rights = {right.strip().upper() for right in match[1].split(",")} - {"USAGE"}
        if "WITH GRANT OPTION" in row:
            rights.add("GRANT OPTION")
        if rights:
            found.setdefault(match[2], set()).update(rights)
    return found


def password_statements(account: str, password: str, retained: str | None) -> list[str]:
    """Return the SQL that sets a password and keeps another one beside it.

    :param retained: the one to keep, where that is not the one that was set last.
    """
    statements = [] if retained is None else [f"ALTER USER {account} IDENTIFIED BY {text(retained)};"]
    return [*statements, f"ALTER USER {account} IDENTIFIED BY {text(password)} RETAIN CURRENT PASSWORD;"]


class Client:
    """The ``mysql`` program inside the service's container."""

    def __init__(self, module: AnsibleModule, docker: str) -> None:
        """Find the container.

        :raises Unavailable: there is none that runs.
        """
        self.module = module
        self.service = module.params["service"]
        found: list[str] = []
        if docker:
            words = [docker, "ps", "--filter", f"label=com.docker.compose.project={PROJECT_PREFIX}{self.service}"]
            found = module.run_command([*words, "--format", "{{.ID}} {{.Status}}"])[1].splitlines()
        if not found:
            raise Unavailable(f'The service "{self.service}" does not run on this server; start it first.')
        container, dummy, status = found[0].partition(" ")
        self.starting = "(health: starting)" in status
        self.command = [docker, "exec", "--interactive", container]

    def query(self, statements: str) -> list[str]:
        """Run SQL as root; return the lines of its answer.

        :raises Unavailable: MySQL does not answer, or not as root's, as it does while it initialises.
        """
        options = login_options("root", self.module.params["root_password"])
        words = [*self.command, "sh", "-c", WITH_LOGIN, "sh", "--batch", "--skip-column-names", "--raw"]
        code, out, err = self.module.run_command(words, data=options + statements)
        if code:
            refused = "Access denied" in err
            if SILENT.search(err) or (refused and self.starting):
                raise Unavailable(f'MySQL of the service "{self.service}" does not answer: {last_line(err)}.')
            if refused:
                self.module.fail_json(
                    msg=f'MySQL of the service "{self.service}" does not accept this root password: its data volume '
                    "was made with another one; give that one, or change it in MySQL first."
                )
            self.module.fail_json(msg=f'MySQL of the service "{self.service}" refuses: {last_line(err)}.')
        return out.splitlines()

    def login_error(self, user: str, password: str) -> str:
        """Return what the account is told when it logs in over TCP with this password; nothing when it may."""
        words = [*self.command, "sh", "-c", WITH_LOGIN, "sh", "--host=127.0.0.1", "--protocol=TCP"]
        code, dummy, err = self.module.run_command(words, data=login_options(user, password) + "SELECT 1;\n")
        return (err.strip() or "it said nothing") if code else ""


def ensure_account(module: AnsibleModule, client: Client) -> dict[str, t.Any]:
    """Bring database and account to the wanted state; return the module's result.

    :raises Unavailable: MySQL cannot be asked now.
    """
    params = module.params
    database, name, password = params["database"], f"{params['user']}@{params['host']}", params["password"]
    account = f"{text(params['user'])}@{text(params['host'])}"
    wanted = {
        target: {" ".join(right.upper().split()) for right in rights}
        for target, rights in (
            (f"{pattern(database or '')}.*", params["privileges"]),
            ("*.*", params["global_privileges"]),
        )
        if rights
    }
    where = f"FROM mysql.user WHERE user = {text(params['user'])} AND host = {text(params['host'])}"
    facts = client.query(
        "SELECT 'initialising' WHERE @@skip_networking;\n"
        f"SELECT 'database' FROM information_schema.schemata WHERE schema_name = {text(database or '')};\n"
        f"SELECT 'account' {where};\n"
        f"SELECT 'password' {where} AND authentication_string != '';\n"
        f"SELECT 'old password' {where} AND User_attributes ->> '$.additional_password' IS NOT NULL;\n"
    )
    if "initialising" in facts:
        raise Unavailable(f'MySQL of the service "{client.service}" still initialises its data; run this again later.')
    actions, statements = [], []
    if database and "database" not in facts:
        actions.append(f"create the database {database}")
        statements.append(f"CREATE DATABASE {identifier(database)};")
    rights: dict[str, set[str]] = {}
    old = "old password" in facts
    if "account" not in facts:
        actions.append(f"create the account {name}")
        statements.append(f"CREATE USER {account} IDENTIFIED BY {text(password)};")
    else:
        # Only a refusal of the password itself says that it differs: "too many connections", for example, does not.
        error = client.login_error(params["user"], password)
        wrong, expired = WRONG_PASSWORD in error, EXPIRED_PASSWORD in error
        if params["discard_old_password"] and (wrong or old):
            # Of two valid passwords MySQL does not say which is which, so the wanted one is set before the other goes.
            statements.append(f"ALTER USER {account} IDENTIFIED BY {text(password)};")
            statements += [f"ALTER USER {account} DISCARD OLD PASSWORD;"] if old else []
            actions += [f"set the password of {name}"] if wrong else []
            actions += [f"discard the old password of {name}"] if old else []
            old = False
        elif wrong and "password" in facts:
            retained = None
            if old:
                found = read_file(params["previous_password_file"]) if params["previous_password_file"] else None
                previous = found.content.decode(errors="replace") if found else ""
                retained = previous if previous and not client.login_error(params["user"], previous) else None
                kept = "was set before it" if retained is None else f"{params['previous_password_file']} has"
                module.warn(
                    f"The password of {name} changes again before all that use it were seen healthy, and MySQL keeps two: "
                    f"beside the new one the one that {kept} stays valid; deploy in this run what may have another."
                )
            statements += password_statements(account, password, retained)
            actions.append(f"set the password of {name}; the old one stays valid beside it")
            old = True
        elif wrong or expired:
            statements.append(f"ALTER USER {account} IDENTIFIED BY {text(password)};")
            actions.append(f"set the password of {name}")
        rights = granted(client.query(f"SHOW GRANTS FOR {account};"))
    if rights != wanted:
        grants = [(", ".join(sorted(of)), "the server" if on == "*.*" else database, on) for on, of in wanted.items()]
        words = " and ".join(f"{of} on {where}" for of, where, dummy in grants)
        actions.append(f"grant {words} to {name}, and nothing else")
        if rights:
            statements.append(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {account};")
        statements += [f"GRANT {of} ON {on} TO {account};" for of, dummy, on in grants]
    if statements and not module.check_mode:
        client.query("\n".join(statements))
    return {"changed": bool(actions), "actions": actions, "answered": True, "old_password_valid": old}


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "service": {"type": "str", "default": "mysql"},
            "root_password": {"type": "str", "required": True, "no_log": True},
            "database": {"type": "str"},
            "user": {"type": "str", "required": True},
            "host": {"type": "str", "default": "%"},
            "password": {"type": "str", "required": True, "no_log": True},
            "previous_password_file": {"type": "path", "no_log": False},
            "discard_old_password": {"type": "bool", "default": False, "no_log": False},
            "privileges": {"type": "list", "elements": "str", "default": []},
            "global_privileges": {"type": "list", "elements": "str", "default": []},
            "missing_ok": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    params = module.params
    if not params["privileges"] and not params["global_privileges"]:
        module.fail_json(msg="privileges, global_privileges: both are empty; give at least one right.")
    if params["privileges"] and not params["database"]:
        module.fail_json(msg="database: it is missing; name the one that privileges are for.")
    try:
        result = ensure_account(module, Client(module, module.get_bin_path("docker") or ""))
    except Unavailable as error:
        if not params["missing_ok"] and not module.check_mode:
            module.fail_json(msg=str(error))
        result = {"changed": False, "actions": [], "answered": False}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
