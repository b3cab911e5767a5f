"""The callback quiet, as the user who runs a playbook sees it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.miniweb.stack.plugins.callback.quiet import Running

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = str(Path(sys.executable).with_name("ansible-playbook"))

ACT = """\
#!/usr/bin/python
from ansible.module_utils.basic import AnsibleModule

options = {"actions": {"type": "list", "default": []}, "failure": {}, "warning": {}}
module = AnsibleModule(options, supports_check_mode=True)
actions, failure, warning = (module.params[name] for name in options)
if warning:
    module.warn(warning)
    module.deprecate("Deprecated: " + warning, version="99.0", collection_name="miniweb.stack")
if failure:
    module.fail_json(msg=failure, logs=["first line of the log", "last line of the log"])
module.exit_json(changed=bool(actions), actions=actions, diff={"before": "old\\n", "after": "new\\n"})
"""

PLAY = """\
- hosts: web:gone
  gather_facts: false
  roles: [shop]
"""

TASKS = """\
- name: Reach it
  act:

- name: Run {{ product }}
  act: {actions: [write conf.d/site.conf, reload]}
  vars: {product: the shop}
  tags: some

- name: Leave it as it is
  act: {warning: look out}

- name: Leave it out
  act: {actions: [never done]}
  when: false

- name: Do what others describe
  act: {actions: [{what: a dictionary}]}

- name: Change two of three
  ansible.builtin.set_fact: {what: "{{ item }}"}
  loop: [a, b, "c\\nd"]
  changed_when: item != 'b'
  tags: some

- name: Fail for one of two
  act: {failure: "{{ item }}"}
  loop: ["", bad luck]
  ignore_errors: true

- name: Work elsewhere
  ansible.builtin.set_fact: {what: 1}
  delegate_to: elsewhere
  changed_when: true
  tags: some

- name: Only look
  act: {actions: [look]}
  check_mode: true
  tags: some

- name: Say a line
  ansible.builtin.debug: {msg: hello}
  tags: some

- name: Say a list
  ansible.builtin.debug: {msg: [one, two]}
  tags: some

- name: Say values
  ansible.builtin.debug: {var: item}
  loop: [1, {key: [2]}]
  tags: some

- name: Keep a secret
  ansible.builtin.set_fact: {secret: hunter2}
  changed_when: true
  no_log: true
  tags: some

- name: Fail with a secret
  ansible.builtin.fail: {msg: hunter2}
  ignore_errors: true
  no_log: true

- name: Fail and go on
  ansible.builtin.command: sh -c 'echo the cause >&2; exit 3'
  ignore_errors: true

- name: Fail and be rescued
  block:
    - name: Try
      ansible.builtin.fail: {msg: no luck}
    - name: Not reached
      ansible.builtin.debug: {msg: not reached}
  rescue:
    - name: Come to the rescue
      block:
        - ansible.builtin.import_tasks: again.yml
      rescue:
        - name: Rescue
          ansible.builtin.debug: {msg: rescued}
  tags: some

- name: Fail
  act: {failure: "One sentence.\\nAnother sentence."}

- name: Not reached
  ansible.builtin.debug: {msg: not reached}
"""

AGAIN = """\
- name: Try again
  ansible.builtin.fail: {msg: no luck again}
