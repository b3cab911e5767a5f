# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""Executes a plan: writes, checks and switches the files, and rolls back if the new version fails."""

from __future__ import annotations

import dataclasses
import json
import socket
import time
import typing as t

from ansible_collections.miniweb.stack.plugins.module_utils.compose.contributions import (
    Store,
    reload_containers,
)
from ansible_collections.miniweb.stack.plugins.module_utils.compose.engine import Engine
from ansible_collections.miniweb.stack.plugins.module_utils.compose.files import Directory, Previous, state_file
from ansible_collections.miniweb.stack.plugins.module_utils.compose.model import (
    COMPOSE_FILE,
    LOG_LINES,
    STATE_FILE,
    Container,
    File,
    Plan,
    ServiceError,
    State,
)
from ansible_collections.miniweb.stack.plugins.module_utils.compose.plan import (
    for_one_off,
    pinned,
    seen_healthy,
)
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import FileState, cause

POLL_SECONDS = 0.2
# The engine's own first check comes after a second; until then, a program that starts quickly is asked by this module.
ENGINE_CHECKS_SECONDS = 1.5
# A container without a health check that does not listen counts as healthy if it has not exited after this time.
STEADY_SECONDS = 5
CONNECT_SECONDS = 1
ENDED_TIMES = 2
# Replaces the data's hash once an image other than the version's has had the data open.
DATA_OPENED = "opened"
# How much of a command is shown in a message
SHOWN_CHARACTERS = 80


class Failed(Exception):
    """The container exited, keeps restarting, or is unhealthy."""


class StillStarting(Exception):
    """The container is neither healthy nor failed at the timeout.

    :param seconds: how long it was waited for.
    """

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = round(seconds)


