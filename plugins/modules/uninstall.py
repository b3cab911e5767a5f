#!/usr/bin/python
# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove everything that this collection has installed on a server, with or without the data."""

from __future__ import annotations

DOCUMENTATION = r"""
module: uninstall
short_description: Remove everything that this collection has installed on a server, with or without the data
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Lists what this collection has installed - units of systemd, its firewall rule, containers, networks, images, volumes and files -
    and with O(remove) removes it. Data, which are the named volumes of its services, stay unless O(data) is true.
  - It looks at the server, not at roles or variables, so it also removes services that no role knows any more, and completes a run
    that was interrupted.
  - The collection's own are containers with its label in a Compose project C(miniweb-<name>), the volumes of these projects, networks
    named C(miniweb-...), images that it has recorded, and units that it has recorded or that say that it wrote them. What a
    container of others uses stays, and so does a project with the same prefix and containers that the collection did not make.
  - The Docker engine and its C(daemon.json) stay, because others may use them.
options:
  remove:
    description: Whether to remove what is listed as removable. Without it, nothing changes.
    type: bool
    default: false
  data:
    description: Whether the data are removable, too. They cannot be brought back.
    type: bool
    default: false
  directory:
    description: Parent directory of the services' directories.
    type: path
    default: /opt/miniweb
  unit_directory:
    description: Directory of systemd's units.
    type: path
    default: /etc/systemd/system
  state_directory:
    description: Parent directory of what services of systemd keep.
    type: path
    default: /var/lib
  textfile_directory:
    description: Directory of the metrics that node_exporter reads from files. It is removed if nothing of others is in it.
    type: path
    default: /var/lib/node_exporter/textfile
extends_documentation_fragment:
  - miniweb.stack.attributes
attributes:
  check_mode:
    details: Says what O(remove) would remove.
  diff_mode:
    support: none
"""

EXAMPLES = r"""
- name: Show what this collection has installed
  miniweb.stack.uninstall:
  become: true

- name: Remove it, but keep the data
  miniweb.stack.uninstall:
    remove: true
  become: true
"""

RETURN = r"""
found:
  description: What this collection has installed, in the order in which it is removed.
  returned: always
  type: list
  elements: dict
  contains:
    what:
      description: What it is.
      type: str
      sample: volume miniweb-mysql_data
    state:
      description: V(removable), which is what O(remove) removes, V(removed), V(kept), or V(failed).
      type: str
      sample: kept
    reason:
      description: What it consists of, why it is kept, or why it could not be removed.
      type: str
      sample: data
table:
  description: The same as a table, for people, with RV(faults).
  returned: always
  type: list
  elements: str
faults:
  description: What could not be looked at, and why, one sentence each.
  returned: always
  type: list
  elements: str
"""

import contextlib
import dataclasses
import functools
import glob
import json
import os
import re
import shlex
import typing as t

from ansible_collections.miniweb.stack.plugins.module_utils.compose.engine import PROJECT_LABEL, Engine
from ansible_collections.miniweb.stack.plugins.module_utils.compose.model import (
    BASE_DIRECTORY,
    CONFIGURATION_LABEL,
    PROJECT_PREFIX,
)
from ansible_collections.miniweb.stack.plugins.module_utils.docker_configuration import (
    CONFIGURATION_FILE,
    data_root,
    parsed,
)
from ansible_collections.miniweb.stack.plugins.module_utils.removal import Removable, Remover, aligned, deleted
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import cause, locked, read_file
from ansible_collections.miniweb.stack.plugins.module_utils.server_module import ServerModule
from ansible_collections.miniweb.stack.plugins.module_utils.settled import UNITS_DIRECTORY

# What the engine's options are recorded in; they stay, and so does this.
OPTIONS_FILE = "docker.json"
# An account at an authority and its certificates, of which authorities issue only a few in a week, are data, too.
ACCOUNTS = "certificate/acme"
UNIT_KINDS = (".service", ".socket", ".timer", ".path")
# How each of the collection's units begins
MARK = re.compile(rb"^# Written by .*\bminiweb\.stack\b")
DROP_IN = "docker.service.d/00-miniweb.conf"
RESPONDER = "miniweb-alert-responder"
COMMENT = "miniweb.stack"
METRICS = ("containers.prom*", "miniweb*.prom*")
NAME = re.compile(re.escape(PROJECT_PREFIX) + r"[a-z0-9][a-z0-9_-]*")
SYSTEMD = "/run/systemd/system"
MOUNTS = "/proc/self/mountinfo"


