"""check_input: what it finds in small roles, which roles it looks at, and what the real roles' checks are made of."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task
from ansible.template import Templar, trust_as_template
from ansible_collections.miniweb.stack.plugins.action import check_input
from role_variables import defaults

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
# The role ec2 has several entry points, each with a check of its own.
# What is in AWS is known only once a play has asked AWS.
CHECKED = [role for role in ROLES if not role.startswith("ec2")]

Run = Callable[..., list[str]]


class OwnRole:
    """What the task knows about the role that contains it."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name

    def get_role_path(self) -> str:
        return str(self.path)

    def get_name(self, include_role_fqcn: bool = True) -> str:
        return self.name if include_role_fqcn else self.name.rpartition(".")[2]


@pytest.fixture
def make_role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make a role with these options and checks among those of the collection."""
    monkeypatch.setattr(check_input, "ROLES", str(tmp_path))

    def make(name: str, options: dict[str, Any], checks: str = "") -> None:
        meta = tmp_path / name / "meta"
        meta.mkdir(parents=True)
        specs = {"argument_specs": {"main": {"options": options}}}
        (meta / "argument_specs.yml").write_text(yaml.safe_dump(specs))
        if checks:
            (meta / "checks.yml").write_text(checks)

    return make


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_module) -> Run:
    """Run the action with the real module behind it; return its problems and remember the module's calls."""
    calls: list[list[dict[str, Any]]] = []

    def execute(self: Any, module_name: str, module_args: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        calls.append(module_args["checks"])
        return run_module(module_name.rpartition(".")[2], check_mode=True, **module_args)

    monkeypatch.setattr(check_input.ActionModule, "_execute_module", execute)

    def run(roles: list[str] | None = None, role: str = "", **variables: Any) -> list[str]:
        loader = DataLoader()
        given = loader.load(trust_as_template(yaml.safe_dump(variables)))
        known = {"ansible_run_tags": ["all"], "ansible_skip_tags": [], "inventory_hostname": "web", **given}
        task = Task()
        task.args = {} if roles is None else {"roles": roles}
        if role:
            task._role = OwnRole(tmp_path / role.rpartition(".")[2], role)
        connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir="/not/used"))
        action = check_input.ActionModule(task, connection, None, loader, Templar(loader, known), None)
        result = action.run(task_vars=known)
        assert not result["changed"]
        assert bool(result.get("failed")) == ("msg" in result)
        return result["msg"].splitlines() if "msg" in result else []

    run.calls = calls  # type: ignore[attr-defined]
    return run


OPTIONS: dict[str, dict[str, Any]] = {
    "shop_state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "shop_port": {"type": "int", "required": True},
    "shop_names": {"type": "list", "elements": "str"},
    "shop_sites": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "port": {"type": "int"},
            "token": {"type": "int", "no_log": True},
        },
    },
    "shop_password": {"type": "str", "choices": ["long enough", "longer"]},
    "shop_window": {"type": "str", "default": "{{ shop_interval }}"},
    "shop_for": {"type": "str"},
}
GIVEN = {"shop_state": "present", "shop_port": 80}
CHECKS = """
renamed:
  shop_enabled: shop_state (present or absent)
checks:
  - that:
      - shop_port | int > 0
      - shop_port | int < 1000
    message: >-
      shop_port is {{ shop_port }}: set it to
      a port from 1 to 999.
  - that: value is match('^[0-9]+s$')
    each: [shop_window, shop_for]
    message: '{{ name }} is "{{ value }}": set it to seconds, such as 5s.'
  - that: shop_names | length > __least
    when: shop_names is defined
    vars:
      __least: "{{ shop_least }}"
    message: "shop_names has {{ shop_names | length }} names: give more than {{ __least }}."
  - that: shop_state == 'absent'
    when: shop_remove | default(false)
    always: true
    message: "shop_remove is set while shop_state is {{ shop_state }}."
  - that: not shop_gone | default(false)
    always: true
    message: "shop_gone: unset it."
"""


