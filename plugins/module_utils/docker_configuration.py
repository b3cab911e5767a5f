# Copyright (c) miniweb.stack maintainers
# MIT License (see LICENSE or https://opensource.org/licenses/MIT)
# SPDX-License-Identifier: MIT
"""The engine's daemon.json: which options this collection wrote, which others set, and what a change would hide."""

from __future__ import annotations

import dataclasses
import glob
import json
import os
import re
import typing as t

from ansible_collections.miniweb.stack.plugins.module_utils.compose.model import BASE_DIRECTORY
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import FileState, read_file

CONFIGURATION_FILE = "/etc/docker/daemon.json"
# The options that were written last
STATE_FILE = os.path.join(BASE_DIRECTORY, "docker.json")
DATA_ROOT = "/var/lib/docker"
# The options that decide which containers, images and volumes an engine lists, with their defaults
SNAPSHOTTER = "features.containerd-snapshotter"
HIDING: dict[str, t.Any] = {
    "data-root": DATA_ROOT,
    "exec-root": "/run/docker",
    "storage-driver": "",
    "userns-remap": "",
    "containerd": "",
    "containerd-namespace": "moby",
    "containerd-plugin-namespace": "plugins.moby",
    "containerd-plugins-namespace": "plugins.moby",
    SNAPSHOTTER: False,
}
# With userns-remap, everything is in a directory named after the first user ID and group ID.
REMAPPED = re.compile(r"/\d+\.\d+$")
INFORMATION = "[{{json .DockerRootDir}},{{json .Driver}},{{json .DriverStatus}},{{.Containers}},{{.Images}}]"

Options = dict[str, t.Any]
# Runs `docker` with some arguments; returns the lines that it prints, or None if it fails.
Ask = t.Callable[..., t.Optional[list[str]]]


@dataclasses.dataclass(frozen=True)
class Conflict:
    """An option that the file and the configuration set differently; nested ones are written ``log-opts.max-size``."""

    option: str
    found: t.Any
    wanted: t.Any


@dataclasses.dataclass(frozen=True)
class Merged:
    """What a file is to contain, which part of that this collection wrote, and what stands in the way."""

    options: Options
    written: Options
    conflicts: tuple[Conflict, ...] = ()


@dataclasses.dataclass(frozen=True)
class Existing:
    """The data directory and storage of an engine, and how much it has there."""

    root: str
    driver: str = ""
    snapshotter: bool = False
    containers: int = 0
    volumes: int = 0
    images: int = 0

    def __str__(self) -> str:
        counts = {"container": self.containers, "volume": self.volumes, "image": self.images}
        words = [f"{number} {noun}{'' if number == 1 else 's'}" for noun, number in counts.items() if number]
        return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def text_of(configuration: Options) -> str:
    """Return a configuration as it is written to the file."""
    return json.dumps(configuration, indent=2, sort_keys=True) + "\n"


def parsed(file: FileState | None) -> Options:
    """Return the options in a file; the engine takes a missing or empty one for none.

    :raises ValueError: it is no JSON object; the message says where.
    """
    text = file.content.decode("utf-8", "replace") if file else ""
    value = json.loads(text) if text.strip() else {}
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    return value


