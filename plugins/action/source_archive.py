# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action: pack a source directory on the controller, in this process."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase
from ansible_collections.miniweb.stack.plugins.modules.source_archive import ARGUMENT_SPEC, archived


class ActionModule(ActionBase):
    """Action plugin."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Pack the source, or report why that is not possible."""
        result = super().run(tmp, task_vars)
        dummy, arguments = self.validate_argument_spec(ARGUMENT_SPEC)
        try:
            return {**result, **archived(arguments, self._task.check_mode)}
        except ValueError as error:
            return {**result, "failed": True, "msg": str(error)}
        except OSError as error:
            msg = (
                f"{error.filename or arguments['dest']} cannot be read or written on the controller: {error.strerror}."
            )
            return {**result, "failed": True, "msg": msg}
