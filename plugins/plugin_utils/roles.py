# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the files of the collection's roles say of them."""

from __future__ import annotations

import os
import typing as t

from ansible.module_utils.common.yaml import yaml_load

try:
    from ansible.template import trust_as_template
except ImportError:  # ansible-core before 2.19 trusts what it loads.

    def trust_as_template(value: str) -> str:  # type: ignore[no-redef]
        """Return the text as it is."""
        return value


__all__ = ["ROLES", "load", "options_of", "trust_as_template"]

ROLES = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "roles")


def load(path: str, parse: t.Callable[[str], t.Any] = yaml_load) -> dict[str, t.Any]:
    """Return the content of a YAML file; empty when there is none."""
    if not os.path.isfile(path):
        return {}
    with open(path, encoding="utf-8") as stream:
        return parse(stream.read()) or {}


def options_of(path: str) -> dict[str, dict[str, t.Any]]:
    """Return the specifications of the variables of the role in a directory."""
    specs = load(os.path.join(path, "meta", "argument_specs.yml"))
    return specs.get("argument_specs", {}).get("main", {}).get("options") or {}
