# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""Records on the server of tasks that are done, and the conditions under which they remain valid.

A module that has brought everything to its desired state, or found it so, leaves a note: its parameters, as one hash, and
the conditions that must still hold. One check at the start of a run evaluates all notes at once; a task with the same
parameters and valid conditions need not check for itself.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
import typing as t
from functools import cached_property

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.miniweb.stack.plugins.module_utils import sites
from ansible_collections.miniweb.stack.plugins.module_utils.compose.contributions import Store
from ansible_collections.miniweb.stack.plugins.module_utils.compose.engine import Listed, listed_containers
from ansible_collections.miniweb.stack.plugins.module_utils.compose.files import (
    directories_with,
    dump,
    load,
)
from ansible_collections.miniweb.stack.plugins.module_utils.compose.model import (
    BASE_DIRECTORY,
    CONFIGURATION_LABEL,
    PROJECT_PREFIX,
    STATE_FILE,
    Container,
)
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import FileState, read_file, write_file

DIRECTORY = os.path.join(BASE_DIRECTORY, "settled")
# The option in which the controller passes a module the hash of its task.
SETTLED_SPEC: dict[str, t.Any] = {"settled": {"type": "str", "no_log": True}}
ANSWER_SECONDS = 10
UNITS_DIRECTORY = "/etc/systemd/system"
STARTED_DIRECTORY = os.path.join(BASE_DIRECTORY, "units")
UNIT_PROPERTIES = ("ActiveState", "UnitFileState", "NeedDaemonReload", "MainPID")

Condition = list[t.Any]


def signature(path: str) -> list[t.Any] | None:
    """Return values that change whenever a file or directory changes; None if it does not exist.

    They reveal nothing about the content, which may be secret.
    """
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISDIR(found.st_mode):
        return [found.st_mode, found.st_uid, found.st_gid]
    return [
        found.st_mode,
        found.st_uid,
        found.st_gid,
        found.st_size,
        found.st_ino,
        found.st_mtime_ns,
        found.st_ctime_ns,
    ]


def written_signature(path: str) -> list[t.Any] | None:
    """Return values that change whenever a file is written; None if it does not exist."""
    found = signature(path)
    return found and [found[0], *found[3:6]]


def files(*paths: str) -> list[Condition]:
    """Return the conditions that files stay as they are now and missing ones stay missing."""
    return [["file", path, signature(path)] for path in paths]


def written(*paths: str) -> list[Condition]:
    """Return the conditions that files are not written again; their owners may change."""
    return [["written", path, written_signature(path)] for path in paths]


def containers(project: str, found: t.Iterable[Container]) -> Condition:
    """Return the condition that a project has exactly these containers, unchanged, and that they stay healthy."""
    return ["containers", project, {one.id: one.mark for one in found}]


def until(moment: float) -> Condition:
    """Return the condition that a point in time, in seconds since 1970, has not been reached."""
    return ["until", moment]


def answer(module: AnsibleModule, *command: str) -> Condition:
    """Return the condition that a read-only command keeps printing what it prints now."""
    return ["answer", list(command), answer_hash(module, list(command))]


def image(reference: str, identity: str) -> Condition:
    """Return the condition that an image's name keeps belonging to the image with this ID."""
    return ["image", reference, identity]


def packages(*names: str) -> Condition:
    """Return the condition that Debian packages stay installed."""
    return ["packages", *names]


