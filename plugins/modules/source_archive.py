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
    same source always gives the same archive and the same digest. Empty directories are not packed.
  - A C(.dockerignore) in the directory is followed as Docker follows it. Version control, caches and virtual environments
    are excluded without it; a line such as C(!venv) brings one of them back.
  - Links are followed. One that leads nowhere, out of the directory or to a directory above itself is refused.
  - What looks like a private key or an C(.env) file is refused unless O(allowed_secrets) names it.
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
      - Patterns of names that are excluded wherever they occur, whatever C(.dockerignore) has.
    type: list
    elements: str
    default: []
  only:
    description: Files and directories below O(path) that are packed. Empty means everything.
    type: list
    elements: str
    default: []
  allowed_secrets:
    description:
      - Files below O(path) that are packed although they look like a private key or an C(.env) file, as patterns in the
        form of C(.dockerignore).
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

import gzip
import hashlib
import io
import os
import re
import stat
import tarfile
import typing as t

from ansible_collections.miniweb.stack.plugins.module_utils.docker_ignore import Patterns, lines_of
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
# By their names: variables of an environment, unless of an example; keys of SSH; and key stores, which are binary
SECRET_NAME = re.compile(
    r"(?!.*(dist|example|sample|template))(\.envrc|\.env(\..+)?|.+\.env)"
    r"|id_(rsa|dsa|ecdsa|ed25519)(_sk)?|.+\.(p12|pfx|jks|keystore|kdbx|ppk)"
)
# By its content: a private key in the form of PEM, OpenSSH or PGP, also within JSON, and not merely its first line
PRIVATE_KEY = re.compile(
    rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----(?:\s|\\[rn])+"
    rb"(?:[A-Za-z-]+: [^\r\n\\]*(?:\s|\\[rn])+)*[A-Za-z0-9+/=]{16}"
)
# How many names a message has at most
SHOWN = 5

# Content and executable bit by relative path
Files = dict[str, tuple[bytes, bool]]


def ignored(path: str, exclude: list[str]) -> Patterns:
    """Return what is not packed of a directory.

    :raises ValueError: its ``.dockerignore`` has a line that cannot be understood.
    """
    found = read_file(os.path.join(path, ".dockerignore"))
    lines = lines_of(os.fsdecode(found.content)) if found else []
    everywhere = ([f"**/{name}" for name in names] for names in (ALWAYS_EXCLUDED, exclude))
    try:
        first, last = everywhere
        return Patterns([*first, *lines, *last])
    except ValueError as error:
        raise ValueError(f"{os.path.join(path, '.dockerignore')}: {error}; correct it.") from error


class Collector:
    """Reads the files below a directory."""

    def __init__(self, path: str, exclude: list[str], only: list[str]) -> None:
        self.root = os.path.realpath(path)
        self.path = path
        self.ignored = ignored(path, exclude)
        self.only = [f"{name.strip('/')}/" for name in only] or [""]
        self.files: Files = {}
        self.faults: list[str] = []

    def collect(self) -> Files:
        """Return the files.

        :raises ValueError: some cannot be packed; the message names them.
        """
        self._visit(self.root, "", (self.root,))
        if self.faults:
            more = len(self.faults) - SHOWN
            shown = self.faults[:SHOWN] + ([f"and {more} more"] if more > 0 else [])
            raise ValueError(
                f'path: the directory "{self.path}" has {"; ".join(shown)}: remove them, or list them in its '
                ".dockerignore."
            )
        return self.files

    def _visit(self, directory: str, prefix: str, above: tuple[str, ...]) -> None:
        for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
            name = prefix + entry.name
            inside = any(f"{name}/".startswith(one) for one in self.only)
            if not inside and not (os.path.isdir(entry.path) and any(one.startswith(f"{name}/") for one in self.only)):
                continue
            if self.ignored.match(name):
                # Something in it may be taken back.
                searched = entry.is_dir(follow_symlinks=False) and not self.ignored.match_all_in(name)
                if not searched:
                    continue
            if entry.is_symlink() and not self._is_sound(entry, name, above):
                continue
            if os.path.isdir(entry.path):
                self._visit(entry.path, f"{name}/", (*above, os.path.realpath(entry.path)))
            elif os.path.isfile(entry.path):
                with open(entry.path, "rb") as stream:
                    self.files[name] = (stream.read(), os.access(entry.path, os.X_OK))
            # A socket is of no use without its program, and Docker leaves it out, too.
            elif not stat.S_ISSOCK(entry.stat().st_mode):
                self.faults.append(f'"{name}", which is neither a file nor a directory')

    def _is_sound(self, link: os.DirEntry[str], name: str, above: tuple[str, ...]) -> bool:
        """Return whether a link can be followed; otherwise record why not."""
        target = os.path.realpath(link.path)
        fault = ""
        if not os.path.exists(link.path):
            fault = "which leads nowhere"
        elif f"{target}/".startswith(f"{self.root}/"):
            fault = "which leads to a directory above it" if target in above else ""
        else:
            fault = "which leads out of the directory"
        if fault:
            self.faults.append(f'the link "{name}" to "{os.readlink(link.path)}", {fault}')
        return not fault


