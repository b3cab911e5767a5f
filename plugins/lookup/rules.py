# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookup: the Prometheus rules of a role."""

from __future__ import annotations

DOCUMENTATION = r"""
name: rules
short_description: Prometheus rules of a role, with links from alerts to their runbooks
version_added: 1.0.0
author: miniweb.stack maintainers (@miniweb)
description:
  - Renders a template of the role with C(<< >>) for variables, since Prometheus uses C({{ }}) itself, and gives every alert
    the annotation C(runbook_url).
  - That of the alert C(MysqlDown) of the role C(mysql) is C(<runbook_url>mysql/runbooks/MysqlDown.md).
options:
  _terms:
    description: The template, looked up as by M(ansible.builtin.template).
    type: list
    elements: str
    required: true
  runbook_url:
    description: URL of the directory with the roles and their runbooks, which ends with C(/).
    type: str
    default: https://git.example.org/miniweb/stack/roles/
    vars:
      - name: miniweb_runbook_url
seealso:
  - plugin: ansible.builtin.template
    plugin_type: lookup
"""

EXAMPLES = r"""
# roles/mysql/vars/main.yml
__mysql_rules: "{{ lookup('miniweb.stack.rules', 'rules.yml.j2') }}"
"""

RETURN = r"""
_raw:
  description: The rules as YAML text, C(groups) with C(rules).
  type: list
  elements: str
"""

import re
import typing as t

import yaml
from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.miniweb.stack.plugins.plugin_utils.templates import rendered


def with_runbooks(text: str, address: str) -> str:
    """Return the rules with the annotation runbook_url on every alert: the address followed by the alert's name."""
    rules = yaml.safe_load(text)
    for rule in (rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule):
        rule["annotations"] = {**rule.get("annotations", {}), "runbook_url": f"{address}{rule['alert']}.md"}
    return yaml.safe_dump(rules, sort_keys=False, allow_unicode=True, width=10000)


class LookupModule(LookupBase):
    """Lookup plugin."""

    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[str]:
        """Render the templates and return them with their runbooks."""
        variables = variables or {}
        self.set_options(var_options=variables, direct=kwargs)
        # The option's value may be a template that is not evaluated yet.
        base = self._templar.template(self.get_option("runbook_url"))
        if not re.fullmatch(r"https?://\S+/", base):
            raise AnsibleLookupError(
                f'miniweb_runbook_url is "{base}": set it to an address that begins with http:// or https:// and ends '
                'with "/".'
            )
        role = (variables.get("ansible_role_name") or variables.get("role_name") or "").rpartition(".")[2]
        if not role:
            raise AnsibleLookupError(
                "The lookup rules was called outside a role: call it in the vars of the rules' role."
            )
        texts = rendered(self, terms, variables, variable_start_string="<<", variable_end_string=">>")
        return [with_runbooks(str(text), f"{base}{role}/runbooks/") for text in texts]
