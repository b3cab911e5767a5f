# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""Compares the desired state with the actual one, without access to the server."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import secrets as random_source
import types
import typing as t

from ansible_collections.miniweb.stack.plugins.module_utils.compose.model import (
    COMPOSE_FILE,
    CONFIGURATION_LABEL,
    PREVIOUS_FILE,
    PROJECT_PREFIX,
    SECRETS_DIRECTORY,
    STATE_FILE,
    Container,
    File,
    Plan,
    ServiceError,
    State,
    volume_name,
)
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import (
    FileState,
    difference,
    readable,
)

SERVICE_DEFAULTS: dict[str, t.Any] = {
    "restart": "unless-stopped",
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "read_only": True,
    "pids_limit": 512,
    "logging": {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}},
}

# A tmpfs without a size may fill the memory of its container.
TMPFS_SIZE = "64m"
# Docker hands a proxy that is configured for its client on to every container, where even health checks would use it.
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY")


def literal(value: t.Any) -> t.Any:
    """Return the value with every ``$`` escaped, so that Compose interpolates nothing."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: literal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [literal(item) for item in value]
    return value


def digest(value: t.Any) -> str:
    """Return a short, stable hash of a JSON-like value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:32]


def content_hash(content: bytes | None) -> str:
    """Return the hash of a file's content; empty for a file that does not exist."""
    return "" if content is None else hashlib.sha256(content).hexdigest()


def described_files(params: dict[str, t.Any]) -> list[File]:
    """Return the files and secrets described in the module's parameters.

    :raises ServiceError: a path, mode or name is invalid.
    """
    files = [described_file(item, bool(params["reload_command"] or params["reload_proof"])) for item in params["files"]]
    for item in params["secrets"]:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", item["name"]):
            raise ServiceError(
                f'secrets: name "{item["name"]}" may only have letters, digits, ".", "_" and "-", and begins with '
                "a letter or digit."
            )
        dest, content, owner = f"{SECRETS_DIRECTORY}/{item['name']}", item["content"].encode(), item["owner"]
        files.append(File(dest, content, 0o400, owner, owner, secret=True))
    seen: set[str] = set()
    for file in files:
        if file.dest in seen:
            raise ServiceError(f'files: "{file.dest}" is described twice; give every file and secret once.')
        seen.add(file.dest)
    for item in params["directories"]:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", item["dest"]) or item["dest"] == SECRETS_DIRECTORY:
            raise ServiceError(f'directories: "{item["dest"]}" cannot be used as dest; give a plain name.')
    for dest in sorted(seen):
        if any(other.startswith(f"{dest}/") for other in seen):
            raise ServiceError(f'files: "{dest}" is also a directory of other files; give it another dest.')
    return files


def described_file(item: dict[str, t.Any], reloads: bool) -> File:
    """Return one of the files described in the module's parameters.

    :param reloads: whether the service can reload its files.
    :raises ServiceError: its path or mode is invalid, or it cannot be reloaded.
    """
    dest = item["dest"]
    reserved = dest in (".", COMPOSE_FILE, STATE_FILE, PREVIOUS_FILE) or dest.split("/")[0] == SECRETS_DIRECTORY
    if dest.startswith(("/", "..")) or os.path.normpath(dest) != dest or reserved:
        raise ServiceError(
            f'files: "{dest}" cannot be used as dest; give a plain path relative to the service\'s directory, '
            f"other than {COMPOSE_FILE}, {STATE_FILE}, {PREVIOUS_FILE} and {SECRETS_DIRECTORY}/."
        )
    if not re.fullmatch(r"0?[0-7]{3}", item["mode"]):
        raise ServiceError(f'files: mode "{item["mode"]}" of {dest} is not an octal number such as "0644".')
    if item["reload"] and not reloads:
        raise ServiceError(f"files: {dest} has reload: true, but neither reload_command nor reload_proof is set.")
    confidential = item["secret"] is not None
    text = item["secret"] if confidential else item["content"]
    content = None if text is None else text.encode()
    given = (int(item["mode"], 8), item["owner"], item["group"], item["reload"])
    return File(dest, content, *given, confidential=confidential)


