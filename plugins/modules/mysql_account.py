#!/usr/bin/python
# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manage a database and its account in a MySQL service."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mysql_account
short_description: Manage a database and its account in a MySQL service
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Makes sure that the database exists and that the account has the given password and exactly the given privileges on it.
  - The image's own variables do so only on an empty data directory; this module also does it later.
  - A changed password does not lock out clients that still use the old one, which stays valid alongside the new one until a
    call with O(discard_old_password=true). MySQL keeps at most two passwords; O(previous_password_file) decides which one
    stays when the password changes again in between, and a warning says so.
  - An initialisation of the data directory that was cut short is completed. If MySQL does not even start with what it left, this
    module removes the service's container and volume, so that its next start makes them anew, but only if the service has
    never been healthy and there is no database in the volume; otherwise it warns.
  - It runs C(mysql) inside the container of a service made by M(miniweb.stack.compose_service), over standard input, so that
    no port is published and no password appears on a command line.
requirements:
  - MySQL 8.0.14 or newer
options:
  service:
    description: Name of the MySQL service.
    type: str
    default: mysql
  root_password:
    description: Password of root, for the login inside the container.
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
      - File on the server with the password in use before this change.
      - It decides which of two valid passwords is kept when the password changes once more. Without it, with a file that
        does not exist, or with one whose password MySQL no longer accepts, the one that was set last is kept.
    type: path
  discard_old_password:
    description:
      - Afterwards only O(password) is valid.
      - Use it when all clients of this account have O(password) and are healthy.
    type: bool
    default: false
  privileges:
    description: Privileges on the database. Other privileges are revoked.
    type: list
    elements: str
    default: []
  global_privileges:
    description: Privileges on the whole server, such as C(PROCESS) for an exporter. Other privileges are revoked.
    type: list
    elements: str
    default: []
  login_file:
    description:
      - File inside the container that C(mysql) reads root's login from, such as a secret of the service.
      - With it, a later run of the whole system can check with one query that nothing has changed in MySQL's accounts.
    type: str
  also:
    description: Further accounts of the same service. O(previous_password_file) does not apply to them.
    type: list
    elements: dict
    default: []
    suboptions:
      user:
        description: Like O(user).
        type: str
        required: true
      host:
        description: Like O(host).
        type: str
        default: "%"
      password:
        description: Like O(password).
        type: str
        required: true
      database:
        description: Like O(database).
        type: str
      privileges:
        description: Like O(privileges).
        type: list
        elements: str
        default: []
      global_privileges:
        description: Like O(global_privileges).
        type: list
        elements: str
        default: []
  missing_ok:
    description:
      - Skips a service that is not running, or that cannot answer while it starts, initialises or restarts.
      - For a first run, in which the image creates the account, and for a MySQL that must be repaired first.
    type: bool
    default: false
extends_documentation_fragment:
  - miniweb.stack.attributes
  - miniweb.stack.settled
attributes:
  diff_mode:
    support: none
    description: RV(actions) says what changed.
"""

EXAMPLES = r"""
- name: Give the application access to its tables
  miniweb.stack.mysql_account:
    root_password: "{{ root_password }}"
    database: app
    user: app
    password: "{{ app_password }}"
    privileges: [SELECT, INSERT, UPDATE, DELETE]

- name: Give an exporter access to the server's status
  miniweb.stack.mysql_account:
    root_password: "{{ root_password }}"
    user: exporter
    password: "{{ exporter_password }}"
    global_privileges: [PROCESS, REPLICATION CLIENT]
"""

RETURN = r"""
actions:
  description: Descriptions of what was done, or would be done in check mode.
  returned: always
  type: list
  elements: str
  sample: ["set the password of app@%; the old one stays valid alongside it"]
answered:
  description: Whether MySQL was asked. V(false) only with O(missing_ok=true) or in check mode.
  returned: always
  type: bool
old_password_valid:
  description: Whether another password than the given one is still valid for one of the accounts.
  returned: when RV(answered) is true
  type: bool