"""

RUNS = {
    "complete": (),
    "check": ("--check", "--diff", "--limit", "web", "--tags", "some"),
}

# What each run prints, in parts of consecutive lines.
PRINTED = [
    ("complete", "gone  shop  Reach it: unreachable\n  "),
    ("complete", "web  shop  Run the shop: write conf.d/site.conf, reload\n"),
    ("complete", "web  shop  Do what others describe\n"),
    ("complete", "web  shop  Change two of three (a)\nweb  shop  Change two of three (c d)\n"),
    (
        "complete",
        "web  shop  Fail for one of two (bad luck): failed, ignored\n  bad luck\n"
        "  logs:\n    first line of the log\n    last line of the log\nweb -> elsewhere  shop  Work elsewhere\n",
    ),
    ("complete", "web  shop  Only look: look (check mode)\n"),
    ("complete", "web  shop  Say a line: hello\nweb  shop  Say a list:\n  one\n  two\n"),
    ("complete", "web  shop  Say values (1): item: 1\n"),
    ("complete", "web  shop  Say values ({'key': [2]}):\n  item:\n      key:\n      - 2\n"),
    (
        "complete",
        "web  shop  Keep a secret\nweb  shop  Fail with a secret: failed, ignored\n  the output has been hidden",
    ),
    ("complete", "web  shop  Fail and go on: failed, ignored\n  non-zero return code\n  stderr: the cause\n"),
    (
        "complete",
        "web  shop  Try: failed, rescued\n  no luck\nweb  shop  Try again: failed, rescued\n  no luck again\n"
        "web  shop  Rescue: rescued\n",
    ),
    (
        "complete",
        "web  shop  Fail: failed\n  One sentence.\n  Another sentence.\n"
        "  logs:\n    first line of the log\n    last line of the log\n  in roles/shop/tasks/main.yml:",
    ),
    (
        "complete",
        "\ngone: unreachable, nothing changed (1 task, N s)\nweb: 1 failed, 7 changed, 2 rescued, 3 ignored (",
    ),
    (
        "check",
        "\nCheck mode: the lines say what would change.\nweb  shop  Run the shop: write conf.d/site.conf, reload\n"
        "--- before\n+++ after\n@@ -1 +1 @@\n-old\n+new\nweb  shop  Change two of three (a)\n",
    ),
    ("check", "\nweb  shop  Only look: look\n"),
    ("check", "\nweb: 5 would change, 2 rescued ("),
]


class Site:
    """A playbook with one role, and hosts of which one is unreachable."""

    def __init__(self, path: Path) -> None:
        self.path = path
        ssh = path / "ssh"
        for name, text in {
            "hosts": f"[all:vars]\nansible_python_interpreter={sys.executable}\n[local]\nweb\nelsewhere\n"
            f"[local:vars]\nansible_connection=local\n[others]\ngone ansible_ssh_executable={ssh}\n",
            "ssh": "#!/bin/sh\nexit 255\n",
            "library/act.py": ACT,
            "play.yml": PLAY,
            "roles/shop/tasks/main.yml": TASKS,
            "roles/shop/tasks/again.yml": AGAIN,
        }.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(text)
        ssh.chmod(0o755)

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        # The project's own settings switch the callback on.
        surroundings = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        surroundings |= {"ANSIBLE_LIBRARY": str(self.path / "library"), "COLUMNS": "1000", **environment}
        for name in ("ANSIBLE_FORCE_COLOR", "ANSIBLE_STDOUT_CALLBACK"):
            if name not in environment:
                surroundings.pop(name, None)
        return subprocess.Popen(
            [PLAYBOOK, "-i", "hosts", *words],
            cwd=self.path,
            env=surroundings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, **environment: str) -> tuple[str, str]:
        """Return the output and the warnings of a run, without the seconds and paths that vary between runs."""
        with self.start(*words, **environment) as process:
            out, err = process.communicate()
        for pattern, text in ((r"\b\d+ s\)", "N s)"), (re.escape(f"{self.path}/"), "")):
            out = re.sub(pattern, text, out)
        return out, err


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def output(site: Site) -> Callable[[str], tuple[str, str]]:
    """The output and warnings of one of the runs; each is run only once."""
    made: dict[str, tuple[str, str]] = {}

    def of(name: str) -> tuple[str, str]:
        if name not in made:
            made[name] = site.run("play.yml", *RUNS[name])
        return made[name]

    return of


@pytest.mark.parametrize(("run", "printed"), PRINTED)
def test_what_changed_or_failed_is_printed(output: Callable[[str], tuple[str, str]], run: str, printed: str) -> None:
    out, dummy = output(run)
    assert printed in f"\n{out}", out


@pytest.mark.parametrize(
    "word", ["Leave", "never done", "(b)", "hunter2", "TASK", "PLAY", "ok: [", "skipping", "not reached", "+new", "…"]
)
def test_the_rest_is_not_printed(output: Callable[[str], tuple[str, str]], word: str) -> None:
    out, err = output("complete")
    assert word not in out + err, out + err


@pytest.mark.parametrize("warning", ["[WARNING]: look out", "Deprecated: look out"])
def test_warnings_of_unchanged_tasks_are_printed(output: Callable[[str], tuple[str, str]], warning: str) -> None:
    assert warning in output("complete")[1]


def test_a_failure_is_printed_once(output: Callable[[str], tuple[str, str]]) -> None:
    out, err = output("complete")
    assert (out + err).count("Another sentence.") == 1


def test_a_failure_that_ansible_explains_is_explained(site: Site) -> None:
    (site.path / "undefined.yml").write_text(
        "- hosts: web\n  gather_facts: false\n  tasks:\n    - name: Work it out\n      debug: {msg: '{{ nothing }}'}\n"
    )
    out, dummy = site.run("undefined.yml")
    told, dummy, explained = out.partition("[ERROR]: ")
    assert re.match(r"web  Work it out: failed\n  .*'nothing' is undefined\n", told), out
    assert "undefined.yml:5" in explained


def test_the_output_with_v_is_that_of_ansible(site: Site) -> None:
    words = ("play.yml", "--limit", "web", "--tags", "some", "-v", "--diff")
    quiet, default = (site.run(*words, **given) for given in ({}, {"ANSIBLE_STDOUT_CALLBACK": "default"}))
    assert "TASK [shop : Run the shop]" in default[0]
    assert quiet == default


WAITING = """\
- hosts: local
  gather_facts: false
  tasks:
    - name: Wait for {{ inventory_hostname | length }}
      ansible.builtin.command: timeout 60 sh -c 'until test -e {{ inventory_hostname }}; do sleep 0.1; done'
      delegate_to: "{{ inventory_hostname }}"
