# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an application needs beside its web process, each by its name: processes, scheduled commands and volumes."""

from __future__ import annotations

import os
import re
import typing as t

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
LEAST_MEMORY_MB = 32
COMMAND = {"type": "list", "elements": "str"}
# A memory limit of 0 means that of the web process.
SPECS: dict[str, dict[str, dict[str, t.Any]]] = {
    "processes": {
        "command": COMMAND,
        "count": {"type": "int", "default": 1},
        "memory_mb": {"type": "int", "default": 0},
        "health_command": {**COMMAND, "default": []},
        "stop_grace_seconds": {"type": "int", "default": 30},
    },
    "schedule": {
        "command": COMMAND,
        "at": {"type": "str"},
        "timeout_minutes": {"type": "int", "default": 60},
        "memory_mb": {"type": "int", "default": 0},
    },
    "volumes": {
        "path": {"type": "str"},
        "url": {"type": "str", "default": ""},
        "internal": {"type": "bool", "default": False},
    },
}
# What a time in systemd's form can consist of; whether it is one, the server is asked.
CALENDAR = re.compile(r"[A-Za-z0-9*:,./~_+ -]+")
# Nothing of the image's system may be hidden, at these places or below them, nor the application itself.
SYSTEM = (
    "bin",
    "boot",
    "dev",
    "etc",
    "lib",
    "lib32",
    "lib64",
    "proc",
    "root",
    "run",
    "sbin",
    "sys",
    "tmp",
    "usr",
    "venv",
)
WHOLE = ("/", "/app", "/home", "/opt", "/srv", "/var", "/var/lib", "/var/run")

Named = dict[str, dict[str, t.Any]]


def merged(base: t.Mapping[str, t.Any], given: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return entries in which those given go first, key by key; one that is None removes the entry of that name."""
    found = dict(base)
    for name, entry in given.items():
        if entry is None:
            found.pop(name, None)
        elif isinstance(entry, dict) and isinstance(found.get(name), dict):
            found[name] = {**found[name], **entry}
        else:
            found[name] = entry
    return found


def full(kind: str, entries: t.Mapping[str, t.Any]) -> Named:
    """Return valid entries with the defaults of their keys."""
    return {
        str(name): dict(ArgumentSpecValidator(SPECS[kind]).validate(dict(entry)).validated_parameters)
        for name, entry in entries.items()
    }


def fault_in(kind: str, entries: t.Any, prefix: str) -> str:
    """Return what is wrong with the entries of a kind, as one sentence; empty if nothing is.

    :param prefix: what the sentence calls the entries.
    """
    if not isinstance(entries, dict):
        return f"{prefix} is {entries!r}; give a name for each entry, with its keys below."
    for name, entry in entries.items():
        if not NAME.fullmatch(str(name)):
            return f'{prefix}: "{name}" cannot be used as a name; give small letters, digits and "-".'
        where = f"{prefix}.{name}"
        keys = ", ".join(SPECS[kind])
        if not isinstance(entry, dict):
            return f"{where} is {entry!r}; give {keys}."
        unknown = sorted(str(key) for key in entry if key not in SPECS[kind])
        if unknown:
            return f'{where}: there is no key "{unknown[0]}"; give {keys}.'
        fault = _fault_of_types(kind, entry) or FAULTS[kind](entry)
        if fault:
            return f"{where}{fault}"
    return _fault_together(kind, entries, prefix)


def _fault_of_types(kind: str, entry: dict[str, t.Any]) -> str:
    for key, value in entry.items():
        spec = SPECS[kind][key]
        if spec["type"] == "str" and not isinstance(value, str):
            return f".{key} is {value!r}, not text; put the value in quotes."
        if spec["type"] == "list":
            if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
                return f".{key} is {value!r}; give a list of words, such as [rq, worker]."
        elif spec["type"] == "int" and ArgumentSpecValidator({key: spec}).validate({key: value}).error_messages:
            return f".{key} is {value!r}; give a number."
    return ""


def _command_fault(entry: dict[str, t.Any], example: str) -> str:
    return "" if entry.get("command") else f" has no command; give a list of words, such as {example}."


def _memory_fault(entry: dict[str, t.Any]) -> str:
    if "memory_mb" in entry and int(entry["memory_mb"]) < LEAST_MEMORY_MB:
        return f".memory_mb is {entry['memory_mb']}; give at least {LEAST_MEMORY_MB}."
    return ""


def _process_fault(entry: dict[str, t.Any]) -> str:
    if int(entry.get("count", 1)) < 1:
        return f".count is {entry['count']}; give at least 1, or leave the process out."
    if int(entry.get("stop_grace_seconds", 1)) < 1:
        return f".stop_grace_seconds is {entry['stop_grace_seconds']}; give at least 1."
    return _command_fault(entry, "[rq, worker]") or _memory_fault(entry)


def _schedule_fault(entry: dict[str, t.Any]) -> str:
    at = entry.get("at", "")
    if not CALENDAR.fullmatch(at):
        found = f'.at is "{at}"' if at else " has no at"
        return f'{found}; give a time in systemd\'s form, such as "*-*-* 03:00" or "Mon 08:30".'
    if int(entry.get("timeout_minutes", 1)) < 1:
        return f".timeout_minutes is {entry['timeout_minutes']}; give at least 1."
    return _command_fault(entry, "[flask, cleanup]") or _memory_fault(entry)


def _volume_fault(entry: dict[str, t.Any]) -> str:
    path = entry.get("path", "")
    if not path:
        return " has no path; give its place in the container, such as /app/uploads."
    if not re.fullmatch(r"(/[A-Za-z0-9._-]+)+", path) or os.path.normpath(path) != path:
        return f'.path is "{path}"; give an absolute path of letters, digits, ".", "_" and "-", such as /app/uploads.'
    if path in WHOLE or path.split("/")[1] in SYSTEM:
        return f".path is {path}, where the container has its system or the application; give another, such as /app/uploads."
    url = entry.get("url") or ""
    if url and not re.fullmatch(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/", url):
        return f'.url is "{url}"; give a path of the site that begins and ends with "/", such as /uploads/, or nothing.'
    if entry.get("internal") and not url:
        return ".internal is set without url; give the path that the application names in X-Accel-Redirect, such as /uploads/."
    return ""


FAULTS: dict[str, t.Callable[[dict[str, t.Any]], str]] = {
    "processes": _process_fault,
    "schedule": _schedule_fault,
    "volumes": _volume_fault,
}


def _fault_together(kind: str, entries: dict[str, t.Any], prefix: str) -> str:
    if kind != "volumes":
        return ""
    for key in ("path", "url"):
        seen: dict[str, str] = {}
        for name, entry in entries.items():
            other = seen.setdefault(entry.get(key) or name, name)
            if other != name:
                return f"{prefix}: {other} and {name} have the same {key} {entry[key]}; give each its own."
    return ""
