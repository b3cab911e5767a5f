# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: whether an image has to be pulled again, because its tag may have moved."""

from __future__ import annotations

DOCUMENTATION = r"""
name: image_pull
short_description: Whether an image has to be pulled again
version_added: 1.0.0
author: miniweb.stack maintainers (@miniweb)
description:
  - Returns V(missing) for an image whose name says exactly which one it is, by a digest or by a tag that begins with a
    version of three numbers, such as C(mysql:8.4.7) or C(nginx:1.28.0-alpine).
  - Returns V(always) for every other tag, such as C(latest) or C(8.4), because it may belong to another image tomorrow.
options:
  _input:
    description: Name of the image.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Run MySQL
  miniweb.stack.compose_service:
    name: mysql
    definition:
      image: "{{ mysql_image }}"
    pull: "{{ mysql_image | miniweb.stack.image_pull }}"
"""

RETURN = r"""
_value:
  description: V(missing) or V(always), for the option O(miniweb.stack.compose_service#module:pull).
  type: str
"""

import re
import typing as t

EXACT = re.compile(r"@\w+:\w+$|:v?\d+\.\d+\.\d+([^\d/:][^/:]*)?$")


def image_pull(image: str) -> str:
    """Return when an image is to be pulled: missing or always."""
    return "missing" if EXACT.search(str(image)) else "always"


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., str]]:
        """Return the filters by name."""
        return {"image_pull": image_pull}
