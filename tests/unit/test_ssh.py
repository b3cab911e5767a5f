"""What this tree's configuration makes of SSH."""

from __future__ import annotations

import configparser
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("method", ["publickey", "password", "keyboard-interactive"])
def test_servers_may_be_logged_in_to_with(method: str) -> None:
    configuration = configparser.ConfigParser(interpolation=None)
    configuration.read(ROOT / "ansible.cfg")
    words = shlex.split(configuration["ssh_connection"]["ssh_args"])
    done = subprocess.run(["ssh", "-G", "-F", "none", *words, "server"], capture_output=True, text=True, check=True)
    settings = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    assert method in settings["preferredauthentications"].split(",")
