"""A run that reaches no server, or has nothing to do there, fails with one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
TREE, INSTALLED = str(ROOT / "site.yml"), "miniweb.stack.site"

FILES = {
    "user.cfg": "[defaults]\n",
    "strict.cfg": "[inventory]\nany_unparsed_is_failed = true\n",
    "www.ini": "[web]\nwww ansible_connection=local\n",
    "empty.ini": "",
    "none.yml": "all:\n  hosts: {}\n  vars: {mysql_port: 3306}\n",
    "broken.yml": "all:\n  hosts:\n    www:\n   bad: [\n",
    "broken.ini": "[web\nwww\n",
    "script": "#!/bin/sh\nexit 1\n",
    "refused.aws_ec2.yml": "plugin: amazon.aws.aws_ec2\nregions: [eu-central-1]\n",
    "unknown.yml": "plugin: nobodys.own.cloud\n",
    "several/empty": "",
    "limit": "nowhere\n",
    "own.yml": f"- hosts: localhost\n  gather_facts: false\n  tasks: [{{debug: {{msg: mine}}, tags: mine}}]\n"
    f"- import_playbook: {INSTALLED}\n",
}
NO_SERVER = "names no server, or cannot be read (then Ansible's warnings above say why): correct it."
NO_TAG = 'no task has the tag "{}"; give one of alert_responder, '
NO_HOST = '--limit: "{}" is no host and no group of the inventory; give one that is.'
NO_HOSTS = "leaves us with no hosts to target."
UNPARSED = "Completely failed to parse inventory source "

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a playbook with these words, with this project's configuration or with one of the files above."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (tmp_path / "script").chmod(0o755)

    def run(playbook: str, *words: str, configuration: str | Path = "user.cfg") -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "AWS_"))}
        environment |= {
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections"),
            "ANSIBLE_CONFIG": str(tmp_path / configuration),
            "ANSIBLE_NOCOLOR": "1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "COLUMNS": "1000",
            "HOME": str(tmp_path),
        }
        command = [str(Path(sys.executable).with_name("ansible-playbook")), playbook, *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


def fails(done: subprocess.CompletedProcess[str], sentence: str) -> None:
    """The last line is one sentence, nothing was done, and the program that called Ansible can tell."""
    said = (done.stdout + done.stderr).strip().splitlines()
    assert done.returncode == 1, said
    assert said[-1].startswith("[ERROR]: "), said
    assert sentence in said[-1]
    assert "ok: [" not in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("-i", "nowhere.ini"), UNPARSED),
        (("-i", "www.ini", "-i", "nowhere.ini"), UNPARSED),
        (("-i", "broken.yml"), UNPARSED),
        (("-i", "www.ini", "-i", "broken.yml"), UNPARSED),
        (("-i", "broken.ini"), UNPARSED),
        (("-i", "script"), UNPARSED),
        (("-i", "refused.aws_ec2.yml"), UNPARSED),
        (("-i", "unknown.yml"), UNPARSED),
        (("-i", "empty.ini"), NO_SERVER),
        (("-i", "none.yml"), NO_SERVER),
        (("-i", "none.yml", "--limit", "www"), NO_SERVER),
        (("-i", "www.ini", "--limit", "www,nowhere"), NO_HOST.format("nowhere")),
        (("-i", "www.ini", "--limit", "web:!nowhere"), NO_HOST.format("nowhere")),
        (("-i", "www.ini", "--limit", "nowhere"), NO_HOSTS),
        (("-i", "www.ini", "--limit", "all,!www"), NO_HOSTS),
        (("-i", "www.ini", "--tags", "nothing"), "--tags: " + NO_TAG.format("nothing")),
        (("-i", "www.ini", "--tags", "mysql,miniweb"), "--tags: " + NO_TAG.format("miniweb")),
        (("-i", "www.ini", "--skip-tags", "mysq"), "--skip-tags: " + NO_TAG.format("mysq")),
        (
            ("-i", "www.ini", "--tags", "untagged"),
            '--tags: "untagged" selects no part of the system; give one of alert',
        ),
        (("-i", "www.ini", "--tags", "never"), '--tags: "never" selects no part'),
        (("-i", "www.ini", "--tags", "mysql,always"), '--tags: "always" selects no part'),
        (("-i", "www.ini", "--tags", ""), "--tags: " + NO_TAG.format("")),
        (("-i", "www.ini", "--skip-tags", "always"), '--skip-tags: "always" leaves out the check of the input'),
        (("-i", "www.ini", "--skip-tags", "mysql,all"), '--skip-tags: "all" leaves out the check of the input'),
        (("-i", "www.ini", "--start-at-task", "MySQL"), "--start-at-task leaves out the check of the input"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_run_of_this_tree_that_would_do_nothing_fails(run: Run, words: tuple[str, ...], sentence: str) -> None:
    fails(run(TREE, *words, configuration=ROOT / "ansible.cfg"), sentence)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "There is no inventory: give one that names your server with -i."),
        (("-i", "nowhere.ini"), 'nowhere.ini" does not exist: give the path of one that does with -i.'),
        (("-i", "www.ini", "-i", "nowhere.ini"), 'nowhere.ini" does not exist'),
        (("-i", "broken.yml"), NO_SERVER),
        (("-i", "broken.ini"), NO_SERVER),
        (("-i", "script"), NO_SERVER),
        (("-i", "refused.aws_ec2.yml"), NO_SERVER),
        (("-i", "several"), NO_SERVER),
        (("-i", "empty.ini"), NO_SERVER),
        (("-i", "none.yml", "--limit", "www"), NO_SERVER),
        (("-i", "www.ini", "--limit", "www,nowhere"), NO_HOST.format("nowhere")),
        (("-i", "www.ini", "--tags", "nothing"), "--tags: " + NO_TAG.format("nothing")),
        (("-i", "www.ini", "--skip-tags", "mysq"), "--skip-tags: " + NO_TAG.format("mysq")),
        (("-i", "www.ini", "--start-at-task", "MySQL"), "--start-at-task leaves out the check of the input"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_so_does_one_of_the_installed_collection_without_its_settings(
    run: Run, words: tuple[str, ...], sentence: str
) -> None:
    fails(run(INSTALLED, *words), sentence)


def test_an_unreadable_inventory_beside_a_readable_one_takes_ansibles_own_setting(run: Run) -> None:
    fails(run(INSTALLED, "-i", "www.ini", "-i", "broken.yml", configuration="strict.cfg"), UNPARSED)


# Those with an old name import "renamed".
CONTROLLERS = [path.stem for path in PLAYBOOKS if path.stem.startswith(("aws_", "renamed"))]
ON_CONTROLLER = {
    "tags": (("--tags", "nothing"), '--tags: no task has the tag "nothing"; leave it out.'),
    "tagged": (("--tags", "tagged"), '--tags: no task has the tag "tagged"; leave it out.'),
    "untagged": (("--skip-tags", "untagged"), '--skip-tags: no task has the tag "untagged"; leave it out.'),
    "limit": (
        ("-i", "www.ini", "--limit", "www"),
        '--limit: "www" leaves out localhost, where this playbook runs; leave',
    ),
    "start": (("--start-at-task", "nothing"), "--start-at-task leaves out"),
    "inventory": (("-i", "nowhere.ini"), "does not exist: give the path of one that does with -i."),
}


@pytest.mark.parametrize(
    ("playbook", "case"),
    [*((name, "tags") for name in CONTROLLERS), *(("aws_destroy", case) for case in list(ON_CONTROLLER)[1:])],
)
def test_so_does_every_playbook_that_runs_on_the_controller(run: Run, playbook: str, case: str) -> None:
    words, sentence = ON_CONTROLLER[case]
    fails(run(f"miniweb.stack.{playbook}", *words), sentence)


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.stem)
def test_every_play_is_looked_at(path: Path) -> None:
    """But for the one that gives access before site.yml, which need not run."""
    plays = [play for play in yaml.safe_load(path.read_text()) if "hosts" in play and play["name"] != "Access"]
    assert all(play["hosts"].startswith("{{ lookup('miniweb.stack.hosts', ") for play in plays)


@pytest.mark.parametrize("option", ["--syntax-check", "--list-tasks"])
def test_what_runs_nothing_needs_no_server(run: Run, option: str) -> None:
    done = run(INSTALLED, option)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "done"),
    [
        (("-i", "www.ini", "--tags", "mine"), True),
        (("-i", "www.ini,", "--limit", "www.ini,localhost", "--tags", "mine"), True),
        (("--tags", "mine"), False),
    ],
)
def test_a_users_own_playbook_may_have_other_tags_and_hosts(run: Run, words: tuple[str, ...], done: bool) -> None:
    said = run("own.yml", *words, "--extra-vars", "ansible_python_interpreter=/nowhere")
    assert '"msg": "mine"' in said.stdout
    # The look at the server, which always runs, fails here for want of a Python.
    assert ("Gather facts" in said.stdout) == done
    assert ("There is no inventory" in said.stderr) != done
