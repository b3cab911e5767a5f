"""Make the collection importable under its own name, as Ansible does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / ".ansible" / "collections"
_AnsibleCollectionFinder(paths=[str(COLLECTIONS)])._install()

RunModule = Callable[..., dict[str, Any]]

RUNNER = """\
import sys
from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder
_AnsibleCollectionFinder(paths=[sys.argv[1]])._install()
from ansible.module_utils.testing import patch_module_args
import importlib, json
module = importlib.import_module("ansible_collections.miniweb.stack.plugins.modules." + sys.argv[2])
with patch_module_args(json.load(sys.stdin)):
    module.main()
"""


@pytest.fixture
def run_module() -> RunModule:
    """Run a module of the collection in a process of its own, with these arguments; return its result."""

    def run(module: str, /, programs: Path | None = None, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
        path = f"{programs}{os.pathsep}{os.environ['PATH']}" if programs else os.environ["PATH"]
        done = subprocess.run(
            [sys.executable, "-c", RUNNER, str(COLLECTIONS), module],
            input=json.dumps({**arguments, "_ansible_check_mode": check_mode, "_ansible_diff": True}),
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.strip().startswith("{"), done.stdout + done.stderr
        result = json.loads(done.stdout)
        assert bool(result.get("failed")) == (done.returncode != 0)
        return result

    return run
