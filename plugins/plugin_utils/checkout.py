# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A version of a git repository in a directory on the controller."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess

from ansible import constants

# A repository that asks for a login or a host key has nobody to answer.
ENVIRONMENT = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8"}
SSH = {"GIT_SSH_COMMAND": "ssh -o BatchMode=yes"}


class GitFailed(Exception):
    """Git ended with an error; the message is what it said."""


def git(directory: str, *words: str) -> str:
    """Run git in a directory; return what it printed.

    :raises GitFailed: it failed, or is not installed.
    """
    environment = {**({} if "GIT_SSH_COMMAND" in os.environ else SSH), **os.environ, **ENVIRONMENT}
    try:
        done = subprocess.run(
            ["git", *words], cwd=directory, env=environment, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise GitFailed("git is not installed on the controller") from error
    if done.returncode:
        lines = [line for line in done.stderr.strip().splitlines() if line.startswith(("fatal:", "error:", "ERROR:"))]
        raise GitFailed((lines or done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0])
    return done.stdout.strip()


def check_out(url: str, version: str, directory: str) -> str:
    """Bring a directory to a version of a repository; return the commit.

    :raises GitFailed: the repository or the version cannot be had.
    """
    if os.path.exists(directory) and not os.path.isdir(os.path.join(directory, ".git")):
        shutil.rmtree(directory)
    # Git keeps the URL there, perhaps with a login.
    os.makedirs(directory, mode=0o700, exist_ok=True)
    os.chmod(directory, 0o700)
    git(directory, "init", "--quiet")
    git(directory, "config", "remote.origin.url", url)
    git(directory, "config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
    git(directory, "fetch", "--quiet", "--prune", "--force", "--tags", "origin")
    git(directory, "remote", "set-head", "origin", "--auto")
    commit = resolved(directory, version)
    git(directory, "checkout", "--quiet", "--force", "--detach", commit)
    git(directory, "clean", "--quiet", "-ffdx")
    git(directory, "submodule", "--quiet", "update", "--init", "--recursive", "--force")
    return commit


def resolved(directory: str, version: str) -> str:
    """Return the commit of a branch, a tag or a commit.

    :raises GitFailed: the repository has none with this name.
    """
    for name in (f"refs/remotes/origin/{version}", f"refs/tags/{version}", version):
        try:
            return git(directory, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        except GitFailed:
            continue
    raise GitFailed(f'it has no branch, tag or commit "{version}"')


def without_password(text: str) -> str:
    """Return a text without the logins of URLs in it."""
    return re.sub(r"//[^/\s]+@", "//***@", text)


def kept(url: str, version: str, directory: str) -> dict[str, str]:
    """Check a repository out once in a run: many variables depend on it, and several processes evaluate them.

    :return: the ``commit``, and the ``fault``, a sentence without its end, or empty. A login in the URL is not shown.
    """
    key = hashlib.sha256(json.dumps([url, version, directory]).encode()).hexdigest()[:16]
    path = os.path.join(constants.DEFAULT_LOCAL_TMP, f"miniweb-checkout-{key}.json")
    if os.path.isfile(path):
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    found = {"commit": "", "fault": ""}
    try:
        found["commit"] = check_out(url, version, directory)
    except (GitFailed, OSError) as error:
        found["fault"] = f"{without_password(url)} cannot be fetched ({without_password(str(error))})"
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(found, stream)
    return found
