#!/usr/bin/python
# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
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
  - It runs C(mysql) inside the container of a service made by M(miniweb.stack.compose_service), over standard input,
    so that no port is published and no password stands on a command line.
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
    version_added: 1.1.0
  missing_ok:
    description: A service that does not run is left alone, for a first run in which the image makes the account.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Says what it would do.
  diff_mode:
    support: none
    description: RV(actions) says what changed.
  idempotent:
    support: full
    description: An account that is right stays.
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
  sample: ["set the password of app@%"]
"""

import re

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import last_line

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


class Client:
    """The ``mysql`` program inside the service's container."""

    def __init__(self, module: AnsibleModule, container: str, docker: str) -> None:
        self.module = module
        self.command = [docker, "exec", "--interactive", container]

    def query(self, statements: str) -> list[str]:
        """Run SQL as root; return the lines of its answer."""
        options = login_options("root", self.module.params["root_password"])
        words = [*self.command, "sh", "-c", WITH_LOGIN, "sh", "--batch", "--skip-column-names", "--raw"]
        code, out, err = self.module.run_command(words, data=options + statements)
        if code:
            service = self.module.params["service"]
            if "Access denied" in err:
                self.module.fail_json(
                    msg=f'MySQL of the service "{service}" does not accept this root password: its data volume was '
                    "made with another one; give that one, or change it in MySQL first."
                )
            self.module.fail_json(msg=f'MySQL of the service "{service}" refuses: {last_line(err)}.')
        return out.splitlines()

    def accepts(self, user: str, password: str) -> bool:
        """Return whether the account can log in over TCP with this password."""
        words = [*self.command, "sh", "-c", WITH_LOGIN, "sh", "--host=127.0.0.1", "--protocol=TCP"]
        return self.module.run_command(words, data=login_options(user, password) + "SELECT 1;\n")[0] == 0


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
    docker = module.get_bin_path("docker")
    project = PROJECT_PREFIX + params["service"]
    container = ""
    if docker:
        words = [docker, "ps", "--quiet", "--filter", f"label=com.docker.compose.project={project}"]
        container = (module.run_command(words)[1].split() or [""])[0]
    if not container:
        if params["missing_ok"] or module.check_mode:
            module.exit_json(changed=False, actions=[])
        module.fail_json(msg=f'The service "{params["service"]}" does not run on this server; start it first.')

    client = Client(module, container, docker)
    database, name = params["database"], f"{params['user']}@{params['host']}"
    account = f"{text(params['user'])}@{text(params['host'])}"
    wanted = {
        target: {" ".join(right.upper().split()) for right in rights}
        for target, rights in (
            (f"{pattern(database or '')}.*", params["privileges"]),
            ("*.*", params["global_privileges"]),
        )
        if rights
    }
    facts = client.query(
        f"SELECT 'database' FROM information_schema.schemata WHERE schema_name = {text(database or '')};\n"
        f"SELECT 'account' FROM mysql.user WHERE user = {text(params['user'])} AND host = {text(params['host'])};\n"
    )
    actions, statements = [], []
    if database and "database" not in facts:
        actions.append(f"create the database {database}")
        statements.append(f"CREATE DATABASE {identifier(database)};")
    rights: dict[str, set[str]] = {}
    if "account" not in facts:
        actions.append(f"create the account {name}")
        statements.append(f"CREATE USER {account} IDENTIFIED BY {text(params['password'])};")
    else:
        if not client.accepts(params["user"], params["password"]):
            actions.append(f"set the password of {name}")
            statements.append(f"ALTER USER {account} IDENTIFIED BY {text(params['password'])};")
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
    module.exit_json(changed=bool(actions), actions=actions)


if __name__ == "__main__":
    main()