class UninstallError(Exception):
    """The rest cannot be removed; the message says why in one sentence."""


@dataclasses.dataclass
class Item(Removable):
    """Something that is installed.

    *needed* means that what follows must not be removed as long as this one is there.
    """

    what: str
    reason: str
    remover: Remover | None = None
    needed: bool = True
    state: str = "kept"

    def shown(self) -> dict[str, str]:
        """Return it as the module does."""
        return {"what": self.what, "state": self.state, "reason": self.reason}


@dataclasses.dataclass(frozen=True)
class Container:
    """A container of this server; *volumes* are the names of those that it has mounted."""

    id: str
    name: str
    project: str
    ours: bool
    image: str
    networks: tuple[str, ...]
    volumes: tuple[str, ...]


def container_of(found: dict[str, t.Any]) -> Container:
    """Return the relevant part of the engine's information on a container."""
    labels = (found.get("Config") or {}).get("Labels") or {}
    project = labels.get(PROJECT_LABEL, "")
    mounts = [one for one in found.get("Mounts") or [] if one.get("Type") == "volume"]
    return Container(
        found["Id"],
        found["Name"].lstrip("/"),
        project,
        CONFIGURATION_LABEL in labels and bool(NAME.fullmatch(project)),
        found.get("Image", ""),
        tuple((found.get("NetworkSettings") or {}).get("Networks") or {}),
        tuple(one["Name"] for one in mounts),
    )


def table(items: list[Item]) -> list[str]:
    """Return the items as lines of a table with a title."""
    rows = [("state", "what", "reason"), *((one.state, one.what, one.reason) for one in items)]
    return aligned(rows)


def mounted_below(directory: str) -> list[str]:
    """Return the mount points below a directory, whose contents are somebody else's."""
    with open(MOUNTS, encoding="utf-8", errors="surrogateescape") as stream:
        points = [re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), line.split()[4]) for line in stream]
    return sorted({point for point in points if point.startswith(f"{os.path.realpath(directory)}/")})


