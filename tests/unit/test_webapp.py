"""The application's own tests, in its own project."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

WEBAPP = Path(__file__).resolve().parents[2] / "files" / "webapp"


def test_the_applications_own_tests_pass() -> None:
    assert subprocess.run([sys.executable, "-m", "pytest", "-q"], cwd=WEBAPP, check=False).returncode == 0
