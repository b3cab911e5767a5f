# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of the module mysql_account: runs the module only if its task is not known to be done."""

from __future__ import annotations

import typing as t

from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.miniweb.stack.plugins.plugin_utils.settled import SettledAction, has_no_trace


class ActionModule(SettledAction):
    """Action plugin."""

    MODULE = "mysql_account"
    KEY = "user"

    def is_gone(self, variables: dict[str, t.Any], arguments: dict[str, t.Any]) -> bool:
        """Return whether there is nothing of a service that may be missing."""
        name = arguments.get("service")
        may_be = bool(name) and boolean(arguments.get("missing_ok", False)) and not self._task.delegate_to
        return may_be and has_no_trace(variables, str(name))

    def gone(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        """Return the further results of asking what does not exist."""
        return {"answered": False}
