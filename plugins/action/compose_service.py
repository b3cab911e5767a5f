# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of the module compose_service: skips what is known to be done, and sends what an image is built from."""

from __future__ import annotations

import contextlib
import typing as t

from ansible.errors import AnsibleActionFail, AnsibleFileNotFound
from ansible_collections.miniweb.stack.plugins.module_utils.compose.model import PROJECT_PREFIX
from ansible_collections.miniweb.stack.plugins.plugin_utils.settled import SettledAction


class ActionModule(SettledAction):
    """Action plugin."""

    MODULE = "compose_service"
    KEY = "name"
    REMOVES = True
    NOT_REMOVED = ("remove_volumes", "directory", "contributions_directory")

    def execute(self, arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        """Run the module; if the server lacks the image, run it again with the archive that it is built from."""
        result = super().execute(arguments, variables)
        if not result.pop("archive_needed", False):
            return result
        with self._sent(arguments["build"]["archive"]) as path:
            return super().execute({**arguments, "sent_archive": path}, variables)

    @contextlib.contextmanager
    def _sent(self, archive: str) -> t.Iterator[str]:
        """Copy an archive to the server for a moment and yield its path there."""
        directory = self._make_tmp_path()
        path = self._connection._shell.join_path(directory, "archive")
        try:
            try:
                self._transfer_file(archive, path)
            except AnsibleFileNotFound:
                raise AnsibleActionFail(
                    f'build: the archive "{archive}" does not exist on the controller: create it before this task.'
                ) from None
            self._fixup_perms2((directory, path))
            yield path
        finally:
            self._remove_tmp_path(directory)

    def gone(self, arguments: dict[str, t.Any]) -> dict[str, t.Any]:
        """Return the further results of removing what does not exist."""
        return {"container_id": "", "project": f"{PROJECT_PREFIX}{arguments['name']}"}