class Applier:
    """Executes a plan, and rolls back if the new version fails."""

    def __init__(self, params: dict[str, t.Any], directory: Directory, engine: Engine, store: Store) -> None:
        self.params = params
        self.directory = directory
        self.engine = engine
        self.store = store
        self.originals: dict[str, FileState | None] = {}
        self.on_new_network = False

    @property
    def name(self) -> str:
        """Name of the service."""
        return self.params["name"]

    def apply(self, plan: Plan, files: list[File], state: State, containers: list[Container]) -> None:
        """Bring the service to the desired state.

        :raises ServiceError: that is not possible; the message says why and what is running now.
        """
        self._require_files_of_others(files)
        fresh = self._is_fresh(containers)
        if plan.recreate and not fresh:
            self._validate(plan)
        if plan.recreate or plan.start:
            self._provide()
        previous = self._way_back(plan, state, containers)
        self._write_proven(plan, state, previous, containers, fresh)
        applied = dataclasses.replace(
            state,
            reload="" if plan.reload else plan.reload_hash,
            secrets=plan.secrets_mark,
            files=tuple(sorted(file.dest for file in files if file.content is not None)),
            hidden=tuple(sorted(file.dest for file in files if file.hidden)),
            starting=(),
            failed="",
        )
        if plan.resume and not plan.recreate:
            self.engine.run("unpause", *(container.id for container in containers if container.state == "paused"))
        if plan.recreate or plan.start or plan.wait:
            self._switch(plan, applied, containers, fresh)
        if plan.reload:
            self._reload()
        self._note_healthy(dataclasses.replace(applied, reload=plan.reload_hash))
        if plan.recreate and containers:
            build = self.params["build"]
            self.engine.prune(self.params["definition"]["image"], build["keep"] if build else 2, built=bool(build))

    def _way_back(self, plan: Plan, state: State, containers: list[Container]) -> Previous | None:
        """Return the version to roll back to: the running one, if it works and is about to change."""
        previous = self.directory.load_previous()
        changes = plan.recreate or ((plan.start or plan.reload) and (plan.write or plan.remove))
        if not changes or not worked(state, containers) or is_of(previous, containers):
            return previous
        current = self.directory.current(containers[0].image, state)
        if is_of(current, containers):
            self.directory.keep_previous(current)
            return current
        # Its Compose file was deleted or replaced manually.
        self.directory.forget_previous()
        return None

    def _require_files_of_others(self, files: list[File]) -> None:
        """Check that the files created by something else exist.

        :raises ServiceError: one does not exist.
        """
        for file in files:
            if file.content is None and self.directory.read(file.dest) is None:
                raise ServiceError(
                    f"files: {file.dest} has no content and does not exist in {self.directory.path}: "
                    "create it before the service, or give its content."
                )

    def _validate(self, plan: Plan) -> None:
        """Check the definition.

        :raises ServiceError: Compose rejects it.
        """
        document = plan.compose.content if plan.compose else None
        code, dummy, err = self.engine.compose("config", "--quiet", data=(document or b"").decode(), check=False)
        if code:
            raise ServiceError(f"definition: Compose rejects it: {cause(err)}.")

    def _provide(self) -> None:
        image = self.params["definition"]["image"]
        self.engine.provide_image(image, self.params["build"], self.params["sent_archive"])
        made = [self.engine.make_network(**network) for network in self.params["networks"]]
        # A stopped container remembers a network's ID, and cannot be started on a new one of the same name.
        self.on_new_network = any(made)
        for volume in self.params["shared_volumes"]:
            self.engine.make_volume(**volume)

    def _is_fresh(self, containers: list[Container]) -> bool:
        """Return whether nothing exists yet that an unchecked version could replace or change."""
        return not (containers or self.params["before_start"] or (self.params["volumes"] and self.engine.volumes()))

    def _write_proven(
        self, plan: Plan, state: State, previous: Previous | None, containers: list[Container], fresh: bool
    ) -> None:
        """Write and check the files; restore the previous ones on failure or interruption."""
        self.originals = self._as_proven(plan, state, previous if is_of(previous, containers) else None)
        try:
            self._write(plan, state)
            if not fresh:
                self._prove(plan, previous)
        except BaseException:
            self._restore(*self.originals)
            if is_of(previous, containers):
                self.directory.forget_previous()
            raise

    def _as_proven(self, plan: Plan, state: State, running: Previous | None) -> dict[str, FileState | None]:
        """Return the files as they were before this run and any interrupted one, by their paths.

        :param running: the version that is running, if it is known.
        """
        paths = [STATE_FILE, *(file.dest for file in plan.write), *plan.remove]
        found = {dest: self.directory.read(dest) for dest in paths}
        if running is None:
            return found
        # state.json records what the program has loaded.
        noted = dataclasses.replace(running.state, reload=state.reload)
        return {**found, **dict.fromkeys(state.files), **running.files, STATE_FILE: state_file(noted)}

    def _write(self, plan: Plan, state: State) -> None:
        # Saved before the files: an interruption in between costs a needless recreation or reload, but misses none.
        known = tuple(sorted({*state.files, *(f.dest for f in plan.write if f.dest != COMPOSE_FILE)}))
        hidden = tuple(sorted({*state.hidden, *(f.dest for f in plan.write if f.hidden)}))
        noted = dataclasses.replace(state, secrets=plan.secrets_mark, files=known, hidden=hidden, reload="")
        self.directory.save_state(noted)
        for item in plan.make:
            self.directory.make(item["dest"], item["owner"])
        for file in plan.write:
            self.directory.write(file.dest, FileState(file.content or b"", file.mode, file.owner, file.group))
        for dest in plan.remove:
            self.directory.remove(dest)

    def _restore(self, *dests: str) -> None:
        for dest in dests:
            original = self.originals[dest]
            if original is not None:
                self.directory.write(dest, original)
            else:
                self.directory.remove(dest)

    def _prove(self, plan: Plan, previous: Previous | None) -> None:
        if plan.recreate or plan.reload or plan.start:
            self._check(plan)
        if plan.recreate and self.params["before_start"]:
            self._before_start(plan, previous)

    def _check(self, plan: Plan, container: str = "") -> None:
        """Check the new files.

        :param container: ID of a running container in which to do so; without one, a container is started for it.
        :raises ServiceError: they are refused.
        """
        command, meaning = self.params["check_command"], "check_command: the new files are refused"
        if command and container:
            self._require_success(command, meaning, *self.engine.execute(container, command))
        elif command:
            # A check needs no data, and a different image must not open it.
            self._one_off(plan, command, meaning, data=False)

    def _check_first(self, plan: Plan, container: str = "") -> None:
        """Check the files of a first deployment, which was started unchecked; remove it if they are refused.

        :param container: where it runs; empty if it does not.
        """
        try:
            if not container:
                self._validate(plan)
            self._check(plan, container)
        except ServiceError:
            self.engine.compose("down", "--timeout", "0", check=False)
            self._restore(*self.originals)
            self.directory.remove_empty()
            raise

    def _before_start(self, plan: Plan, previous: Previous | None) -> None:
        """Run the commands. With another image, record whether they changed the data."""
        guarded = previous is not None and not previous.data and self._is_another_image(previous)
        seen = self.engine.data_seen() if guarded else ""
        if guarded:
            self.directory.keep_previous(dataclasses.replace(previous, data=DATA_OPENED))
        for command in self.params["before_start"]:
            self._one_off(plan, [str(word) for word in command], "before_start: a command failed", data=True)
        if guarded and seen == self.engine.data_seen():
            self.directory.keep_previous(previous)

    def _one_off(self, plan: Plan, command: list[str], meaning: str, data: bool) -> None:
        document = for_one_off(plan.compose.content or b"", data) if plan.compose else None
        self._require_success(command, meaning, *self.engine.one_off(command, document))

    def _require_success(self, command: list[str], meaning: str, code: int, output: str) -> None:
        if code:
            owners = self.store.owners_named(self.name, output) if self.params["contributions_uid"] is not None else ""
            line = " ".join(command)
            shown = line if len(line) <= SHOWN_CHARACTERS else f"{line[:SHOWN_CHARACTERS].rstrip()}…"
            raise ServiceError(
                f'{meaning}: `{shown}` of the service "{self.name}" exited with {code}: '
                f"{cause(output)}{f' (contributed: {owners})' if owners else ''}. The files are as they were before.",
                logs=output.splitlines()[-LOG_LINES:],
            )

    def _switch(self, plan: Plan, applied: State, containers: list[Container], fresh: bool) -> None:
        """Start the new version and check it; roll back to the previous one if it fails.

        :param fresh: its files have not been checked yet, because the check takes less time in the new container.
        :raises ServiceError: it failed or is still starting.
        """
        previous = self._stop_for_data(plan, containers)
        try:
            # A program may need longer to recover its data than its health check allows.
            left = set(self.directory.load_state().starting)
            recovers = previous is None or (bool(containers) and {container.id for container in containers} <= left)
            patient = plan.wait and recovers and bool(self.params["volumes"])
            force = (plan.recreate and plan.force) or (plan.start and self.on_new_network)
            self._up(["--force-recreate"] if force else [], patient)
            if fresh:
                for container in self.engine.containers():
                    self._check_first(plan, container.id)
        except StillStarting as waiting:
            self._leave_starting(applied, waiting)
        except Failed as failed:
            found = self.engine.diagnosis()
            reason = "; ".join(part for part in (str(failed), found["reason"]) if part)
            failure = f'The service "{self.name}" did not become healthy: {reason}'
            if fresh:
                self._check_first(plan)
            if previous is None:
                self._leave_failed(plan, applied, containers, failure, found["logs"])
            if self._has_opened_data(previous):
                self._leave_with_data(plan, applied, failure, found["logs"])
            self._put_back(plan, previous, failure, found["logs"])

    def _leave_starting(self, applied: State, waiting: StillStarting) -> t.NoReturn:
        starting = tuple(container.id for container in self.engine.containers())
        self.directory.save_state(dataclasses.replace(applied, starting=starting))
        raise ServiceError(
            f'The service "{self.name}" is still starting after {waiting.seconds} s and was left '
            f"running ({waiting}): the next run waits for it.",
            logs=self.engine.diagnosis()["logs"],
        ) from None

    def _leave_failed(
        self, plan: Plan, applied: State, containers: list[Container], failure: str, logs: list[str]
    ) -> t.NoReturn:
        """Leave a version without a predecessor in place, stopped if it never worked."""
        end = "It is left as it is, with its log and its data."
        if plan.recreate and not worked(applied, containers):
            self.engine.stop(self.engine.containers(), check=False)
            end = "Nothing worked before it, so it was stopped; its container, log and data are kept for inspection."
        self.directory.save_state(dataclasses.replace(applied, failed=plan.configuration))
        raise ServiceError(f"{failure}. {end}", logs=logs) from None

    def _leave_with_data(self, plan: Plan, applied: State, failure: str, logs: list[str]) -> t.NoReturn:
        """Leave a version in place whose data an older one may no longer be able to read."""
        # No rollback is possible from here, and the next run must not attempt one.
        self.directory.forget_previous()
        self.directory.save_state(dataclasses.replace(applied, failed=plan.configuration))
        raise ServiceError(
            f"{failure}. The previous version was not restored, because the new image has opened its data, which "
            f'an older one may no longer read: "{self.params["definition"]["image"]}" is left as it is. Fix '
            "the cause shown in its log and run this again, or restore the data from a backup before going back.",
            logs=logs,
        ) from None

    def _is_another_image(self, previous: Previous) -> bool:
        """Return whether an image other than that of a version is about to access its data."""
        return bool(self.params["volumes"]) and previous.image != self.engine.image_id(
            self.params["definition"]["image"]
        )

    def _stop_for_data(self, plan: Plan, containers: list[Container]) -> Previous | None:
        """Stop the old program before another image may open its data, and record the data's state."""
        previous = self.directory.load_previous()
        if plan.wait or previous is None or previous.data or not self._is_another_image(previous):
            return previous
        self.engine.stop(containers)
        previous = dataclasses.replace(previous, data=self.engine.data_seen())
        self.directory.keep_previous(previous)
        return previous

    def _has_opened_data(self, previous: Previous) -> bool:
        """Return whether the failed image has opened the data; if not, it is stopped so that it no longer can."""
        if not previous.data:
            return False
        if previous.data == self.engine.data_seen():
            self.engine.stop(self.engine.containers(), check=False)
            if previous.data == self.engine.data_seen():
                return False
            self.engine.compose("up", "--detach", "--no-build", check=False)
        return True

    def _put_back(self, plan: Plan, previous: Previous, failure: str, logs: list[str]) -> t.NoReturn:
        """Start the previous version again, from its files and its image.

        :raises ServiceError: always; the message says why the new version failed and what is running now.
        """
        new_volumes = set(self.engine.volumes())
        # With the previous files, one that keeps exiting could come up, and a program that starts misses the stop signal.
        self.engine.stop(self.engine.containers(), check=False)
        for dest in self.directory.load_state().files:
            if dest not in previous.files:
                self.directory.remove(dest)
        for dest, file in previous.files.items():
            self.directory.write(dest, file)
        compose = previous.files[COMPOSE_FILE]
        document = pinned(compose.content, previous.image)
        self.directory.write(COMPOSE_FILE, dataclasses.replace(compose, content=document))
        # From here on, only the data's own program changes it.
        self.directory.keep_previous(dataclasses.replace(previous, data=""))
        state = dataclasses.replace(previous.state, failed=plan.configuration)
        try:
            self._up(["--force-recreate"])
        except (Failed, StillStarting) as second:
            self.directory.save_state(state)
            raise ServiceError(
                f"{failure}. The previous version was restored and did not become healthy either: {second}.",
                logs=logs + self.engine.diagnosis()["logs"],
            ) from None
        self._note_healthy(state)
        kept = sorted(new_volumes - set(self._volumes_of(document)))
        also = f" The new volumes {', '.join(kept)} are kept." if kept else ""
        raise ServiceError(f"{failure}. The previous version is running again.{also}", logs=logs)

    def _note_healthy(self, state: State) -> None:
        """Record that the running version is healthy; the rollback copy is no longer needed."""
        volumes = tuple(self._volumes_of((self.directory.read(COMPOSE_FILE) or FileState(b"{}", 0)).content))
        self.directory.save_state(dataclasses.replace(seen_healthy(state, self.engine.containers()), volumes=volumes))
        self.directory.forget_previous()

    def _volumes_of(self, document: bytes) -> list[str]:
        volumes = json.loads(document).get("volumes", {})
        return [(value or {}).get("name") or f"{self.engine.project}_{name}" for name, value in volumes.items()]

    def _up(self, force: list[str], patient: bool = False) -> None:
        """Start the service and wait until it is healthy.

        :param patient: an unhealthy container counts as still starting.
        :raises Failed: it exited, keeps restarting or is unhealthy.
        :raises StillStarting: it is neither healthy nor failed at the timeout.
        """
        counts = {container.id: container.restarts for container in self.engine.containers()}
        words = ["--detach", "--no-build", "--remove-orphans"]
        code, dummy, err = self.engine.compose("up", *words, *force, check=False)
        if code:
            raise Failed(cause(err))
        begin, patience = time.monotonic(), self.params["wait_timeout"]
        while True:
            containers = self.engine.containers()
            if not containers:
                raise Failed("its container is gone")
            for container in containers:
                judge(container, counts.get(container.id, 0), patient)
                if not container.health:
                    patience = max(patience, STEADY_SECONDS + POLL_SECONDS)
                # Without data there is nothing to recover: wait for the engine's health status.
                elif not self.params["volumes"]:
                    patience = max(patience, container.verdict_seconds)
            waited = time.monotonic() - begin
            if all(self._is_healthy(one, waited) for one in containers):
                return
            if waited > patience:
                states = ", ".join(f"{one.state}, {one.health or 'no health check'}" for one in containers)
                raise StillStarting(states, waited)
            time.sleep(POLL_SECONDS)

    def _is_healthy(self, container: Container, seconds: float) -> bool:
        """Return whether a container is healthy that has been waited for this long."""
        if container.settled:
            return bool(container.health) or self._seems_healthy(container, seconds)
        starting = container.state == "running" and container.health == "starting"
        return seconds < ENGINE_CHECKS_SECONDS and starting and self.engine.passes_health_check(container)

    def _seems_healthy(self, container: Container, seconds: float) -> bool:
        """Return whether a container without a health check accepts connections, or has not exited for long enough."""
        ports = listened_to(self.params["definition"])
        if ports and container.addresses:
            return all(accepts(container.addresses[0], port) for port in ports)
        return seconds >= STEADY_SECONDS

    def _reload(self) -> None:
        try:
            self._load()
        except ServiceError as error:
            # What the program has loaded is not known until verified, so state.json is written last.
            self._restore(*(dest for dest in self.originals if dest != STATE_FILE))
            end = "The files are as they were before, and the service has loaded them again."
            try:
                self._load()
                self._restore(STATE_FILE)
            except ServiceError as second:
                end = f"The files are as they were before, but {second}"
            self.directory.forget_previous()
            raise ServiceError(f"{error} {end}", logs=self.engine.diagnosis()["logs"]) from None

    def _load(self) -> None:
        reload_containers(self.engine, self.params["reload_command"], self.params["reload_proof"])


