# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""What the collection's modules are built on instead of AnsibleModule: its log entry on the server holds no secret."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule


class ServerModule(AnsibleModule):  # type: ignore[misc]
    """An AnsibleModule that logs only its plain options.

    Ansible writes each call with all options to the server's journal. It takes secrets out of the options' text, but the
    text of a list or dictionary has them in Python's notation, in which a line break, a backslash or a quote looks
    different, so such a secret stays in. Its own treatment of plain options is complete.
    """

    def _log_invocation(self) -> None:
        params = self.params
        self.params = {name: value for name, value in params.items() if isinstance(value, (bool, int, str))}
        try:
            super()._log_invocation()
        finally:
            self.params = params
