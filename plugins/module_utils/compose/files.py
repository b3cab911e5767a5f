# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""The service's directory on the server, its recorded state, and the rollback copy."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import os
import typing as t

from ansible_collections.miniweb.stack.plugins.module_utils.compose.model import (
    COMPOSE_FILE,
    CONFIGURATION_LABEL,
    PREVIOUS_FILE,
    SECRETS_DIRECTORY,
    STATE_FILE,
    State,
)
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import (
    FileState,
    read_file,
    write_file,
)


def dump(value: t.Any) -> bytes:
    """Return a value as the JSON text that this collection writes."""
    return (json.dumps(value, indent=2) + "\n").encode()


def load(found: FileState | None) -> dict[str, t.Any]:
    """Return the JSON object in a file; an empty one if the file is missing or invalid."""
    try:
        value = json.loads(found.content) if found else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


@dataclasses.dataclass(frozen=True)
class Previous:
    """The last version that worked: everything needed to start it again.

    :param image: ID of its image.
    :param data: hash of its data when it was stopped for an image that may change them; empty before that.
    """

    image: str
    state: State
    files: dict[str, FileState]
    data: str = ""

    @property
    def configuration(self) -> str:
        """The configuration's hash in its Compose file; empty if the file was deleted or replaced manually."""
        try:
            (service,) = load(self.files.get(COMPOSE_FILE))["services"].values()
            return service["labels"][CONFIGURATION_LABEL]
        except (AttributeError, KeyError, TypeError, ValueError):
            return ""


class Directory:
    """The service's directory on the server."""

    def __init__(self, path: str) -> None:
        self.path = path

    def read(self, dest: str) -> FileState | None:
        """Return a file's content and permissions, or None when it does not exist."""
        return read_file(os.path.join(self.path, dest))

    def write(self, dest: str, wanted: FileState) -> None:
        """Write a file atomically, creating the directories it needs."""
        self._make_parents(dest)
        write_file(os.path.join(self.path, dest), wanted)

    def owner(self, dest: str) -> int | None:
        """Return the numeric user ID of the owner of a directory, or None when it does not exist."""
        path = os.path.join(self.path, dest)
        return os.lstat(path).st_uid if os.path.isdir(path) else None

    def make(self, dest: str, owner: int) -> None:
        """Make a directory that only its owner can use."""
        self._make_parents(dest)
        path = os.path.join(self.path, dest)
        os.makedirs(path, mode=0o700, exist_ok=True)
        os.chown(path, owner, owner)

    def remove(self, dest: str) -> None:
        """Remove a file, if it exists."""
        if self.read(dest) is not None:
            os.unlink(os.path.join(self.path, dest))

    def remove_empty(self) -> None:
        """Remove the directories without files, including the service's own."""
        for directory, _directories, _files in os.walk(self.path, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(directory)

    def _make_parents(self, dest: str) -> None:
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        os.chmod(self.path, 0o700)
        current = self.path
        for part in os.path.dirname(dest).split("/"):
            if part:
                current = os.path.join(current, part)
                os.makedirs(current, exist_ok=True)
                os.chmod(current, 0o700 if part == SECRETS_DIRECTORY else 0o755)

    def load_state(self) -> State:
        """Return the state recorded by earlier runs; empty if there was none or the file is not valid JSON."""
        return state_of(load(self.read(STATE_FILE)))

    def save_state(self, state: State) -> None:
        """Record what was applied."""
        if state != self.load_state():
            self.write(STATE_FILE, state_file(state))

    def load_previous(self) -> Previous | None:
        """Return the version that a run has begun to replace and has not yet discarded."""
        value = load(self.read(PREVIOUS_FILE))
        try:
            files = {
                dest: FileState(base64.b64decode(item["content"]), item["mode"], item["owner"], item["group"])
                for dest, item in value["files"].items()
            }
            return Previous(value["image"], state_of(value["state"]), files, value["data"])
        except (KeyError, TypeError, ValueError):
            return None

    def current(self, image: str, state: State) -> Previous:
        """Return the current files as a version to roll back to."""
        paths = (COMPOSE_FILE, *state.files)
        files = {dest: found for dest in paths if (found := self.read(dest)) is not None}
        return Previous(image, state, files)

    def keep_previous(self, previous: Previous) -> None:
        """Save the rollback copy in one file, so that it is either complete or absent."""
        files = {
            dest: {**dataclasses.asdict(found), "content": base64.b64encode(found.content).decode()}
            for dest, found in previous.files.items()
        }
        value = {**dataclasses.asdict(previous), "files": files}
        self.write(PREVIOUS_FILE, FileState(dump(value), 0o600))

    def forget_previous(self) -> None:
        """Discard the rollback copy."""
        self.remove(PREVIOUS_FILE)


def state_file(state: State) -> FileState:
    """Return the file in which a state is recorded."""
    return FileState(dump(dataclasses.asdict(state)), 0o600)


def state_of(value: dict[str, t.Any]) -> State:
    """Return the state from its JSON record, written by this version or an earlier one."""
    known = {field.name for field in dataclasses.fields(State)}
    given = {name: item for name, item in value.items() if name in known}
    if not isinstance(given.get("settings", {}), dict):
        # An earlier version recorded one hash, with which nothing can be compared.
        del given["settings"]
    return State(**{name: tuple(item) if isinstance(item, list) else item for name, item in given.items()})


def directories_with(base: str, file: str) -> list[str]:
    """Return the names of the subdirectories that contain a certain file."""
    names = os.listdir(base) if os.path.isdir(base) else []
    return sorted(name for name in names if os.path.isfile(os.path.join(base, name, file)))
