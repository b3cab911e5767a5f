# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""The model of a Compose service: its files, its containers, and the recorded state of earlier runs."""

from __future__ import annotations

import dataclasses
import typing as t

PROJECT_PREFIX = "miniweb-"
BASE_DIRECTORY = "/opt/miniweb"
CONFIGURATION_LABEL = "miniweb.stack.configuration"
STATE_FILE = "state.json"
PREVIOUS_FILE = "previous.json"
COMPOSE_FILE = "compose.yaml"
SECRETS_DIRECTORY = "secrets"
LOG_LINES = 30


def volume_name(service: str, volume: str) -> str:
    """Return what the engine calls a volume of a service."""
    return f"{PROJECT_PREFIX}{service}_{volume}"


class ArchiveNeeded(Exception):
    """An image has to be built, but the archive that it is built from is still on the controller."""


class ServiceError(Exception):
    """The service cannot be brought to the desired state; the message says why in one sentence."""

    def __init__(self, message: str, **details: t.Any) -> None:
        super().__init__(message)
        self.details = details


def file_error(service: str, error: OSError) -> str:
    """Return the error message for a file of a service that cannot be read or written."""
    return f'The service "{service}": {error.filename or "a file"} cannot be read or written: {error.strerror}.'


@dataclasses.dataclass(frozen=True)
class File:
    """A file below the service's directory; None as content means that something else creates it.

    :param secret: one of the service's secrets.
    :param confidential: it contains a secret.
    """

    dest: str
    content: bytes | None
    mode: int = 0o644
    owner: int = 0
    group: int = 0
    reload: bool = False
    secret: bool = False
    confidential: bool = False

    @property
    def hidden(self) -> bool:
        """Whether its content must never be shown."""
        return self.secret or self.confidential


@dataclasses.dataclass(frozen=True)
class Container:
    """A container of the service as the engine reports it.

    :param health: as the engine reports it: healthy, unhealthy or starting; empty without a health check.
    :param settings: hash of each group of its settings, by the name under which a difference is reported.
    :param addresses: its IP addresses in its networks, reachable only from this server.
    :param started: when it was last started.
    :param verdict_seconds: how long after its start the engine reports it as healthy or unhealthy at the latest.
    :param check: the command of its health check; empty without one.
    :param detached: whether a directory that it has mounted has been removed or replaced since, so that it sees no change
        there until it is started again.
    """

    id: str
    state: str
    health: str = ""
    configuration: str = ""
    image: str = ""
    restarts: int = 0
    settings: dict[str, str] = dataclasses.field(default_factory=dict)
    addresses: tuple[str, ...] = ()
    verdict_seconds: float = 0
    check: tuple[str, ...] = ()
    started: str = ""
    detached: bool = False

    @property
    def mark(self) -> list[t.Any]:
        """Record of a container that was found healthy: its settings, and how often it was restarted."""
        return [self.settings, self.restarts]

    @property
    def settled(self) -> bool:
        """Whether it is running, and healthy or without a health check."""
        return self.state == "running" and self.health in ("", "healthy")


@dataclasses.dataclass(frozen=True)
class State:
    """What earlier runs applied and observed.

    :param reload: hash of the files that a reload reads.
    :param secrets: random mark that changes with any secret.
    :param files: the files that this module wrote, including secrets.
    :param hidden: those of them whose content is never shown.
    :param healthy: IDs of the containers that were last seen healthy, when they had been started, their configuration
        and settings, and how often the engine had restarted them.
    :param volumes: the named volumes that then held the service's data.
    :param starting: IDs of the containers that were still starting when a run ended.
    :param failed: hash of the configuration that failed last.
    """

    reload: str = ""
    secrets: str = ""
    files: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    healthy: tuple[str, ...] = ()
    started: tuple[str, ...] = ()
    configuration: str = ""
    settings: dict[str, str] = dataclasses.field(default_factory=dict)
    restarts: int = 0
    volumes: tuple[str, ...] = ()
    starting: tuple[str, ...] = ()
    failed: str = ""


@dataclasses.dataclass
class Plan:
    """The difference between what is running and what should be."""

    make: list[dict[str, t.Any]] = dataclasses.field(default_factory=list)
    write: list[File] = dataclasses.field(default_factory=list)
    remove: list[str] = dataclasses.field(default_factory=list)
    recreate: bool = False
    force: bool = False
    start: bool = False
    resume: bool = False
    wait: bool = False
    reload: bool = False
    by_hand: list[str] = dataclasses.field(default_factory=list)
    secrets_mark: str = ""
    reload_hash: str = ""
    configuration: str = ""
    compose: File | None = None

    @property
    def actions(self) -> list[str]:
        """Descriptions of the plan."""
        words = [f"make {item['dest']}" for item in self.make]
        words += [f"write {file.dest}" for file in self.write]
        words += [f"remove {dest}" for dest in self.remove]
        if self.recreate:
            word = "recreate" if self.force else "create"
            words.append(f"{word}: changed by hand: {', '.join(self.by_hand)}" if self.by_hand else word)
        elif self.start:
            words.append("start")
        elif self.reload:
            words.append("reload")
        if self.resume and not self.recreate:
            words.append("resume")
        return words
