# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""A Compose service from its description to healthy, or gone; what the modules call."""

from __future__ import annotations

import dataclasses
import os
import shutil
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.miniweb.stack.plugins.module_utils import settled
from ansible_collections.miniweb.stack.plugins.module_utils.compose import contributions as contributed
from ansible_collections.miniweb.stack.plugins.module_utils.compose.apply import Applier, worked
from ansible_collections.miniweb.stack.plugins.module_utils.compose.engine import Engine
from ansible_collections.miniweb.stack.plugins.module_utils.compose.files import Directory
from ansible_collections.miniweb.stack.plugins.module_utils.compose.model import (
    BASE_DIRECTORY,
    COMPOSE_FILE,
    PREVIOUS_FILE,
    Container,
    File,
    Plan,
    ServiceError,
)
from ansible_collections.miniweb.stack.plugins.module_utils.compose.plan import (
    described_files,
    make_plan,
    settings_of,
    text_diff,
)

CONTRIBUTION_OPTIONS: dict[str, t.Any] = {
    "reader": {"type": "str", "required": True},
    "ext": {"type": "str", "required": True},
    "content": {"type": "str"},
    "secret": {"type": "str", "no_log": True},
    "source": {"type": "str"},
    "shared": {"type": "str"},
}
CONTRIBUTION_SPEC: dict[str, t.Any] = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": CONTRIBUTION_OPTIONS,
    "mutually_exclusive": [["content", "secret", "source"]],
    "required_one_of": [["content", "secret", "source"]],
}


