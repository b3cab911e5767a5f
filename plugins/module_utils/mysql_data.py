# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""MySQL's data directory seen from outside: what an initialisation that was cut short has left."""

from __future__ import annotations

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.miniweb.stack.plugins.module_utils.compose.engine import Engine
from ansible_collections.miniweb.stack.plugins.module_utils.compose.files import Directory
from ansible_collections.miniweb.stack.plugins.module_utils.compose.model import BASE_DIRECTORY
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import locked

# After so many restarts it is not initialising its data, but keeps exiting.
RESTARTS = 2
OWN_DIRECTORIES = ("mysql", "sys", "performance_schema", "lost+found")


def databases_in(path: str) -> list[str]:
    """Return the names of the databases in a data directory, MySQL's own excluded: each has a directory there."""
    with os.scandir(path) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    return sorted(name for name in names if name not in OWN_DIRECTORIES and not name.startswith("#"))


def remove_unfinished(module: AnsibleModule, service: str) -> list[str]:
    """Remove the data directory of a MySQL that never worked and holds no database, so that the next start makes it anew.

    MySQL neither starts with such a directory nor initialises it again. One that holds a database is only reported.

    :return: descriptions of what was done, or would be done in check mode.
    """
    directory = os.path.join(BASE_DIRECTORY, service)
    engine = Engine(module, service, directory, "")
    if not engine.program or Directory(directory).load_state().healthy:
        return []
    with locked(os.path.join(BASE_DIRECTORY, f".{service}.lock")):
        containers = engine.containers()
        # Between two exits it is running, too.
        if any(one.state in ("running", "paused") and one.restarts < RESTARTS for one in containers):
            return []
        names = engine.volumes()
        # With another volume, it is not known which one holds the data.
        if len(names) != 1:
            return []
        path = engine.run("volume", "inspect", "--format", "{{.Mountpoint}}", *names)[1].strip()
        if not os.path.isdir(path) or not os.listdir(path):
            return []
        found = databases_in(path)
        if found:
            module.warn(
                f'MySQL of the service "{service}" has never worked on this server, but its volume {names[0]} holds '
                f"the databases {', '.join(found)}: look at its log (docker logs) for the cause, or, if nothing in them is "
                f"needed, remove it with its data ({service}_state: absent, {service}_remove_data: true) and deploy it again."
            )
            return []
        if not module.check_mode:
            if containers:
                engine.run("rm", "--force", *(container.id for container in containers))
            engine.run("volume", "rm", *names)
    return ["remove the empty data directory that an interrupted initialisation left"]
