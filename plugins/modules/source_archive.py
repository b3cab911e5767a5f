#!/usr/bin/python
# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pack a source directory into a reproducible archive."""

from __future__ import annotations

DOCUMENTATION = r"""
module: source_archive
short_description: Pack a source directory into a reproducible archive
version_added: 1.0.0
author:
  - miniweb.stack maintainers (@miniweb)
description:
  - Packs a directory into a C(tar.gz) that depends only on the names, contents and executable bits of its files, so that the
    same source always gives the same archive and the same digest.
  - It always runs on the controller, in Ansible's own process, so that an image can be built elsewhere.
options:
  path:
    description: Directory to pack.
    type: path
    required: true
  dest:
    description: Archive to write. Its directory is created with mode 0700.
    type: path
    required: true
  prefix:
    description: Directory inside the archive that holds the files.
    type: str
    default: source
  exclude:
    description:
      - Patterns of names that are excluded wherever they occur, in addition to version control, caches, virtual environments
        and the patterns in the directory's C(.dockerignore) that are plain names.
    type: list
    elements: str
    default: []
  only:
    description: Files and directories below O(path) that are packed. Empty means everything.
    type: list
    elements: str
    default: []
  extra_files:
    description: Additional files at the root of the archive, content by name.
    type: dict
    default: {}
extends_documentation_fragment:
  - miniweb.stack.attributes
attributes:
  check_mode:
    details: The digest is computed.
  diff_mode:
    support: none
    description: The archive is an artefact.
"""

EXAMPLES = r"""
- name: Pack the application
  miniweb.stack.source_archive:
    path: files/webapp
    dest: /tmp/webapp.tar.gz
  register: packed
"""

RETURN = r"""
digest:
  description: SHA-256 of everything in the archive, in hexadecimal digits.
  returned: always
  type: str
  sample: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
files:
  description: Number of files in the archive.
  returned: always
  type: int
  sample: 41
"""

import fnmatch
import gzip
import hashlib
import io
import os
import tarfile
import typing as t

from ansible_collections.miniweb.stack.plugins.module_utils.server_files import (
    FileState,
    read_file,
    write_file,
)
from ansible_collections.miniweb.stack.plugins.module_utils.server_module import ServerModule

ALWAYS_EXCLUDED = (
    ".git",
    ".hg",
    ".svn",
    "__pycache__",
    "*.pyc",
    ".venv",
    "venv",
    ".tox",
    ".nox",
    ".*_cache",
    ".hypothesis",
    ".coverage",
    "*.egg-info",
)


def ignored_names(path: str) -> list[str]:
    """Return the simple names and patterns in a directory's ``.dockerignore``."""
    found = read_file(os.path.join(path, ".dockerignore"))
    lines = found.content.decode().splitlines() if found else []
    names = [line.strip().removeprefix("**/").strip("/") for line in lines]
    return [name for name in names if name and "/" not in name and name[0] not in "#!"]


def collect(path: str, exclude: list[str]) -> dict[str, tuple[bytes, bool]]:
    """Return the files below a directory: content and executable bit by relative path."""
    files = {}
    for root, directories, names in os.walk(path):
        directories[:] = [n for n in directories if not any(fnmatch.fnmatch(n, p) for p in exclude)]
        for name in names:
            full = os.path.join(root, name)
            if not os.path.isfile(full) or any(fnmatch.fnmatch(name, pattern) for pattern in exclude):
                continue
            with open(full, "rb") as stream:
                files[os.path.relpath(full, path)] = (stream.read(), os.access(full, os.X_OK))
    return files


def pack(files: dict[str, tuple[bytes, bool]]) -> bytes:
    """Return a ``tar.gz`` of the files, in sorted order and without times and owners."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, (content, executable) in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755 if executable else 0o644
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), compresslevel=6, mtime=0)


def digest_of(files: dict[str, tuple[bytes, bool]]) -> str:
    """Return a hash of names, contents and executable bits."""
    total = hashlib.sha256()
    for name, (content, executable) in sorted(files.items()):
        total.update(f"{name}\0{executable:d}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()


ARGUMENT_SPEC: dict[str, t.Any] = {
    "path": {"type": "path", "required": True},
    "dest": {"type": "path", "required": True},
    "prefix": {"type": "str", "default": "source"},
    "exclude": {"type": "list", "elements": "str", "default": []},
    "only": {"type": "list", "elements": "str", "default": []},
    "extra_files": {"type": "dict", "default": {}},
}


def archived(params: dict[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Write the archive, unless it already exists or in check mode; return the module's result.

    :raises ValueError: there is nothing to pack; the message says why.
    """
    path, dest = params["path"], params["dest"]
    if not os.path.isdir(path):
        raise ValueError(f'path: "{path}" is not a directory on the controller; give the directory of the source.')
    source = collect(path, [*ALWAYS_EXCLUDED, *ignored_names(path), *params["exclude"]])
    if params["only"]:
        chosen = tuple(f"{name.strip('/')}/" for name in params["only"])
        source = {name: value for name, value in source.items() if f"{name}/".startswith(chosen)}
    if not source:
        raise ValueError(f'path: the directory "{path}" holds no files to pack.')
    files = {os.path.join(params["prefix"], name): value for name, value in source.items()}
    files.update({name: (str(content).encode(), False) for name, content in params["extra_files"].items()})
    archive = pack(files)
    found = read_file(dest)
    changed = found is None or found.content != archive
    if changed and not check_mode:
        os.makedirs(os.path.dirname(dest), mode=0o700, exist_ok=True)
        write_file(dest, FileState(archive, 0o600, os.getuid(), os.getgid()))
    return {"changed": changed, "digest": digest_of(files), "files": len(files)}


def main() -> None:
    """Entry point of the module."""
    module = ServerModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        result = archived(module.params, module.check_mode)
    except ValueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
