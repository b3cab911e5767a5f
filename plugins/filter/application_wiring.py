# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: how an application gets its database and its secrets."""

from __future__ import annotations

DOCUMENTATION = r"""
name: application_wiring
short_description: How an application gets its database and its secrets
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Says which environment variables an application gets for what P(miniweb.stack.application#lookup) has found in its source. A
    variable whose value is a secret is not among them, but has the name of the secret, to be read from its file at the start.
options:
  _input:
    description: What the application needs.
    type: dict
    required: true
  database:
    description: The C(host), C(port), C(name), C(user), C(password) and C(ca) of its database; empty without one.
    type: dict
    required: true
  given:
    description: Names of the secrets that the site has. Of those that the source does not declare, the application gets the paths.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Show the variables
  ansible.builtin.debug:
    msg: "{{ lookup('miniweb.stack.application', 'shop') | miniweb.stack.application_wiring({}) }}"
"""

RETURN = r"""
_value:
  description:
    - C(environment) are variables with their values, C(values) the secrets that others are to hold, by the variable's name,
      C(secrets) the C(name) and C(content) of the database's, and C(wait_for) what must answer before the start.
  type: dict
"""

import typing as t
import urllib.parse

# What a driver needs to encrypt the connection, without and with the file of a CA. Without it, PyMySQL would have to be
# installed with an extra package for MySQL's way to log in.
OPTIONS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "mysql+pymysql": ({"ssl_check_hostname": "false"}, {}),
    "mysql+mysqldb": ({}, {"ssl_mode": "VERIFY_IDENTITY"}),
    "mysql+mysqlconnector": ({}, {"ssl_verify_cert": "true", "ssl_verify_identity": "true"}),
}
SECRETS = {"url": "database_url", "password": "database_password", "ca": "database_ca"}
DIRECTORY = "/run/secrets"


def url_of(driver: str, database: t.Mapping[str, t.Any], django: bool = False) -> str:
    """Return the database's URL as SQLAlchemy understands it, or the programs that read one for Django."""
    without, with_ca = OPTIONS.get(driver, ({}, {}))
    if django:
        without = {}
    ca = (
        {"ssl-ca" if django else "ssl_ca": f"{DIRECTORY}/{SECRETS['ca']}", **with_ca} if database.get("ca") else without
    )
    password = str(database["password"])
    if driver == "mysql+pymysql":
        # It encodes passwords as latin-1, MySQL and its other clients as UTF-8.
        password = password.encode().decode("latin-1")
    user, password, name = (
        urllib.parse.quote(str(text), safe="") for text in (database["user"], password, database["name"])
    )
    host = str(database["host"])
    address = f"[{host}]" if ":" in host else host
    query = urllib.parse.urlencode({"charset": "utf8mb4", **ca}, safe="/")
    return f"{'mysql' if django else driver}://{user}:{password}@{address}:{database['port']}/{name}?{query}"


def application_wiring(
    declared: t.Mapping[str, t.Any], database: t.Mapping[str, t.Any], given: t.Sequence[str] = ()
) -> dict[str, t.Any]:
    """Return how an application gets its database and its secrets."""
    values, files = {}, {f"{name.upper()}_FILE": name for name in given}
    for name, choices in declared["secrets"].items():
        if choices["value"]:
            values[name.upper()] = name
            files.pop(f"{name.upper()}_FILE", None)
        else:
            files[f"{name.upper()}_FILE"] = name
    environment, secrets, wait_for = {}, {}, []
    if database:
        wait_for = [f"{database['host']}:{database['port']}"]
        parts = {
            "url": url_of(declared["driver"], database, declared["django"]),
            "password": database["password"],
            "ca": database.get("ca"),
        }
        for variable, part in declared["database_environment"].items():
            kind = part.removesuffix("_file")
            if kind not in SECRETS:
                environment[variable] = str(database[part])
            elif parts[kind]:
                secrets[kind] = parts[kind]
                (files if part.endswith("_file") else values)[variable] = SECRETS[kind]
        # The URL names the CA's file.
        if parts["ca"] and "url" in secrets:
            secrets["ca"] = parts["ca"]
    environment.update({variable: f"{DIRECTORY}/{name}" for variable, name in files.items()})
    return {
        "environment": {**environment, **declared["environment"]},
        "values": values,
        "secrets": [{"name": SECRETS[kind], "content": content} for kind, content in secrets.items()],
        "wait_for": wait_for,
    }


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., dict[str, t.Any]]]:
        """Return the filters by name."""
        return {"application_wiring": application_wiring}
