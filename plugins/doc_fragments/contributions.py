# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation fragment: the options of modules that leave files for other services."""

from __future__ import annotations


class ModuleDocFragment:
    """What is left for whom, and where."""

    DOCUMENTATION = r"""
options:
  contributions:
    description:
      - What O(name) leaves for services that read it, such as its scrape job for Prometheus, as files
        C(<contributions_directory>/<reader>/<name>.<ext>). Those of an earlier run that are no longer listed are removed.
      - A reader that runs checks them, loads them and proves it, in this run; one that refuses them keeps what it had, and
        the module fails. For a reader that is not there they wait.
    type: list
    elements: dict
    default: []
    suboptions:
      reader:
        description: Name of the service that reads it.
        type: str
        required: true
      ext:
        description: End of the file's name. What ends with C(.password) is hidden in diffs.
        type: str
        required: true
      content:
        description: Content of the file.
        type: str
      secret:
        description: Content of the file when it is a secret. Then its name has to end with C(.password).
        type: str
      source:
        description:
          - A file whose content it is, for what is made on the server. The path is relative to the directory of O(name),
            usually C(/opt/miniweb/<name>).
        type: str
      shared:
        description: First part of the file's name, instead of O(name), for a file that several services bring. It is
          removed with the last of them.
        type: str
  contributions_directory:
    description: Where all contributions of the server are.
    type: path
    default: /opt/miniweb/contributions
"""
