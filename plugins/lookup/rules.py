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
    description: The template, looked up as by M(ansible.builtin.template). Without one, the result is the rules about O(jobs).
    type: list
    elements: str
  jobs:
    description:
      - The scrape jobs that belong to the rules, as in Prometheus's C(scrape_configs). Of each that has targets, or finds its
        own, the series C(scrape_job_expected) is recorded, so that Prometheus has an alert if the job itself is lost.
    type: list
    elements: dict
    default: []
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

from ansible.errors import AnsibleLookupError
from ansible.module_utils.common.yaml import yaml_dump, yaml_load
from ansible.plugins.lookup import LookupBase
from ansible_collections.miniweb.stack.plugins.plugin_utils.templates import rendered

Rules = dict[str, t.Any]


def text_of(rules: Rules) -> str:
    """Return the rules as YAML, in their order."""
    return str(yaml_dump(rules, sort_keys=False, allow_unicode=True, width=10000))


def with_runbooks(rules: Rules, address: str) -> Rules:
    """Add the annotation runbook_url to every alert, the address followed by the alert's name, and return the rules."""
    for rule in (rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule):
        rule["annotations"] = {**rule.get("annotations", {}), "runbook_url": f"{address}{rule['alert']}.md"}
    return rules


def with_jobs(rules: Rules, jobs: list[dict[str, t.Any]], instance: str) -> Rules:
    """Add a group that records that these jobs are expected on this server, and return the rules."""
    recorded = [
        {
            "record": "scrape_job_expected",
            "expr": "vector(1)",
            "labels": {"job": str(job["job_name"]), "instance": instance},
        }
        for job in jobs
        if has_targets(job)
    ]
    if recorded:
        rules["groups"].append({"name": "jobs", "rules": recorded})
    return rules


def has_targets(job: dict[str, t.Any]) -> bool:
    """Return whether a scrape job has targets of its own, or asks something else for them."""
    found = any(group.get("targets") for group in job.get("static_configs") or [])
    return found or any(value for key, value in job.items() if key.endswith("_sd_configs"))


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
        jobs = self._templar.template(self.get_option("jobs"))
        instance = str(variables.get("inventory_hostname", ""))
        address = f"{base}{role}/runbooks/"
        # By libyaml, which takes a tenth of the time
        found = [with_runbooks(yaml_load(str(text)), address) for text in texts or ["groups: []"]]
        rules = [with_jobs(one, jobs, instance) for one in found]
        return [text_of(one) for one in rules]
