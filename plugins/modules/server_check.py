#!/usr/bin/python
# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that a server has what a service needs, before anything is changed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: server_check
short_description: Check that a server meets the requirements of services, before anything is changed
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Reports TCP ports in use by something other than the service itself, and file systems with too little free space. It
    never changes anything and fails for none of this; M(miniweb.stack.check_input) reports what it found.
options:
  checks:
    description: Requirements of each service.
    type: list
    elements: dict
    required: true
    suboptions:
      service:
        description:
          - Name of the service, as given to M(miniweb.stack.compose_service). Its own ports do not count as in use.
        type: str
        required: true
      ports:
        description: TCP ports the service needs, by the name of the variable that sets them.
        type: dict
        default: {}
      disk_path:
        description: Directory whose file system must have free space. It need not exist yet.
        type: path
      disk_free_mb:
        description: Megabytes (1000000 bytes) that must be free there, by the name of the variable that sets them.
        type: dict
        default: {}
      packages:
        description: Names of Debian packages that the service needs. Missing ones are no problem, as its role installs them.
        type: list
        elements: str
        default: []
  volumes:
    description: Names of Docker volumes to look for.
    type: list
    elements: str
    default: []
  notes:
    description: Whether to return the notes of earlier runs that are still valid, and of what there are traces.
    type: bool
    default: false
extends_documentation_fragment:
  - miniweb.stack.attributes.read_only
seealso:
  - module: miniweb.stack.check_input
"""

EXAMPLES = r"""
- name: Check the server
  miniweb.stack.server_check:
    checks:
      - service: nginx
        ports:
          nginx_https_port: 443
      - service: docker
        disk_path: /var/lib/docker
        disk_free_mb:
          docker_min_free_disk_mb: 2000
"""

RETURN = r"""
problems:
  description: Requirements that are not met, one sentence each; empty if all are met.
  returned: success
  type: list
  elements: str
  sample:
    - 'nginx_https_port: port 443 of this server is already taken by "apache2" (process 812); stop it, or choose another port.'
volumes:
  description: The volumes asked for that exist, with or without a running engine.
  returned: when O(volumes) has any
  type: list
  elements: str
  sample: [miniweb-mysql_data]
packages:
  description: The packages of all O(checks) that are installed.
  returned: success
  type: list
  elements: str
  sample: [docker.io]
settled:
  description: The digest and the result of each task that is known to be done, by module and name.
  returned: when O(notes=true)
  type: dict
  sample: {compose_service/nginx: {digest: 6f1c, result: {actions: [], container_id: 5cb1}}}
traces:
  description:
    - The names of the services and units of which containers, directories, contributions or files are left.
    - Null if the engine does not answer.
  returned: when O(notes=true)
  type: list
  elements: str
  sample: [mysql, miniweb-container-metrics]
services:
  description: The names of the services that M(miniweb.stack.compose_service) has deployed; null if the engine does not answer.
  returned: when O(notes=true)
  type: list
  elements: str
  sample: [mysql]
"""

import glob
import os
import re
import typing as t
from functools import cached_property

from ansible_collections.miniweb.stack.plugins.module_utils.compose.model import PROJECT_PREFIX
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import free_megabytes
from ansible_collections.miniweb.stack.plugins.module_utils.server_module import ServerModule
from ansible_collections.miniweb.stack.plugins.module_utils.settled import Notes, installed_packages

LISTEN = "0A"
VOLUMES = "/var/lib/docker/volumes"


class Container(t.NamedTuple):
    """A running container."""

    identifier: str
    name: str
    project: str
    ports: set[int]


def listening(table: str) -> dict[int, str]:
    """Return the listening sockets in a table like ``/proc/net/tcp``: inode by port."""
    found = {}
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == LISTEN:
            found[int(fields[1].rsplit(":", 1)[1], 16)] = fields[9]
    return found


def published(ports: str) -> set[int]:
    """Return the server's TCP ports in a list as printed by ``docker ps``, in which adjacent ports are a range."""
    found: set[int] = set()
    for first, last in re.findall(r":(\d+)(?:-(\d+))?->[\d-]+/tcp", ports):
        found.update(range(int(first), int(last or first) + 1))
    return found