class Notes:
    """The notes on this server.

    :param module: runs the programs that the conditions need.
    """

    def __init__(self, module: AnsibleModule, directory: str = DIRECTORY) -> None:
        self.module = module
        self.directory = directory
        self.server = Server(module, [])

    def _path(self, key: str) -> str:
        return os.path.join(self.directory, key.replace("/", "%") + ".json")

    def write(self, key: str, digest: str | None, conditions: list[Condition], result: dict[str, t.Any]) -> None:
        """Record that a task is done.

        :param digest: hash of the task; without one, nothing is recorded.
        :param result: what the task returns for as long as the conditions hold.
        """
        if not digest:
            return
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        note = {"digest": digest, "conditions": conditions, "result": result}
        write_file(self._path(key), FileState(dump(note), 0o600))

    def holding(self) -> dict[str, dict[str, t.Any]]:
        """Return the digest and the result of each note whose conditions all hold, by key."""
        names = os.listdir(self.directory) if os.path.isdir(self.directory) else []
        notes = {
            name[: -len(".json")].replace("%", "/"): load(read_file(os.path.join(self.directory, name)))
            for name in sorted(names)
            if name.endswith(".json")
        }
        asked = [condition for note in notes.values() for condition in note.get("conditions", [])]
        self.server = server = Server(self.module, asked)
        return {
            key: {"digest": note["digest"], "result": note.get("result", {})}
            for key, note in notes.items()
            if note.get("digest") and all(server.holds(condition) for condition in note.get("conditions", []))
        }

    def traces(self) -> list[str] | None:
        """Return the names of the services and units of which anything is left on this server.

        :return: None if the engine does not answer.
        """
        if self.server.listed is None:
            return None
        store = Store(os.path.join(BASE_DIRECTORY, "contributions"))
        found = {one.project.partition(PROJECT_PREFIX)[2] for one in self.server.listed}
        for reader in store.readers():
            for owners in store.index(reader).owners.values():
                found.update(owners)
        for directory in (BASE_DIRECTORY, UNITS_DIRECTORY, STARTED_DIRECTORY):
            names = os.listdir(directory) if os.path.isdir(directory) else []
            found.update(os.path.splitext(name)[0] for name in names)
        return sorted(found)

    def services(self) -> list[str] | None:
        """Return the names of the services that compose_service has deployed to this server.

        :return: None if the engine does not answer.
        """
        if self.server.listed is None:
            return None
        projects = {one.project for one in self.server.listed if CONFIGURATION_LABEL in one.labels}
        names = {project.partition(PROJECT_PREFIX)[2] for project in projects if project.startswith(PROJECT_PREFIX)}
        return sorted(names.union(directories_with(BASE_DIRECTORY, STATE_FILE)))


class Server:
    """The state that the conditions refer to; each part is queried only once, for all conditions together."""

    def __init__(self, module: AnsibleModule, asked: list[Condition]) -> None:
        self.module = module
        self.asked = asked
        self.hashes: dict[tuple[str, str], str] = {}
        self.answers: dict[tuple[str, ...], str] = {}

    def holds(self, condition: Condition) -> bool:
        """Return whether a condition holds; one that is unknown to this version or has another form does not."""
        try:
            kind, *values = condition
            return bool(getattr(self, f"_{kind}")(*values))
        except (AttributeError, LookupError, OSError, TypeError, ValueError):
            return False

    def _names(self, kind: str) -> list[str]:
        return sorted({name for condition in self.asked if condition[0] == kind for name in condition[1:] if name})

    # -- one method per kind of condition ------------------------------------------------------------------------------

    def _file(self, path: str, wanted: list[t.Any] | None) -> bool:
        return signature(path) == wanted

    def _written(self, path: str, wanted: list[t.Any] | None) -> bool:
        return written_signature(path) == wanted

    def _owned(self, directory: str, uid: int) -> bool:
        """Return whether all files in the directory belong to this user."""
        names = [name for name in os.listdir(directory) if not name.startswith(".")]
        return all(os.lstat(os.path.join(directory, name)).st_uid == uid for name in names)

    def _until(self, moment: float) -> bool:
        return time.time() < moment

    def _answer(self, command: list[str], wanted: str) -> bool:
        key = tuple(command)
        if key not in self.answers:
            self.answers[key] = answer_hash(self.module, command)
        return self.answers[key] == wanted != ""

    def _image(self, reference: str, identity: str) -> bool:
        return self.images.get(reference) == identity != ""

    def _sites(self, service: str, asked: list[sites.Site]) -> bool:
        """Return whether all sites answer now."""
        containers = [one.id for one in self.of(PROJECT_PREFIX + service)]
        return not sites.failures(self.module, service, asked, containers)

    def _packages(self, *names: str) -> bool:
        return set(names) <= self.installed

    def _unit(self, name: str, wanted: dict[str, str]) -> bool:
        return wanted is not None and self.units.get(name) == wanted

    def _containers(self, project: str, wanted: dict[str, list[t.Any]]) -> bool:
        """Return whether the project has exactly these containers, unchanged and healthy; one-off ones do not count."""
        found = self.of(project)
        return (
            self.listed is not None
            and {one.id: one.mark for one in found} == wanted
            and all(one.settled for one in found)
        )

    def _no_containers(self, project: str) -> bool:
        return self.listed is not None and not any(one.project == project for one in self.listed)

    def _contributions(self, directory: str, service: str, wanted: list[list[str]]) -> bool:
        """Return whether the service owns exactly these files and their readers have loaded all files they have."""
        store = Store(directory)
        owned = [
            [reader, file]
            for reader in store.readers()
            for file, owners in store.index(reader).owners.items()
            if service in owners
        ]
        return sorted(owned) == sorted(wanted) and all(
            store.index(reader).reader is None or self._reader(directory, reader)
            for reader in {one[0] for one in wanted}
        )

    def _reader(self, directory: str, name: str) -> bool:
        """Return whether the reader has loaded all its files."""
        store = Store(directory)
        if (directory, name) not in self.hashes:
            self.hashes[directory, name] = store.hash(name)
        return store.index(name).applied == self.hashes[directory, name]

    def of(self, project: str) -> list[Container]:
        """Return a project's containers, without one-off ones."""
        return [one.container for one in self.listed or () if one.project == project and not one.one_off]

    # -- queries ------------------------------------------------------------------------------------------------------

    @cached_property
    def listed(self) -> list[Listed] | None:
        """All containers created by Compose; None if the engine does not answer."""
        return listed_containers(self.module)

    @cached_property
    def images(self) -> dict[str, str]:
        """The IDs of the images named in conditions, by name."""
        return image_ids(self.module, sorted({condition[1] for condition in self.asked if condition[0] == "image"}))

    @cached_property
    def installed(self) -> set[str]:
        """The packages named in conditions that are installed."""
        return set(installed_versions(self.module, self._names("packages")))

    @cached_property
    def units(self) -> dict[str, dict[str, str]]:
        """The state of the systemd units named in conditions."""
        return unit_states(self.module, sorted({condition[1] for condition in self.asked if condition[0] == "unit"}))


