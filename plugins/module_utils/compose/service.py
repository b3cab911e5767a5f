# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""Deploys a Compose service until it is healthy, or removes it; the interface for the modules."""

from __future__ import annotations

import contextlib
import os
import shutil
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.miniweb.stack.plugins.module_utils import settled
from ansible_collections.miniweb.stack.plugins.module_utils.compose import contributions as contributed
from ansible_collections.miniweb.stack.plugins.module_utils.compose.apply import Applier
from ansible_collections.miniweb.stack.plugins.module_utils.compose.engine import (
    TRANSLATES_IPV6,
    Engine,
)
from ansible_collections.miniweb.stack.plugins.module_utils.compose.files import Directory
from ansible_collections.miniweb.stack.plugins.module_utils.compose.model import (
    BASE_DIRECTORY,
    COMPOSE_FILE,
    PREVIOUS_FILE,
    Container,
    File,
    Plan,
    ServiceError,
    State,
    volume_name,
)
from ansible_collections.miniweb.stack.plugins.module_utils.compose.plan import (
    described_files,
    make_plan,
    text_diff,
)
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import FileState, locked

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
        self.asks_for_ipv6 = any(network["ipv6"] for network in module.params.get("networks") or [])
        self.directory = Directory(module.params.get("directory") or os.path.join(BASE_DIRECTORY, self.name))
        self.store = contributed.Store(module.params["contributions_directory"])
        self.engine = self.engine_of(self.name, self.directory.path)
        self.notes = settled.Notes(module, os.path.join(os.path.dirname(self.store.path), "settled"))

    def engine_of(self, name: str, directory: str) -> Engine:
        """Return the engine for a service."""
        return Engine(self.module, name, directory, os.path.join(os.path.dirname(self.store.path), "images.json"))

    def _alone(self) -> t.ContextManager[None]:
        """Lock the service: a concurrent run would mistake this one's rollback copy for that of an interrupted run."""
        if self.module.check_mode:
            return contextlib.nullcontext()
        return locked(os.path.join(os.path.dirname(self.store.path), f".{self.name}.lock"))

    # -- present ------------------------------------------------------------------------------------------------------

    def present(self) -> dict[str, t.Any]:
        """Deploy the service and its contributions; return the module's result."""
        if not self.params["definition"].get("image"):
            raise ServiceError(f'definition: the service "{self.name}" names no image.')
        self._choose_networks()
        self._renew_images()
        files = described_files(self.params)
        # Invalid contributions are reported before anything is changed.
        self._wanted(files)
        with self._alone():
            result, containers = self._deploy(files)
        result["container_id"] = containers[0].id[:12] if containers else ""
        running = {"image": self.params["definition"]["image"], "image_id": containers[0].image if containers else ""}
        result.update(running)
        self._contribute(result, files)
        conditions = self._conditions(files, containers)
        if self.asks_for_ipv6:
            conditions.append(settled.answer(self.module, *TRANSLATES_IPV6))
        project = self.engine.project
        if self.params["pull"] == "always":
            # Every run must ask the registry.
            self.params["settled"] = None
        known = {"container_id": result["container_id"], "project": project, **running}
        self._note("compose_service", files, conditions, **known)
        return result

    def _choose_networks(self) -> None:
        """Leave out the networks with IPv6 where they are of no use."""
        if self.asks_for_ipv6 and not self.engine.translates_ipv6():
            self.params["networks"] = [network for network in self.params["networks"] if not network["ipv6"]]

    def _renew_images(self) -> None:
        """Pull the image, or what it is built from, if its tag may have moved; the tag of a built image names its base.

        :raises ServiceError: it cannot be pulled and is not on the server.
        """
        build, image = self.params["build"], self.params["definition"]["image"]
        if self.params["pull"] != "always" or (build and not build["base"]):
            return
        source = build["base"] if build else image
        if not self.module.check_mode:
            self.engine.renew_image(source)
        if build:
            base = self.engine.image_id(source).rpartition(":")[2]
            self.params["definition"] = {**self.params["definition"], "image": f"{image}-{base[:12]}"}

    def _require_volumes(self, state: State) -> None:
        """Check that the volumes with the service's data still exist.

        :raises ServiceError: one is gone, and the service would start without its data.
        """
        owners = {volume_name(self.name, volume): self.name for volume in self.params["volumes"]}
        owners |= {volume_name(one["service"], one["volume"]): one["service"] for one in self.params["shared_volumes"]}
        needed = owners.keys() & set(state.volumes)
        gone = sorted(needed - set(self.engine.all_volumes())) if needed and self.engine.program else []
        if gone:
            raise ServiceError(
                f'The service "{self.name}" would start without its data, because the volume {", ".join(gone)} is gone: '
                "bring it back (is the disk of the engine mounted?), or remove what is left of the service with its data "
                f'("remove_volumes", in roles "<role>_remove_data", of {owners[gone[0]]}) before it is deployed again.'
            )

    def _deploy(self, files: list[File]) -> tuple[dict[str, t.Any], list[Container]]:
        """Deploy the service; return the module's result so far, and the containers that are then running."""
        received = [] if self.module.check_mode else self._receive()
        state = self.directory.load_state()
        paths = {file.dest for file in files} | set(state.files) | {COMPOSE_FILE}
        found = {dest: status for dest in paths if (status := self.directory.read(dest)) is not None}
        containers = self.engine.containers()
        if not containers:
            self._require_volumes(state)
        image = self.engine.image_id(self.params["definition"]["image"])
        names = [item["dest"] for item in self.params["directories"]]
        owners = {name: owner for name in names if (owner := self.directory.owner(name)) is not None}
        plan = make_plan(self.params, files, found, state, containers, image, owners)
        reads = self._plan_reading(plan)
        actions = plan.actions or [f"change the owner of {self.name}/{name}" for name in received]
        result: dict[str, t.Any] = {"changed": bool(actions), "actions": actions}
        if self.module._diff:
            result["diff"] = text_diff(plan, found, state, self.directory.path)
        if state.failed and state.failed == plan.configuration and (plan.recreate or plan.start):
            self.module.warn(f'The service "{self.name}" tries a configuration again that failed before.')
        if self.module.check_mode:
            return result, containers
        if plan.actions or plan.wait:
            self._begin_reading(reads)
            Applier(self.params, self.directory, self.engine, self.store).apply(plan, files, state, containers)
            before, containers = containers, self.engine.containers()
            result["changed"] = result["changed"] or {c.id for c in before} != {c.id for c in containers}
        self.directory.forget_previous()
        self._note_reading(reads)
        return result, containers

    def _conditions(self, files: list[File], containers: list[Container]) -> list[settled.Condition]:
        """Return the conditions under which there is nothing to do."""
        names = [COMPOSE_FILE, PREVIOUS_FILE, *(file.dest for file in files)]
        names += [item["dest"] for item in self.params["directories"]]
        conditions = settled.files(*(os.path.join(self.directory.path, name) for name in names))
        conditions.append(settled.containers(self.engine.project, containers))
        image = self.params["definition"]["image"]
        conditions += [settled.image(image, container.image) for container in containers]
        uid = self.params["contributions_uid"]
        if uid is not None:
            directory = self.store.directory(self.name)
            conditions += settled.files(directory)
            conditions += [["reader", self.store.path, self.name], ["owned", directory, uid]]
        return conditions

    def _note(self, module: str, files: list[File], conditions: list[settled.Condition], **result: t.Any) -> None:
        """Record that everything is in its desired state, including contributions."""
        if self.module.check_mode:
            return
        wanted = self._wanted(files)
        paths = [os.path.join(self.store.directory(one.reader), one.file) for one in wanted]
        # Their owner may change: a reader deployed later gives them to its own user.
        conditions += settled.written(*paths)
        if self.params["state"] == "present":
            sources = [item["source"] for item in self.params["contributions"] if item["source"]]
            conditions += settled.files(*(os.path.join(self.directory.path, source) for source in sources))
        conditions.append(["contributions", self.store.path, self.name, [[one.reader, one.file] for one in wanted]])
        key = f"{module}/{self.name}"
        self.notes.write(key, self.params["settled"], conditions, {"actions": [], **result})

    # -- contributions of other services -------------------------------------------------------------------------------

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

    def _receive(self) -> list[str]:
        """Give the contributions of others to this service's user, after undoing an interrupted run's changes.

        :return: names of the files that had another owner.
        """
        if self.params["contributions_uid"] is None:
            return []
        with self.store.lock():
            self.store.undo(self.name)
            return self.store.give(self.name, self.params["contributions_uid"])

    def _plan_reading(self, plan: Plan) -> str | None:
        """Plan a reload if this service has not loaded all contributions of others; return the hash of all of them."""
        if self.params["contributions_uid"] is None:
            return None
        reads = self.store.hash(self.name)
        if reads != self.store.index(self.name).applied and not (plan.recreate or plan.start):
            plan.reload = True
        return reads

    def _begin_reading(self, reads: str | None) -> None:
        """Record that it is unknown what is loaded, before that changes."""
        if reads is not None and reads != self.store.index(self.name).applied:
            with self.store.lock():
                self.store.note_applied(self.name, "")

    def _note_reading(self, reads: str | None) -> None:
        if reads is not None:
            with self.store.lock():
                index = self.store.index(self.name)
                index.reader, index.applied = self._reader(), reads
                self.store.save_index(self.name, index)

    # -- absent -------------------------------------------------------------------------------------------------------

    def absent(self) -> dict[str, t.Any]:
        """Remove the service and its contributions to others; return the module's result."""
        with self._alone():
            result = self._remove()
        self._contribute(result)
        # With remove_volumes, every run must look for the volumes.
        if not self.params["remove_volumes"]:
            gone = settled.files(self.directory.path)
            project = self.engine.project
            self._note("compose_service", [], [["no_containers", project], *gone], container_id="", project=project)
        return result

    def _remove(self) -> dict[str, t.Any]:
        ids = self.engine.project_containers() if self.engine.program else []
        exists = os.path.isdir(self.directory.path)
        actions = (["remove containers"] if ids else []) + ([f"remove {self.directory.path}"] if exists else [])
        volumes = self.engine.volumes() if self.params["remove_volumes"] and self.engine.program else []
        if not self.module.check_mode:
            if ids:
                # Stopped with its own signal and grace period, because its data are kept.
                self.engine.run("stop", *ids)
                self.engine.run("rm", "--force", *ids)
            volumes = [volume for volume in volumes if self.engine.remove_volume(volume)]
            self._forget_reading()
            if exists:
                shutil.rmtree(self.directory.path)
        actions += [f"remove volume {volume}" for volume in volumes]
        return {"changed": bool(actions), "actions": actions, "container_id": ""}

    def _forget_reading(self) -> None:
        """Record that the reader is gone; the contributions of others are kept in case it returns."""
        index = self.store.index(self.name)
        if index.reader is not None:
            with self.store.lock():
                index = self.store.index(self.name)
                index.reader, index.applied = None, ""
                self.store.save_index(self.name, index)

    # -- contributions ------------------------------------------------------------------------------------------------

    def contribute_only(self) -> dict[str, t.Any]:
        """Deliver contributions that belong to no Compose service to their readers; return the module's result."""
        result: dict[str, t.Any] = {"changed": False, "actions": []}
        self._contribute(result)
        self._note("contributions", [], [])
        return result

    def _wanted(self, written: t.Iterable[File] = ()) -> list[contributed.Contribution]:
        """Return what the service contributes.

        :param written: what this run writes, or would write in check mode.
        :raises ServiceError: a contribution is invalid.
        """
        items = self.params["contributions"] if self.params["state"] == "present" else []
        contents = {file.dest: FileState(file.content, file.mode) for file in written if file.content is not None}

        def read(source: str) -> FileState | None:
            found = contents.get(source) or self.directory.read(source)
            # Files that this run would create cannot be read in check mode.
            return contributed.NOT_MADE_YET if found is None and self.module.check_mode else found

        return contributed.described(self.name, items, read)

    def _contribute(self, result: dict[str, t.Any], written: t.Iterable[File] = ()) -> None:
        """Apply the changes to the contributions, unless in check mode, and add them to the result."""
        wanted = self._wanted(written)
        changes = self.store.changes(self.name, wanted)
        outdated = self.store.outdated(self.name, changes, wanted)
        if self.module._diff:
            result["diff"] = result.get("diff", []) + self.store.diff(changes)
        done: list[str] = []
        if self.module.check_mode:
            done = [f"reload {name}" for name in outdated if self._runs(name)]
        elif changes or outdated:
            done = contributed.contribute(self.store, self.name, changes, wanted, self.engine_of)
        result["actions"] = [*result["actions"], *(one.action for one in changes), *done]
        result["changed"] = result["changed"] or bool(changes or done)

    def _runs(self, reader: str) -> bool:
        """Return whether a reader is deployed and running."""
        known = self.store.index(reader).reader
        containers = self.engine_of(reader, known.directory).containers() if known else []
        return any(container.state == "running" for container in containers)
