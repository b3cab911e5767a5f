# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The applications beside the first one, which miniweb_applications lists: the variables that hold for each of them."""

from __future__ import annotations

import functools
import os
import typing as t

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.miniweb.stack.plugins.plugin_utils.roles import ROLES, load, options_of, trust_as_template

LIST = "miniweb_applications"
# What the play of the whole system sets for each of them; without it, there is no such play.
EACH = "miniweb_each_application"
ROLE = os.path.join(ROLES, "flask_app")
# What an application's source says. Most others refer to it, some of them ten times.
DECLARED = "flask_app_declared"
# What an entry may set beside the variables of flask_app, by the role whose variable it is for the first application
FURTHER = {
    "nginx": (
        "nginx_server_names",
        "nginx_websocket",
        "nginx_max_body_mb",
        "nginx_proxy_timeout_seconds",
        "nginx_cached_paths",
        "nginx_closed_paths",
        "nginx_served_volumes",
        "nginx_unbuffered_paths",
        "nginx_extra_lines",
        "nginx_basic_auth_users",
        "nginx_maintenance",
        "nginx_maintenance_allowed",
    ),
    "mysql": ("mysql_database", "mysql_user", "mysql_password", "mysql_privileges"),
    "miniweb": ("miniweb_redis_database",),
}
# How images are built is the same for all, unless an entry says otherwise.
SHARED = (
    "flask_app_base_image",
    "flask_app_gunicorn_version",
    "flask_app_pip_ca_bundle",
    "flask_app_poetry_version",
    "flask_app_uv_version",
)


def options() -> dict[str, dict[str, t.Any]]:
    """Return the specifications of everything that an entry may set."""
    found = options_of(ROLE)
    for role, names in FURTHER.items():
        others = options_of(os.path.join(ROLES, role))
        found |= {name: others[name] for name in names}
    return found


@functools.cache
def _defaults() -> dict[str, t.Any]:
    found: dict[str, t.Any] = {}
    for kind in ("defaults", "vars"):
        found |= load(os.path.join(ROLE, kind, "main.yml"), lambda text: DataLoader().load(trust_as_template(text)))
    return {name: value for name, value in found.items() if name not in SHARED}


def entries(variables: t.Mapping[str, t.Any], templar: t.Any) -> list[dict[str, t.Any]]:
    """Return the entries, not evaluated; none in a play that does not deploy the whole system."""
    if EACH not in variables:
        return []
    found = variables.get(LIST) or []
    if isinstance(found, str):
        found = templar.template(found)
    return [dict(entry) for entry in found if isinstance(entry, dict)] if isinstance(found, (list, tuple)) else []


def scope(entry: t.Mapping[str, t.Any], variables: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the variables for an entry, not evaluated.

    Of what the inventory sets for the first application, only the shared variables hold: its secrets are not for others. So the
    role's own defaults go before it, and before these what the entry sets.
    """
    return {**variables, **_defaults(), **variables[EACH], **entry}


def values_of(names: t.Iterable[str], variables: t.Mapping[str, t.Any], loader: t.Any) -> dict[str, t.Any]:
    """Return the values of variables of one application, by their names.

    :param variables: all that hold for it, not evaluated.
    """
    declared = Templar(loader=loader, variables=dict(variables)).template(variables[DECLARED])
    templar = Templar(loader=loader, variables={**variables, DECLARED: declared})
    return {name: templar.template(variables[name]) for name in names}
