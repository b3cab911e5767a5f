# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of the module docker_daemon: hashes what its note depends on."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase
from ansible_collections.miniweb.stack.plugins.plugin_utils.settled import digest_of_role, forget_notes


class ActionModule(ActionBase):
    """Action plugin."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Configure the engine."""
        variables = task_vars or {}
        result = super().run(tmp, variables)
        arguments = dict(self._task.args)
        if arguments.get("note"):
            note = dict(arguments["note"])
            digest = digest_of_role(variables.get("role_path", ""), note.pop("of", {}))
            arguments.update(note=note, settled=digest)
        if not self._task.check_mode:
            # The engine, or what was installed for it, may have changed.
            forget_notes(variables)
        result.update(self._execute_module("miniweb.stack.docker_daemon", arguments, task_vars=variables))
        return result