def image_ids(module: AnsibleModule, names: list[str]) -> dict[str, str]:
    """Return the IDs of those of these images that exist, by name."""
    program = module.get_bin_path("docker")
    if not program or not names:
        return {}
    words = [program, "image", "inspect", "--format", "{{.Id}}"]
    code, out, dummy = module.run_command([*words, *names])
    if code == 0:
        return dict(zip(names, out.split()))
    # Without a line for each, only single queries tell which one is missing.
    answers = [(name, module.run_command([*words, name])) for name in names] if len(names) > 1 else []
    return {name: out.strip() for name, (code, out, dummy) in answers if code == 0}


def package_states(module: AnsibleModule, names: list[str]) -> dict[str, tuple[str, str]]:
    """Return dpkg's status and the version of those of these Debian packages that it knows."""
    program = module.get_bin_path("dpkg-query")
    if not program or not names:
        return {}
    words = ["--show", "--showformat", "${Package} ${db:Status-Status} ${Version}\n", *names]
    # It fails if one of them is unknown, but still prints the others.
    lines = [line.split(" ", 2) for line in module.run_command([program, *words])[1].splitlines()]
    return {line[0]: (line[1], line[2]) for line in lines if len(line) == 3}


def installed_versions(module: AnsibleModule, names: list[str]) -> dict[str, str]:
    """Return which of these Debian packages are installed, with their versions."""
    states = package_states(module, names)
    return {name: version for name, (status, version) in states.items() if status == "installed"}


def answer_hash(module: AnsibleModule, command: list[str]) -> str:
    """Return the hash of a program's output; empty if it fails, is missing or takes too long."""
    words = ["timeout", "--kill-after=5", str(ANSWER_SECONDS), *command]
    try:
        code, out, dummy = module.run_command(words, handle_exceptions=False)
    except OSError:
        return ""
    return "" if code else hashlib.sha256(out.encode(errors="surrogateescape")).hexdigest()


def unit_states(module: AnsibleModule, names: list[str]) -> dict[str, dict[str, str]]:
    """Return the properties of systemd units by name; empty if systemd is not running."""
    program = module.get_bin_path("systemctl")
    if not program or not names:
        return {}
    out = module.run_command([program, "show", f"--property=Id,{','.join(UNIT_PROPERTIES)}", *names])[1]
    blocks = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in out.split("\n\n")]
    return {name: block for block in blocks for name in [block.pop("Id", "")] if name}


def unit_conditions(module: AnsibleModule, names: list[str]) -> list[Condition]:
    """Return the conditions that systemd units stay as they are now."""
    states = unit_states(module, names)
    return [["unit", name, states.get(name)] for name in names]
