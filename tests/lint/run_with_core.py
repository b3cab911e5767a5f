"""Run a program from another ansible-core: python run_with_core.py DIRECTORY REQUIREMENTS VERSION PROGRAM [WORD...].

DIRECTORY keeps its virtual environment and the home directory for those of ansible-test. The word PYTHON stands for the
version of this Python, such as 3.13.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

# ansible-test downloads pip for its virtual environments; the one bundled with Python does as well.
BOOTSTRAP = """\
from pathlib import Path
from types import SimpleNamespace
import sys

from ansible_test._internal.python_requirements import get_venv_packages

version = get_venv_packages(SimpleNamespace(version="{}.{}".format(*sys.version_info)))["pip"]
path = Path.home() / ".ansible" / "test" / "cache" / f"get_pip_{version.replace('.', '_')}.py"
path.parent.mkdir(parents=True, exist_ok=True)
path.write_text("import ensurepip\\n\\nensurepip.bootstrap()\\n")
"""


def install(environment: Path, *packages: str) -> None:
    """Create the virtual environment, from scratch if an earlier run was interrupted."""
    if environment.exists():
        shutil.rmtree(environment)
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip = [environment / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *packages], check=True)
    subprocess.run([environment / "bin" / "python", "-c", BOOTSTRAP], check=True)
    (environment / "ready").touch()


def main(directory: str, requirements: str, version: str, program: str, *words: str) -> None:
    """Replace this process with the program."""
    environment = Path(directory) / "venv"
    os.environ["HOME"] = str(Path(directory) / "home")
    if not (environment / "ready").exists():
        install(environment, f"ansible-core=={version}", "--requirement", requirements)
    os.environ["PATH"] = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    os.execvp(program, [program, *(python if word == "PYTHON" else word for word in words)])


if __name__ == "__main__":
    main(*sys.argv[1:])
