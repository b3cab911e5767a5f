#!/usr/bin/python
# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a program outside containers under systemd, or remove it without a trace."""

from __future__ import annotations

DOCUMENTATION = r"""
module: systemd_unit
short_description: Run a program under systemd, or remove it without a trace
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Writes the files of a program and of its units, and enables and starts the timer or the socket that starts its service, or the service.
  - What runs is restarted if it was started from other files. That is recorded once the new program answers, so that the
    next run completes an interrupted one.
options:
  name:
    description: Name of the units without their suffix, such as V(miniweb-backup).
    type: str
    required: true
  state:
    description: Whether the program is installed. V(absent) stops it and removes everything that belongs to it.
    type: str
    choices: [present, absent]
    default: present
  start:
    description: What starts the service; V(service) if it starts with the server. Its unit is enabled and started.
    type: str
    choices: [socket, timer, service]
    required: true
  directories:
    description: Directories that are created for everybody to read and for root to change.
    type: list
    elements: path
    default: []
  files:
    description: The units below C(/etc/systemd/system) and other files. They belong to root.
    type: list
    elements: dict
    default: []
    suboptions:
      dest:
        description: Absolute path.
        type: path
        required: true
      content:
        description: The content. Either this or O(files[].secret).
        type: str
      secret:
        description: The content, which no output may show. Readable only by root.
        type: str
  leaves:
    description: Further paths that are removed with it, directories with their contents.
    type: list
    elements: path
    default: []
  probe_url:
    description:
      - An HTTP address at the socket that must answer with a status below 400 within 30 seconds. Requests wait in the socket
        while the service starts, so it is asked once.
    type: str
  proof_command:
    description:
      - A program with its arguments that changes nothing, and succeeds as long as what the unit has set up is there; if it
        fails, the unit is started again.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - miniweb.stack.attributes
  - miniweb.stack.settled
attributes:
  diff_mode:
    details: Secrets are not shown.
"""

EXAMPLES = r"""
- name: Make a backup every night
  miniweb.stack.systemd_unit:
    name: miniweb-backup
    start: timer
    directories: [/opt/miniweb/backup]
    files:
      - dest: /opt/miniweb/backup/backup.sh
        content: "{{ lookup('ansible.builtin.file', 'backup.sh') }}"
      - dest: /etc/systemd/system/miniweb-backup.service
        content: "{{ lookup('miniweb.stack.template', 'miniweb-backup.service.j2') }}"
      - dest: /etc/systemd/system/miniweb-backup.timer
        content: "{{ lookup('miniweb.stack.template', 'miniweb-backup.timer.j2') }}"
"""

RETURN = r"""
actions:
  description: Descriptions of what was done, or would be done in check mode, in order.
  returned: always
  type: list
  elements: str
  sample: ["write /etc/systemd/system/miniweb-backup.timer", "start miniweb-backup.timer"]
"""

import hashlib
import os
import shutil
import stat
import typing as t
import urllib.error
import urllib.request

from ansible_collections.miniweb.stack.plugins.module_utils import settled
from ansible_collections.miniweb.stack.plugins.module_utils.compose.files import dump
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import (
    FileState,
    cause,
    difference,
    read_file,
    write_file,
)
from ansible_collections.miniweb.stack.plugins.module_utils.server_module import ServerModule
from ansible_collections.miniweb.stack.plugins.module_utils.settled import STARTED_DIRECTORY, UNITS_DIRECTORY

PROBE_SECONDS = 30
STOPPED = ("inactive", "failed")


class UnitError(Exception):
    """The program cannot be run; the message says why in one sentence."""


