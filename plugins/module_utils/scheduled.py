# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scheduled commands of applications, by the names of their units."""

from __future__ import annotations

import re
import typing as t

# As in the role flask_app; an application's name has no underscore.
UNIT = re.compile(r"miniweb-([a-z0-9][a-z0-9-]*)_[A-Za-z0-9_-]+")


def applications(units: t.Iterable[str]) -> dict[str, str]:
    """Return the units that run a scheduled command, and the name of the application of each."""
    matches = (UNIT.fullmatch(unit) for unit in units)
    return {match[0]: match[1] for match in matches if match}
