# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: how an application gets its database, Redis, mail server and secrets."""

from __future__ import annotations

DOCUMENTATION = r"""
name: application_wiring
short_description: How an application gets its database, Redis, mail server and secrets
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
  redis:
    description: The C(host), C(port) and C(password) of its Redis; empty without one.
    type: dict
    default: {}
  mail:
    description: >-
      The C(server), C(port), C(encryption), C(user), C(password) and C(sender) with which it sends mail; empty without any. It gets them
      under Flask-Mail's names.
    type: dict
    default: {}
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
      C(secrets) the C(name) and C(content) of those of the database, Redis and mail, and C(wait_for) what must answer before the start.
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
DATABASE_CA = "database_ca"
DIRECTORY = "/run/secrets"


def address_of(store: t.Mapping[str, t.Any]) -> str:
    """Return host and port as a URL has them, an IPv6 address in brackets."""
    host = str(store["host"])
    return f"{f'[{host}]' if ':' in host else host}:{store['port']}"


def url_of(driver: str, database: t.Mapping[str, t.Any], django: bool = False) -> str:
    """Return the database's URL as SQLAlchemy understands it, or the programs that read one for Django."""
    without, with_ca = OPTIONS.get(driver, ({}, {}))
    if django:
        without = {}
    ca = {"ssl-ca" if django else "ssl_ca": f"{DIRECTORY}/{DATABASE_CA}", **with_ca} if database.get("ca") else without
    password = str(database["password"])
    if driver == "mysql+pymysql":
        # It encodes passwords as latin-1, MySQL and its other clients as UTF-8.
        password = password.encode().decode("latin-1")
    user, password, name = (
        urllib.parse.quote(str(text), safe="") for text in (database["user"], password, database["name"])
    )
    query = urllib.parse.urlencode({"charset": "utf8mb4", **ca}, safe="/")
    return f"{'mysql' if django else driver}://{user}:{password}@{address_of(database)}/{name}?{query}"


def redis_url_of(redis: t.Mapping[str, t.Any]) -> str:
    """Return the URL of Redis as its clients, Celery and RQ understand it."""
    return (
        f"redis://:{urllib.parse.quote(str(redis['password']), safe='')}@{address_of(redis)}/{redis.get('database', 0)}"
    )


class Wiring:
    """Where an application finds what it needs: in variables, in secrets that they are to hold, or in the files of secrets."""

    def __init__(self) -> None:
        self.environment: dict[str, str] = {}
        self.values: dict[str, str] = {}
        self.files: dict[str, str] = {}
        self.secrets: dict[str, str] = {}
        self.wait_for: list[str] = []

    def add_store(
        self, prefix: str, wanted: t.Mapping[str, str], plain: t.Mapping[str, t.Any], secret: t.Mapping[str, t.Any]
    ) -> None:
        """Add a service with data, which must answer before the start.

        :param prefix: how the names of its secrets begin.
        :param wanted: the part that each variable is to hold; that of a file ends with ``_file``.
        :param plain: the parts that everybody may see.
        :param secret: those that nobody may; of one that is empty, the variable is left out.
        """
        self.wait_for.append(f"{plain['host']}:{plain['port']}")
        for variable, part in wanted.items():
            kind = part.removesuffix("_file")
            if kind not in secret:
                self.environment[variable] = str(plain[part])
            elif secret[kind]:
                self.secrets[f"{prefix}_{kind}"] = str(secret[kind])
                (self.files if part.endswith("_file") else self.values)[variable] = f"{prefix}_{kind}"

    def add_mail(self, mail: t.Mapping[str, t.Any]) -> None:
        """Add the server for outgoing mail. What is not the case has no variable, as any text would be true."""
        plain = {
            "MAIL_SERVER": mail["server"],
            "MAIL_PORT": mail["port"],
            "MAIL_USE_TLS": "true" if mail["encryption"] == "starttls" else "",
            "MAIL_USE_SSL": "true" if mail["encryption"] == "tls" else "",
            "MAIL_USERNAME": mail.get("user"),
            "MAIL_DEFAULT_SENDER": mail["sender"],
        }
        self.environment.update({variable: str(value) for variable, value in plain.items() if value})
        if mail.get("password"):
            self.secrets["mail_password"] = str(mail["password"])
            self.values["MAIL_PASSWORD"] = "mail_password"


def application_wiring(
    declared: t.Mapping[str, t.Any],
    database: t.Mapping[str, t.Any],
    given: t.Sequence[str] = (),
    redis: t.Mapping[str, t.Any] | None = None,
    mail: t.Mapping[str, t.Any] | None = None,
) -> dict[str, t.Any]:
    """Return how an application gets its database, Redis, mail server and secrets."""
    wiring = Wiring()
    wiring.files.update({f"{name.upper()}_FILE": name for name in given})
    for name, choices in declared["secrets"].items():
        if choices["value"]:
            wiring.values[name.upper()] = name
            wiring.files.pop(f"{name.upper()}_FILE", None)
        else:
            wiring.files[f"{name.upper()}_FILE"] = name
    if database:
        secret = {
            "url": url_of(declared["driver"], database, declared["django"]),
            "password": database["password"],
            "ca": database.get("ca"),
        }
        wiring.add_store("database", declared["database_environment"], database, secret)
        # The URL names the CA's file.
        if secret["ca"] and "database_url" in wiring.secrets:
            wiring.secrets[DATABASE_CA] = str(secret["ca"])
    if redis:
        secret = {"url": redis_url_of(redis), "password": redis["password"]}
        wiring.add_store("redis", declared["redis_environment"], redis, secret)
    if mail:
        wiring.add_mail(mail)
    files = {variable: f"{DIRECTORY}/{name}" for variable, name in wiring.files.items()}
    return {
        "environment": {**wiring.environment, **files, **declared["environment"]},
        "values": wiring.values,
        "secrets": [{"name": name, "content": content} for name, content in wiring.secrets.items()],
        "wait_for": wiring.wait_for,
    }


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., dict[str, t.Any]]]:
        """Return the filters by name."""
        return {"application_wiring": application_wiring}
