"""ansible-test sanity on the collection as it would be packed, with every test of this Python version."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

from ansible_test._internal.python_requirements import get_venv_packages

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".ansible" / "sanity"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
# ansible-test gets pip for its virtual environments from a server of its own; Python brings one that does as well.
BOOTSTRAP = "import ensurepip\n\nensurepip.bootstrap()\n"


def pip_configuration() -> str:
    """pip's settings here, because ansible-test hides the environment's and the home directory's from pip."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    settings = re.findall(r"^(?:global|install|:env:)\.([a-z-]+)='(.*)'$", listed, re.MULTILINE)
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in dict(settings).items())


def prepare_home() -> None:
    """A home directory that is kept, so that a second run finds its virtual environments."""
    version = get_venv_packages(SimpleNamespace(version=PYTHON))["pip"]
    bootstrap = HOME / ".ansible" / "test" / "cache" / f"get_pip_{version.replace('.', '_')}.py"
    configuration = HOME / ".config" / "pip" / "pip.conf"
    for path, text in ((bootstrap, BOOTSTRAP), (configuration, pip_configuration())):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def copy_collection(target: Path) -> None:
    """Copy what git knows, and what it does not ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)


def test_sanity(tmp_path: Path) -> None:
    prepare_home()
    collection = tmp_path / "ansible_collections" / "miniweb" / "stack"
    copy_collection(collection)
    # The modules for AWS are imported with the collection they build on.
    amazon = Path(find_spec("ansible_collections.amazon.aws").submodule_search_locations[0])
    shutil.copytree(amazon, collection.parents[1] / "amazon" / "aws", ignore=shutil.ignore_patterns("tests", "docs"))
    command = [str(Path(sys.executable).with_name("ansible-test")), "sanity", "--python", PYTHON, "--color", "no"]
    environment = {**os.environ, "HOME": str(HOME)}
    done = subprocess.run(command, cwd=collection, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