@pytest.mark.parametrize(
    ("given", "problems"),
    [
        ({}, []),
        ({"shop_port": "443"}, []),
        ({"shop_port": 1000}, ["shop_port is 1000: set it to a port from 1 to 999."]),
        # A wrong type is reported once; the conditions on the value do not report it again.
        ({"shop_port": "http"}, ['shop_port is "http": set it to a value of the type int.']),
        ({"shop_port": [80]}, ["shop_port is a list: set it to a value of the type int."]),
        ({"shop_state": "off"}, ['shop_state is "off": set it to present or absent.']),
        (
            {"shop_port": "{{ shop_prot }}"},
            ["shop_port cannot be evaluated ('shop_prot' is undefined): correct it, or what it refers to."],
        ),
        # Variables without a default need not be set; defaults come from the role's own file.
        ({"shop_for": "5m"}, ['shop_for is "5m": set it to seconds, such as 5s.']),
        (
            {"shop_for": "{{ shop_window }}", "shop_window": "{{ 1 + 1 }}m"},
            ['shop_window is "2m": set it to seconds, such as 5s.', 'shop_for is "2m": set it to seconds, such as 5s.'],
        ),
        ({"shop_names": ["a"], "shop_least": 1}, ["shop_names has 1 names: give more than 1."]),
        ({"shop_names": ["a"], "shop_least": 0}, []),
        (
            {"shop_names": ["a"]},
            [
                'shop_names: the check "shop_names | length > __least" of the role shop cannot be evaluated '
                "('shop_least' is undefined): correct it, or what it refers to."
            ],
        ),
        # Several problems at once
        (
            {"shop_enabled": False, "shop_port": 0, "shop_for": "5m", "shop_remove": True},
            [
                "shop_enabled is now called shop_state (present or absent): rename it.",
                "shop_port is 0: set it to a port from 1 to 999.",
                'shop_for is "5m": set it to seconds, such as 5s.',
                "shop_remove is set while shop_state is present.",
            ],
        ),
        # An absent service needs no input.
        ({"shop_state": "absent", "shop_port": "http", "shop_for": "5m", "shop_remove": True}, []),
        (
            {"shop_state": "absent", "shop_enabled": False, "shop_gone": True},
            ["shop_enabled is now called shop_state (present or absent): rename it.", "shop_gone: unset it."],
        ),
    ],
)
def test_problems(make_role, check: Run, given: dict[str, Any], problems: list[str]) -> None:
    make_role("shop", OPTIONS, CHECKS)
    assert check(role="shop", **{**GIVEN, **given}) == problems


def test_a_required_option_that_is_not_set(make_role, check: Run) -> None:
    make_role("shop", OPTIONS)
    assert check(role="shop") == ["shop_port is not set, and the role shop needs it: set it."]


@pytest.mark.parametrize(
    ("sites", "said"),
    [
        ([{"port": 80}], "missing required arguments: name"),
        ([{"name": "a", "port": "http"}], "port must be a value of the type int"),
        ([{"name": "a", "prot": 80}], "prot"),
        (["a"], "each entry must be a value of the type dict"),
    ],
)
def test_the_suboptions_of_a_value_are_checked(make_role, check: Run, sites: list[Any], said: str) -> None:
    make_role("shop", OPTIONS)
    [problem] = check(role="shop", shop_sites=sites, **GIVEN)
    assert problem.startswith("shop_sites: ")
    assert said in problem
    assert problem.endswith("; correct it.")


@pytest.mark.parametrize(
    "given",
    [
        {"shop_password": "hunter2!"},
        {"shop_password": "{{ ['hunter2!'][0] }}"},
        {"shop_password": "{{ 'hunter2!' | nothing }}"},
        {"shop_sites": [{"name": "a", "token": "hunter2!"}]},
        {"shop_password": "hunter2!", "shop_for": "{{ 'hunter2!' | int(base='hunter2!') | string }}"},
    ],
)
def test_secrets_are_not_shown(make_role, check: Run, given: dict[str, Any]) -> None:
    make_role("shop", OPTIONS)
    problems = check(role="shop", **GIVEN, **given)
    assert problems
    assert "hunter2!" not in "\n".join(problems)
    assert problems[0].startswith(next(iter(given)))


TEXTS: dict[str, dict[str, Any]] = {
    "shop_state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "shop_password": {"type": "str", "default": "{{ shop_other }}"},
    "shop_user": {"type": "str", "default": "shop"},
    "shop_note": {"type": "str"},
    "shop_fsync": {"type": "str", "choices": ["always", "no"]},
    "shop_port": {"type": "int"},
    "shop_names": {"type": "list", "elements": "str"},
    "shop_hooks": {
        "type": "list",
        "elements": "dict",
        "options": {"name": {"type": "str"}, "password": {"type": "str"}, "port": {"type": "int"}},
    },
    "shop_environment": {"type": "dict"},
    "shop_page": {"type": "raw"},
}
IN_QUOTES = "not as text: put the value in quotes where it is set."


