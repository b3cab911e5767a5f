# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of the module stray_services: determines which services are managed and warns about the others."""

from __future__ import annotations

import importlib
import json
import os
import re
import typing as t

from ansible import constants
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.miniweb.stack.plugins.module_utils.compose.model import BASE_DIRECTORY
from ansible_collections.miniweb.stack.plugins.module_utils.scheduled import applications
from ansible_collections.miniweb.stack.plugins.module_utils.settled import UNITS_DIRECTORY
from ansible_collections.miniweb.stack.plugins.plugin_utils.roles import trust_as_template
from ansible_collections.miniweb.stack.plugins.plugin_utils.settled import services_at_start, traces_at_start

MODULE = "miniweb.stack.stray_services"
REMOVER = "miniweb.stack.compose_service"
UNIT_REMOVER = "miniweb.stack.systemd_unit"
# What a server names becomes part of a command only if it is a plain path.
PLAIN_PATH = r"/[\w./-]+"


def removal(host: str, stray: dict[str, t.Any]) -> str:
    """Return the shell command that removes a stray service."""
    arguments = f"name={stray['name']} state=absent"
    if stray["directory"] != f"{BASE_DIRECTORY}/{stray['name']}" and re.fullmatch(PLAIN_PATH, stray["directory"]):
        arguments += f" directory={stray['directory']}"
    return f'ansible {host} -b -m {REMOVER} -a "{arguments}"'


def sentence(host: str, stray: dict[str, t.Any]) -> str:
    """Return the warning about a stray service."""
    what = ", ".join(stray["containers"]) or stray["directory"]
    return (
        f'The service "{stray["name"]}" is left on {host} ({what}), but no role of this play manages it: remove it '
        f"with `{stray['remove']}`, or add its role to the play."
    )


def unit_removal(host: str, left: dict[str, t.Any]) -> str:
    """Return the shell command that removes a scheduled command of an application that is gone."""
    arguments = {"name": left["unit"], "state": "absent", "start": "timer"}
    plain = [path for path in left["leaves"] if re.fullmatch(PLAIN_PATH, path)]
    given = json.dumps({**arguments, **({"leaves": plain} if plain else {})})
    return f"ansible {host} -b -m {UNIT_REMOVER} -a '{given}'"


def unit_sentence(host: str, left: dict[str, t.Any]) -> str:
    """Return the warning about a scheduled command of an application that is gone."""
    return (
        f"The scheduled command {left['unit']} is left on {host}, but its application is not in this play: remove it with "
        f"`{left['remove']}`, or add the application to the play."
    )


class ActionModule(ActionBase):
    """Action plugin."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Ask the server which services exist, and warn about unmanaged ones."""
        variables = task_vars or {}
        result = super().run(tmp, variables)
        texts = {"type": "list", "elements": "str", "default": []}
        dummy, arguments = self.validate_argument_spec(
            {
                "roles": texts,
                "known": texts,
                "directory": {"type": "path", "default": BASE_DIRECTORY},
                "units": {"type": "path", "default": UNITS_DIRECTORY},
            }
        )
        known = {*arguments["known"], *(name for role in arguments["roles"] for name in self._services(role))}
        # What this play has added since is managed by its roles.
        own = (arguments["directory"], arguments["units"]) == (BASE_DIRECTORY, UNITS_DIRECTORY)
        services, units = services_at_start(variables), applications(traces_at_start(variables) or [])
        if own and services is not None and known.issuperset([*services, *units.values()]):
            return {**result, "changed": False, "strays": [], "scheduled": []}
        host = variables["inventory_hostname"]
        module_args = {"known": sorted(known), "directory": arguments["directory"], "units": arguments["units"]}
        result.update(self._execute_module(module_name=MODULE, module_args=module_args, task_vars=variables))
        for stray in result.get("strays", []):
            stray["remove"] = removal(host, stray)
            result.setdefault("warnings", []).append(sentence(host, stray))
        for left in result.get("scheduled", []):
            left["remove"] = unit_removal(host, left)
            result.setdefault("warnings", []).append(unit_sentence(host, left))
        return result

    def _services(self, role: str) -> list[str]:
        """Return the names of a role's services."""
        for directory in self._directories(role):
            path = os.path.join(directory, "meta", "service.yml")
            if not os.path.exists(path):
                continue
            services = (self._loader.load_from_file(path) or {}).get("services")
            if not isinstance(services, list):
                raise AnsibleActionFail(
                    f"{path}: services is {services!r}: list the names of the role's services, or []."
                )
            try:
                found = [self._templar.template(trust_as_template(str(name))) for name in services]
                return [str(one) for names in found for one in (names if isinstance(names, list) else [names])]
            except AnsibleError as error:
                raise AnsibleActionFail(
                    f"{path}: services cannot be evaluated without their variables ({error})."
                ) from error
        return []

    def _directories(self, role: str) -> list[str]:
        """Return the directories in which a role may be."""
        words = role.split(".")
        if len(words) >= 3:
            collection = importlib.import_module(f"ansible_collections.{words[0]}.{words[1]}")
            return [os.path.join(path, "roles", *words[2:]) for path in collection.__path__]
        playbook = self._loader.get_basedir()
        return [os.path.join(path, role) for path in (f"{playbook}/roles", *constants.DEFAULT_ROLES_PATH, playbook)]
