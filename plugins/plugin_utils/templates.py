# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders templates by Ansible's own lookup, without the copy of all variables that it makes for each."""

from __future__ import annotations

import typing as t

from ansible.plugins.loader import lookup_loader
from ansible.plugins.lookup import LookupBase


class Shared(dict[str, t.Any]):
    """Variables whose deep copy shares their values: the lookup adds some, and changes none."""

    def __deepcopy__(self, memo: dict[int, t.Any]) -> dict[str, t.Any]:
        """Return another dictionary with the same values."""
        return dict(self)


def rendered(lookup: LookupBase, names: list[str], variables: t.Mapping[str, t.Any], **options: t.Any) -> list[t.Any]:
    """Return templates as ``ansible.builtin.template`` renders them.

    :param lookup: the plugin that needs them.
    :param options: those of ``ansible.builtin.template``.
    """
    template = lookup_loader.get("ansible.builtin.template", loader=lookup._loader, templar=lookup._templar)
    return template.run(names, Shared(variables), **options)
