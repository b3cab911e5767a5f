# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookup: what an application's source says that it needs."""

from __future__ import annotations

DOCUMENTATION = r"""
name: application
short_description: What an application needs, from its source
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Reads C(miniweb.yml) at the top of a source on the controller. Without this file, the callable and a command before the
    start are taken from a C(Procfile), or the callable is that of Django's project, or the first that is found in C(wsgi.py), C(app.py),
    C(application.py), C(main.py), C(run.py), C(asgi.py) or a package. Nothing of the source is run.
  - Instead of a directory it takes a git repository, which is cloned or fetched once in each run, with its submodules. So what it says
    of itself is known when the input is checked, before anything changes. C(git) must be on the controller.
  - What is wrong is returned, not raised, so that a check of the input can report it.
options:
  _terms:
    description: One directory; empty for an application without a source, and for a repository.
    type: str
    required: true
  git_url:
    description: URL of the repository.
    type: str
    default: ""
  git_version:
    description: Branch, tag or commit.
    type: str
    default: HEAD
  name:
    description: Name of the directory below the cache on the controller for what is made of the source.
    type: str
    default: ""
  given:
    description: The same keys as in the file; they go before it.
    type: dict
    default: {}
  processes:
    description: Processes of the site by their names, merged with those of the application; null removes one.
    type: dict
    default: {}
  schedule:
    description: Scheduled commands of the site by their names, merged likewise.
    type: dict
    default: {}
  volumes:
    description: Volumes of the site by their names, merged likewise.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Show the callable
  ansible.builtin.debug:
    msg: "{{ lookup('miniweb.stack.application', 'shop').wsgi }}"
"""

RETURN = r"""
_raw:
  description:
    - One dictionary. Its keys C(wsgi), C(asgi), C(health_path), C(metrics_path), C(database), C(redis), C(environment), C(secrets), C(setup),
      C(requirements), C(packages), C(memory_mb), C(preload), C(processes), C(schedule), C(volumes) and C(static) are those of the
      file, with defaults for those that it does not have.
    - C(cache) is the directory on the controller for what is made of the source, such as the checkout of a repository.
    - C(directory) is where the source is, C(commit) that of a repository, and C(fault) why it cannot be had, a sentence without its end.
    - C(requirements), if the file has none, is the first of C(requirements.txt), C(uv.lock), C(poetry.lock) and C(pyproject.toml) that
      the source has; empty without these, too.
    - C(served) has the C(volume), the C(url) and C(internal) of each volume that nginx serves.
    - C(migrations) is the command that brings the database's schema up to date, and C(django) whether the source is a project of Django.
    - C(database_environment) and C(redis_environment) have the part of the database and of Redis that each variable is to hold, C(driver) is
      SQLAlchemy's name of the
      MySQL driver that the source requires, and C(faults) is what is wrong with the file, one sentence each.
  type: list
  elements: dict
"""

import os
import typing as t

from ansible.plugins.lookup import LookupBase
from ansible_collections.miniweb.stack.plugins.plugin_utils import checkout
from ansible_collections.miniweb.stack.plugins.plugin_utils.application import read
from ansible_collections.miniweb.stack.plugins.plugin_utils.application_parts import SPECS


def plain(value: t.Any) -> t.Any:
    """Return a value in Python's own containers: a copy of Ansible's would copy all variables, too."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list) else value


class LookupModule(LookupBase):
    """Lookup plugin."""

    def run(
        self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any
    ) -> list[dict[str, t.Any]]:
        """Return what the application needs."""
        self.set_options(var_options=variables, direct=kwargs)
        url, given = self.get_option("git_url"), plain(self.get_option("given"))
        found = {"commit": "", "fault": ""}
        caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        cache = os.path.join(caches, "miniweb", "sources", self.get_option("name"))
        directory = os.path.expanduser(str(terms[0] or ""))
        if url:
            directory = os.path.join(cache, "checkout")
            found = checkout.kept(url, self.get_option("git_version"), directory)
        parts = {kind: plain(self.get_option(kind)) for kind in SPECS}
        needs = read("" if found["fault"] else directory, given, parts)
        return [{"cache": cache, "directory": directory, **found, **needs}]
