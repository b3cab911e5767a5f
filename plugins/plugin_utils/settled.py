# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of module_utils/settled.py: the tasks that the check at the start of a run found done.

They are kept in a file, because actions run in separate processes; Ansible removes it at the end of the run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import typing as t

from ansible import constants
from ansible.plugins.action import ActionBase

PLUGINS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _path(variables: dict[str, t.Any]) -> str:
    host = hashlib.sha256(variables["inventory_hostname"].encode()).hexdigest()[:16]
    return os.path.join(constants.DEFAULT_LOCAL_TMP, f"miniweb-{host}.json")


def _known(variables: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return what the check at the start of this play found out about a host; empty if there was none."""
    try:
        with open(_path(variables), encoding="utf-8") as stream:
            known = json.load(stream)
    except FileNotFoundError:
        return {}
    return known if known["play"] == variables.get("ansible_play_name") else {}


def remember(variables: dict[str, t.Any], **known: t.Any) -> None:
    """Keep what is known of a host for the rest of this play; what is not named stays as it is.

    :param settled: the valid notes.
    :param traces: the names of the services and units of which there is something.
    :param services: the names of the services that compose_service has deployed.
    :param engine: the Docker engine, as the module server_check returns it.
    :param ipv6: whether the kernel has IPv6.
    :param values: those of variables that are evaluated once.
    """
    known = {**_known(variables), "play": variables.get("ansible_play_name"), **known}
    with open(_path(variables), "w", encoding="utf-8") as stream:
        json.dump(known, stream)


def forget(variables: dict[str, t.Any]) -> None:
    """Discard everything that is known of a host."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_path(variables))


def forget_notes(variables: dict[str, t.Any]) -> None:
    """Discard a host's notes, because a task has changed it: each later task checks for itself."""
    if _known(variables).get("settled"):
        remember(variables, settled={})


def leave_trace(variables: dict[str, t.Any], name: str) -> None:
    """Record that there is something of a service or unit from now on."""
    traces = traces_at_start(variables)
    if traces is not None and name not in traces:
        remember(variables, traces=[*traces, name])


def has_no_trace(variables: dict[str, t.Any], name: str) -> bool:
    """Return whether the check at the start found nothing of a service or unit, and no task has deployed it since."""
    traces = traces_at_start(variables)
    return traces is not None and name not in traces


def traces_at_start(variables: dict[str, t.Any]) -> list[str] | None:
    """Return the services and units of which there is something; None if that is not known."""
    return _known(variables).get("traces")


def services_at_start(variables: dict[str, t.Any]) -> list[str] | None:
    """Return the services that the check at the start found on the server; None if that is not known."""
    return _known(variables).get("services")


def engine_at_start(variables: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the Docker engine that the check at the start found on the server; empty if that is not known."""
    return _known(variables).get("engine") or {}


def disk_at_start(variables: dict[str, t.Any]) -> int:
    """Return the size of the disk of the engine's data in megabytes; 0 if that is not known."""
    return _known(variables).get("disk_mb") or 0


def has_ipv6(variables: dict[str, t.Any]) -> bool:
    """Return whether the server's kernel has IPv6, as most have; true if that is not known."""
    return _known(variables).get("ipv6", True)


def values_in_play(variables: dict[str, t.Any]) -> dict[str, t.Any] | None:
    """Return the values of variables that have been evaluated since the check at the start; None if there was no check."""
    return _known(variables).get("values")


def remember_value(variables: dict[str, t.Any], key: str, value: t.Any) -> None:
    """Keep the value of a variable that is evaluated once for the rest of this play."""
    remember(variables, values={**(values_in_play(variables) or {}), key: value})


def code_of(*directories: str) -> t.Iterator[str]:
    """Yield the files below directories in a fixed order."""
    for top in directories:
        for directory, names, files in os.walk(top):
            names[:] = sorted(name for name in names if name != "__pycache__")
            yield from (os.path.join(directory, file) for file in sorted(files))


def _digest(value: t.Any, paths: t.Iterable[str]) -> str:
    """Return one hash of a value and of files: another version of the code has to check for itself."""
    total = hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode())
    for path in paths:
        with open(path, "rb") as stream:
            total.update(stream.read())
    return total.hexdigest()


def digest_of(module: str, arguments: dict[str, t.Any]) -> str:
    """Return one hash of a task's arguments and the code of its module."""
    own = os.path.join(PLUGINS, "modules", f"{module}.py")
    return _digest(arguments, [own, *code_of(os.path.join(PLUGINS, "module_utils"))])


def digest_of_role(path: str, values: dict[str, t.Any]) -> str:
    """Return one hash of what the tasks of a role depend on: these values, its code and the collection's modules."""
    own = (os.path.join(path, name) for name in ("defaults", "files", "tasks", "templates", "vars"))
    return _digest(values, code_of(*own, *(os.path.join(PLUGINS, name) for name in ("modules", "module_utils"))))


def settled(variables: dict[str, t.Any], key: str, digest: str) -> dict[str, t.Any] | None:
    """Return a task's result if the check at the start of its play found it done; otherwise None."""
    note = _known(variables).get("settled", {}).get(key)
    return note["result"] if note and note["digest"] == digest else None


class SettledAction(ActionBase):
    """An action that runs its module only if the check at the start has not found its task done.

    :cvar MODULE: the module's name in this collection.
    :cvar KEY: the option that tells its tasks apart; empty for a module with one task per host.
    :cvar REMOVES: whether I(state=absent) removes everything of the service or unit that KEY names.
    :cvar NOT_REMOVED: options with which the check at the start does not see all that I(state=absent) would remove.
    """

    MODULE = ""
    KEY = ""
    REMOVES = False
    NOT_REMOVED: tuple[str, ...] = ()
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return at once if the task is done; otherwise run the module."""
        variables = task_vars or {}
        result = super().run(tmp, variables)
        arguments = dict(self._task.args)
        key = f"{self.MODULE}/{arguments.get(self.KEY)}" if self.KEY else self.MODULE
        digest = digest_of(self.MODULE, arguments)
        found = None if self._task.delegate_to else settled(variables, key, digest)
        if found is None and self.is_gone(variables, arguments):
            found = {"actions": [], **self.gone(arguments)}
        if found is not None:
            return {**result, **found, "changed": False}
        if self.REMOVES and not self._task.delegate_to and arguments.get("state", "present") != "absent":
            leave_trace(variables, str(arguments.get(self.KEY)))
        result.update(self.execute({**arguments, "settled": digest}, variables))
        if not self._task.check_mode and self.changes(result):
            forget_notes(variables)
        return result

    def execute(self, arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        """Run the module and return its result."""
        return self._execute_module(f"miniweb.stack.{self.MODULE}", arguments, task_vars=variables)

    def is_gone(self, variables: dict[str, t.Any], arguments: dict[str, t.Any]) -> bool:
        """Return whether the task has nothing to do because there is nothing of its service or unit."""
        absent = self.REMOVES and arguments.get("state") == "absent" and not self._task.delegate_to
        seen = not any(arguments.get(option) for option in self.NOT_REMOVED)
        return absent and seen and has_no_trace(variables, str(arguments.get(self.KEY)))

    def gone(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        """Return the further results of a task for what does not exist."""
        return {}

    def changes(self, result: dict[str, t.Any]) -> bool:
        """Return whether the findings of the check at the start may be outdated."""
        return bool(result.get("changed") or result.get("failed"))