"""

import re
import typing as t

from ansible_collections.miniweb.stack.plugins.module_utils import settled
from ansible_collections.miniweb.stack.plugins.module_utils.compose.engine import ONE_OFF_LABEL, PROJECT_LABEL
from ansible_collections.miniweb.stack.plugins.module_utils.compose.model import PROJECT_PREFIX, ServiceError
from ansible_collections.miniweb.stack.plugins.module_utils.mysql_data import remove_unfinished
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import cause, read_file
from ansible_collections.miniweb.stack.plugins.module_utils.server_module import ServerModule

# Reads the login from the first three lines of its input and SQL from the rest, so that neither appears on a command
# line. `read` consumes no byte beyond its line.
WITH_LOGIN = """
umask 077
file=/tmp/.miniweb-login-$$
trap 'rm -f "$file"' EXIT
for line in 1 2 3; do IFS= read -r text; printf '%s\\n' "$text"; done > "$file"
mysql --defaults-file="$file" "$@"
"""

# What the client prints when no server listens, and the engine when the container is not up
SILENT = re.compile(r"ERROR 2002 |[Cc]ontainer \S+ is (not running|restarting|paused)")
WRONG_PASSWORD = "ERROR 1045 "
EXPIRED_PASSWORD = "--connect-expired-password"
# Any change to an account, its privileges or a database changes the result.
TABLES = ("user", "db", "global_grants", "role_edges", "tables_priv", "columns_priv", "procs_priv", "proxies_priv")
EVERYTHING = "; ".join(
    f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4"
    for table in (*(f"mysql.{name}" for name in TABLES), "information_schema.schemata")
)


class Unavailable(Exception):
    """MySQL cannot be queried now; the message says why in one sentence."""


def text(value: str) -> str:
    """Return a value as an SQL string literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def identifier(value: str) -> str:
    """Return a name as an SQL identifier."""
    return "`" + value.replace("`", "``") + "`"


def pattern(database: str) -> str:
    """Return a database's name for GRANT, where ``_`` and ``%`` would otherwise be wildcards."""
    return identifier(database.replace("_", r"\_").replace("%", r"\%"))


def option_value(value: str) -> str:
    """Return a value quoted for a MySQL option file."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def login_options(user: str, password: str) -> str:
    """Return a login as the three lines that WITH_LOGIN reads."""
    return f"[client]\nuser={option_value(user)}\npassword={option_value(password)}\n"


def granted(rows: list[str]) -> dict[str, set[str]]:
    """Return the privileges in the output of SHOW GRANTS, by what they are granted on.

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


def roles_in(rights: dict[str, set[str]]) -> list[str]:
    """Return the granted roles as SQL names; revoking all privileges does not revoke them."""
    found = [re.match(r"GRANT (.+) TO ", row) for row in sorted(rights.get("role", ()))]
    return [match[1] for match in found if match]


def wanted_rights(database: str, privileges: list[str], global_privileges: list[str]) -> dict[str, set[str]]:
    """Return privileges by what they are granted on, spelled as in SHOW GRANTS."""
    given = {f"{pattern(database)}.*": privileges, "*.*": global_privileges}
    return {target: {" ".join(right.upper().split()) for right in rights} for target, rights in given.items() if rights}


def password_statements(account: str, password: str, retained: str | None) -> list[str]:
    """Return the SQL that sets a password and keeps another one valid alongside it.

    :param retained: the one to keep, unless that is the one that was set last.
    """
    statements = [] if retained is None else [f"ALTER USER {account} IDENTIFIED BY {text(retained)};"]
    return [*statements, f"ALTER USER {account} IDENTIFIED BY {text(password)} RETAIN CURRENT PASSWORD;"]


