"""Whatever value a variable has, what is wrong with it is said in plain words and with the variable's name."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import trust_as_template
from ansible_collections.miniweb.stack.plugins.action.check_input import Role, plain
from role_templates import FACTS, ROLES, loaded

NAMES = sorted(path.parents[1].name for path in ROLES.glob("*/meta/argument_specs.yml"))
# Words of Python, Jinja and Ansible's internals
FOREIGN = re.compile(
    r"Traceback|object|has no attribute|NoneType|<class|<function|unsupported|jinja|\b[A-Z]\w*(Error|Undefined)\b|iterable|recursion|"
    r"Error (rendering|while)"
)
VALUES = {
    "a dictionary": {"a": 1},
    "a list": ["a"],
    "a list of dictionaries": [{"a": 1}],
    "nothing": None,
    "a number": -7,
    "text": "x y'\"$",
    "an undefined variable": trust_as_template("{{ nothing }}"),
    "an attribute that is not there": trust_as_template("{{ inventory_hostname.foo.bar }}"),
    "a key that is not there": trust_as_template("{{ {'a': 1}.b.c }}"),
    "a calculation that fails": trust_as_template("{{ 1 / 0 }}"),
    "a calculation with the wrong type": trust_as_template("{{ 'a' + 1 }}"),
    "a filter for another type": trust_as_template("{{ 3 | length }}"),
    "a filter that is not there": trust_as_template("{{ 3 | nosuch }}"),
    "a syntax error": trust_as_template("{{ 1 + }}"),
}
GIVEN: dict[str, Any] = {"inventory_hostname": "www", "ansible_facts": FACTS, "ansible_check_mode": True}
GIVEN |= {"ansible_run_tags": ["all"], "ansible_skip_tags": [], "group_names": []}


@cache
def surroundings(role: str) -> dict[str, Any]:
    """The variables of a role as in a play of the whole system."""
    base = loaded(ROLES / "ec2", "defaults", "vars") if role.startswith("ec2") else {}
    return {**GIVEN, **loaded(ROLES / "miniweb", "defaults"), **base, **loaded(ROLES / role, "defaults", "vars")}


def problems(role: str, **given: Any) -> list[str]:
    found = Role(str(ROLES / role), surroundings(role) | given, DataLoader())
    found.check()
    found.server()
    return found.problems


@pytest.mark.parametrize("role", NAMES)
def test_what_is_said_is_for_whoever_wrote_the_value(role: str) -> None:
    without = set(problems(role))
    for number, option in enumerate(Role(str(ROLES / role), surroundings(role), DataLoader()).options):
        # The kinds take turns.
        kind, value = list(VALUES.items())[number % len(VALUES)]
        said = [problem for problem in problems(role, **{option: value}) if problem not in without]
        assert not said or any(option in problem for problem in said), (option, kind, said)
        for problem in said:
            assert not FOREIGN.search(problem), (option, kind, problem)


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("object of type 'dict' has no attribute 'port'", "there is no port in it"),
        ("'dict object' has no attribute 'port'", "there is no port in it"),
        ("Recursive loop detected in template: maximum recursion depth exceeded", "it refers to itself"),
        ("maximum recursion depth exceeded while calling a Python object", "it refers to itself"),
        (
            "Error rendering template: unsupported operand type(s) for +: 'int' and 'str'",
            "a value in it has the wrong type",
        ),
        ("The filter plugin 'map' failed: 'int' object is not iterable.", "a value in it has the wrong type"),
        ("object of type 'NoneType' has no len()", "a value in it has the wrong type"),
        ('can only concatenate str (not "int") to str', "a value in it has the wrong type"),
        ("Error while evaluating conditional: 'port' is undefined", "'port' is undefined"),
        ("Error rendering template: division by zero", "division by zero"),
    ],
)
def test_plain_words(reason: str, said: str) -> None:
    assert plain(reason) == said


@pytest.mark.parametrize(
    ("sender", "refused"),
    [
        ("shop@example.com", False),
        ("shop@localhost", False),
        ("The shop <shop@example.com>", False),
        ("", True),
        ("shop", True),
        ("@example.com", True),
        ("shop@", True),
        ("shop@example.com, other@example.com", True),
        ("shop@example@com", True),
        ("The shop shop@example.com", True),
        ("The shop <shop>", True),
        ("The shop <shop@example.com", True),
        ("<shop@example.com>", True),
    ],
)
def test_mail_is_sent_by_an_address(sender: str, refused: bool) -> None:
    mail = {"server": "smtp.example.com", "sender": sender}
    found = [one for one in problems("flask_app", flask_app_mail=mail) if "flask_app_mail" in one]
    said = f'flask_app_mail.sender: "{sender}" is no e-mail address; give one, such as shop@example.com'
    assert [one.rstrip(".") for one in found] == ([said] if refused else [])