def same(one: t.Any, other: t.Any) -> bool:
    """Return whether two values are the same in JSON, in which 1 is not true."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def merge(found: Options, wanted: Options, last: Options) -> Merged:
    """Merge the wanted options into those of the file.

    :param last: what this collection wrote into the file before. It alone is changed and removed; all else in the file
        was set by others and stays.
    """
    options: Options = {}
    written: Options = {}
    conflicts: list[Conflict] = []
    for name in [*found, *(name for name in wanted if name not in found)]:
        theirs, ours, before = found.get(name), wanted.get(name), last.get(name)
        if isinstance(theirs, dict) and isinstance(ours if name in wanted else before, dict):
            part = merge(theirs, ours or {}, before if isinstance(before, dict) else {})
            if part.options or name in wanted:
                options[name] = part.options
            if part.written:
                written[name] = part.written
            conflicts += (Conflict(f"{name}.{one.option}", one.found, one.wanted) for one in part.conflicts)
        elif name not in wanted:
            if name not in last or not same(theirs, before):
                options[name] = theirs
        elif name not in found or name in last:
            options[name] = written[name] = ours
        else:
            options[name] = theirs
            if not same(theirs, ours):
                conflicts.append(Conflict(name, theirs, ours))
    return Merged(options, written, tuple(conflicts))


def together(one: Options, other: Options) -> Options:
    """Return the options of both."""
    result = {**one, **other}
    for name in one.keys() & other.keys():
        if isinstance(one[name], dict) and isinstance(other[name], dict):
            result[name] = together(one[name], other[name])
    return result


def journal_of(path: str) -> str:
    """Return the path of the file in which a change of the configuration is recorded until it has proved itself."""
    return os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.previous")


def last_written(path: str, file: FileState | None, state_file: str, known: t.Iterable[str]) -> Options:
    """Return what this collection wrote into the file, or was about to when it was interrupted.

    Earlier versions did not record it; a file without a record counts as theirs if it has only options that the
    collection sets, in the form in which it writes them.

    :param known: the names of the options that the collection sets.
    """
    record, journal = read_file(state_file), read_file(journal_of(path))
    try:
        if record:
            before = parsed(journal).get("written") or {}
            return together(before, parsed(record))
        found = parsed(file)
    except ValueError:
        return {}
    ours = file is not None and file.content.decode("utf-8", "replace") == text_of(found) and found.keys() <= set(known)
    return found if ours else {}


# -- what a change would hide -----------------------------------------------------------------------------------------


def option_in(options: Options, name: str) -> t.Any:
    """Return an option's value, or None if it is not set; nested ones are written ``features.containerd-snapshotter``."""
    value: t.Any = options
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def root_in(options: Options) -> str:
    """Return the data directory that options choose."""
    return str(option_in(options, "data-root") or DATA_ROOT)


def existing(options: Options, ask: Ask) -> Existing:
    """Return what an engine has: as it says itself, or if it does not answer, as its data directory shows.

    :param options: those that it runs with.
    """
    answer = ask("info", "--format", INFORMATION)
    if answer:
        try:
            root, driver, status, containers, images = json.loads(answer[0])
        except (TypeError, ValueError):
            return _on_disk(options)
        if option_in(options, "userns-remap"):
            root = REMAPPED.sub("", root)
        snapshotter = any("io.containerd.snapshotter" in str(line) for line in status or [])
        volumes = len([line for line in ask("volume", "ls", "--quiet") or [] if line])
        return Existing(root, driver, snapshotter, containers, volumes, images)
    return _on_disk(options)


def _on_disk(options: Options) -> Existing:
    root = root_in(options)
    roots = [root, *(path for path in glob.glob(f"{glob.escape(root)}/*") if REMAPPED.search(path))]

    def count(pattern: str) -> int:
        return sum(len(glob.glob(f"{glob.escape(one)}/{pattern}")) for one in roots)

    drivers = {os.path.basename(path) for one in roots for path in glob.glob(f"{glob.escape(one)}/image/*")}
    return Existing(
        root,
        drivers.pop() if len(drivers) == 1 else "",
        bool(option_in(options, SNAPSHOTTER)),
        count("containers/*"),
        count("volumes/*/"),
        count("image/*/imagedb/content/*/*"),
    )


