"""Secrets of every shape, deployed by compose_service in every way it takes them, are told nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from helpers.playbooks import converge_playbook, restoring, run_playbook
from helpers.shapes import PLACES, SHAPES, found, told
from testinfra.host import Host

DIRECTORY = "/opt/miniweb/example"


def given(shapes: dict[str, str]) -> dict[str, Any]:
    """Each of these secrets as a secret, as a file and as a contribution."""
    numbered = list(enumerate(shapes.values()))
    return {
        "more_secrets": [{"name": f"shape{number}", "content": value, "owner": 10001} for number, value in numbered],
        "more_files": [{"dest": f"config/shape{number}", "secret": value} for number, value in numbered],
        "contributions": [
            {"reader": "nobody", "ext": f"{number}.password", "secret": value} for number, value in numbered
        ],
    }


@pytest.fixture(scope="module")
def said() -> Iterator[str]:
    """What the runs say, with differences and all details, that deploy the secrets and then others."""
    texts = []
    with restoring(lambda variables, *words: run_playbook(converge_playbook(), variables, *words)) as converge:
        for shapes in (SHAPES, {name: f"{value}x" for name, value in SHAPES.items()}):
            done = converge(given(shapes), "--diff", "-vvv")
            assert done.returncode == 0
            # With -vvv Ansible shows the playbook's own command line, on which the tests give their variables.
            texts += [line for line in (done.stdout + done.stderr).splitlines() if "EXTRA_VARS" not in line]
        yield "\n".join(texts)


def test_they_are_deployed_as_they_are(host: Host, said: str) -> None:
    for number, value in enumerate(SHAPES.values()):
        for path in (f"secrets/shape{number}", f"config/shape{number}"):
            assert host.file(f"{DIRECTORY}/{path}").content == f"{value}x".encode()


def test_no_run_shows_them(said: str) -> None:
    assert "shape0" in said
    assert found(SHAPES.values(), said) == set()


@pytest.mark.parametrize("place", PLACES)
def test_the_server_does_not_tell_them(host: Host, said: str, place: str) -> None:
    assert found(SHAPES.values(), told(host, place)) == set()


def test_the_journal_says_what_was_deployed(host: Host, said: str) -> None:
    assert "Invoked with name=example" in told(host, "the journal")