def secrets_in(files: Files, allowed: list[str]) -> list[str]:
    """Return the names of the files that look like a private key or an ``.env`` file.

    :param allowed: patterns of those that are not meant.
    :raises ValueError: a pattern cannot be understood; the message names it.
    """
    try:
        patterns = Patterns(allowed)
    except ValueError as error:
        raise ValueError(f"allowed_secrets: {error}; correct it.") from error
    return [
        name
        for name, (content, dummy) in sorted(files.items())
        if (SECRET_NAME.fullmatch(os.path.basename(name)) or PRIVATE_KEY.search(content)) and not patterns.match(name)
    ]


def source_of(params: dict[str, t.Any]) -> Files:
    """Return the files of the source.

    :raises ValueError: it cannot be packed; the message says why.
    """
    path = params["path"]
    if not os.path.isdir(path):
        raise ValueError(f'path: "{path}" is not a directory on the controller; give the directory of the source.')
    source = Collector(path, params["exclude"], params["only"]).collect()
    if not source:
        raise ValueError(f'path: the directory "{path}" holds no files to pack.')
    secret = secrets_in(source, params["allowed_secrets"])
    if secret:
        shown = ", ".join(f'"{name}"' for name in secret[:SHOWN])
        more = f" and {len(secret) - SHOWN} more" if len(secret) > SHOWN else ""
        raise ValueError(
            f'path: the directory "{path}" has what looks like private keys or files with secrets, {shown}{more}: list '
            "them in its .dockerignore, or, to pack them nevertheless, in allowed_secrets (<role>_allowed_secrets)."
        )
    return source


def pack(files: Files) -> bytes:
    """Return a ``tar.gz`` of the files, in sorted order and without times and owners."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, (content, executable) in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755 if executable else 0o644
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), compresslevel=6, mtime=0)


def digest_of(files: Files) -> str:
    """Return a hash of names, contents and executable bits."""
    total = hashlib.sha256()
    for name, (content, executable) in sorted(files.items()):
        total.update(os.fsencode(f"{name}\0{executable:d}\0{hashlib.sha256(content).hexdigest()}\n"))
    return total.hexdigest()


ARGUMENT_SPEC: dict[str, t.Any] = {
    "path": {"type": "path", "required": True},
    "dest": {"type": "path", "required": True},
    "prefix": {"type": "str", "default": "source"},
    "exclude": {"type": "list", "elements": "str", "default": []},
    "only": {"type": "list", "elements": "str", "default": []},
    "allowed_secrets": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "extra_files": {"type": "dict", "default": {}},
}


def archived(params: dict[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Write the archive, unless it already exists or in check mode; return the module's result.

    :raises ValueError: the source cannot be packed; the message says why.
    """
    dest = params["dest"]
    source = source_of(params)
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
