# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation fragments: what all modules of the collection support."""

from __future__ import annotations


class ModuleDocFragment:
    """Attributes of a module; a module adds C(details) or deviations under its own C(attributes)."""

    DOCUMENTATION = r"""
attributes:
  check_mode:
    support: full
    description: Predicts every change without making one.
  diff_mode:
    support: full
    description: Shows what changes.
  idempotent:
    support: full
    description: A second run with the same input changes nothing.
  platform:
    platforms: posix
    support: full
    description: Operating systems on which the module runs.
"""

    # For modules that never change anything.
    READ_ONLY = r"""
attributes:
  check_mode:
    support: full
    description: The module only reads.
  diff_mode:
    support: none
    description: The module only reads.
  idempotent:
    support: full
    description: The module only reads.
  platform:
    platforms: posix
    support: full
    description: Operating systems on which the module runs.
"""
