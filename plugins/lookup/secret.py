# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookup: a secret of a host, generated on first use."""

from __future__ import annotations

DOCUMENTATION = r"""
name: secret
short_description: A secret of a host, generated on first use
version_added: 1.0.0
author: miniweb.stack maintainers (@miniweb)
description:
  - Returns the content of a file on the controller. If the file does not exist, it is created with random letters and
    digits, readable only by its owner, as P(ansible.builtin.password#lookup) does.
  - In check mode no file is created, and letters and digits take the place of a secret that does not exist, the same ones in
    the whole run.
  - The files of a host are in O(directory). By default that is C(secrets/<host>) next to the inventory that contains the
    host; if the inventory is a directory, or a file in a directory called C(inventory), it is next to this directory,
    because Ansible would read it as an inventory inside. For a host without an inventory (C(-i host,)) it is in the current
    working directory.
options:
  _terms:
    description: Names of the secrets, which are those of their files.
    type: list
    elements: str
    required: true
  length:
    description: Number of characters of a generated secret.
    type: int
    default: 32
  create:
    description: Whether a missing secret is generated; otherwise the lookup fails.
    type: bool
    default: true
    vars:
      - name: miniweb_secrets_create
  former:
    description: Name that the file had before. A file that still has it is renamed; in check mode, it is read.
    type: str
    default: ""
  directory:
    description: Directory of the files. A relative path begins where C(secrets) would be.
    type: str
    vars:
      - name: miniweb_secrets_dir
seealso:
  - plugin: ansible.builtin.password
    plugin_type: lookup
"""

EXAMPLES = r"""
# roles/mysql/defaults/main.yml
mysql_password: "{{ lookup('miniweb.stack.secret', 'mysql_password') }}"
grafana_admin_password: "{{ lookup('miniweb.stack.secret', 'grafana_admin_password', length=64) }}"
"""

RETURN = r"""
_raw:
  description: The secrets.
  type: list
  elements: str
"""

import hashlib
import os
import re
import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.loader import lookup_loader
from ansible.plugins.lookup import LookupBase


class SecretMissing(AnsibleLookupError):
    """A secret does not exist and must not be generated."""

    def __init__(self, path: str) -> None:
        super().__init__(f'The secret "{path}" does not exist: put it there, or set miniweb_secrets_create to true.')
        self.path = path


def beside_inventory(inventory_dir: str | None, sources: list[str]) -> str:
    """Return the directory for files that belong to an inventory but must not be parsed as part of it."""
    # For a host that is in no inventory file, Ansible sets None, or the string "None".
    if not os.path.isabs(inventory_dir or ""):
        return os.getcwd()
    inside = os.path.normpath(inventory_dir)
    if os.path.basename(inside) == "inventory":
        return os.path.dirname(inside)
    for source in sources:
        directory = os.path.abspath(source)
        if os.path.isdir(directory) and f"{inside}{os.sep}".startswith(f"{directory}{os.sep}"):
            return os.path.dirname(directory)
    return inside


def placeholder(path: str, length: int) -> str:
    """Return what takes the place of a secret in check mode: unlike any other one, and of no use."""
    digest = hashlib.sha256(path.encode()).hexdigest()
    return (digest * (length // len(digest) + 1))[:length]


class LookupModule(LookupBase):
    """Lookup plugin."""

    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[str]:
        """Return the secrets of the host."""
        variables = variables or {}
        self.set_options(var_options=variables, direct=kwargs)
        for name in terms:
            if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
                raise AnsibleLookupError(
                    f'The secret "{name}" is not a valid file name: use letters, digits, "_", "." and "-".'
                )
        directory = self._directory(variables)
        former, check = self.get_option("former"), bool(variables.get("ansible_check_mode"))
        paths = [self._renamed(os.path.join(directory, name), former, check) for name in terms]
        if not self.get_option("create"):
            for path in paths:
                if not os.path.exists(path):
                    raise SecretMissing(path)
        length = self.get_option("length")
        return [
            placeholder(path, length) if check and not os.path.exists(path) else self._kept(path, length, variables)
            for path in paths
        ]

    def _renamed(self, path: str, former: str, check: bool) -> str:
        """Return where a secret is, after giving a file that still has its former name the current one."""
        old = os.path.join(os.path.dirname(path), former)
        if not former or os.path.exists(path) or not os.path.isfile(old):
            return path
        if check:
            return old
        os.rename(old, path)
        return path

    def _kept(self, path: str, length: int, variables: dict[str, t.Any]) -> str:
        """Return the secret in a file, which is created if it is missing."""
        password = lookup_loader.get("ansible.builtin.password", loader=self._loader, templar=self._templar)
        return password.run([path], variables, length=length, chars=["ascii_letters", "digits"])[0]

    def _directory(self, variables: dict[str, t.Any]) -> str:
        """Return the absolute path of the directory of the host's secrets."""
        # Values may be templates that are not evaluated yet.
        given = self._templar.template(self.get_option("directory")) or os.path.join(
            "secrets", self._templar.template(variables["inventory_hostname"])
        )
        base = beside_inventory(variables.get("inventory_dir"), variables.get("ansible_inventory_sources") or [])
        return os.path.join(base, os.path.expanduser(given))
