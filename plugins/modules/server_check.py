#!/usr/bin/python
# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""Check that a server has what a service needs, before anything is changed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: server_check
short_description: Check that a server has what a service needs, before anything is changed
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Fails with one sentence when a TCP port is held by something that is not the service itself, or when the disk is
    too small. It never changes anything.
options:
  service:
    description: Name of the service, as given to M(miniweb.stack.compose_service). Its own ports do not count as taken.
    type: str
    required: true
  ports:
    description: TCP ports the service needs, by the name of the variable that sets them.
    type: dict
    default: {}
  disk_path:
    description: Directory whose file system must have room. It need not exist yet.
    type: path
  disk_free_mb:
    description: Megabytes (1000000 bytes) that must be free there, by the name of the variable that sets them.
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
    description: It only reads.
  diff_mode:
    support: none
    description: It only reads.
  idempotent:
    support: full
    description: It only reads.
"""

EXAMPLES = r"""
- name: Check the ports
  miniweb.stack.server_check:
    service: nginx
    ports:
      nginx_https_port: 443
    disk_path: /var/lib/docker
    disk_free_mb:
      docker_min_free_disk_mb: 2000
"""

RETURN = r"""
free_mb:
  description: Megabytes that are free below O(disk_path).
  returned: when O(disk_path) is given
  type: int
  sample: 15023
"""

import glob
import os
import re

from ansible.module_utils.basic import AnsibleModule

PROJECT_PREFIX = "miniweb-"
LISTEN = "0A"


def listening(table: str) -> dict[int, str]:
    """Return the sockets that listen in a table like ``/proc/net/tcp``: inode by port."""
    found = {}
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == LISTEN:
            found[int(fields[1].rsplit(":", 1)[1], 16)] = fields[9]
    return found


def read(path: str) -> str:
    """Return a file's text; empty when it is gone or not readable."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def holder(inode: str) -> tuple[int, str]:
    """Return the process that holds a socket, its id and name; (0, "") when none is found."""
    for link in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            if os.readlink(link) == f"socket:[{inode}]":
                process = int(link.split("/")[2])
                return process, read(f"/proc/{process}/comm").strip()
        except OSError:
            continue
    return 0, ""


def free_megabytes(path: str) -> int:
    """Return how many megabytes are free on the file system that holds, or will hold, a path."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize // 1_000_000


class Containers:
    """What the Docker engine says of published ports."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.program = module.get_bin_path("docker")

    def list(self, condition: str, columns: str) -> list[str]:
        """Return one line for each container; none without an engine."""
        if not self.program:
            return []
        words = [self.program, "ps", "--no-trunc", "--filter", condition, "--format", columns]
        code, out, dummy = self.module.run_command(words)
        return out.splitlines() if code == 0 else []

    def own(self, service: str, port: int, process: int) -> bool:
        """Return whether the service itself holds the port: published, or by a process of its container."""
        label = f"label=com.docker.compose.project={PROJECT_PREFIX}{service}"
        groups = read(f"/proc/{process}/cgroup")
        for line in self.list(label, "{{.ID}} {{.Ports}}"):
            identifier, dummy, ports = line.partition(" ")
            if identifier in groups or re.search(rf":{port}->", ports):
                return True
        return False

    def publisher(self, port: int) -> str:
        """Return the container that publishes a port; empty when there is none."""
        names = self.list(f"publish={port}", "{{.Names}}")
        return names[0] if names else ""


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "service": {"type": "str", "required": True},
            "ports": {"type": "dict", "default": {}},
            "disk_path": {"type": "path"},
            "disk_free_mb": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    service, result = module.params["service"], {}
    sockets = {**listening(read("/proc/net/tcp6")), **listening(read("/proc/net/tcp"))}
    containers = Containers(module)
    for variable, value in module.params["ports"].items():
        port = int(value)
        if port not in sockets:
            continue
        process, program = holder(sockets[port])
        if containers.own(service, port, process):
            continue
        container = containers.publisher(port)
        if container:
            who = f'the container "{container}"'
        else:
            who = f'"{program}" (process {process})' if process else "another program"
        module.fail_json(
            msg=f"{variable}: port {port} of this server is already taken by {who}; stop it, or choose another port."
        )
    if module.params["disk_path"]:
        path = module.params["disk_path"]
        result["free_mb"] = free_megabytes(path)
        for variable, wanted in module.params["disk_free_mb"].items():
            if result["free_mb"] < int(wanted):
                module.fail_json(
                    msg=f"{variable}: {wanted} MB must be free for {path} on this server, but {result['free_mb']} MB "
                    "are; make room there, or use a larger disk."
                )
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