@pytest.mark.parametrize(
    ("given", "problems"),
    [
        ("shop_password: 012345670123", [f"shop_password is read as a number, {IN_QUOTES}"]),
        ("shop_password: 1_000_000_000_000", [f"shop_password is read as a number, {IN_QUOTES}"]),
        ("shop_password: 12:34:56", [f"shop_password is read as a number, {IN_QUOTES}"]),
        ("shop_password: 1.5e+10", [f"shop_password is read as a number, {IN_QUOTES}"]),
        ("shop_password: true", [f"shop_password is read as a boolean, {IN_QUOTES}"]),
        ("shop_password: yes", [f"shop_password is read as a boolean, {IN_QUOTES}"]),
        ("shop_password: 2026-11-26", [f"shop_password is read as a date, {IN_QUOTES}"]),
        ("shop_password: 2026-11-26 10:00:00", [f"shop_password is read as a date, {IN_QUOTES}"]),
        ("shop_password: [a, b]", [f"shop_password is read as a list, {IN_QUOTES}"]),
        ("shop_password: {a: b}", [f"shop_password is read as a dictionary, {IN_QUOTES}"]),
        ("shop_password: null", ["shop_password has no value: set it, or remove the line."]),
        ("shop_password:", ["shop_password has no value: set it, or remove the line."]),
        ('shop_password: "{{ other }}"\nother: 012345', [f"shop_password is read as a number, {IN_QUOTES}"]),
        ("shop_user: 2026", [f'shop_user is read as a number ("2026"), {IN_QUOTES}']),
        # One of its choices, were it in quotes
        ("shop_fsync: no", [f'shop_fsync is read as a boolean ("False"), {IN_QUOTES}']),
        ("shop_user: off", [f'shop_user is read as a boolean ("False"), {IN_QUOTES}']),
        ("shop_names: [a, 012]", [f'shop_names[1] is read as a number ("10"), {IN_QUOTES}']),
        ("shop_hooks: [{name: a}, {name: 1}]", [f'shop_hooks[1].name is read as a number ("1"), {IN_QUOTES}']),
        ("shop_hooks: [{password: 012345}]", [f"shop_hooks[0].password is read as a number, {IN_QUOTES}"]),
        ("shop_environment: {API_KEY: 012345}", [f"shop_environment.API_KEY is read as a number, {IN_QUOTES}"]),
        (
            "shop_environment: {parts: [{basic_auth: {password: 012345}}]}",
            [f"shop_environment.parts[0].basic_auth.password is read as a number, {IN_QUOTES}"],
        ),
        # Another role may use them even if this one is absent.
        ("shop_state: absent\nshop_password: 012345", [f"shop_password is read as a number, {IN_QUOTES}"]),
        ("shop_state: absent\nshop_password: '{{ nothing }}'", []),
        # Text of any form, and what is not text
        ("shop_password: '012345670123'", []),
        ("shop_password: 'true'", []),
        ('shop_password: "{{ other }}"\nother: "012345"', []),
        ("shop_note: null", []),
        ("shop_port: 80", []),
        ("shop_port: '80'", []),
        ("shop_hooks: [{name: a, port: 1}]", []),
        ("shop_environment: {PORT: 80, DEBUG: true}", []),
        ("shop_environment: {secret: {name: a, days: [1]}}", []),
        # A document of another program
        ("shop_page: {filters: [{key: 1}]}", []),
    ],
)
def test_what_yaml_turned_into_something_else_is_refused(
    make_role, check: Run, given: str, problems: list[str]
) -> None:
    make_role("shop", TEXTS)
    assert check(role="shop", **{"shop_state": "present", **yaml.safe_load(given)}) == problems


@pytest.mark.parametrize("character", ["\n", "\r", "\t", "\0", "\x7f"])
def test_passwords_have_no_control_characters(make_role, check: Run, character: str) -> None:
    make_role("shop", TEXTS)
    given = {"shop_password": f"a long{character}password", "shop_hooks": [{"password": f"another{character}one"}]}
    said = "the password has a line break or another control character in it; give one without."
    problems = check(role="shop", shop_state="present", **given)
    assert problems == [f"shop_hooks[0].password: {said}", f"shop_password: {said}"]
    assert check(role="shop", shop_state="present", shop_note=f"two{character}lines") == []


def test_an_error_of_a_condition_hides_secrets(make_role, check: Run) -> None:
    make_role(
        "shop",
        {"shop_password": {"type": "str"}},
        'checks: [{that: "shop_password | int > [] ~ shop_password", message: never}]',
    )
    [problem] = check(role="shop", shop_password="{{ 'hunter2!' }}")
    assert problem.startswith(
        'shop_password: the check "shop_password | int > [] ~ shop_password" of the role shop cannot be evaluated'
    )
    assert "hunter2!" not in problem


def test_what_is_found_is_never_a_template(make_role, check: Run, tmp_path: Path) -> None:
    make_role("shop", OPTIONS, CHECKS)
    (tmp_path / "word").write_text("{{ 1 + 1 }}s")
    word = f"{{{{ lookup('ansible.builtin.file', '{tmp_path}/word') }}}}"
    assert check(role="shop", shop_for=word, **GIVEN) == ['shop_for is "{{ 1 + 1 }}s": set it to seconds, such as 5s.']


def test_conditions_see_the_files_of_their_role(make_role, check: Run, tmp_path: Path) -> None:
    for role in ("shop", "store"):
        checks = f"checks: [{{that: \"lookup('ansible.builtin.file', 'name') == 'the {role}'\", message: never.}}]"
        make_role(role, {}, checks)
        (tmp_path / role / "files").mkdir()
        (tmp_path / role / "files" / "name").write_text(f"the {role}")
    assert check(["shop", "store"]) == []


SERVER = """
server:
  - service: {role}
    ports: "{{{{ {{'{role}_port': {role}_port}} }}}}"
    disk_path: /
    disk_free_mb:
      {role}_free_mb: "{{{{ {role}_free_mb }}}}"
  - service: more
    when: {role}_more
"""


def test_the_server_is_asked_once_for_all_roles(make_role, check: Run) -> None:
    for role in ("shop", "store", "gone", "wrong"):
        options = {
            f"{role}_state": {"type": "str"},
            f"{role}_port": {"type": "int"},
            f"{role}_free_mb": {"type": "int"},
        }
        make_role(role, options, SERVER.format(role=role))
    given: dict[str, Any] = {"gone_state": "absent", "wrong_port": "http", "store_more": True}
    for role in ("shop", "store", "gone", "wrong"):
        given = {f"{role}_port": 1, f"{role}_free_mb": 1, f"{role}_more": False, **given}
    problems = check(["shop", "store", "gone", "wrong"], **{**given, "store_free_mb": 10**12})
    assert [problem.split(" ")[0] for problem in problems] == ["wrong_port", "store_free_mb:"]
    [asked] = check.calls  # type: ignore[attr-defined]
    assert [(question["service"], list(question["ports"])) for question in asked] == [
        ("shop", ["shop_port"]),
        ("store", ["store_port"]),
        ("more", []),
        ("wrong", []),
    ]