def read(path: str) -> str:
    """Return a file's text; empty if it is missing or not readable."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


class Server:
    """What is running on this server; each part is queried once, and only when it is needed."""

    def __init__(self, module: ServerModule) -> None:
        self.module = module

    @cached_property
    def sockets(self) -> dict[int, str]:
        """The listening sockets: inode by port."""
        return {**listening(read("/proc/net/tcp6")), **listening(read("/proc/net/tcp"))}

    @cached_property
    def processes(self) -> dict[str, int]:
        """The processes that hold a socket, by its inode."""
        found = {}
        for link in glob.glob("/proc/[0-9]*/fd/*"):
            try:
                target = os.readlink(link)
            except OSError:
                continue
            if target.startswith("socket:["):
                found[target[8:-1]] = int(link.split("/")[2])
        return found

    @cached_property
    def containers(self) -> list[Container]:
        """The running containers; none without an engine."""
        columns = r'{{.ID}}\t{{.Names}}\t{{.Label "com.docker.compose.project"}}\t{{.Ports}}'
        lines = [line.split("\t") for line in self._docker("ps", "--no-trunc", "--format", columns) or []]
        return [Container(line[0], line[1], line[2], published(line[3])) for line in lines if len(line) == 4]

    @cached_property
    def volumes(self) -> list[str]:
        """The names of the engine's volumes; those in its default directory if it does not answer."""
        named = self._docker("volume", "ls", "--quiet")
        if named is not None:
            return named
        return os.listdir(VOLUMES) if os.path.isdir(VOLUMES) else []

    def _docker(self, *words: str) -> list[str] | None:
        """Return the lines that docker prints; None without an engine that answers."""
        program = self.module.get_bin_path("docker")
        code, out, dummy = self.module.run_command([program, *words]) if program else (1, "", "")
        return out.splitlines() if code == 0 else None

    def holder(self, service: str, port: int) -> str:
        """Return who uses a port; empty if nobody or only the service itself does."""
        project = f"{PROJECT_PREFIX}{service}"
        publishers = [container for container in self.containers if port in container.ports]
        if any(container.project == project for container in publishers):
            return ""
        if publishers:
            return f'the container "{publishers[0].name}"'
        if port not in self.sockets:
            return ""
        process = self.processes.get(self.sockets[port])
        if not process:
            return "another program"
        groups = read(f"/proc/{process}/cgroup")
        if any(container.project == project and container.identifier in groups for container in self.containers):
            return ""
        return f'"{read(f"/proc/{process}/comm").strip()}" (process {process})'

    def problems(self, check: dict[str, t.Any]) -> list[str]:
        """Return what a service needs and this server lacks, one sentence per problem."""
        found = []
        for variable, port in check["ports"].items():
            who = self.holder(check["service"], int(port))
            if who:
                found.append(
                    f"{variable}: port {port} of this server is already taken by {who}; stop it, or choose another port."
                )
        path = check["disk_path"]
        if not path:
            return found
        free = free_megabytes(path)
        for variable, wanted in check["disk_free_mb"].items():
            if free < int(wanted):
                found.append(
                    f"{variable}: {wanted} MB must be free for {path} on this server, but {free} MB are; make room "
                    "there, or use a larger disk."
                )
        return found


def main() -> None:
    """Entry point of the module."""
    module = ServerModule(
        argument_spec={
            "checks": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "service": {"type": "str", "required": True},
                    "ports": {"type": "dict", "default": {}},
                    "disk_path": {"type": "path"},
                    "disk_free_mb": {"type": "dict", "default": {}},
                    "packages": {"type": "list", "elements": "str", "default": []},
                },
            },
            "volumes": {"type": "list", "elements": "str", "default": []},
            "notes": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    server = Server(module)
    problems = [problem for check in module.params["checks"] for problem in server.problems(check)]
    packages = [name for check in module.params["checks"] for name in check["packages"]]
    result: dict[str, t.Any] = {"packages": sorted(installed_packages(module, packages))}
    if module.params["notes"]:
        notes = Notes(module)
        result.update(settled=notes.holding(), traces=notes.traces(), services=notes.services())
    if module.params["volumes"]:
        result["volumes"] = [name for name in module.params["volumes"] if name in server.volumes]
    module.exit_json(changed=False, problems=problems, **result)


if __name__ == "__main__":
    main()