def listened_to(definition: dict[str, t.Any]) -> list[int]:
    """Return the TCP ports that a Compose service lists under ``expose``; ranges are left out."""
    words = [str(port).partition("/") for port in definition.get("expose") or []]
    return [int(number) for number, dummy, protocol in words if number.isdigit() and protocol in ("", "tcp")]


def accepts(address: str, port: int) -> bool:
    """Return whether connections to this port are accepted."""
    try:
        with socket.create_connection((address, port), timeout=CONNECT_SECONDS):
            return True
    except OSError:
        return False


def worked(state: State, containers: list[Container]) -> bool:
    """Return whether these containers belong to a version that was healthy before or is healthy now."""
    if not containers:
        return False
    return {one.id for one in containers} <= set(state.healthy) or all(one.settled for one in containers)


def is_of(previous: Previous | None, containers: list[Container]) -> bool:
    """Return whether all of these containers belong to a version."""
    return (
        previous is not None
        and bool(containers)
        and all(container.configuration == previous.configuration != "" for container in containers)
    )


def judge(container: Container, restarts_before: int, patient: bool) -> None:
    """Check a container that should become healthy.

    :raises Failed: it exited twice, exited without a restart, or is unhealthy (never reported during its start).
    """
    ended = container.restarts - restarts_before
    if ended >= ENDED_TIMES or (container.state == "restarting" and container.restarts >= ENDED_TIMES):
        raise Failed("it keeps exiting")
    if container.state in ("exited", "dead"):
        raise Failed("it has exited")
    # The engine also reports a container that has just exited as unhealthy.
    if container.state == "running" and container.health == "unhealthy" and not patient:
        raise Failed("it is running but fails its health check")
