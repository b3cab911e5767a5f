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
  - Reports TCP ports in use by something other than the service itself, file systems with too little free space, and what a
    server already has of Docker that would be replaced, hidden or in the way. It never changes anything and fails for none of
    this; M(miniweb.stack.check_input) reports what it found.
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
        description:
          - TCP ports the service needs, by the name of the variable that sets them; C(address:port) for one that it needs at
            one IPv4 address only.
        type: dict
        default: {}
      unit:
        description: Name of the systemd socket that holds the ports for the service. It does not count as using them.
        type: str
      disk_path:
        description:
          - Directory whose file system must have free space. It need not exist yet. By default that of the engine's data.
        type: path
      disk_free_mb:
        description: Megabytes (1000000 bytes) that must be free there, by the name of the variable that sets them.
        type: dict
        default: {}
      disk_size:
        description: Whether the service adapts to the size of the disk of the engine's data, which is then returned.
        type: bool
        default: false
      reached_ports:
        description:
          - TCP ports of the server that containers connect to, by the name of the variable that sets them. A chain of nftables
            that drops such connections is a problem; one of iptables or firewalld is not.
        type: dict
        default: {}
      calendars:
        description: Times in systemd's form at which the service wants to start something, by the name of what sets them.
        type: dict
        default: {}
      engine:
        description: The Docker engine that the service is to have. What the server already has is kept or refused.
        type: dict
        suboptions:
          source:
            description: Where it is to come from, a key of O(checks[].engine.packages); V(auto) for that of the one there is.
            type: str
            required: true
          packages:
            description: The packages of each source that has some for this server, V(distribution) or V(docker).
            type: dict
            default: {}
          unavailable:
            description: The problem if no engine is there and the source has none for this server; empty if it has.
            type: str
            default: ''
          replace:
            description: Whether an engine from another source may be replaced.
            type: bool
            default: false
          repository:
            description: The apt source that the role would add, by C(address), C(suite), C(file) and C(key).
            type: dict
            default: {}
          path:
            description: The engine's configuration file.
            type: path
            default: /etc/docker/daemon.json
          configuration:
            description: The options that it is to have, as for M(miniweb.stack.docker_daemon).
            type: dict
            default: {}
          variables:
            description: The variable that sets each option, as for M(miniweb.stack.docker_daemon).
            type: dict
            default: {}
          hide_existing:
            description: Whether the engine may end up without what it lists now, as for M(miniweb.stack.docker_daemon).
            type: bool
            default: false
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
engine:
  description:
    - The engine that the server has. C(source) is V(distribution), V(docker), V(other) for one that none of their packages
      brought, or empty without one. C(missing) are the packages to install, C(repository) the file of an apt source for
      Docker's packages that the role did not add, and C(obsolete) is whether it added one that is not used.
  returned: when one of O(checks) has O(checks[].engine)
  type: dict
  sample: {source: docker, missing: [docker-buildx-plugin], repository: /etc/apt/sources.list.d/docker.list, obsolete: false}
disk_mb:
  description: The size of the disk of the engine's data, in megabytes (1000000 bytes).
  returned: when one of O(checks) has O(checks[].disk_size)
  type: int
  sample: 40000
ipv6:
  description: Whether programs on this server can open IPv6 sockets; false if the kernel has no IPv6.
  returned: success
  type: bool
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
import socket
import struct
import typing as t
from functools import cached_property

from ansible_collections.miniweb.stack.plugins.module_utils.compose.files import directories_with
from ansible_collections.miniweb.stack.plugins.module_utils.compose.model import (
    BASE_DIRECTORY,
    PROJECT_PREFIX,
    STATE_FILE,
)
from ansible_collections.miniweb.stack.plugins.module_utils.docker_configuration import (
    CONFIGURATION_FILE,
    data_root,
    examine,
    in_swarm,
    root_in,
)
from ansible_collections.miniweb.stack.plugins.module_utils.docker_found import Finder, Found, Refused
from ansible_collections.miniweb.stack.plugins.module_utils.firewall import dropping
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import cause, free_megabytes, total_megabytes
from ansible_collections.miniweb.stack.plugins.module_utils.server_module import ServerModule
from ansible_collections.miniweb.stack.plugins.module_utils.settled import Notes