def compose_document(
    name: str,
    definition: dict[str, t.Any],
    networks: list[dict[str, t.Any]],
    volumes: list[str],
    secret_names: list[str],
    configuration: str = "",
    shared: t.Mapping[str, str] | None = None,
) -> dict[str, t.Any]:
    """Return the Compose file of the service.

    :param configuration: hash for the service's label; empty while the hash itself is computed.
    :param shared: the engine's names of the volumes that other services may mount, too.
    """
    service = {**SERVICE_DEFAULTS, **literal(definition)}
    service["environment"] = without_proxies(service.get("environment") or {})
    if service.get("tmpfs"):
        service["tmpfs"] = [bounded(mount) for mount in as_list(service["tmpfs"])]
    if networks and "networks" not in service:
        service["networks"] = [network["name"] for network in networks]
    if secret_names:
        service["secrets"] = secret_names
    if configuration:
        labels = service.get("labels") or {}
        if isinstance(labels, list):
            labels = dict(label.partition("=")[::2] for label in labels)
        service["labels"] = {**labels, CONFIGURATION_LABEL: configuration}
    document: dict[str, t.Any] = {"name": PROJECT_PREFIX + name, "services": {name: service}}
    if networks:
        document["networks"] = {n["name"]: {"name": n["name"], "external": True} for n in networks}
    if volumes or shared:
        own: dict[str, dict[str, t.Any]] = {volume: {} for volume in volumes}
        others = {volume: {"name": full, "external": True} for volume, full in (shared or {}).items()}
        document["volumes"] = {**own, **others}
    if secret_names:
        document["secrets"] = {secret: {"file": f"./{SECRETS_DIRECTORY}/{secret}"} for secret in secret_names}
    return document


def shared_names(given: t.Iterable[t.Mapping[str, t.Any]]) -> dict[str, str]:
    """Return the engine's names of the volumes that several services may mount, by their names in the definition.

    :param given: the option of the module.
    """
    return {f"{one['service']}_{one['volume']}": volume_name(one["service"], one["volume"]) for one in given}


def as_list(value: t.Any) -> list[t.Any]:
    """Return a Compose value that may be a single item as a list."""
    return value if isinstance(value, list) else [value]


def bounded(mount: str) -> str:
    """Return a tmpfs in Compose's notation with a size."""
    path, dummy, options = mount.partition(":")
    if "size=" in options:
        return mount
    return f"{path}:{','.join(filter(None, [options, f'size={TMPFS_SIZE}']))}"


def without_proxies(environment: dict[str, t.Any] | list[str]) -> dict[str, t.Any]:
    """Return an environment in which no proxy is set but one that the definition itself names."""
    given = environment
    if isinstance(environment, list):
        # A name alone takes its value from the environment of Compose.
        given = {name: value if sign else None for name, sign, value in (line.partition("=") for line in environment)}
    return {**{name: "" for one in PROXY_VARIABLES for name in (one, one.lower())}, **given}


def pinned(document: bytes, image: str) -> bytes:
    """Return a Compose file that refers to the service's image by ID, which no registry can change."""
    value = json.loads(document)
    (service,) = value["services"].values()
    service["image"] = image
    return (json.dumps(value, indent=2) + "\n").encode()


def for_one_off(document: bytes, data: bool) -> str:
    """Return a Compose file for a one-off container: without the health check of what does not run in it.

    :param data: whether the service's named volumes are mounted.
    """
    value = json.loads(document)
    (service,) = value["services"].values()
    service["healthcheck"] = {"disable": True}
    if data:
        return json.dumps(value)
    names = value.pop("volumes", {})
    mounts = service.get("volumes", [])
    sources = [mount.get("source") if isinstance(mount, dict) else mount.split(":")[0] for mount in mounts]
    service["volumes"] = [mount for mount, source in zip(mounts, sources) if source not in names]
    return json.dumps(value)


def differs(file: File, found: FileState | None) -> bool:
    """Return whether the file on the server differs from its description."""
    if file.content is None:
        return False
    return found is None or found != FileState(file.content, file.mode, file.owner, file.group)


def make_plan(
    params: dict[str, t.Any],
    files: list[File],
    found: dict[str, FileState],
    state: State,
    containers: list[Container],
    image: str = "",
    owners: t.Mapping[str, int] = types.MappingProxyType({}),
) -> Plan:
    """Compare the desired state with the actual one.

    :param files: all files and secrets described in the module's parameters.
    :param found: the files that exist on the server, by their path in the service's directory.
    :param containers: the service's containers, one-off ones excluded.
    :param image: ID that the service's image has on the server; empty if it is not there.
    :param owners: numeric user IDs of the described directories that exist.
    """
    plan = Plan(secrets_mark=state.secrets)
    plan.write = [file for file in files if differs(file, found.get(file.dest))]
    plan.make = [one for one in params["directories"] if owners.get(one["dest"]) != one["owner"]]
    described = {file.dest for file in files}
    plan.remove = sorted(dest for dest in state.files if dest not in described and dest in found)
    secret_names = sorted(os.path.basename(file.dest) for file in files if file.secret)
    # The mark is random so that no label contains anything derived from a secret.
    if secret_names and (not state.secrets or any(file.secret for file in plan.write)):
        plan.secrets_mark = random_source.token_hex(8)

    def hash_of(file: File) -> str:
        if file.content is not None:
            return content_hash(file.content)
        return content_hash(found[file.dest].content if file.dest in found else None)

    reloadable = {file.dest: hash_of(file) for file in files if file.reload and not file.secret}
    fixed = {file.dest: [hash_of(file), file.mode] for file in files if not file.reload and not file.secret}
    arguments = (params["name"], params["definition"], params["networks"], params["volumes"], secret_names)
    shared = shared_names(params["shared_volumes"])
    wanted = [compose_document(*arguments, shared=shared), fixed, plan.secrets_mark if secret_names else ""]
    plan.configuration = digest([*wanted, image] if params["pull"] == "always" and not params["build"] else wanted)
    plan.reload_hash = digest(reloadable)

    document = json.dumps(compose_document(*arguments, plan.configuration, shared), indent=2) + "\n"
    plan.compose = File(COMPOSE_FILE, document.encode(), 0o600)
    if differs(plan.compose, found.get(COMPOSE_FILE)):
        plan.write.append(plan.compose)

    _compare_containers(plan, state, containers, bool(params["volumes"]), image)
    return plan


