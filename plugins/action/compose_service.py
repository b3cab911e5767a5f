# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of the module compose_service: runs the module only if its task is not known to be done."""

from __future__ import annotations

import typing as t

from ansible_collections.miniweb.stack.plugins.module_utils.compose.model import PROJECT_PREFIX
from ansible_collections.miniweb.stack.plugins.plugin_utils.settled import SettledAction


class ActionModule(SettledAction):
    """Action plugin."""

    MODULE = "compose_service"
    KEY = "name"
    REMOVES = True
    NOT_REMOVED = ("remove_volumes", "directory", "contributions_directory")

    def gone(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        """Return the further results of removing what does not exist."""
        return {"container_id": "", "project": f"{PROJECT_PREFIX}{arguments['name']}"}