class Uninstall:
    """What this collection has installed on this server."""

    def __init__(self, module: ServerModule) -> None:
        self.module = module
        self.base: str = module.params["directory"]
        self.units: str = module.params["unit_directory"]
        self.data: bool = module.params["data"]
        self.engine = Engine(module, "uninstall", self.base, os.path.join(self.base, "images.json"))
        self.systemctl = module.get_bin_path("systemctl") if os.path.isdir(SYSTEMD) else None
        self.faults: list[str] = []
        self.containers = self._listed()

    def items(self) -> list[Item]:
        """Return everything in the order in which it is removed: first what would start something again."""
        found = [*self._units(), *self._drop_in(), *self._firewall_rules()]
        if self.containers is not None:
            found += [*self._services(), *self._networks(), *self._images(), *self._volumes()]
        return [*found, *self._metrics(), *self._directory(), *self._kept_engine()]

    def _run(self, *words: str) -> str:
        """Run a program; return the error."""
        code, out, err = self.module.run_command([*words])
        return (cause(err or out) or f"exit code {code}") if code else ""

    # -- units --------------------------------------------------------------------------------------------------------

    def _units(self) -> list[Item]:
        """Return the programs that systemd runs: those that are recorded, and those that say who wrote them."""
        recorded = os.path.join(self.base, "units")
        names = set(os.listdir(recorded)) if os.path.isdir(recorded) else set()
        for path in glob.glob(os.path.join(glob.escape(self.units), f"{PROJECT_PREFIX}*")):
            stem, kind = os.path.splitext(os.path.basename(path))
            file = read_file(path) if kind in UNIT_KINDS and os.path.isfile(path) else None
            if file and MARK.match(file.content):
                names.add(stem)
        found = []
        for name in sorted({*names, RESPONDER}):
            files = [path for kind in UNIT_KINDS if os.path.lexists(path := os.path.join(self.units, name + kind))]
            # In the last one systemd notes when a timer last started something. Set up again, it would make up for what it missed.
            parts = (name, f"private/{name}", f"systemd/timers/stamp-{name}.timer")
            left = [os.path.join(self.module.params["state_directory"], part) for part in parts]
            left = [path for path in left if os.path.lexists(path)]
            if files or left:
                what = ", ".join([*map(os.path.basename, files), *left])
                found.append(Item(f"unit {name}", what, self._unit_remover(files, left)))
        return found

    def _unit_remover(self, files: list[str], left: list[str]) -> Remover:
        names = [os.path.basename(path) for path in files]

        def remove() -> str:
            if self.systemctl and files:
                error = self._run(self.systemctl, "stop", *names) or self._run(self.systemctl, "disable", *names)
                if error:
                    return f"it cannot be stopped: {error}"
                self.module.run_command([self.systemctl, "reset-failed", *names])
            # The units come last, so that the next run completes an interrupted one.
            return deleted(*left, *files) or self._reload()

        return remove

    def _reload(self) -> str:
        return self._run(self.systemctl, "daemon-reload") if self.systemctl else ""

    def _drop_in(self) -> list[Item]:
        path = os.path.join(self.units, DROP_IN)
        file = None if os.path.islink(path) else read_file(path)
        if not file or not MARK.match(file.content):
            return []

        def remove() -> str:
            error = deleted(path)
            # What others added to the engine's unit stays.
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(path))
            return error or self._reload()

        return [Item(path, "it starts an engine again that gave up", remove)]

    def _firewall_rules(self) -> list[Item]:
        """Return the rule that the unit inserts and, when it stops, deletes; it may also be among rules that somebody saved."""
        program = self.module.get_bin_path("iptables")
        lines = self.module.run_command([program, "--wait", "--list-rules", "INPUT"])[1].splitlines() if program else []
        rules = [words for words in map(shlex.split, lines) if words[:1] == ["-A"] and COMMENT in words]

        def remover(words: list[str]) -> Remover:
            check, delete = ([program, "--wait", option, *words[1:]] for option in ("--check", "--delete"))
            # The unit may have deleted it.
            return lambda: "" if self._run(*check) else self._run(*delete)

        return [Item("firewall rule", " ".join(words[1:]), remover(words)) for words in rules]

    # -- the engine ---------------------------------------------------------------------------------------------------

    def _docker(self, *words: str) -> str:
        """Run ``docker`` for as long as it takes; return the error."""
        code, out, err = self.engine.run(*words, check=False)
        return (cause(err or out) or f"exit code {code}") if code else ""

    def _lines(self, *words: str) -> list[str]:
        return [line for line in self.engine.ask(*words)[1].splitlines() if line]

    def _listed(self) -> list[Container] | None:
        """Return the containers of this server; None if they are unknown."""
        if not self.engine.program:
            self.faults.append(
                "Docker is not installed on this server: there are no containers, images or volumes to look for."
            )
            return None
        code, out, err = self.engine.ask("ps", "--all", "--quiet", "--no-trunc")
        if code:
            self.faults.append(
                f"The Docker engine does not answer ({cause(err) if err.strip() else 'no answer'}), so containers, images and "
                "volumes cannot be removed: start it first (systemctl start docker), or look at journalctl --unit docker."
            )
            return None
        ids = out.split()
        # If a container has been removed in the meantime, the command fails but still prints the others.
        answer = self.engine.ask("inspect", "--type", "container", *ids)[1] if ids else ""
        return [container_of(found) for found in json.loads(answer or "[]")]

    def _others(self) -> list[Container]:
        return [one for one in self.containers or [] if not one.ours]

    def _services(self) -> list[Item]:
        """Return the containers by service, with those of one-off commands that an interrupted run left."""
        ours = [one for one in self.containers or [] if one.ours]
        return [
            Item(
                f"service {project[len(PROJECT_PREFIX) :]}",
                f"containers {', '.join(sorted(one.name for one in ours if one.project == project))}",
                self._service_remover(project, [one.id for one in ours if one.project == project]),
            )
            for project in sorted({one.project for one in ours})
        ]

    def _service_remover(self, project: str, ids: list[str]) -> Remover:
        name = project[len(PROJECT_PREFIX) :]
        # Volumes without a name are found by their container alone.
        words = ["rm", "--force", *(["--volumes"] if self.data else [])]

        def remove() -> str:
            try:
                with locked(os.path.join(self.base, f".{name}.lock"), wait=False):
                    # Stopped with its own signal and grace period, because its data may be kept.
                    error = self._docker("stop", *ids) or self._docker(*words, *ids)
            except BlockingIOError:
                return "a run is working on it: try again later"
            return f"it cannot be removed: {error}" if error else ""

        return remove

    def _networks(self) -> list[Item]:
        names = [name for name in self._lines("network", "ls", "--format", "{{.Name}}") if NAME.fullmatch(name)]
        return [
            self._item(
                f"network {name}",
                "network",
                [one.name for one in self._others() if name in one.networks],
                functools.partial(self._docker, "network", "rm", name),
            )
            for name in sorted(names)
        ]

    @staticmethod
    def _item(what: str, reason: str, users: list[str], remover: Remover) -> Item:
        """Return an item that stays if containers of others use it."""
        if users:
            return Item(what, f"others use it: {', '.join(sorted(users))}")
        return Item(what, reason, remover)

    def _images(self) -> list[Item]:
        recorded = self.engine.recorded_images()
        there = set(self._lines("image", "ls", "--all", "--quiet", "--no-trunc"))
        found = []
        for identity, image in recorded.items():
            users = [one.name for one in self._others() if one.image == identity]
            if identity in there:
                item = self._item(f"image {image['reference']}", "image", users, self._image_remover(identity))
                # One that somebody has built another image from stays, and is in nobody's way.
                found.append(dataclasses.replace(item, needed=False))
        return found

    def _image_remover(self, identity: str) -> Remover:
        def remove() -> str:
            with locked(f"{self.engine.images_file}.lock"):
                error = self.engine.remove_image(identity)
            return f"it cannot be removed: {cause(error)}" if error else ""

        return remove

    def _volumes(self) -> list[Item]:
        """Return the named volumes of the collection's projects, whether their services are still there or not."""
        columns = f'{{{{.Name}}}}\t{{{{.Label "{PROJECT_LABEL}"}}}}'
        rows = [line.split("\t") for line in self._lines("volume", "ls", "--format", columns)]
        foreign = {one.project for one in self._others()}
        found = []
        for name, project in sorted((row[0], row[-1]) for row in rows):
            if NAME.fullmatch(project) and project not in foreign:
                users = [one.name for one in self._others() if name in one.volumes]
                if self.data or users:
                    remover = functools.partial(self._docker, "volume", "rm", name)
                    found.append(self._item(f"volume {name}", "data", users, remover))
                else:
                    (where,) = self._lines("volume", "inspect", "--format", "{{.Mountpoint}}", name) or [""]
                    found.append(Item(f"volume {name}", f"data, in {where}"))
        return found

    # -- files --------------------------------------------------------------------------------------------------------

    def _metrics(self) -> list[Item]:
        directory: str = self.module.params["textfile_directory"]
        patterns = [os.path.join(glob.escape(directory), pattern) for pattern in METRICS]
        files = sorted(path for pattern in patterns for path in glob.glob(pattern))
        empty = os.path.isdir(directory) and len(os.listdir(directory)) == len(files)
        if not files and not empty:
            return []

        def remove() -> str:
            error = deleted(*files)
            parent = os.path.dirname(directory)
            # What others put there stays.
            with contextlib.suppress(OSError):
                os.rmdir(directory)
                if os.path.basename(parent) == "node_exporter":
                    os.rmdir(parent)
            return error

        return [Item(directory, "metrics that node_exporter reads from files", remove)]

    def _directory(self) -> list[Item]:
        there = os.path.isdir(self.base)
        options = os.path.join(self.base, OPTIONS_FILE)
        # What is locked meanwhile is a file there, too.
        paths = self._paths() or any(one.ours for one in self.containers or [])
        found = []
        if self.data and (there or paths):
            found.append(Item(self.base, "all files", lambda: deleted(self.base)))
        elif paths:
            reason = "settings, self-signed certificates, and copies of the passwords on the controller"
            found.append(Item(f"{self.base}/*", reason, lambda: deleted(*self._paths())))
        if os.path.exists(options) and not self.data:
            found.append(Item(options, "the engine's options that this collection wrote"))
        accounts = os.path.join(self.base, ACCOUNTS)
        if os.path.exists(accounts) and not self.data:
            found.append(Item(accounts, "accounts at certificate authorities, with their certificates"))
        return found

    def _paths(self) -> list[str]:
        """Return what is removed below the collection's directory although the data are kept."""
        accounts = os.path.join(self.base, ACCOUNTS)
        kept = [os.path.join(self.base, OPTIONS_FILE), *([accounts] if os.path.exists(accounts) else [])]
        # Of a directory with something that stays, the rest.
        directories = [self.base, *{os.path.dirname(path) for path in kept} - {self.base}]
        found = [os.path.join(path, name) for path in directories if os.path.isdir(path) for name in os.listdir(path)]
        return sorted(path for path in found if not any(one == path or one.startswith(f"{path}/") for one in kept))

    def _kept_engine(self) -> list[Item]:
        if not self.engine.program:
            return []
        options = read_file(os.path.join(self.base, OPTIONS_FILE))
        with contextlib.suppress(ValueError):
            names = ", ".join(sorted(parsed(options)))
            if names:
                return [Item("Docker", f"others may use it, with {names} in {CONFIGURATION_FILE}")]
        return [Item("Docker", "others may use it")]

    # -- removal ------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Check that everything can be removed.

        :raises UninstallError: it cannot; nothing was removed.
        """
        if self.engine.program and self.containers is None:
            raise UninstallError(self.faults[-1])
        mounted = mounted_below(self.base)
        root = os.path.realpath(data_root())
        if root == os.path.realpath(self.base) or root.startswith(f"{os.path.realpath(self.base)}/"):
            mounted.append(root)
        if mounted:
            raise UninstallError(
                f"{', '.join(mounted)} is below {self.base}, which would be deleted: move or unmount it first. Nothing was removed."
            )

    @staticmethod
    def remove(items: list[Item]) -> None:
        """Remove what can be removed, until something fails that the rest depends on.

        :raises UninstallError: something cannot be removed.
        """
        for item in items:
            item.remove()
            if item.state == "failed" and item.needed:
                raise UninstallError(
                    f"{item.what}: {item.reason}. What follows it is still there: correct that, then run this again."
                )


def main() -> None:
    """Entry point of the module."""
    module = ServerModule(
        argument_spec={
            "remove": {"type": "bool", "default": False},
            "data": {"type": "bool", "default": False},
            "directory": {"type": "path", "default": BASE_DIRECTORY},
            "unit_directory": {"type": "path", "default": UNITS_DIRECTORY},
            "state_directory": {"type": "path", "default": "/var/lib"},
            "textfile_directory": {"type": "path", "default": "/var/lib/node_exporter/textfile"},
        },
        supports_check_mode=True,
    )
    items: list[Item] = []
    try:
        uninstall = Uninstall(module)
        items = uninstall.items()
        if module.params["remove"]:
            uninstall.check()
            if not module.check_mode:
                uninstall.remove(items)
    except UninstallError as error:
        module.fail_json(msg=str(error), found=[one.shown() for one in items], table=table(items))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or 'A file'} cannot be read or written: {error.strerror}.")
    failed = [f"{one.what}: {one.reason}." for one in items if one.state == "failed"]
    faults = [*uninstall.faults, *failed]
    done = "removable" if module.check_mode else "removed"
    module.exit_json(
        changed=module.params["remove"] and any(one.state == done for one in items),
        found=[one.shown() for one in items],
        table=[*table(items), *faults],
        faults=faults,
    )


if __name__ == "__main__":
    main()