# There if it has started the server
SYSTEMD = "/run/systemd/system"
LISTEN = "0A"
EVERYWHERE = ("0.0.0.0", "::", "*")


class Container(t.NamedTuple):
    """A running container; *ports* are the addresses and ports of the server that it publishes."""

    identifier: str
    name: str
    project: str
    ports: set[tuple[str, int]]


def address_of(words: str) -> str:
    """Return an address in a table like ``/proc/net/tcp``, which prints it as numbers of 32 bits."""
    packed = b"".join(struct.pack("=I", int(words[at : at + 8], 16)) for at in range(0, len(words), 8))
    text = socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
    return text[len("::ffff:") :] if text.startswith("::ffff:") and "." in text else text


def listening(table: str) -> dict[tuple[str, int], str]:
    """Return the listening sockets in a table like ``/proc/net/tcp``: inode by address and port."""
    found = {}
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == LISTEN:
            address, dummy, port = fields[1].rpartition(":")
            found[address_of(address), int(port, 16)] = fields[9]
    return found


def published(ports: str) -> set[tuple[str, int]]:
    """Return the server's addresses and TCP ports in a list as printed by ``docker ps``; adjacent ports are a range."""
    found: set[tuple[str, int]] = set()
    for address, first, last in re.findall(r"([^\s,]+):(\d+)(?:-(\d+))?->[\d-]+/tcp", ports):
        found.update((address.strip("[]"), port) for port in range(int(first), int(last or first) + 1))
    return found


def meet(wanted: tuple[str, int], used: tuple[str, int]) -> bool:
    """Return whether a port cannot be had at an address because it is used at another, or at all of them."""
    return wanted[1] == used[1] and (wanted[0] == used[0] or wanted[0] in EVERYWHERE or used[0] in EVERYWHERE)