class Client:
    """The ``mysql`` program inside the service's container."""

    def __init__(self, module: ServerModule, docker: str) -> None:
        """Find the container.

        :raises Unavailable: none is running.
        """
        self.module = module
        self.service = module.params["service"]
        found: list[str] = []
        if docker:
            labels = (f"{PROJECT_LABEL}={PROJECT_PREFIX}{self.service}", f"{ONE_OFF_LABEL}=False")
            filters = [word for label in labels for word in ("--filter", f"label={label}")]
            words = [docker, "ps", *filters, "--format", "{{.ID}} {{.Status}}"]
            found = module.run_command(words)[1].splitlines()
        if not found:
            raise Unavailable(f'The service "{self.service}" does not run on this server; start it first.')
        container, dummy, status = found[0].partition(" ")
        self.starting = "(health: starting)" in status
        self.root_password: str = module.params["root_password"]
        self.actions: list[str] = []
        self.plain = [docker, "exec", container]
        self.command = [docker, "exec", "--interactive", container]

    def query(self, statements: str) -> list[str]:
        """Run SQL as root; return the lines of its output.

        :raises Unavailable: MySQL does not answer, or does not accept root's login while it is starting.
        """
        code, out, err = self._as_root(statements)
        if code and "Access denied" in err and self._is_unfinished():
            self._finish()
            code, out, err = self._as_root(statements)
        if code:
            refused = "Access denied" in err
            if SILENT.search(err) or (refused and self.starting):
                raise Unavailable(f'MySQL of the service "{self.service}" does not answer: {cause(err)}.')
            if refused:
                self.module.fail_json(
                    msg=f'MySQL of the service "{self.service}" does not accept this root password: its data volume '
                    "was created with a different one; give that one, or change it in MySQL first."
                )
            self.module.fail_json(msg=f'MySQL of the service "{self.service}" reports an error: {cause(err)}.')
        return out.splitlines()

    def _as_root(self, statements: str) -> tuple[int, str, str]:
        words = [*self.command, "sh", "-c", WITH_LOGIN, "sh", "--batch", "--skip-column-names", "--raw"]
        return self.module.run_command(words, data=login_options("root", self.root_password) + statements)

    def _is_unfinished(self) -> bool:
        """Return whether root has no password although MySQL is open to the network; its initialisation was cut short."""
        given, self.root_password = self.root_password, ""
        code, out, dummy = self._as_root("SELECT @@skip_networking;\n")
        self.root_password = given
        return code == 0 and out.strip() == "0"

    def _finish(self) -> None:
        """Set root's password and load the time zones, which the image does last but for the accounts."""
        self.actions.append("finish an interrupted initialisation: set the password of root@localhost")
        password, self.root_password = self.root_password, ""
        if self.module.check_mode:
            return
        zones = self.module.run_command([*self.plain, "mysql_tzinfo_to_sql", "/usr/share/zoneinfo"])[1]
        # The password last: until then, the next run finds the initialisation unfinished, too.
        for statements in (f"USE mysql;\n{zones}", f"ALTER USER 'root'@'localhost' IDENTIFIED BY {text(password)};\n"):
            code, dummy, err = self._as_root(statements)
            if code:
                self.module.fail_json(
                    msg=f'The interrupted initialisation of MySQL of the service "{self.service}" cannot be finished: {cause(err)}.'
                )
        self.root_password = password

    def login_error(self, user: str, password: str) -> str:
        """Return the error when the account logs in over TCP with this password; empty on success."""
        words = [*self.command, "sh", "-c", WITH_LOGIN, "sh", "--host=127.0.0.1", "--protocol=TCP"]
        code, dummy, err = self.module.run_command(words, data=login_options(user, password) + "SELECT 1;\n")
        return (err.strip() or "it printed nothing") if code else ""


