"""Others may hold apt's locks for minutes, as unattended upgrades do on a new server."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from role_templates import ROLES, rendered

GIVEN = {
    "__ec2_autoscale_packages": [],
    "__ec2_autoscale_region": "eu-central-1",
    "__ec2_autoscale_bucket": "bucket",
    "__ec2_autoscale_packed": {"digest": "d1"},
    "__ec2_autoscale_parameter": "/parameter",
    "__ec2_autoscale_stored": {"parameter_metadata": {"version": 1}},
    "ec2_autoscale_playbook": "site.yml",
}
# Fails as often as the file says, as apt does while another process holds a lock.
APT = """\
#!/bin/sh
echo "$*" >> {0}/calls
left=$(cat {0}/left)
[ "$left" -eq 0 ] && exit 0
echo $((left - 1)) > {0}/left
echo "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 1 (apt-get)" >&2
exit 100
"""


@pytest.mark.parametrize(
    ("failures", "calls", "code"), [(0, 2, 0), (1, 3, 0), (60, 62, 0), (1000, 120, 1)], ids=lambda value: str(value)
)
def test_a_new_instance_waits_for_apts_locks(tmp_path: Path, failures: int, calls: int, code: int) -> None:
    script = rendered(ROLES / "ec2_autoscale", "user_data.sh.j2", **GIVEN).partition("python3 -m venv")[0]
    script = script.replace("/opt/miniweb-instance", str(tmp_path / "home"))
    (tmp_path / "left").write_text(f"{failures}\n")
    for name, text in {"apt-get": APT.format(tmp_path), "sleep": "#!/bin/sh\n"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    called = (tmp_path / "calls").read_text().splitlines()
    assert len(called) == calls
    assert called[-1].split()[0] == ("install" if not code else "update")


def test_every_task_that_uses_apt_waits() -> None:
    """The role docker is the only one that does, in files that it includes with this default."""
    using = {path for path in ROLES.glob("*/tasks/**/*.yml") if re.search(r"\bapt:", path.read_text())}
    assert {path.parent for path in using} == {ROLES / "docker" / "tasks"}
    including = yaml.safe_load((ROLES / "docker" / "tasks" / "main.yml").read_text())
    defaults = [task["module_defaults"]["ansible.builtin.apt"] for task in including if "module_defaults" in task]
    assert [default["lock_timeout"] >= 600 for default in defaults] == [True]
