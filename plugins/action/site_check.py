# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of the module site_check: runs the module only if the sites have not been asked in this run."""

from __future__ import annotations

from ansible_collections.miniweb.stack.plugins.plugin_utils.settled import SettledAction


class ActionModule(SettledAction):
    """Action plugin."""

    MODULE = "site_check"