class Account:
    """A database and its account: the actual state, the desired state, and the steps between them."""

    def __init__(self, module: ServerModule, client: Client, params: dict[str, t.Any]) -> None:
        self.module = module
        self.client = client
        self.params = params
        self.database: str = params["database"] or ""
        self.name = f"{params['user']}@{params['host']}"
        self.account = f"{text(params['user'])}@{text(params['host'])}"
        self.set_password = f"ALTER USER {self.account} IDENTIFIED BY {text(params['password'])};"
        self.actions: list[str] = []
        self.statements: list[str] = []
        self.old_password_valid = False
        self.password_tried = True

    def ensure(self) -> None:
        """Bring the database and account to the desired state.

        :raises Unavailable: MySQL cannot be queried now.
        """
        facts = self._facts()
        if self.database and "database" not in facts:
            self._step(f"create the database {self.database}", f"CREATE DATABASE {identifier(self.database)};")
        rights: dict[str, set[str]] = {}
        if "account" in facts:
            self._correct_password(facts)
            rights = granted(self.client.query(f"SHOW GRANTS FOR {self.account};"))
        else:
            create = f"CREATE USER {self.account} IDENTIFIED BY {text(self.params['password'])};"
            self._step(f"create the account {self.name}", create)
        self._correct_rights(rights)
        if self.statements and not self.module.check_mode:
            self.client.query("\n".join(self.statements))

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to do for the account until MySQL's accounts change."""
        return self.password_tried and not self.old_password_valid

    def _step(self, action: str, *statements: str) -> None:
        self.actions.append(action)
        self.statements += statements

    def _facts(self) -> list[str]:
        """Return which of these exist in MySQL: the database, the account, its password, and an old password.

        :raises Unavailable: it does not answer, or is still initialising its data.
        """
        where = f"FROM mysql.user WHERE user = {text(self.params['user'])} AND host = {text(self.params['host'])}"
        facts = self.client.query(
            "SELECT 'initialising' WHERE @@skip_networking;\n"
            f"SELECT 'database' FROM information_schema.schemata WHERE schema_name = {text(self.database)};\n"
            f"SELECT 'account' {where};\n"
            f"SELECT 'password' {where} AND authentication_string != '';\n"
            f"SELECT 'old password' {where} AND User_attributes ->> '$.additional_password' IS NOT NULL;\n"
        )
        if "initialising" in facts:
            raise Unavailable(
                f'MySQL of the service "{self.client.service}" still initialises its data; run this again later.'
            )
        return facts

    def _correct_password(self, facts: list[str]) -> None:
        """Make the desired password valid, and, if requested, the only valid one."""
        # Only a rejection of the password itself means that it differs; "too many connections", for example, does not.
        error = self.client.login_error(self.params["user"], self.params["password"])
        wrong, expired = WRONG_PASSWORD in error, EXPIRED_PASSWORD in error
        self.password_tried = not error or wrong or expired
        self.old_password_valid = "old password" in facts
        if self.params["discard_old_password"] and (wrong or self.old_password_valid):
            self._replace_all_passwords(wrong)
        elif wrong and "password" in facts:
            self._change_password()
        elif wrong or expired:
            self._step(f"set the password of {self.name}", self.set_password)

    def _replace_all_passwords(self, wrong: bool) -> None:
        # MySQL does not show which of two valid passwords is the old one: set the desired one, then discard the other.
        self.statements.append(self.set_password)
        if wrong:
            self.actions.append(f"set the password of {self.name}")
        if self.old_password_valid:
            discard = f"ALTER USER {self.account} DISCARD OLD PASSWORD;"
            self._step(f"discard the old password of {self.name}", discard)
        self.old_password_valid = False

    def _change_password(self) -> None:
        """Set the password, and keep the one in use valid alongside it."""
        retained = self._password_in_use() if self.old_password_valid else None
        statements = password_statements(self.account, self.params["password"], retained)
        self._step(f"set the password of {self.name}; the old one stays valid alongside it", *statements)
        self.old_password_valid = True

    def _password_in_use(self) -> str | None:
        """Return which of two valid passwords is kept, and warn about it; None for the one that was set last."""
        file = self.params["previous_password_file"]
        found = read_file(file) if file else None
        previous = found.content.decode(errors="replace") if found else ""
        retained = previous if previous and not self.client.login_error(self.params["user"], previous) else None
        kept = "set last" if retained is None else f"in {file}"
        self.module.warn(
            f"The password of {self.name} is changed again before all its clients were seen healthy, and MySQL keeps "
            f"only two: the one {kept} stays valid alongside the new one; deploy in this run what may use another one."
        )
        return retained

    def _correct_rights(self, rights: dict[str, set[str]]) -> None:
        """Grant the desired privileges and revoke all others."""
        wanted = wanted_rights(self.database, self.params["privileges"], self.params["global_privileges"])
        if rights == wanted:
            return
        grants = [
            (", ".join(sorted(of)), "the server" if on == "*.*" else self.database, on) for on, of in wanted.items()
        ]
        words = " and ".join(f"{of} on {where}" for of, where, dummy in grants)
        revoke = [f"REVOKE {role} FROM {self.account};" for role in roles_in(rights)]
        revoke += [f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {self.account};"] if rights else []
        grant = [f"GRANT {of} ON {on} TO {self.account};" for of, dummy, on in grants]
        self._step(f"grant {words} to {self.name}, and nothing else", *revoke, *grant)


def accounts_in(params: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """Return the parameters of each account."""
    return [params, *({**params, **one, "previous_password_file": None} for one in params["also"])]


def ensure_all(module: ServerModule) -> dict[str, t.Any]:
    """Bring all accounts to the desired state; return the module's result.

    :raises Unavailable: MySQL cannot be queried now.
    """
    client = Client(module, module.get_bin_path("docker") or "")
    accounts = [Account(module, client, params) for params in accounts_in(module.params)]
    for account in accounts:
        account.ensure()
    actions = [*client.actions, *(action for account in accounts for action in account.actions)]
    result = {"answered": True, "old_password_valid": any(account.old_password_valid for account in accounts)}
    if all(account.is_settled for account in accounts) and not module.check_mode:
        note(module, client, result)
    return {**result, "changed": bool(actions), "actions": actions}


def note(module: ServerModule, client: Client, result: dict[str, t.Any]) -> None:
    """Record that the accounts are correct, for as long as MySQL's accounts do not change."""
    login_file = module.params["login_file"]
    if not login_file or module.params["discard_old_password"]:
        return
    words = [f"--defaults-file={login_file}", "--batch", f"--execute={EVERYTHING}"]
    # An expired password changes nothing in these tables, but makes the service unhealthy.
    project = f"{PROJECT_PREFIX}{module.params['service']}"
    conditions = [
        settled.answer(module, *client.plain, "mysql", *words),
        settled.containers(project, settled.Server(module, []).of(project)),
    ]
    key = f"mysql_account/{module.params['user']}"
    settled.Notes(module).write(key, module.params["settled"], conditions, {**result, "actions": []})


def main() -> None:
    """Entry point of the module."""
    account: dict[str, t.Any] = {
        "user": {"type": "str", "required": True},
        "host": {"type": "str", "default": "%"},
        "password": {"type": "str", "required": True, "no_log": True},
        "database": {"type": "str"},
        "privileges": {"type": "list", "elements": "str", "default": []},
        "global_privileges": {"type": "list", "elements": "str", "default": []},
    }
    module = ServerModule(
        argument_spec={
            **account,
            "service": {"type": "str", "default": "mysql"},
            "root_password": {"type": "str", "required": True, "no_log": True},
            "also": {"type": "list", "elements": "dict", "default": [], "options": account},
            "previous_password_file": {"type": "path", "no_log": False},
            "discard_old_password": {"type": "bool", "default": False, "no_log": False},
            "login_file": {"type": "str"},
            "missing_ok": {"type": "bool", "default": False},
            **settled.SETTLED_SPEC,
        },
        supports_check_mode=True,
    )
    for params in accounts_in(module.params):
        if not params["privileges"] and not params["global_privileges"]:
            module.fail_json(msg="privileges, global_privileges: both are empty; give at least one right.")
        if params["privileges"] and not params["database"]:
            module.fail_json(msg="database: it is missing; name the one that privileges are for.")
    try:
        result = ensure_all(module)
    except Unavailable as error:
        if not module.params["missing_ok"] and not module.check_mode:
            module.fail_json(msg=str(error))
        try:
            actions = remove_unfinished(module, module.params["service"])
        except ServiceError as failure:
            module.fail_json(msg=str(failure))
        result = {"changed": bool(actions), "actions": actions, "answered": False}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
