# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation fragment: the option of modules that note when their task is done."""

from __future__ import annotations


class ModuleDocFragment:
    """What is noted on the server."""

    DOCUMENTATION = r"""
options:
  settled:
    description:
      - Set by the action of the same name, not by playbooks. It is the hash of what is asked and of the module's code.
      - When all is as it should be, it is noted below C(/opt/miniweb/settled) together with what has to stay as it is. A
        later run of the whole system looks at all notes at once, and does not run a module whose note still holds.
    type: str
"""
