"""The lookup secret: where the files are for each kind of inventory, and what is in them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible.vars.manager import VariableManager

ROOT = Path(__file__).resolve().parents[2]
ANSIBLE = str(Path(sys.executable).with_name("ansible"))
NAME = "mysql_password"


def ask(inventory: str, term: str = f"'{NAME}'", **given: Any) -> str:
    """Return what the lookup gives for the host web of an inventory, or of several separated by spaces."""
    loader = DataLoader()
    # As the command line passes them on
    sources = [source if "," in source else os.path.abspath(source) for source in inventory.split()]
    hosts = InventoryManager(loader=loader, sources=sources)
    variables = VariableManager(loader=loader, inventory=hosts).get_vars(host=hosts.get_host("web"))
    variables = {**variables, "ansible_inventory_sources": sources, **given}
    text = trust_as_template(f"{{{{ lookup('miniweb.stack.secret', {term}) }}}}")
    return str(Templar(loader=loader, variables=variables).template(text))


def name_host(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("web ansible_connection=local\n")


CASES = [
    ("hosts", "hosts", "secrets/web"),
    ("inventory/hosts", "inventory/hosts", "secrets/web"),
    ("inventory/hosts", "inventory", "secrets/web"),
    ("production/hosts", "production/hosts", "production/secrets/web"),
    ("production/hosts", "production", "secrets/web"),
    ("production/part/hosts", "production", "secrets/web"),
    ("hosts", "web,", "secrets/web"),
    # The source that lists the host decides, not those that only set its variables.
    ("hosts", "inventory/groups.yml hosts", "secrets/web"),
    ("production/hosts", "inventory production/hosts", "production/secrets/web"),
]


@pytest.mark.parametrize(("hosts", "inventory", "place"), CASES)
def test_place_beside_the_inventory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hosts: str, inventory: str, place: str
) -> None:
    name_host(tmp_path / hosts)
    groups = tmp_path / "inventory" / "groups.yml"
    groups.parent.mkdir(exist_ok=True)
    groups.write_text("all: {}\n")
    monkeypatch.chdir(tmp_path)
    secret = ask(inventory)
    assert re.fullmatch(r"[A-Za-z0-9]{32}", secret)
    file = tmp_path / place / NAME
    assert file.read_text() == f"{secret}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert ask(inventory) == secret


@pytest.mark.parametrize(
    ("directory", "place"),
    [("{{ inventory_dir }}/../kept/{{ inventory_hostname }}", "kept/web"), ("kept", "kept")],
)
def test_place_that_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, directory: str, place: str) -> None:
    name_host(tmp_path / "inventory" / "hosts")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    secret = ask("../inventory", f"'{NAME}', length=64", miniweb_secrets_dir=trust_as_template(directory))
    assert re.fullmatch(r"[A-Za-z0-9]{64}", secret)
    assert (tmp_path / place / NAME).read_text() == f"{secret}\n"


def test_a_secret_that_is_there_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secrets" / "web").mkdir(parents=True)
    (tmp_path / "secrets" / "web" / NAME).write_text("{{ of my own }}\n")
    assert ask("web,", f"'{NAME}', length=8") == "{{ of my own }}"


def test_a_secret_that_must_not_be_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sentence = f'The secret "{tmp_path}/secrets/web/{NAME}" does not exist: put it there, or set miniweb_secrets_create'
    with pytest.raises(AnsibleError, match=re.escape(sentence)):
        ask("web,", miniweb_secrets_create=False)
    assert not (tmp_path / "secrets").exists()
    made = ask("web,")
    assert ask("web,", miniweb_secrets_create=False) == made


def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sentence = 'The secret "../shadow" is not a valid file name: use letters, digits, "_", "." and "-".'
    with pytest.raises(AnsibleError, match=re.escape(sentence)):
        ask("web,", "'../shadow'")


@pytest.mark.parametrize(("hosts", "inventory", "place"), [CASES[4], CASES[6]])
def test_ansible_says_what_the_place_is_made_of(tmp_path: Path, hosts: str, inventory: str, place: str) -> None:
    name_host(tmp_path / hosts)
    command = [ANSIBLE, "web", "-i", inventory, "-m", "ansible.builtin.debug"]
    command += ["-a", f"msg={{{{ lookup('miniweb.stack.secret', '{NAME}') }}}}"]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert json.dumps((tmp_path / place / NAME).read_text().strip()) in done.stdout, done.stdout + done.stderr


def test_check_mode_makes_no_file_and_takes_one_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name_host(tmp_path / "hosts")
    monkeypatch.chdir(tmp_path)
    names = f"'{NAME}', 'other', length=70"
    first = ask("hosts", names, ansible_check_mode=True).split(",")
    assert [bool(re.fullmatch(r"[A-Za-z0-9]{70}", secret)) for secret in first] == [True, True]
    assert len(set(first)) == 2
    assert ask("hosts", names, ansible_check_mode=True).split(",") == first
    assert not (tmp_path / "secrets").exists()
    made = ask("hosts", ansible_check_mode=False)
    assert ask("hosts", ansible_check_mode=True) == made
    assert made not in first
