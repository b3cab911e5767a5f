"""What the playbooks and roles for AWS report without AWS, without its collections and without boto3."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.miniweb.stack.plugins.module_utils import aws_module

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOKS = sorted((ROOT / "playbooks").glob("aws_*.yml"))
ROLES = ("ec2", "ec2_autoscale")
# What every playbook needs to pass the check of its input
GIVEN = {
    "ansible_python_interpreter": sys.executable,
    "ec2_access_addresses": ["203.0.113.7"],
    "ec2_confirm": "miniweb-production",
    "ec2_autoscale_database_host": "database.example.com",
    "ec2_autoscale_certificate_arn": "arn:aws:acm:eu-central-1:123456789012:certificate/one",
    "ec2_autoscale_variables": {},
}
WITHOUT_COLLECTIONS = {"ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "false"}
MISSING = "Collections for AWS are missing here or too old: run ansible-galaxy collection install "
NO_BOTO3 = f"boto3 is not installed for {sys.executable}, which runs the modules for AWS: run {sys.executable} -m pip install boto3."

Run = Callable[..., list[str]]


def role_of(playbook: Path) -> tuple[str, str]:
    """The role that a playbook calls, and its entry point."""
    [play] = yaml.safe_load(playbook.read_text())
    [task] = play["tasks"]
    included = task["ansible.builtin.include_role"]
    return included["name"].removeprefix("miniweb.stack."), included.get("tasks_from", "main")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a playbook with an empty inventory, away from this project's configuration; return its failures' messages."""

    def run(playbook: Path, variables: dict[str, Any], *words: str, **environment: str) -> list[str]:
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "--inventory", os.devnull, str(playbook)]
        surroundings = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "AWS_"))}
        surroundings |= {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"), "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(
            [*command, *words, "--extra-vars", json.dumps(variables)],
            cwd=tmp_path,
            env=surroundings | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        said = [json.loads(result)["msg"] for result in re.findall(r"FAILED! => (\{.*\})", done.stdout)]
        # The inventory names no server that site.yml could go on with.
        assert bool(said) != ("names no server" in done.stderr), done.stdout + done.stderr
        assert done.returncode
        return said

    return run


def test_every_entry_point_has_a_playbook() -> None:
    entries = {(role, path.stem) for role in ROLES for path in (ROOT / "roles" / role / "tasks").glob("*.yml")}
    assert entries == {role_of(playbook) for playbook in PLAYBOOKS}


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_a_collection_that_is_missing_is_named(run: Run, playbook: Path) -> None:
    [said] = run(playbook, GIVEN, **WITHOUT_COLLECTIONS)
    needed = ["amazon.aws"] + (["community.aws"] if role_of(playbook)[0] == "ec2_autoscale" else [])
    assert re.sub(r"'(\S+):>=[0-9.]+'", r"\1", said) == f"{MISSING}{' '.join(needed)}."


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_boto3_that_is_missing_is_named(run: Run, playbook: Path, tmp_path: Path) -> None:
    (tmp_path / "boto3.py").write_text("raise ImportError('hidden by a test')\n")
    said = run(playbook, GIVEN, PYTHONPATH=str(tmp_path))[-1]
    assert said == NO_BOTO3


@pytest.mark.parametrize("words", [(), ("--tags", "mysql")])
@pytest.mark.parametrize("wanted", [False, True])
def test_the_whole_system_needs_no_collection_for_aws_unless_access_is_refreshed(
    run: Run, wanted: bool, words: tuple[str, ...]
) -> None:
    said = run(ROOT / "playbooks" / "site.yml", {"miniweb_refresh_access": wanted}, *words, **WITHOUT_COLLECTIONS)
    assert [sentence.partition("'")[0] for sentence in said] == ([MISSING] if wanted else [])


@pytest.mark.parametrize("role", ROLES)
def test_the_versions_that_a_role_needs_are_those_that_are_tested(role: str) -> None:
    tested = yaml.safe_load((ROOT / "requirements.yml").read_text())["collections"]
    oldest = {entry["name"]: entry["version"].partition(",")[0] for entry in tested}
    needed = yaml.safe_load((ROOT / "roles" / role / "vars" / "main.yml").read_text())[f"__{role}_collections"]
    assert needed == [f"{name}:{oldest[name]}" for name in ("amazon.aws", "community.aws")[: len(needed)]]


def play(tasks: str, **defaults: str) -> str:
    group = {"group/miniweb.stack.aws": defaults}
    play = {"hosts": "localhost", "gather_facts": False, "module_defaults": group, "tasks": yaml.safe_load(tasks)}
    return yaml.safe_dump([play | {"vars": {"ansible_python_interpreter": sys.executable}}])


TASKS = """
- miniweb.stack.ec2_instance_type_info: {instance_type: t3.small}
  ignore_errors: true
- miniweb.stack.ec2_tagged_info: {tags: {Project: miniweb}}
  ignore_errors: true
- miniweb.stack.security_group_access: {group_name: administrators, operator: alice, addresses: [203.0.113.7]}
"""
OTHERS = """
- amazon.aws.aws_caller_info:
  ignore_errors: true
- community.aws.ssm_parameter: {name: one, state: absent}
  ignore_errors: true
"""
DEFAULTS = {"profile": "nobodys", "region": "mars-1"}


def test_what_is_set_for_the_group_reaches_the_modules_of_all_three_collections(run: Run, tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(play(OTHERS + TASKS, **DEFAULTS))
    said = run(tmp_path / "play.yml", {})
    assert [DEFAULTS["profile"] in sentence for sentence in said] == [True] * len(yaml.safe_load(OTHERS + TASKS))


def test_a_module_itself_reports_that_its_collection_is_missing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(play(TASKS, **DEFAULTS))
    said = run(tmp_path / "play.yml", {}, **WITHOUT_COLLECTIONS)
    assert said == [aws_module.NO_COLLECTION] * len(yaml.safe_load(TASKS))


def test_every_module_for_aws_is_in_the_group_and_tried_here() -> None:
    sources = (ROOT / "plugins" / "modules").glob("*.py")
    modules = {path.stem for path in sources if "module_utils.aws_module" in path.read_text()}
    group = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]["aws"]
    tried = {name for task in yaml.safe_load(TASKS) for name in task if name.startswith("miniweb.stack.")}
    assert {name for name in group if isinstance(name, str)} == modules
    assert {name.removeprefix("miniweb.stack.") for name in tried} == modules
