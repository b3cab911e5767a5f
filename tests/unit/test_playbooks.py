"""A test's server is restored after the test, with no more runs than needed."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from helpers.playbooks import restoring

CHANGED = "PLAY RECAP ***\nserver : ok=3 changed=1 unreachable=0 failed=0\n"
UNCHANGED = CHANGED.replace("changed=1", "changed=0")
REFUSED = "TASK [miniweb.stack.redis : Check the input] ***\nfatal: [server]: FAILED! => no\n" + UNCHANGED
FAILED = (
    "TASK [miniweb.stack.redis : Check the input] ***\nok: [server]\n"
    "TASK [miniweb.stack.redis : Deploy Redis] ***\nfatal: [server]: FAILED! => no\n" + UNCHANGED
)
OTHER = {"redis_port": 1}

RUNS = [
    ("none", [], []),
    ("as it was", [({}, (), CHANGED)], []),
    ("a change", [(OTHER, (), CHANGED)], [()]),
    ("two changes", [(OTHER, (), CHANGED), (OTHER, (), CHANGED)], [()]),
    ("what changed nothing", [(OTHER, (), UNCHANGED)], []),
    ("what was refused", [(OTHER, (), REFUSED)], []),
    ("what failed later", [(OTHER, (), FAILED)], [()]),
    ("what only looked", [(OTHER, ("--check", "--diff"), CHANGED)], []),
    ("taken back by the test", [(OTHER, (), CHANGED), ({}, (), CHANGED)], []),
    ("taken back, then changed again", [(OTHER, (), CHANGED), ({}, (), CHANGED), (OTHER, (), FAILED)], [()]),
    ("one part", [(OTHER, ("--tags", "redis"), CHANGED)], [("--tags", "redis")]),
    ("one part, taken back", [(OTHER, ("--tags", "redis"), CHANGED), ({}, ("--tags", "redis"), CHANGED)], []),
    ("two parts", [(OTHER, ("--tags", "redis"), CHANGED), (OTHER, ("--tags", "mysql"), CHANGED)], [()]),
    ("a part, then all taken back", [(OTHER, ("--tags", "redis"), CHANGED), ({}, (), CHANGED)], []),
    ("all, a part taken back", [(OTHER, (), CHANGED), ({}, ("--tags", "redis"), CHANGED)], [()]),
]


@pytest.mark.parametrize(("runs", "restored"), [case[1:] for case in RUNS], ids=[case[0] for case in RUNS])
def test_what_is_restored(runs: list[tuple[dict[str, Any], tuple[str, ...], str]], restored: list[Any]) -> None:
    asked: list[tuple[dict[str, Any], tuple[str, ...]]] = []
    answers = iter([*(run[2] for run in runs), CHANGED])

    def run(variables: dict[str, Any], *words: str) -> subprocess.CompletedProcess[str]:
        asked.append((variables, words))
        said = next(answers)
        return subprocess.CompletedProcess([], 2 if "fatal" in said else 0, said, "")

    with restoring(run) as run_and_restore:
        for variables, words, _said in runs:
            run_and_restore(variables, *words)
    assert asked[len(runs) :] == [({}, words) for words in restored]


def test_a_failed_restore_is_reported() -> None:
    def run(variables: dict[str, Any], *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 0 if variables else 2, CHANGED, "")

    with pytest.raises(AssertionError, match="could not be restored"), restoring(run) as run_and_restore:
        run_and_restore(OTHER)