def settings_of(containers: list[Container]) -> dict[str, str]:
    """Return the hash of each group of settings of all containers of a service."""
    groups = sorted({group for container in containers for group in container.settings})
    return {group: digest(sorted(one.settings.get(group, "") for one in containers)) for group in groups}


def configuration_of(containers: list[Container]) -> str:
    """Return the configuration that all containers of a service have; empty if they differ or there are none."""
    found = {container.configuration for container in containers}
    return found.pop() if len(found) == 1 else ""


def changed_by_hand(configuration: str, state: State, containers: list[Container], image: str) -> list[str]:
    """Return which settings of the containers differ from those that a configuration had when it was seen healthy.

    :param image: ID that the service's image has on the server; empty if it is not there.
    """
    if not configuration == state.configuration == configuration_of(containers):
        return []
    found = settings_of(containers)
    changed = [group for group, value in state.settings.items() if found.get(group, value) != value]
    return changed + (["image"] if image and any(one.image not in ("", image) for one in containers) else [])


def seen_healthy(state: State, containers: list[Container]) -> State:
    """Return a state in which these containers are recorded as healthy."""
    return dataclasses.replace(
        state,
        healthy=tuple(sorted(container.id for container in containers)),
        started=tuple(sorted(container.started for container in containers)),
        configuration=configuration_of(containers),
        settings=settings_of(containers),
        restarts=sum(container.restarts for container in containers),
    )


def _compare_containers(plan: Plan, state: State, containers: list[Container], has_data: bool, image: str) -> None:
    """Decide what happens to the containers.

    A service with data that was not seen healthy since its start may still be recovering: it is waited for, not replaced.
    A container that is running right now counts as healthy only if it was seen to stay up.
    """
    known = {container.id for container in containers} <= set(state.healthy)
    known = known and {container.started for container in containers} <= set(state.started)
    # The engine reports what has stopped as unhealthy, too.
    unhealthy = any(one.state == "running" and one.health == "unhealthy" for one in containers)
    well = all(container.settled for container in containers) and state == seen_healthy(state, containers)
    plan.by_hand = changed_by_hand(plan.configuration, state, containers, image)
    plan.by_hand += ["mounted files"] if any(container.detached for container in containers) else []
    plan.force = bool(plan.by_hand) or (unhealthy and (known or not has_data))
    plan.recreate = (
        plan.force or not containers or any(container.configuration != plan.configuration for container in containers)
    )
    plan.resume = any(container.state == "paused" for container in containers)
    plan.start = not plan.recreate and any(container.state not in ("running", "paused") for container in containers)
    plan.wait = not plan.recreate and not plan.start and not well
    plan.reload = not plan.recreate and not plan.start and plan.reload_hash != state.reload
    if containers and plan.recreate:
        plan.force = True


def text_diff(plan: Plan, found: dict[str, FileState], state: State, directory: str) -> list[dict[str, str]]:
    """Return Ansible's diff of the plan; of files that are or were hidden, only the names are shown."""
    result = []
    for file in plan.write:
        after = FileState(file.content or b"", file.mode, file.owner, file.group)
        hidden = file.hidden or file.dest in state.hidden
        result.append(difference(os.path.join(directory, file.dest), found.get(file.dest), after, hidden))
    for dest in plan.remove:
        path = os.path.join(directory, dest)
        hidden = dest in state.hidden or dest.startswith(f"{SECRETS_DIRECTORY}/")
        before = "(a secret)\n" if hidden else readable(found[dest].content)
        result.append({"before_header": path, "after_header": path, "before": before, "after": ""})
    return result
