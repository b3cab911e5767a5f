#!/usr/bin/python
# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action check_input."""

from __future__ import annotations

DOCUMENTATION = r"""
module: check_input
short_description: Check the input of roles and report everything that is wrong with it at once
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Compares the variables of roles with their C(meta/argument_specs.yml) (C(main)), evaluates the conditions of their
    C(meta/checks.yml) on the controller, and checks what these require on the server, in one call for all roles.
  - An option of the type C(str), and whatever has the name of a secret in a dictionary, must be text. A specification alone
    accepts anything as text, so that a password C(012345670123), which YAML reads as the number 1402433619, would be used as
    such. A value given by C(-e name=value) is always text; in the line of a host in an INI inventory it takes two pairs of
    quotes, C(name='"2026"').
  - A password has no line breaks and other control characters.
  - Fails with every problem of every role, one sentence per line. It never changes anything, and never shows the value of an
    option, or part of one, that has C(no_log) or whose name ends in C(password), C(passphrase), C(secret) or C(key), unless
    the option has C(no_log=false).
  - In C(meta/checks.yml), C(renamed) maps old names of variables to new ones, and C(replaced) to
    what to do instead; one that is still set is a problem.
  - Each entry of C(checks) has C(that), one or more conditions, and C(message), the error sentence. It may have C(when), one
    or more conditions, C(vars), and C(each), names of variables to evaluate it for, one after the other, as C(name) and
    C(value).
  - Each entry of C(server) has the options of an entry of C(checks) of M(miniweb.stack.server_check), and C(when).
  - Each entry of C(kept_secrets) has C(variable), a secret that existing data on the server require, and C(volume), the name
    of their Docker volume; it may have C(when), one or more conditions. If P(miniweb.stack.secret#lookup) would generate
    such a secret, or one of those in the variable C(from), although the volume exists, the run stops before anything else is
    evaluated, so that none is generated. Ansible's own validation of a role's arguments comes earlier and does evaluate
    them; C(rolespec_validate=false) disables it.
  - When C(<role>_state) is C(absent), only that variable, C(renamed), C(replaced) and entries with C(always=true) are checked, and that
    values that are set without a template are text.
options:
  roles:
    description:
      - Names of the roles to check, short or with C(miniweb.stack) in front. Those that the tags of the run do not select,
        that are not of this collection, or that have no input specification, are skipped. The tag of a role is its name.
      - Without it, the role of the task is checked, unless the play is that of the whole system (it has the role
        C(miniweb.stack.miniweb)), which has checked it already.
    type: list
    elements: str
extends_documentation_fragment:
  - miniweb.stack.attributes.read_only
attributes:
  action:
    support: full
    description: >-
      It runs on the controller; what only the server can answer is checked there by M(miniweb.stack.server_check).
seealso:
  - module: miniweb.stack.server_check
"""

EXAMPLES = r"""
# First task of a role
- name: Check the input
  miniweb.stack.check_input:

# First task of a play with several roles
- name: Check the input of every role
  miniweb.stack.check_input:
    roles: "{{ ansible_play_role_names }}"
  become: true
"""

RETURN = r"""
msg:
  description: All problems, one sentence per line.
  returned: failure
  type: str
  sample: "mysql_root_password: the password has 3 characters; give one of at least 12."
"""