class Unit:
    """One program and its units."""

    def __init__(self, module: ServerModule) -> None:
        self.module = module
        self.params: dict[str, t.Any] = module.params
        self.started_unit = f"{self.params['name']}.{self.params['start']}"
        # A timer's service comes and goes.
        also = [f"{self.params['name']}.service"] if self.params["start"] == "socket" else []
        self.units = [self.started_unit, *also]
        self.record = os.path.join(STARTED_DIRECTORY, self.params["name"])
        self.files = {item["dest"]: described(item) for item in self.params["files"]}
        self.actions: list[str] = []
        self.diff: list[dict[str, str]] = []

    def _systemctl(self, *words: str) -> None:
        """Run ``systemctl``.

        :raises UnitError: it failed.
        """
        code, out, err = self.module.run_command(["systemctl", *words])
        if code:
            raise UnitError(f"`systemctl {' '.join(words)}` failed: {cause(err or out)}.")

    def _stop(self) -> None:
        """Stop what is running.

        :raises UnitError: that is not possible.
        """
        states = settled.unit_states(self.module, self.units)
        running = [name for name in self.units if states.get(name, {}).get("ActiveState", "inactive") not in STOPPED]
        if running:
            self._systemctl("stop", *running)

    # -- present ------------------------------------------------------------------------------------------------------

    def present(self) -> None:
        """Write the files and run the program.

        :raises UnitError: it cannot be started or does not answer.
        """
        # Only root can read the record, because a password could be guessed from the hash.
        started = FileState(started_from(self.files), 0o400)
        outdated = self._write() or read_file(self.record) != started
        if outdated:
            self.actions.append(f"start {self.started_unit}")
        elif not self._runs() or not self._proven():
            self.actions.append(f"start {self.started_unit} again")
        if self.module.check_mode:
            return
        # What was set up and undone again is no reason for systemd to start what it has started.
        if outdated or (self.actions and self.params["proof_command"]):
            # Not restarted: systemd refuses to start a socket whose service is still stopping.
            self._stop()
        if self.actions:
            self._systemctl("daemon-reload")
            self._systemctl("enable", "--now", self.started_unit)
        if self.params["probe_url"]:
            self._probe()
        if outdated:
            os.makedirs(STARTED_DIRECTORY, mode=0o755, exist_ok=True)
            write_file(self.record, started)
        if not self._proven():
            raise UnitError(f"{self.started_unit} has started, but `{' '.join(self.params['proof_command'])}` fails.")
        self._note([*self.params["directories"], *self.files, self.record], self.units)

    def _write(self) -> bool:
        """Write what differs; return whether anything did."""
        directories = [path for path in self.params["directories"] if not is_roots_directory(path)]
        found = {path: read_file(path) for path in self.files}
        files = [item for item in self.params["files"] if found[item["dest"]] != self.files[item["dest"]]]
        self.actions += [f"create {path}" for path in directories]
        self.actions += [f"write {item['dest']}" for item in files]
        self.diff = [
            difference(item["dest"], found[item["dest"]], self.files[item["dest"]], item["secret"] is not None)
            for item in files
        ]
        if self.actions and not self.module.check_mode:
            # An interruption after this is noticed by the next run.
            if os.path.exists(self.record):
                os.unlink(self.record)
            for path in directories:
                make_roots_directory(path)
            for item in files:
                write_file(item["dest"], self.files[item["dest"]])
        return bool(self.actions)

    def _runs(self) -> bool:
        """Return whether the unit runs as its file says, now and after a restart of the server."""
        state = settled.unit_states(self.module, [self.started_unit]).get(self.started_unit, {})
        wanted = {"ActiveState": "active", "UnitFileState": "enabled", "NeedDaemonReload": "no"}
        return all(state.get(name) == value for name, value in wanted.items())

    def _proven(self) -> bool:
        """Return whether what the unit has set up is there."""
        command = self.params["proof_command"]
        return not command or self.module.run_command(command)[0] == 0

    def _probe(self) -> None:
        """Check that the program answers.

        :raises UnitError: it does not.
        """
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(self.params["probe_url"], timeout=PROBE_SECONDS):
                return
        except OSError as error:
            raise UnitError(f"{self.params['probe_url']} does not answer: {silence(error)}.") from None

    # -- absent -------------------------------------------------------------------------------------------------------

    def absent(self) -> None:
        """Stop the program and remove everything that belongs to it.

        :raises UnitError: it cannot be stopped.
        """
        paths = self._traces()
        self.actions += [f"remove {path}" for path in paths]
        if self.module.check_mode:
            return
        if paths:
            self._stop()
            if os.path.lexists(os.path.join(UNITS_DIRECTORY, self.started_unit)):
                self._systemctl("disable", self.started_unit)
            self._systemctl("reset-failed", f"{self.params['name']}.*")
            for path in paths:
                remove(path)
            self._systemctl("daemon-reload")
        self._note([*self._own(), *self.params["leaves"]], [])

    def _own(self) -> list[str]:
        """Return the files of this module; the units come last, so that the next run completes an interrupted one."""
        units = [
            os.path.join(UNITS_DIRECTORY, f"{self.params['name']}.{kind}") for kind in ("service", "socket", "timer")
        ]
        return [*self.files, self.record, *units]

    def _traces(self) -> list[str]:
        paths = dict.fromkeys([*self.params["leaves"], *self._own()])
        return [path for path in paths if os.path.lexists(path)]

    def _note(self, paths: list[str], units: list[str]) -> None:
        conditions = [*settled.files(*paths), *settled.unit_conditions(self.module, units)]
        if units and self.params["proof_command"]:
            conditions.append(settled.answer(self.module, *self.params["proof_command"]))
        key = f"systemd_unit/{self.params['name']}"
        settled.Notes(self.module).write(key, self.params["settled"], conditions, {"actions": []})


