# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation fragment: the options of modules that provide files for other services."""

from __future__ import annotations


class ModuleDocFragment:
    """Which files are provided for which service, and where."""

    DOCUMENTATION = r"""
options:
  contributions:
    description:
      - What O(name) provides for other services, such as its scrape job for Prometheus, as files
        C(<contributions_directory>/<reader>/<name>.<ext>). Those of an earlier run that are no longer listed are removed.
      - A running reader checks them, loads them and is verified to have loaded them, in this run; if it rejects them, it
        keeps what it had, and the module fails. If a reader is not deployed, they wait for it.
    type: list
    elements: dict
    default: []
    suboptions:
      reader:
        description: Name of the service that reads it.
        type: str
        required: true
      ext:
        description: >-
          Suffix of the file's name. Files ending with C(.password) are hidden in diffs, and those with
          C(.pem) must hold certificates.
        type: str
        required: true
      content:
        description: Content of the file.
        type: str
      secret:
        description: Content of the file if it is a secret. Then its name must end with C(.password).
        type: str
      source:
        description:
          - A file with the content, if it is created on the server. The path is relative to the directory of O(name),
            usually C(/opt/miniweb/<name>).
        type: str
      shared:
        description: >-
          First part of the file's name, instead of O(name), for a file that several services provide. It is removed with the
          last of them.
        type: str
  contributions_directory:
    description: Where all contributions of the server are.
    type: path
    default: /opt/miniweb/contributions
"""
