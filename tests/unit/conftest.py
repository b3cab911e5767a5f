"""Make the collection importable under its own name, as Ansible does."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common import warnings
from ansible.module_utils.testing import patch_module_args
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
def run_module_alone() -> RunModule:
    """Run a module of the collection in a process of its own, which a test may kill; return its result."""

    def run(module: str, /, programs: Path, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-c", RUNNER, str(COLLECTIONS), module],
            input=json.dumps({**arguments, "_ansible_check_mode": check_mode, "_ansible_diff": True}),
            env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.strip().startswith("{"), done.stdout + done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def run_module(monkeypatch: pytest.MonkeyPatch) -> RunModule:
    """Run a module of the collection with these arguments; return its result."""

    def run(module: str, /, programs: Path | None = None, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
        found = importlib.import_module(f"ansible_collections.miniweb.stack.plugins.modules.{module}")
        # Modules keep their warnings for the whole process.
        warnings._global_warnings.clear()
        printed = io.StringIO()
        with (
            monkeypatch.context() as patch,
            patch_module_args({**arguments, "_ansible_check_mode": check_mode, "_ansible_diff": True}),
        ):
            # Other tests load Ansible's controller in this process; warnings would then be shown instead of returned.
            patch.setattr("ansible.module_utils._internal.is_controller", False)
            if programs:
                patch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
            with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as ended:
                found.main()
        result = json.loads(printed.getvalue())
        assert bool(result.get("failed")) == bool(ended.value.code)
        return result

    return run