def is_roots_directory(path: str) -> bool:
    """Return whether it is a directory that everybody may read and root alone may change."""
    if not os.path.isdir(path):
        return False
    found = os.stat(path)
    return (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o755, 0, 0)


def make_roots_directory(path: str) -> None:
    """Create a directory, or change its owner and permissions."""
    os.makedirs(path, exist_ok=True)
    os.chown(path, 0, 0)
    os.chmod(path, 0o755)


def described(item: dict[str, t.Any]) -> FileState:
    """Return a file as the module's parameters describe it."""
    if item["secret"] is not None:
        return FileState(item["secret"].encode(), 0o400)
    return FileState(item["content"].encode(), 0o644)


def started_from(files: dict[str, FileState]) -> bytes:
    """Return one hash of all files."""
    contents = {path: hashlib.sha256(file.content).hexdigest() for path, file in files.items()}
    return hashlib.sha256(dump(contents)).hexdigest().encode()


def silence(error: OSError) -> str:
    """Return why an address does not answer, with what the program itself said."""
    if isinstance(error, urllib.error.HTTPError):
        return cause(error.read().decode(errors="replace"))
    return str(getattr(error, "reason", error))


def remove(path: str) -> None:
    """Remove a file or a directory with its contents."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def main() -> None:
    """Entry point of the module."""
    module = ServerModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "start": {"type": "str", "choices": ["socket", "timer", "service"], "required": True},
            "directories": {"type": "list", "elements": "path", "default": []},
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "dest": {"type": "path", "required": True},
                    "content": {"type": "str"},
                    "secret": {"type": "str", "no_log": True},
                },
                "mutually_exclusive": [["content", "secret"]],
                "required_one_of": [["content", "secret"]],
            },
            "leaves": {"type": "list", "elements": "path", "default": []},
            "probe_url": {"type": "str"},
            "proof_command": {"type": "list", "elements": "str", "default": []},
            **settled.SETTLED_SPEC,
        },
        supports_check_mode=True,
    )
    unit = Unit(module)
    try:
        unit.present() if module.params["state"] == "present" else unit.absent()
    except UnitError as error:
        module.fail_json(msg=str(error), actions=unit.actions)
    except OSError as error:
        module.fail_json(msg=f"{error.filename} cannot be read or written: {error.strerror}.", actions=unit.actions)
    module.exit_json(changed=bool(unit.actions), actions=unit.actions, diff=unit.diff)


if __name__ == "__main__":
    main()
