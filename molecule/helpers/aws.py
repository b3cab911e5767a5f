"""Query the double of AWS, and run this project's playbooks against it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import yaml

from helpers.server import ROOT

SCENARIO = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
os.environ.update(yaml.safe_load((SCENARIO / "molecule.yml").read_text())["provisioner"]["env"])
EPHEMERAL = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
CALLS = EPHEMERAL / "aws" / "calls"
REFUSALS = EPHEMERAL / "aws" / "refusals.json"


def ansible(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program, *rest = words
    surroundings = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), **environment}
    surroundings.pop("ANSIBLE_FORCE_COLOR", None)
    command = [str(Path(sys.executable).with_name(program)), *rest]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=surroundings)
    print(done.stdout[-4000:], done.stderr[-2000:])
    return done


def play(playbook: str, *words: str, environment: dict[str, str] | None = None, **variables: Any) -> Any:
    """Run a playbook with the scenario's variables.json and these variables."""
    command = ["ansible-playbook", str(ROOT / "playbooks" / f"{playbook}.yml")]
    command += ["--extra-vars", f"@{SCENARIO / 'variables.json'}"]
    return ansible(*command, "--extra-vars", json.dumps(variables), *words, **environment or {})


def succeeds(playbook: str, *words: str, **variables: Any) -> str:
    """Run a playbook that must succeed; return "changed" or "unchanged"."""
    done = play(playbook, *words, **variables)
    assert done.returncode == 0, done.stdout
    return "unchanged" if " changed=0 " in done.stdout else "changed"


def client(service: str) -> Any:
    """A client whose calls are neither recorded nor refused."""
    keys = {"aws_access_key_id": "observer", "aws_secret_access_key": "observer"}
    return boto3.client(service, region_name=os.environ["AWS_REGION"], **keys)


def instances() -> list[dict[str, Any]]:
    alive = [{"Name": "instance-state-name", "Values": ["running", "stopped"]}]
    answer = client("ec2").describe_instances(Filters=alive)
    return [instance for reservation in answer["Reservations"] for instance in reservation["Instances"]]


def tags(resource: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in resource["Tags"]}