def changed_view(old: Options, new: Options, has: Existing | None = None) -> list[tuple[str, t.Any, t.Any]]:
    """Return the options whose change would make an engine list something else: name, old value, new value.

    :param has: what the engine has, for what it was not told in its file but has chosen itself.
    """
    chosen = {"data-root": has.root, "storage-driver": has.driver, SNAPSHOTTER: has.snapshotter} if has else {}
    found = []
    for name, default in HIDING.items():
        before, after = option_in(old, name), option_in(new, name)
        if before is None and after is None:
            continue
        if before is None:
            before = chosen.get(name) or default
        if after is None:
            # An engine without this option keeps to the driver it has data of, except to this one.
            after = before if name == "storage-driver" and before != "vfs" else default
        if name.endswith("-root"):
            equal = os.path.realpath(str(before)) == os.path.realpath(str(after))
        else:
            equal = same(before, after)
        if not equal:
            found.append((name, before, after))
    return found


def data_root(path: str = CONFIGURATION_FILE) -> str:
    """Return the engine's data directory according to its configuration file."""
    try:
        return root_in(parsed(read_file(path)))
    except (OSError, ValueError):
        return DATA_ROOT


def in_swarm(root: str) -> bool:
    """Return whether the engine with this data directory is part of a swarm, running or not."""
    return os.path.exists(os.path.join(root, "swarm", "docker-state.json"))


# -- what is refused --------------------------------------------------------------------------------------------------


class Examined(t.NamedTuple):
    """A configuration merged into the file of a server; *problems* are why it cannot be used, one sentence each."""

    merged: Merged
    last: Options
    problems: list[str]


def examine(
    path: str,
    configuration: Options,
    variables: dict[str, str],
    ask: Ask,
    hide_existing: bool = False,
    outdated: bool = False,
    state_file: str = STATE_FILE,
) -> Examined:
    """Merge a configuration into the engine's file, without changing it.

    :param variables: the variable that sets each option the collection knows, for messages.
    :param hide_existing: whether the engine may end up without what it lists now.
    :param outdated: whether the file changed after the engine started, so that the engine itself has to be asked.
    :raises OSError: the file cannot be read.
    """
    file = read_file(path)
    last = last_written(path, file, state_file, variables)
    try:
        found = parsed(file)
    except ValueError as error:
        merged = Merged(configuration, configuration)
        return Examined(merged, last, [f"{path} of this server cannot be read ({error}): correct or remove it."])
    merged = merge(found, configuration, last)
    problems = [_conflict_words(path, one, variables) for one in merged.conflicts]
    if not problems and not hide_existing:
        if outdated and option_in(found, "data-root"):
            found = {**found, "data-root": existing(found, ask).root}
        problems += _hidden_words(found, merged.options, variables, ask)
    if merged.options.get("live-restore") and in_swarm(root_in(merged.options)):
        problems.append(
            f"{_variable('live-restore', variables)}: this server is part of a swarm, with which the engine does not start "
            "when live-restore is true; set it to false: a restart of the engine then restarts its containers."
        )
    return Examined(merged, last, problems)


def _variable(option: str, variables: dict[str, str]) -> str:
    return variables.get(option.partition(".")[0], "configuration")


def _conflict_words(path: str, conflict: Conflict, variables: dict[str, str]) -> str:
    found, wanted = json.dumps(conflict.found), json.dumps(conflict.wanted)
    return (
        f"{_variable(conflict.option, variables)}: {conflict.option} is {found} in {path} of this server, which this "
        f"collection did not write, and {wanted} here; set the variable to what the file has, or take it out of the file."
    )


def _hidden_words(old: Options, new: Options, variables: dict[str, str], ask: Ask) -> list[str]:
    """Return the sentence on an engine that would no longer list what it has; empty if it would."""
    if not changed_view(old, new):
        return []
    has = existing(old, ask)
    changed = changed_view(old, new, has)
    if not changed or not str(has):
        return []
    words = [f"{name} would change from {json.dumps(before)} to {json.dumps(after)}" for name, before, after in changed]
    return [
        f"{_variable(changed[0][0], variables)}: {' and '.join(words)}, and the engine would no longer list the {has} that "
        "it has; keep the old value, or set docker_hide_existing to true."
    ]