KEPT = """
kept_secrets:
  - variable: shop_password
    volume: miniweb-shop_data
  - variable: shop_token
    volume: miniweb-tokens_data
    when: shop_tokens
"""
SECRET = "{{ lookup('miniweb.stack.secret', 'NAME') }}"
LOST = (
    '{0}: "secrets/web/{0}" does not exist, but web has data that need it (volume {1}): put the file of the first '
    "deployment there, or set {0}."
)
PASSWORD_LOST = LOST.format("shop_password", "miniweb-shop_data")
TOKEN_LOST = LOST.format("shop_token", "miniweb-tokens_data")


@pytest.mark.parametrize(
    ("given", "volumes", "files", "problems"),
    [
        ({}, ["miniweb-shop_data", "miniweb-tokens_data"], [], [PASSWORD_LOST, TOKEN_LOST]),
        ({}, ["miniweb-shop_data", "other"], [], [PASSWORD_LOST]),
        # No secret is missing: a first deployment, secret files that are still there, a secret that is set
        ({}, ["other"], [], []),
        ({}, ["miniweb-shop_data", "miniweb-tokens_data"], ["shop_password", "shop_token"], []),
        ({}, ["miniweb-shop_data", "miniweb-tokens_data"], ["shop_password"], [TOKEN_LOST]),
        ({"shop_password": "hunter2!"}, ["miniweb-shop_data"], [], []),
        ({"shop_tokens": False}, ["miniweb-shop_data", "miniweb-tokens_data"], ["shop_password"], []),
        # An absent service evaluates nothing.
        ({"shop_state": "absent"}, ["miniweb-shop_data", "miniweb-tokens_data"], [], []),
        # Through another variable, and as part of a longer value
        ({"shop_password": "{{ indirect }}", "indirect": f"a{SECRET}"}, ["miniweb-shop_data"], [], [PASSWORD_LOST]),
        # An error is reported and not taken for a lost secret.
        (
            {"shop_password": "{{ nothing }}"},
            ["miniweb-shop_data"],
            [],
            ["shop_password cannot be evaluated ('nothing' is undefined): correct it, or what it refers to."],
        ),
    ],
)
def test_no_secret_is_made_where_data_need_the_old_one(
    make_role,
    check: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, Any],
    volumes: list[str],
    files: list[str],
    problems: list[str],
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    lines = "\n".join(volumes)
    (programs / "docker").write_text(f"#!/bin/sh\ncat <<'END'\n{lines}\nEND\n")
    (programs / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(programs)
    secrets = programs / "secrets" / "web"
    for name in files:
        secrets.mkdir(parents=True, exist_ok=True)
        (secrets / name).write_text("of the first deployment")
    make_role("shop", {name: {"type": "str"} for name in ("shop_state", "shop_password", "shop_token")}, KEPT)
    known = {name: SECRET.replace("NAME", name) for name in ("shop_password", "shop_token")}
    given = {
        key: value.replace("NAME", "shop_password") if key == "indirect" else value for key, value in given.items()
    }
    assert check(role="shop", **{"shop_state": "present", "shop_tokens": True, **known, **given}) == problems
    if any("does not exist" in problem for problem in problems):
        assert {path.name for path in secrets.glob("*")} == set(files)


@pytest.mark.parametrize(
    ("run_tags", "skip_tags", "roles"),
    [
        (["all"], [], ["miniweb", "shop", "store"]),
        (["tagged"], [], ["miniweb", "shop", "store"]),
        (["shop"], [], ["miniweb", "shop"]),
        (["shop", "store"], ["store"], ["miniweb", "shop"]),
        (["always"], [], ["miniweb"]),
        (["untagged"], [], ["miniweb"]),
        (["other"], [], ["miniweb"]),
        (["all"], ["shop"], ["miniweb", "store"]),
        (["all"], ["always"], ["shop", "store"]),
        (["all"], ["tagged"], []),
        (["shop"], ["all"], ["miniweb"]),
    ],
)
def test_roles_that_the_tags_select(
    make_role, check: Run, run_tags: list[str], skip_tags: list[str], roles: list[str]
) -> None:
    for role in ("miniweb", "shop", "store"):
        make_role(role, {f"{role}_port": {"type": "int", "required": True}})
    play = [
        "miniweb.stack.miniweb",
        "miniweb.stack.shop",
        "store",
        "miniweb.stack.shop",
        "elsewhere.stack.shop",
        "none",
    ]
    problems = check(play, ansible_run_tags=run_tags, ansible_skip_tags=skip_tags)
    assert problems == [f"{role}_port is not set, and the role {role} needs it: set it." for role in roles]


@pytest.mark.parametrize(
    ("role", "play", "tags", "checked"),
    [
        ("miniweb.stack.shop", ["miniweb.stack.shop"], {}, True),
        ("miniweb.stack.shop", ["miniweb.stack.miniweb", "miniweb.stack.shop"], {}, False),
        ("shop", ["miniweb", "shop"], {}, False),
        # A role of the same name from elsewhere has not checked it.
        ("miniweb.stack.shop", ["miniweb", "miniweb.stack.shop"], {}, True),
        # Nor has the play if the role runs by another tag than its own, or if its first task was skipped.
        ("shop", ["miniweb", "shop"], {"ansible_run_tags": ["web"]}, True),
        ("shop", ["miniweb", "shop"], {"ansible_skip_tags": ["always"]}, True),
    ],
)
def test_a_role_is_checked_once(
    make_role, check: Run, role: str, play: list[str], tags: dict[str, Any], checked: bool
) -> None:
    make_role("shop", {"shop_port": {"type": "int", "required": True}})
    problems = check(role=role, ansible_play_role_names=play, **tags)
    assert problems == (["shop_port is not set, and the role shop needs it: set it."] if checked else [])


@pytest.mark.parametrize(
    ("role", "kept"),
    [
        (
            "miniweb.stack.miniweb",
            ["forget", {"values": {}}, {"settled": {"tls": "a note"}, "traces": None, "services": None}],
        ),
        ("miniweb.stack.bazaar", ["forget"]),
        ("", ["forget"]),
    ],
    ids=["the whole system", "a role that needs others", "outside of a role"],
)
def test_the_servers_notes_are_kept_for_a_run_of_the_whole_system(
    make_role, check: Run, monkeypatch: pytest.MonkeyPatch, role: str, kept: list[Any]
) -> None:
    make_role("shop", {})
    done: list[Any] = []

    def execute(self: Any, module_name: str, module_args: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        return {"problems": [], **({"settled": {"tls": "a note"}} if module_args["notes"] else {})}

    monkeypatch.setattr(check_input.ActionModule, "_execute_module", execute)
    monkeypatch.setattr(check_input, "forget", lambda variables: done.append("forget"))
    monkeypatch.setattr(check_input, "remember", lambda variables, **known: done.append(known))
    assert check(["shop"], role=role) == []
    assert done == kept


def test_the_size_of_the_disk_is_kept_for_its_role(make_role, check: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    make_role("shop", {}, "server: [{service: shop, disk_size: true}]")
    kept: dict[str, Any] = {}
    monkeypatch.setattr(check_input, "remember", lambda variables, **known: kept.update(known))
    assert check(["shop"]) == []
    assert kept["disk_mb"] > 0


def test_a_role_that_names_others_needs_them_whatever_the_tags(make_role, check: Run) -> None:
    make_role("shop", {"shop_port": {"type": "int", "required": True}})
    problems = check(["shop"], role="miniweb.stack.bazaar", ansible_run_tags=["aws"])
    assert problems == ["shop_port is not set, and the role shop needs it: set it."]


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("slack", 'shop_slack_url is "***": give an address.'),
        ("0123456789abcdef", 'shop_slack_url is "x***y": give an address.'),
    ],
)
def test_a_message_hides_secrets_and_still_names_their_variables(make_role, check: Run, token: str, said: str) -> None:
    shown = token if token == "slack" else f"x{token}y"
    checks = f"""
checks:
  - that: false
    message: 'shop_slack_url is "{shown}": give an address.'
"""
    make_role("shop", {"shop_slack_url": {"type": "str", "no_log": True}}, checks)
    assert check(["shop"], shop_slack_url=token) == [said]


@pytest.mark.parametrize(
    ("option", "shown"), [({}, "***"), ({"no_log": True}, "***"), ({"no_log": False}, "user")], ids=str
)
def test_an_option_without_secrets_can_say_so(make_role, check: Run, option: dict[str, Any], shown: str) -> None:
    checks = """
checks:
  - that: false
    message: "shop_names has no user: give one."
"""
    make_role("shop", {"shop_names": {"type": "dict", **option}}, checks)
    assert check(["shop"], shop_names={"ADMIN_PASSWORD": "user"}) == [f"shop_names has no {shown}: give one."]


def test_a_variable_that_something_else_replaces_is_named_with_it(make_role, check: Run) -> None:
    rules = "replaced:\n  shop_admin: set ADMIN in shop_environment instead\n"
    make_role("shop", {}, rules)
    assert check(["shop"]) == []
    assert check(["shop"], shop_admin="ada") == ["shop_admin no longer exists: set ADMIN in shop_environment instead."]


def test_secrets_that_are_kept_may_be_in_another_variable(
    make_role, check: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "docker").write_text("#!/bin/sh\necho miniweb-shop_data\n")
    (programs / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(programs)
    rules = "kept_secrets:\n  - {variable: shop_secrets, from: __generated, volume: miniweb-shop_data}\n"
    make_role("shop", {"shop_secrets": {"type": "list", "elements": "dict"}}, rules)
    generated = "{{ lookup('miniweb.stack.application_secrets', {'key': {'length': 32}}, application='shop') }}"
    (said,) = check(["shop"], __generated=generated, shop_secrets=[])
    assert said == LOST.format("shop_key", "miniweb-shop_data").replace("shop_key:", "shop_secrets:").replace(
        "or set shop_key", "or set shop_secrets"
    )
    (programs / "secrets" / "web").mkdir(parents=True)
    (programs / "secrets" / "web" / "shop_key").write_text("a" * 32)
    assert check(["shop"], __generated=generated, shop_secrets=[]) == []


PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {name: miniweb, rolespec_validate: false}
      tags: always
    - miniweb.stack.check_input:
        roles: "{{ ansible_play_role_names | difference(['miniweb']) }}"
      tags: always
    - ansible.builtin.import_role: {name: alertmanager, rolespec_validate: false}
      tags: alertmanager
"""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-e", "alertmanager_group_wait=soon"], 'alertmanager_group_wait is "soon": set it to a duration'),
        (["-e", "{alertmanager_image: 012345670123}"], 'alertmanager_image is read as a number ("1402433619"), not as'),
        (["-e", "alertmanager_image=012345670123"], ""),
        (["-e", "alertmanager_enabled=false"], "alertmanager_enabled is now called alertmanager_state"),
        (["-e", "alertmanager_group_wait=soon", "--tags", "other"], ""),
        (["--check"], ""),
    ],
)
def test_a_play_with_a_real_role(tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "play.yml").write_text(PLAY)
    for role in ("miniweb", "alertmanager"):
        (tmp_path / "roles" / role / "tasks").mkdir(parents=True)
    for name in ("defaults", "vars", "meta"):
        (tmp_path / "roles" / "alertmanager" / name).symlink_to(ROOT / "roles" / "alertmanager" / name)
    (tmp_path / "roles" / "miniweb" / "tasks" / "main.yml").write_text("[]\n")
    own = "- miniweb.stack.check_input:\n"
    (tmp_path / "roles" / "alertmanager" / "tasks" / "main.yml").write_text(own)
    command = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        "-i",
        "web,",
        "-c",
        "local",
        "-e",
        f"ansible_python_interpreter={sys.executable}",
        "play.yml",
        *arguments,
    ]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".ansible" / "collections")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert bool(done.returncode) == bool(said), done.stdout + done.stderr
    assert said in done.stdout


def load(role: str, name: str) -> dict[str, Any]:
    path = ROOT / "roles" / role / name
    return yaml.safe_load(path.read_text()) or {} if path.exists() else {}


def options(role: str) -> dict[str, Any]:
    return load(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]


@pytest.mark.parametrize("role", CHECKED)
def test_checks_are_complete(role: str) -> None:
    rules = load(role, "meta/checks.yml")
    assert set(rules) <= {"renamed", "replaced", "checks", "server", "kept_secrets"}
    for entry in rules.get("checks") or []:
        assert set(entry) >= {"that", "message"}
        assert set(entry) <= {"that", "message", "each", "when", "vars", "always"}, entry
        assert re.search(r"[.]('? *}})?$", entry["message"]), entry["message"]
    for entry in rules.get("server") or []:
        assert "service" in entry
        known = {
            "service",
            "ports",
            "unit",
            "disk_path",
            "disk_free_mb",
            "disk_size",
            "reached_ports",
            "calendars",
            "engine",
            "when",
        }
        assert set(entry) <= known, entry
    for entry in rules.get("kept_secrets") or []:
        assert set(entry) - {"when", "from"} == {"variable", "volume"}, entry
        # Those of the role for a whole play are other roles' options.
        (option,) = [found[entry["variable"]] for found in map(options, ROLES) if entry["variable"] in found]
        known = defaults(ROOT / "roles" / role)
        generated = known[entry["from"]] if "from" in entry else option["default"]
        # That of each application
        generated = known.get(entry.get("from", "").replace(f"{role}_", f"{role}_own_"), generated)
        assert re.search(r"lookup\('miniweb.stack.(application_)?secrets?'", generated)
        assert entry["volume"] in volumes()


def volumes() -> set[str]:
    """The named volumes of all services."""
    return {
        f"miniweb-{run['name']}_{volume}"
        for path in ROOT.glob("roles/*/tasks/*.yml")
        for task in yaml.safe_load(path.read_text()) or []
        if (run := task.get("miniweb.stack.compose_service"))
        for volume in run.get("volumes", [])
    }


@pytest.mark.parametrize("role", CHECKED)
def test_checks_name_options_of_their_role(role: str) -> None:
    rules = load(role, "meta/checks.yml")
    each = {name for entry in rules.get("checks") or [] for name in entry.get("each", [])}
    assert each - set(options(role)) == set()


TEXT_OPTIONS = [
    (role, name)
    for role in CHECKED
    for name, option in options(role).items()
    if option["type"] == "str" and "choices" not in option
]


@pytest.mark.parametrize(("role", "name"), TEXT_OPTIONS)
def test_every_text_of_every_role_has_to_be_text(check: Run, role: str, name: str) -> None:
    for value in (1402433619, True):
        assert any(problem.startswith(f"{name} is read as a ") for problem in check([role], **{name: value})), value
        # As `-e name=value` gives it
        assert not any(" is read as a " in problem for problem in check([role], **{name: str(value)})), value


CHARACTERS = [
    "'",
    '"',
    "\\",
    "$",
    "${HOME}",
    "$__file{/etc/hostname}",
    "%",
    "%(user)s",
    "#",
    ";",
    "`",
    " ",
    "ñ€",
    ":@/?&=",
]
PASSWORDS = [(role, name) for role in CHECKED for name in options(role) if name.endswith("password")]
# What the programs would take for something else, or cannot carry
REFUSED = {
    "alert_responder_password": {" ", "ñ€"},
    "grafana_admin_password": {"${HOME}", "$__file{/etc/hostname}", "%(user)s"},
    "grafana_metrics_password": {"${HOME}", "$__file{/etc/hostname}", "%(user)s"},
    "mysql_exporter_password": {"`", "%(user)s"},
}
OUTER_BLANKS = {"alertmanager_smtp_password", "grafana_metrics_password", "node_exporter_password"}


@pytest.mark.parametrize(("role", "name"), PASSWORDS)
def test_passwords_have_any_characters_that_their_programs_understand(check: Run, role: str, name: str) -> None:
    known = {"mysql_exporter_state": "present", "redis_exporter_state": "present", "alertmanager_webhooks": []}
    given = {**known, "alertmanager_smtp_password": "", "grafana_metrics_password": "", "grafana_admin_user": "admin"}

    def refused(password: str) -> bool:
        problems = check([role], **{**given, name: password})
        return any(problem.startswith(name) and "cannot be evaluated" not in problem for problem in problems)

    found = {one for one in CHARACTERS if refused(f"a-long-pass{one}word")}
    assert found == REFUSED.get(name, set()), name
    assert refused("a-long-password ") == (name in OUTER_BLANKS or " " in found)
    assert refused(" a-long-password") == (name in OUTER_BLANKS or " " in found)


@pytest.mark.parametrize(
    ("name", "image", "refused"),
    [
        ("alertmanager_image", "prom/alertmanager:v0.33.1-distroless", True),
        ("alertmanager_image", "prom/alertmanager:v0.33.1", False),
        ("blackbox_exporter_image", "prom/blackbox-exporter:latest-distroless", True),
        ("grafana_image", "grafana/grafana:13.0.2-ubuntu", True),
        ("grafana_image", "grafana/grafana:13.0.2", False),
        ("mysql_exporter_image", "prom/mysqld-exporter:v0.19.0-distroless", True),
        ("nginx_image", "nginx", True),
        ("nginx_image", "nginx:1.28.0", True),
        ("nginx_image", "library/nginx:latest", True),
        ("nginx_image", "nginx:1.28.0-bookworm-perl", True),
        ("nginx_image", "nginx:1.28.0-alpine", False),
        ("nginx_image", "nginx:stable-alpine3.22-slim", False),
        ("nginx_image", "nginx@sha256:0f1c", False),
        ("nginx_image", "nginxinc/nginx-unprivileged:1.28", False),
        ("nginx_image", "registry.example.com:5000/team/nginx:1.30.6", False),
        ("node_exporter_image", "prom/node-exporter:v1.12.1-distroless", True),
        ("prometheus_image", "prom/prometheus:v3.14.0-distroless", True),
        ("prometheus_image", "prom/prometheus:v3.14.0-busybox", False),
    ],
)
def test_images_without_wget_are_refused(check: Run, name: str, image: str, refused: bool) -> None:
    role = name.removesuffix("_image").replace("mysql_exporter", "mysql")
    problems = check([role], mysql_exporter_state="present", **{name: image})
    assert [problem for problem in problems if "cannot be evaluated" in problem and name in problem] == []
    assert any(problem.startswith(f'{name} is "{image}", which has no') for problem in problems) is refused


@pytest.mark.parametrize(
    ("password", "refused"),
    [("x" * 72, False), ("x" * 73, True), ("ñ" * 36, False), ("ñ" * 37, True), ("%" * 72, False), ("x" * 15, True)],
)
def test_bcrypt_takes_72_bytes(check: Run, password: str, refused: bool) -> None:
    problems = check(["node_exporter"], node_exporter_password=password)
    assert any(" bytes: set it to at least 16" in problem for problem in problems) is refused


@pytest.mark.parametrize(
    ("settings", "password", "refused"),
    [
        ({"sql_mode": "ANSI,NO_BACKSLASH_ESCAPES"}, "it's-a-long-secret", True),
        ({"sql-mode": "no_backslash_escapes"}, "a-long-\\-secret", True),
        ({"sql_mode": "NO_BACKSLASH_ESCAPES"}, "a-long-$-secret", False),
        ({"sql_mode": "ANSI"}, "it's-a-long-secret", False),
        ({}, "it's-a-long-secret", False),
    ],
)
def test_backslashes_escape_in_passwords(check: Run, settings: dict[str, str], password: str, refused: bool) -> None:
    other = dict.fromkeys(["mysql_root_password", "mysql_exporter_password"], "a-long-password")
    expression = load("mysql", "vars/main.yml")["__mysql_to_escape"]
    given = {"mysql_settings": settings, "mysql_password": password, "mysql_accounts": [], **other}
    problems = check(["mysql"], __mysql_to_escape=expression, **given)
    assert any("NO_BACKSLASH_ESCAPES: leave it out" in problem for problem in problems) is refused


RESERVATIONS = sorted(
    (role, name) for role in CHECKED for name in options(role) if name.endswith("_memory_reservation_mb")
)


@pytest.mark.parametrize(("role", "name"), RESERVATIONS)
def test_no_more_memory_is_reserved_than_allowed(check: Run, role: str, name: str) -> None:
    limit = name.replace("_reservation_", "_limit_")
    said = f"{name} is 65: set it to at most {limit} (64)."
    assert said in check([role], **{name: 65, limit: 64})
    assert said.replace("65", "64") not in check([role], **{name: 64, limit: 64})


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, ""),
        ({"nginx_sites": [{"name": "a", "port": 443, "server_names": ["a"]}, {"name": "b", "port": 3000}]}, ""),
        ({"nginx_http_port": 443}, "the ports are 443, 443; give each another one"),
        ({"nginx_https_port": 70000}, "the ports are 80, 70000; give each another one"),
        ({"nginx_sites": [{"name": "a", "port": 80}]}, "the ports are 80, 443, 80;"),
        ({"nginx_sites": [{"name": "a", "port": 3000}, {"name": "b", "port": 3000}]}, "80, 443, 3000, 3000;"),
        ({"nginx_sites": [{"name": "a", "port": 8082}]}, "the ports are 80, 443, 8082;"),
        ({"nginx_sites": [{"name": "a", "port": 0}]}, "the ports are 80, 443, 0;"),
        ({"nginx_sites": [{"name": "a", "port": 443}]}, "nginx_sites: a shares port 443 and has no server_names;"),
        (
            {"nginx_sites": [{"name": "a", "server_names": []}]},
            "nginx_sites: a shares port 443 and has no server_names;",
        ),
    ],
)
def test_sites_of_nginx_do_not_conflict(check: Run, given: dict[str, Any], found: str) -> None:
    sites = [{"upstream": "http://app:8000", **site} for site in given.get("nginx_sites", [])]
    known = {"nginx_http_port": 80, "nginx_https_port": 443, **given, "nginx_sites": sites}
    said = "\n".join(check(["nginx"], **known))
    assert found in said
    assert bool(found) == (" port" in said.replace("cannot be evaluated", ""))


@pytest.mark.parametrize(
    ("ports", "refused"),
    [
        ([], False),
        ([443, 9100], False),
        (["443", "9100"], False),
        ([0], True),
        ([65536], True),
        ([*range(1, 17)], True),
    ],
)
def test_ports_that_containers_reach(check: Run, ports: list[Any], refused: bool) -> None:
    said = "list at most 15 ports from 1 to 65535"
    assert any(said in one for one in check(["docker"], docker_server_ports=ports)) is refused


ADMINISTRATION = {"name": "administration", "upstream": "http://a:1", "port": 3000, "admin_only": True}


@pytest.mark.parametrize(
    ("addresses", "site", "refused"),
    [
        (["2001:db8::7"], {}, True),
        (["2001:db8::7"], {"admin_only": "true"}, True),
        (["2001:db8::7", "fd00::/8"], {"port": 443, "server_names": ["admin"]}, True),
        (["2001:db8::7"], {"admin_only": False}, False),
        (["2001:db8::7"], {"admin_only": "false"}, False),
        (["2001:db8::7", "203.0.113.7"], {}, False),
        (["203.0.113.0/24"], {}, False),
        (["0.0.0.0/0"], {}, False),
        ([], {}, False),
    ],
)
def test_administrators_are_not_locked_out_by_ipv6(
    check: Run, addresses: list[str], site: dict[str, Any], refused: bool
) -> None:
    found = check(["nginx"], nginx_admin_addresses=addresses, nginx_sites=[{**ADMINISTRATION, **site}])
    said = f"nginx_admin_addresses has only IPv6 addresses ({', '.join(addresses)}), which nginx does not see"
    assert any(said in one for one in found) is refused


def test_old_names_are_not_options() -> None:
    known = {name for role in ROLES for name in options(role)}
    for role in CHECKED:
        rules = load(role, "meta/checks.yml")
        old = {*(rules.get("renamed") or {}), *(rules.get("replaced") or {})}
        assert old & known == set(), role


@pytest.mark.parametrize("role", CHECKED)
def test_the_first_task_checks_the_input(role: str) -> None:
    if "main" not in load(role, "meta/argument_specs.yml").get("argument_specs", {}):
        return
    first = yaml.safe_load((ROOT / "roles" / role / "tasks" / "main.yml").read_text())[0]
    if role == "miniweb":
        # It is the role for a whole play, so it checks all of the play's roles.
        assert first["ansible.builtin.import_tasks"] == "begin.yml"
        return
    assert first == {"name": "Check the input", "miniweb.stack.check_input": None}


@pytest.mark.parametrize("role", CHECKED)
def test_conditions_are_in_the_checks_file(role: str) -> None:
    assert not (ROOT / "roles" / role / "tasks" / "check.yml").exists()
    for path in (ROOT / "roles" / role / "tasks").glob("**/*.yml"):
        assert not re.search(r"^\s*(- )?(ansible\.builtin\.)?assert:", path.read_text(), re.MULTILINE), path
