# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of the module settled: hashes what the tasks depend on."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase
from ansible_collections.miniweb.stack.plugins.plugin_utils.settled import digest_of_role, forget_notes


class ActionModule(ActionBase):
    """Action plugin."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Record that the tasks before this one are done."""
        variables = task_vars or {}
        result = super().run(tmp, variables)
        arguments = dict(self._task.args)
        digest = digest_of_role(variables.get("role_path", ""), arguments.pop("of", {}))
        if not self._task.check_mode:
            # They may have changed the server.
            forget_notes(variables)
        arguments["settled"] = digest
        result.update(self._execute_module("miniweb.stack.settled", arguments, task_vars=variables))
        return result