"""


def test_what_takes_long_is_named_while_it_runs(site: Site) -> None:
    (site.path / "waiting.yml").write_text(WAITING)
    said = []
    with site.start("waiting.yml", MINIWEB_PROGRESS_SECONDS="1") as process:
        assert process.stdout
        for line in process.stdout:
            said.append(line)
            # Each host waits for its line: if it came only at the end, or never, the run would fail.
            for running, host in (("web, elsewhere", "web"), ("elsewhere", "elsewhere")):
                if re.fullmatch(rf"{running}  Wait for 3… \d+ s\n", line):
                    (site.path / host).touch()
    assert process.returncode == 0, said
    ended = said.index("web  Wait for 3\n")
    assert "".join(said[ended + 1 :]).count("web") == 1, "only the last line names what has ended"


def test_a_task_is_named_less_and_less_often() -> None:
    task = Running(("Wait",), began=100.0)
    named = []
    for now in range(100, 400):
        if now >= task.due(10):
            named.append(now - task.began)
            task.postpone(now, 10)
    assert named == [10, 30, 60, 120, 180, 240]


def test_a_run_that_was_suspended_for_long_names_its_task_once() -> None:
    task = Running(("Wait",), began=100.0)
    task.postpone(1000.0, 10)
    assert task.due(10) == 100 + 960


FROZEN = """\
import gc


class FilterModule:
    def filters(self):
        return {"frozen": lambda value: gc.get_freeze_count()}
"""
COUNT = """\
- hosts: web[0]
  gather_facts: false
  tasks: [{debug: {msg: "frozen={{ 0 | frozen }}"}}, {debug: {msg: "frozen={{ 0 | frozen }}"}}]
"""


def test_the_collector_leaves_alone_what_ansible_has_loaded_before_a_task(site: Site) -> None:
    (site.path / "filter_plugins").mkdir(exist_ok=True)
    (site.path / "filter_plugins" / "frozen.py").write_text(FROZEN)
    (site.path / "count.yml").write_text(COUNT)
    first, second = map(int, re.findall(r"frozen=(\d+)", site.run("count.yml")[0]))
    assert 0 < first <= second
