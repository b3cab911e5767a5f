#!/usr/bin/python
# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Report services on the server that no role manages any longer."""

from __future__ import annotations

DOCUMENTATION = r"""
module: stray_services
short_description: Report services on the server that no role manages
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Lists services deployed by M(miniweb.stack.compose_service) that no role manages any more, for example the service of a
    role that was removed from the playbook, or one that was renamed.
  - It looks for containers with the collection's label in a Compose project C(miniweb-<name>), running or not, for
    directories of services without a container, and for timers of scheduled commands of applications.
  - Each results in a warning with the command that removes it. The module never fails because of them, and never changes
    anything.
options:
  roles:
    description:
      - Roles whose services are managed, for example C(ansible_play_role_names).
      - A role lists them in C(meta/service.yml) as C(services), where templates can use the task's variables. A role without
        that file has none.
    type: list
    elements: str
    default: []
  known:
    description: Names of other services that are managed, for example by another playbook for the same server.
    type: list
    elements: str
    default: []
  directory:
    description: Parent directory of the services' directories.
    type: path
    default: /opt/miniweb
  units:
    description: Directory of systemd's units.
    type: path
    default: /etc/systemd/system
extends_documentation_fragment:
  - miniweb.stack.attributes.read_only
attributes:
  action:
    support: full
    description: The names are collected on the controller.
seealso:
  - module: miniweb.stack.compose_service
"""

EXAMPLES = r"""
- name: Report unmanaged services
  miniweb.stack.stray_services:
    roles: "{{ ansible_play_role_names }}"
    known: [shop]
  become: true
"""

RETURN = r"""
strays:
  description: The unmanaged services, by name.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the service.
      type: str
      sample: shop
    containers:
      description: Names of its containers.
      type: list
      elements: str
      sample: [miniweb-shop-shop-1]
    directory:
      description: Its directory on the server.
      type: str
      sample: /opt/miniweb/shop
    remove:
      description: Command that removes it, for a shell on the controller. Named volumes stay.
      type: str
      sample: ansible www -b -m miniweb.stack.compose_service -a "name=shop state=absent"
scheduled:
  description: The scheduled commands of applications that are not managed, by the names of their units.
  returned: always
  type: list
  elements: dict
  contains:
    unit:
      description: Name of its unit.
      type: str
      sample: miniweb-shop_cleanup
    leaves:
      description: What it leaves beside its units.
      type: list
      elements: str
      sample: [/opt/miniweb/schedule/miniweb-shop_cleanup.py]
    remove:
      description: Command that removes it, for a shell on the controller.
      type: str
      sample: "ansible www -b -m miniweb.stack.systemd_unit -a '{\"name\": \"miniweb-shop_cleanup\", \"state\": \"absent\", \"start\": \"timer\"}'"
"""

import json
import os
import re
import typing as t

from ansible_collections.miniweb.stack.plugins.module_utils.compose.files import directories_with
from ansible_collections.miniweb.stack.plugins.module_utils.compose.model import (
    BASE_DIRECTORY,
    CONFIGURATION_LABEL,
    PROJECT_PREFIX,
    STATE_FILE,
)
from ansible_collections.miniweb.stack.plugins.module_utils.scheduled import applications
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import cause, read_file
from ansible_collections.miniweb.stack.plugins.module_utils.server_module import ServerModule
from ansible_collections.miniweb.stack.plugins.module_utils.settled import UNITS_DIRECTORY

LABELS = ("com.docker.compose.project", "com.docker.compose.project.working_dir")
NAME = r"[a-z0-9][a-z0-9_-]*"


def made(listing: str, directories: list[str], base: str) -> dict[str, dict[str, t.Any]]:
    """Return the services that compose_service created, by name.

    :param listing: the name, Compose project and project directory of each container, separated by tabs.
    :param directories: the names of the services' directories below ``base``.
    """
    found: dict[str, dict[str, t.Any]] = {}
    for line in listing.splitlines():
        container, project, directory = line.split("\t")
        name = project[len(PROJECT_PREFIX) :]
        if project.startswith(PROJECT_PREFIX) and re.fullmatch(NAME, name):
            service = found.setdefault(name, {"name": name, "containers": [], "directory": directory})
            service["containers"].append(container)
    for name in directories:
        if re.fullmatch(NAME, name):
            found.setdefault(name, {"name": name, "containers": [], "directory": os.path.join(base, name)})
    return found


def scheduled(units: str, base: str, known: set[str]) -> list[dict[str, t.Any]]:
    """Return the scheduled commands of applications that are not known.

    :param units: the directory of systemd's units.
    :param base: the directory in which the role flask_app leaves the settings of the commands, below ``schedule``.
    """
    names = sorted(os.listdir(units)) if os.path.isdir(units) else []
    timers = (name[: -len(".timer")] for name in names if name.endswith(".timer"))
    return [
        {"unit": unit, "leaves": leaves(os.path.join(base, "schedule", f"{unit}.json"))}
        for unit, application in applications(timers).items()
        if application not in known
    ]


def leaves(path: str) -> list[str]:
    """Return what a scheduled command leaves, from its settings; empty if they are gone."""
    file = read_file(path)
    try:
        found = json.loads(file.content)["leaves"] if file else []
    except (KeyError, TypeError, ValueError):
        return []
    return [str(one) for one in found] if isinstance(found, list) else []


def main() -> None:
    """Entry point of the module."""
    module = ServerModule(
        argument_spec={
            "roles": {"type": "list", "elements": "str", "default": []},
            "known": {"type": "list", "elements": "str", "default": []},
            "directory": {"type": "path", "default": BASE_DIRECTORY},
            "units": {"type": "path", "default": UNITS_DIRECTORY},
        },
        supports_check_mode=True,
    )
    base, program, listing = module.params["directory"], module.get_bin_path("docker"), ""
    if program:
        columns = "\t".join(["{{.Names}}", *(f'{{{{.Label "{label}"}}}}' for label in LABELS)])
        words = [program, "ps", "--all", "--filter", f"label={CONFIGURATION_LABEL}", "--format", columns]
        code, listing, err = module.run_command(words)
        if code:
            module.fail_json(
                msg=f"The containers of this server cannot be listed ({cause(err)}): look at systemctl status docker."
            )
    services = made(listing, directories_with(base, STATE_FILE), base)
    known = set(module.params["known"])
    strays = [services[name] for name in sorted(services.keys() - known)]
    module.exit_json(changed=False, strays=strays, scheduled=scheduled(module.params["units"], base, known))


if __name__ == "__main__":
    main()
