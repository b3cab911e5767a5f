"""A playbook that was renamed or removed says what to run instead."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOKS = ROOT / "playbooks"
IMPORT = "ansible.builtin.import_playbook"


def plays(path: Path) -> list[dict[str, Any]]:
    return yaml.safe_load(path.read_text())


def sentence(path: Path) -> str:
    [play] = plays(path)
    return play["vars"]["run_instead"]


OLD = sorted(path for path in PLAYBOOKS.glob("*.yml") if plays(path)[0].get(IMPORT) == "renamed.yml")


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_the_sentence_names_an_existing_playbook(path: Path) -> None:
    renamed = re.fullmatch(rf"playbooks/{path.name} is called playbooks/(\S+) now: run that\.", sentence(path))
    removed = re.fullmatch(rf"playbooks/{path.name} is gone: run site\.yml( --check| --tags \S+)\.", sentence(path))
    if renamed:
        new = PLAYBOOKS / renamed[1]
        assert new.is_file()
        assert new not in OLD
    else:
        assert removed, sentence(path)
        tags = set(removed[1].removeprefix(" --tags ").split(",")) - {" --check"}
        assert tags <= {role.name for role in (ROOT / "roles").iterdir()}


@pytest.mark.parametrize("path", OLD[:1], ids=lambda path: path.stem)
def test_it_is_all_that_a_run_prints(path: Path) -> None:
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "--inventory", os.devnull, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stdout.count(sentence(path)) == 1