class Service:
    """One service on this server, as a module's parameters describe it."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params = module.params
        self.name: str = module.params["name"]
        self.directory = Directory(module.params.get("directory") or os.path.join(BASE_DIRECTORY, self.name))
        self.store = contributed.Store(module.params["contributions_directory"])
        self.engine = self.engine_of(self.name, self.directory.path)
        self.notes = settled.Notes(module, os.path.join(os.path.dirname(self.store.path), "settled"))

    def engine_of(self, name: str, directory: str) -> Engine:
        """Return the engine for a service."""
        return Engine(self.module, name, directory, os.path.join(os.path.dirname(self.store.path), "images.json"))

    # -- present ------------------------------------------------------------------------------------------------------

    def present(self) -> dict[str, t.Any]:
        """Bring the service up and its contributions to their readers; return the module's result."""
        if not self.params["definition"].get("image"):
            raise ServiceError(f'definition: the service "{self.name}" names no image.')
        files = described_files(self.params)
        state = self.directory.load_state()
        paths = {file.dest for file in files} | set(state.files) | {COMPOSE_FILE}
        found = {dest: status for dest in paths if (status := self.directory.read(dest)) is not None}
        containers = self.engine.containers()
        plan = make_plan(self.params, files, found, state, containers)
        reads = self._plan_reading(plan)
        result: dict[str, t.Any] = {"changed": bool(plan.actions), "actions": plan.actions}
        if self.module._diff:
            result["diff"] = text_diff(plan, found, self.directory.path)
        if state.failed and state.failed == plan.configuration and (plan.recreate or plan.start):
            self.module.warn(f'The service "{self.name}" tries a configuration again that failed before.')
        if not self.module.check_mode:
            if self.params["contributions_uid"] is not None:
                self.store.give(self.name, self.params["contributions_uid"])
            if plan.actions or plan.wait:
                Applier(self.params, self.directory, self.engine, self.store).apply(plan, files, state, containers)
                before, containers = containers, self.engine.containers()
                result["changed"] = result["changed"] or {c.id for c in before} != {c.id for c in containers}
            elif worked(state, containers):
                # What an earlier run left half noted: it is well now.
                healthy = tuple(container.id for container in containers)
                self.directory.save_state(dataclasses.replace(state, healthy=healthy, settings=settings_of(containers)))
                self.directory.forget_previous()
            if reads is not None:
                self._note_reading(reads)
        result["container_id"] = containers[0].id[:12] if containers else ""
        self._contribute(result)
        self._note("compose_service", self._conditions(files, containers), container_id=result["container_id"])
        return result

    def _conditions(self, files: list[File], containers: list[Container]) -> list[settled.Condition]:
        """Return what stays as it is now for as long as nothing is to do."""
        names = [COMPOSE_FILE, PREVIOUS_FILE, *(file.dest for file in files)]
        conditions = settled.files(*(os.path.join(self.directory.path, name) for name in names))
        conditions.append(["containers", self.engine.project, {one.id: one.settings for one in containers}])
        if self.params["contributions_uid"] is not None:
            conditions.append(["reader", self.store.path, self.name])
        return conditions

    def _note(self, module: str, conditions: list[settled.Condition], **result: t.Any) -> None:
        """Note that all is as it should be, contributions included."""
        if self.module.check_mode:
            return
        items = self.params["contributions"] if self.params["state"] == "present" else []
        wanted = contributed.described(self.name, items, self.directory.read)
        paths = [os.path.join(self.store.directory(one.reader), one.file) for one in wanted]
        conditions += settled.files(*paths)
        conditions.append(["contributions", self.store.path, self.name, [[one.reader, one.file] for one in wanted]])
        key = f"{module}/{self.name}"
        self.notes.write(key, self.params["settled"], conditions, {"actions": [], **result})

    def _reader(self) -> contributed.Reader | None:
        if self.params["contributions_uid"] is None:
            return None
        return contributed.Reader(
            self.directory.path,
            self.params["contributions_uid"],
            self.params["check_command"],
            self.params["reload_command"],
            self.params["reload_proof"],
        )

    def _plan_reading(self, plan: Plan) -> str | None:
        """Plan a reload when others have left what this service has not loaded; return the hash of all of it."""
        if self.params["contributions_uid"] is None:
            return None
        reads = self.store.hash(self.name)
        if reads != self.store.index(self.name).applied and not (plan.recreate or plan.start):
            plan.reload = True
        return reads

    def _note_reading(self, reads: str) -> None:
        with self.store.lock():
            index = self.store.index(self.name)
            index.reader, index.applied = self._reader(), reads
            self.store.save_index(self.name, index)

    # -- absent -------------------------------------------------------------------------------------------------------

    def absent(self) -> dict[str, t.Any]:
        """Remove the service and what it left for others; return the module's result."""
        ids = self.engine.project_containers() if self.engine.program else []
        exists = os.path.isdir(self.directory.path)
        actions = (["remove containers"] if ids else []) + ([f"remove {self.directory.path}"] if exists else [])
        volumes = self.engine.volumes() if self.params["remove_volumes"] and self.engine.program else []
        actions += [f"remove volume {volume}" for volume in volumes]
        result: dict[str, t.Any] = {"changed": bool(actions), "actions": actions, "container_id": ""}
        if not self.module.check_mode:
            if ids:
                # Stopped by its signal and in its time, as its data stay.
                self.engine.run("stop", *ids)
                self.engine.run("rm", "--force", *ids)
            if volumes:
                self.engine.run("volume", "rm", *volumes)
            self._forget_reading()
            if exists:
                shutil.rmtree(self.directory.path)
        self._contribute(result, absent=True)
        # Who asks for volumes to be removed wants them looked for.
        if not self.params["remove_volumes"]:
            gone = settled.files(self.directory.path)
            self._note("compose_service", [["no_containers", self.engine.project], *gone], container_id="")
        return result

    def _forget_reading(self) -> None:
        """What others left for this service stays for its return."""
        index = self.store.index(self.name)
        if index.reader is not None:
            with self.store.lock():
                index = self.store.index(self.name)
                index.reader, index.applied = None, ""
                self.store.save_index(self.name, index)

    # -- contributions ------------------------------------------------------------------------------------------------

    def contribute_only(self) -> dict[str, t.Any]:
        """Bring the contributions of something that is no container to their readers; return the module's result."""
        result: dict[str, t.Any] = {"changed": False, "actions": []}
        self._contribute(result, absent=self.params["state"] == "absent")
        self._note("contributions", [])
        return result

    def _contribute(self, result: dict[str, t.Any], absent: bool = False) -> None:
        """Add to the result what happens to the contributions, and, outside of check mode, do it."""
        items = [] if absent else self.params["contributions"]
        if self.module.check_mode:
            # What would have been made by this very run cannot be read yet.
            items = [one for one in items if one["source"] is None or self.directory.read(one["source"]) is not None]
        wanted = contributed.described(self.name, items, self.directory.read)
        changes = self.store.changes(self.name, wanted)
        outdated = self.store.outdated(wanted)
        result["actions"] = result["actions"] + [one.action for one in changes]
        result["changed"] = result["changed"] or bool(changes)
        if self.module._diff:
            result["diff"] = result.get("diff", []) + self.store.diff(changes)
        if not self.module.check_mode and (changes or outdated):
            done = contributed.contribute(self.store, self.name, changes, wanted, self.engine_of)
            result["actions"] = result["actions"] + done
            result["changed"] = result["changed"] or bool(done)
