# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation fragment: the option of modules that record when their task is done."""

from __future__ import annotations


class ModuleDocFragment:
    """What is recorded on the server."""

    DOCUMENTATION = r"""
options:
  settled:
    description:
      - Set by the action of the same name, not by playbooks. It is the hash of the parameters and of the module's code.
      - When everything is in its desired state, this is noted below C(/opt/miniweb/settled) together with the conditions
        that must stay true. A later run of the whole system reads all notes at once, and skips a module whose note is still
        valid.
    type: str
"""