def read(path: str) -> str:
    """Return a file's text; empty if it is missing or not readable."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def has_ipv6() -> bool:
    """Return whether the kernel has IPv6. Files below /proc/net do not tell: they also depend on the network namespace."""
    try:
        socket.socket(socket.AF_INET6).close()
    except OSError:
        return False
    return True


class Server:
    """What is running on this server; each part is queried once, and only when it is needed."""

    def __init__(self, module: ServerModule) -> None:
        self.module = module

    @cached_property
    def sockets(self) -> dict[tuple[str, int], str]:
        """The listening sockets: inode by address and port."""
        return {**listening(read("/proc/net/tcp6")), **listening(read("/proc/net/tcp"))}

    @cached_property
    def processes(self) -> dict[str, int]:
        """The first process that holds a socket, by its inode; systemd shares those of its units with their services."""
        found: dict[str, int] = {}
        for link in glob.glob("/proc/[0-9]*/fd/*"):
            try:
                target = os.readlink(link)
            except OSError:
                continue
            if target.startswith("socket:["):
                inode, process = target[8:-1], int(link.split("/")[2])
                found[inode] = min(process, found.get(inode, process))
        return found

    @cached_property
    def containers(self) -> list[Container]:
        """The running containers; none without an engine."""
        columns = r'{{.ID}}\t{{.Names}}\t{{.Label "com.docker.compose.project"}}\t{{.Ports}}'
        lines = [line.split("\t") for line in self.docker("ps", "--no-trunc", "--format", columns) or []]
        return [Container(line[0], line[1], line[2], published(line[3])) for line in lines if len(line) == 4]

    @cached_property
    def volumes(self) -> list[str]:
        """The names of the engine's volumes; those in its directory if it does not answer."""
        named = self.docker("volume", "ls", "--quiet")
        if named is not None:
            return named
        directory = os.path.join(data_root(CONFIGURATION_FILE), "volumes")
        return os.listdir(directory) if os.path.isdir(directory) else []

    @cached_property
    def swarm_services(self) -> list[tuple[str, set[tuple[str, int]]]]:
        """The services of a swarm that this server manages, with the ports that they publish on every server."""
        if not in_swarm(data_root(CONFIGURATION_FILE)):
            return []
        lines = self.docker("service", "ls", "--format", r"{{.Name}}\t{{.Ports}}") or []
        return [(name, published(ports)) for name, dummy, ports in (line.partition("\t") for line in lines)]

    @cached_property
    def socket_units(self) -> list[list[str]]:
        """The sockets that systemd listens on for a unit: address and unit."""
        program = self.module.get_bin_path("systemctl")
        words = ["list-sockets", "--no-legend", "--plain"]
        out = self.module.run_command([program, *words])[1] if program else ""
        return [line.split()[:2] for line in out.splitlines() if len(line.split()) > 1]

    def docker(self, *words: str) -> list[str] | None:
        """Return the lines that docker prints; None without an engine that answers."""
        program = self.module.get_bin_path("docker")
        code, out, dummy = self.module.run_command([program, *words]) if program else (1, "", "")
        return out.splitlines() if code == 0 else None

    def holder(self, check: dict[str, t.Any], wanted: tuple[str, int]) -> str:
        """Return who uses a port at an address; empty if nobody or only the service itself does."""
        project = f"{PROJECT_PREFIX}{check['service']}"
        publishers = [one for one in self.containers if any(meet(wanted, used) for used in one.ports)]
        others = [one for one in publishers if one.project != project]
        if publishers:
            return f'the container "{others[0].name}"' if others else ""
        for name, ports in self.swarm_services:
            if any(meet(wanted, used) for used in ports):
                return f'the service "{name}" of the swarm'
        for used, inode in self.sockets.items():
            who = self._user(check, project, used, inode) if meet(wanted, used) else ""
            if who:
                return who
        return ""

    def _user(self, check: dict[str, t.Any], project: str, used: tuple[str, int], inode: str) -> str:
        """Return who has a socket; empty if it is the service itself."""
        process = self.processes.get(inode)
        if not process:
            return "another program"
        if process == 1:
            units = [unit for address, unit in self.socket_units if address.endswith(f":{used[1]}")]
            if units:
                return "" if units == [check.get("unit")] else f'the unit "{units[0]}"'
        groups = read(f"/proc/{process}/cgroup")
        inside = [container for container in self.containers if container.identifier in groups]
        if inside:
            return "" if inside[0].project == project else f'the container "{inside[0].name}"'
        name = read(f"/proc/{process}/comm").strip()
        # What containers publish is known; on a server that does not manage the swarm, its services are not.
        return "the swarm of this server" if name == "dockerd" else f'"{name}" (process {process})'

    def problems(self, check: dict[str, t.Any]) -> list[str]:
        """Return what a service needs and this server lacks, one sentence per problem."""
        found = []
        for variable, value in check["ports"].items():
            address, dummy, port = str(value).rpartition(":")
            who = self.holder(check, (address or EVERYWHERE[0], int(port)))
            if who:
                found.append(
                    f"{variable}: port {port} of this server is already taken by {who}; stop it, or choose another port."
                )
        path = check["disk_path"]
        # Once something is deployed, compose_service looks whether there is room, and only if an image is missing.
        if not path or directories_with(BASE_DIRECTORY, STATE_FILE):
            return found
        free = free_megabytes(path)
        for variable, wanted in check["disk_free_mb"].items():
            if free < int(wanted):
                found.append(
                    f"{variable}: {wanted} MB must be free for {path} on this server, but {free} MB are; make room "
                    "there, or use a larger disk."
                )
        return found

    def dropped(self, check: dict[str, t.Any]) -> list[str]:
        """Return which ports of this server its own rules of nftables keep from the containers, one sentence per chain."""
        found = []
        for variable, ports in check["reached_ports"].items():
            for chain, dropped in dropping(self.module, ports).items():
                listed = ", ".join(map(str, dropped))
                found.append(
                    f"{variable}: the {chain} of this server drops what containers send to its ports {listed}: add the rule "
                    f"'iifname \"br-*\" tcp dport {{ {listed} }} accept' there, or leave these ports out."
                )
        return found

    def misunderstood(self, check: dict[str, t.Any]) -> list[str]:
        """Return which times systemd does not understand, one sentence each."""
        found = []
        for variable, time in check["calendars"].items():
            if not os.path.isdir(SYSTEMD):
                return [f"{variable}: this server does not run systemd, which would start it; leave it out."]
            code, dummy, err = self.module.run_command(["systemd-analyze", "calendar", str(time)])
            if code:
                found.append(
                    f'{variable}: systemd does not understand "{time}" ({cause(err)}); give a time such as "*-*-* 03:00" or '
                    '"Mon 08:30" (man systemd.time).'
                )
        return found

    def engine(self, wanted: dict[str, t.Any], settled: bool) -> tuple[Found, str, list[str]]:
        """Return the engine of this server, the data directory it is to have, and what stands in the way.

        :param settled: whether an earlier run has set it up, and then checked its networks.
        """
        found, problems = Found(), []
        try:
            found = Finder(self.module, wanted).find()
        except Refused as error:
            problems.append(str(error))
        path = wanted["path"]
        try:
            examined = examine(path, wanted["configuration"], wanted["variables"], self.docker, wanted["hide_existing"])
        except OSError as error:
            return (
                found,
                data_root(path),
                [*problems, f"{error.filename} of this server cannot be read: {error.strerror}."],
            )
        return (
            found,
            root_in(examined.merged.options),
            [*problems, *examined.problems, *([] if settled else self._networks())],
        )

    def _networks(self) -> list[str]:
        """Return the sentences on networks that have the names of ours, but cannot connect our containers."""
        columns = r"{{.Name}}\t{{.Driver}}\t{{.Scope}}"
        # A filter by name leaves out the networks of a swarm.
        lines = self.docker("network", "ls", "--format", columns) or []
        return [
            f"The network {name} of this server has the driver {driver} and the scope {scope}, and the services need one of "
            f'the driver bridge: remove it ("docker network rm {name}").'
            for name, driver, scope in (line.split("\t") for line in lines if line.count("\t") == 2)
            if name.startswith(PROJECT_PREFIX) and (driver, scope) != ("bridge", "local")
        ]


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
                    "unit": {"type": "str"},
                    "disk_path": {"type": "path"},
                    "disk_free_mb": {"type": "dict", "default": {}},
                    "disk_size": {"type": "bool", "default": False},
                    "reached_ports": {"type": "dict", "default": {}},
                    "calendars": {"type": "dict", "default": {}},
                    "engine": {
                        "type": "dict",
                        "options": {
                            "source": {"type": "str", "required": True},
                            "packages": {"type": "dict", "default": {}},
                            "unavailable": {"type": "str", "default": ""},
                            "replace": {"type": "bool", "default": False},
                            "repository": {"type": "dict", "default": {}},
                            "path": {"type": "path", "default": CONFIGURATION_FILE},
                            "configuration": {"type": "dict", "default": {}},
                            "variables": {"type": "dict", "default": {}},
                            "hide_existing": {"type": "bool", "default": False},
                        },
                    },
                },
            },
            "volumes": {"type": "list", "elements": "str", "default": []},
            "notes": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    server = Server(module)
    problems: list[str] = []
    result: dict[str, t.Any] = {}
    notes = Notes(module)
    if module.params["notes"]:
        result.update(settled=notes.holding(), traces=notes.traces(), services=notes.services())
    data = ""
    for check in module.params["checks"]:
        if check["engine"]:
            found, root, faults = server.engine(check["engine"], "settled/docker" in result.get("settled", {}))
            data = root
            check["disk_path"] = check["disk_path"] or root
            result["engine"] = found._asdict()
            problems += faults
        problems += [*server.problems(check), *server.dropped(check), *server.misunderstood(check)]
    if any(check["disk_size"] for check in module.params["checks"]):
        result["disk_mb"] = total_megabytes(data or data_root())
    if module.params["volumes"]:
        result["volumes"] = [name for name in module.params["volumes"] if name in server.volumes]
    module.exit_json(changed=False, problems=problems, ipv6=has_ipv6(), **result)


if __name__ == "__main__":
    main()
