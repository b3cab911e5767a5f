# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of the module alertmanager_test: has the configuration send one alert to every receiver."""

from __future__ import annotations

import base64
import typing as t

import yaml
from ansible.plugins.action import ActionBase
from ansible_collections.miniweb.stack.plugins.module_utils.compose.model import BASE_DIRECTORY

KIND = "_configs"


def to_all(configuration: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return a configuration that sends every alert to every receiver at once."""
    first, *others = [one["name"] for one in configuration["receivers"] if integrations(one)] or [""]
    # The receiver of the top-level route takes only what matches none below it.
    routes = [{"receiver": name, "continue": True} for name in (first, *others)]
    route = {"receiver": first, "group_wait": "0s", "group_by": ["alertname"], "routes": routes}
    kept = {key: value for key, value in configuration.items() if key not in ("inhibit_rules", "time_intervals")}
    return {**kept, "route": route}


def integrations(receiver: dict[str, t.Any]) -> list[str]:
    """Return the names of a receiver's integrations, as Alertmanager writes them in its log."""
    return [
        f"{receiver['name']}/{key.removesuffix(KIND)}[{number}]"
        for key, items in receiver.items()
        if key.endswith(KIND)
        for number in range(len(items or []))
    ]


class ActionModule(ActionBase):
    """Action plugin."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Send the test message, and fail if a receiver did not take it."""
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        path = f"{arguments.get('directory', f'{BASE_DIRECTORY}/alertmanager')}/config/alertmanager.yml"
        found = self._execute_module("ansible.legacy.slurp", {"src": path}, task_vars=task_vars)
        if found.get("failed") or found.get("unreachable"):
            reason = found.get("msg", "the server did not answer").rstrip(".")
            return {
                **result,
                "failed": True,
                "msg": f"Alertmanager is not deployed on this server ({reason}): run site.yml.",
            }
        configuration = yaml.safe_load(base64.b64decode(found["content"]))
        expected = [name for receiver in configuration["receivers"] for name in integrations(receiver)]
        if not expected:
            sentence = "Alertmanager has no receivers: set one, for example alertmanager_email_to, and run site.yml."
            return {**result, "failed": True, "msg": sentence}
        arguments.update(configuration=yaml.safe_dump(to_all(configuration)), expected=expected)
        result.update(self._execute_module("miniweb.stack.alertmanager_test", arguments, task_vars=task_vars))
        refused = result.get("refused") or {}
        if refused:
            texts = [f"{name} failed ({error.rstrip('.')})" for name, error in refused.items()]
            took = f"; delivered by {', '.join(result['delivered'])}" if result["delivered"] else ""
            result.update(failed=True, msg=f"The test message was not delivered everywhere: {'; '.join(texts)}{took}.")
        return result
