"""The rules of each role, rendered with its defaults and checked by promtool from the Prometheus image.

A role's cases are its tests/rules.yml, which finds the rules beside it as rules.yml.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import role_rules
from role_variables import defaults
from sandbox import registry
from sandbox.images import host_vars
from sandbox.paths import HOST_VARS, ROLES

WITH_RULES = role_rules.roles()


def image() -> str:
    """The image the sandbox runs, under its name on this machine; otherwise the role's default."""
    chosen = host_vars() if HOST_VARS.exists() else {}
    default = defaults(ROLES / "prometheus")["prometheus_image"]
    return str(chosen.get("prometheus_image", default)).replace(registry.THERE, registry.HERE, 1)


def promtool(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["docker", "run", "--rm", "--network=none", f"--user={os.getuid()}", f"--volume={directory}:/rules:ro"]
    return subprocess.run(
        [*command, "--workdir=/rules", "--entrypoint=/bin/promtool", image(), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_promtool_accepts_the_rules(tmp_path: Path) -> None:
    for role in WITH_RULES:
        (tmp_path / f"{role.name}.yml").write_text(role_rules.text(role))
    result = promtool(tmp_path, "check", "rules", *(f"{role.name}.yml" for role in WITH_RULES))
    said = result.stdout + result.stderr
    assert result.returncode == 0, said
    for role in WITH_RULES:
        found = len(role_rules.rules(role))
        assert f"Checking {role.name}.yml\n  SUCCESS: {found} rules found" in said


@pytest.mark.parametrize("role", WITH_RULES, ids=lambda role: role.name)
def test_the_rules_do_what_they_should(role: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(role_rules.text(role))
    shutil.copy(role / "tests/rules.yml", tmp_path / "cases.yml")
    result = promtool(tmp_path, "test", "rules", "cases.yml")
    assert result.returncode == 0, result.stdout + result.stderr
