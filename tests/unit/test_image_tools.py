"""What the roles run in a container is in its official image, of which the recipes of our own images tell.

The health checks, and what checks, reloads and proves a configuration, may use no more than that: BusyBox has fewer options
than GNU's programs, and some images have no shell.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible_collections.miniweb.stack.plugins.module_utils import sites
from ansible_collections.miniweb.stack.plugins.modules import alertmanager_test, mysql_account
from role_templates import FACTS, ROLES, evaluated, loaded
from sandbox.recipes import RECIPES, Image, service_images

MODULE = "miniweb.stack.compose_service"
IMAGES = {image.variable: image for image in service_images()}
ASSEMBLE = (RECIPES / "assemble").read_text()
APPLETS = set(re.search(r'^applets="(.*?)"', ASSEMBLE, re.MULTILINE | re.DOTALL)[1].split())  # type: ignore[index]
# What every shell does itself
BUILT_IN = {"[", "cd", "echo", "exit", "kill", "printf", "read", "set", "shift", "test", "trap", "umask"}
# The images made from Debian's or Oracle's have a shell and its usual companions, but no client for HTTP.
DISTRIBUTION = {"cat", "env", "grep", "ls", "rm", "sed", "sh", "sleep", "stat"}
WITH_DISTRIBUTION = {
    "mysql_image": {"mysql", "mysql_tzinfo_to_sql", "mysqladmin", "mysqld"},
    "redis_image": {"redis-cli", "redis-server"},
}
# The options of BusyBox's wget that take a value, and those that take none
WGET = {"--header", "--post-data", "-O", "-T", "-U"}, {"--no-check-certificate", "-S", "-c", "-q"}
# What modules run in containers beside what roles give them
OF_MODULES = {
    "alertmanager_image": alertmanager_test.SEND,
    "mysql_image": mysql_account.WITH_LOGIN,
    "nginx_image": sites.ASK_INSIDE,
}
CHOSEN = {
    **{
        f"{name}_state": "present"
        for name in ("grafana", "nginx_exporter", "mysql_exporter", "redis", "redis_exporter")
    },
    "nginx_upstream": "http://app:8000",
    "ansible_facts": FACTS,
    "omit": None,
    "__nginx_certificate": {"certificate": "a certificate"},
}


def tools(variable: str) -> set[str]:
    """The programs that an image has."""
    if variable in WITH_DISTRIBUTION:
        return WITH_DISTRIBUTION[variable] | DISTRIBUTION
    # It has no recipe. Like nginx's, it is made from Alpine.
    if variable == "grafana_image":
        return {"grafana"} | APPLETS
    return assembled(IMAGES[variable])


def assembled(image: Image) -> set[str]:
    """The programs that a recipe puts into an image that has nothing else."""
    text = (image.recipe / "Dockerfile").read_text()
    assert "\nFROM scratch\n" in text
    arguments = r'^ARG (\w+)(?:="?(.*?)"?)?$'
    given = dict(re.findall(arguments, text, re.MULTILINE)) | image.build_arguments("base")
    text = re.sub(arguments, "", text, flags=re.MULTILINE)
    text = re.sub(r"\$\{(\w+)\}", lambda found: given[found[1]], text)
    paths = re.search(r"sh /assemble (.*?)(?: \\)?$", text, re.MULTILINE)
    assert paths
    programs = {path.rpartition("/")[2] for path in shlex.split(paths[1]) if re.search(r"^(/usr)?/s?bin/|^/\w+$", path)}
    return programs | (APPLETS if "busybox-static" in text else set())


def services() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each service of the roles that has an image of its own: role, variable of its image, what compose_service gets."""
    for role in sorted(
        path for path in ROLES.iterdir() if (path / "tasks/main.yml").exists() and path.name != "flask_app"
    ):
        named = {name: name for name in loaded(role, "defaults") if name.endswith("_image")}
        for task in DataLoader().load_from_file(str(role / "tasks/main.yml"), trusted_as_template=True):
            if MODULE in task:
                # Each variable of an image is its own value, so the definition tells which one it uses.
                given = evaluated(role, task[MODULE], role_path=str(role), **CHOSEN, **named)
                yield role.name, given["definition"]["image"], given


def commands(given: dict[str, Any]) -> Iterator[list[str]]:
    """The commands that run in the image."""
    proof = given.get("reload_proof") or {}
    healthcheck = given["definition"].get("healthcheck", {}).get("test", [])
    if healthcheck:
        yield ["sh", "-c", healthcheck[1]] if healthcheck[0] == "CMD-SHELL" else healthcheck[1:]
    yield from (given[key] for key in ("check_command", "reload_command") if given.get(key))
    yield from given.get("before_start") or []
    if proof and not proof.get("on_server"):
        yield proof["command"]


def programs(command: list[str]) -> set[str]:
    """The programs that a command starts, also those of a shell's text."""
    found = {command[0].rpartition("/")[2]}
    if command[0] == "sh":
        # What is quoted starts nothing, but for "$(...)".
        text = re.sub(r"'[^']*'", "quoted", command[2].replace("\\\n", " "))
        text = re.sub(r'"[^"]*"', "quoted", re.sub(r'"(\$\([^"]*\))"', r"\1", text))
        text = re.sub(r"\b(?:do|done|for \w+ in [^;]*|if|then|until|while)\b", ";", text)
        begins = r"^|[|;{]|(?<![>$])&|(?<!\()\((?!\()|\)\s"
        words = re.findall(rf"(?:{begins})\s*(?:\w+=[^\s$(]*\s+)*([\w./[][\w./-]*)(?![\w=./-])", text, re.MULTILINE)
        found |= {word.rpartition("/")[2] for word in words}
    return found


def wget_options(command: list[str]) -> set[str]:
    """The options of wget in a command, without their values."""
    text = command[2] if command[0] == "sh" else shlex.join(command)
    words = shlex.split(text.replace("$(", " ").replace(")", " "))
    found = set()
    for start in (number for number, word in enumerate(words) if word == "wget"):
        rest = iter(words[start + 1 :])
        for word in rest:
            if not word.startswith("-"):
                break
            found.add(word)
            if word in WGET[0]:
                next(rest)
    return found


CASES = [
    pytest.param(image, command, id=f"{image}-{number}")
    for dummy, image, given in services()
    for number, command in enumerate(commands(given))
] + [pytest.param(image, ["sh", "-c", text], id=f"{image}-module") for image, text in OF_MODULES.items()]


def test_every_service_is_looked_at() -> None:
    """All images that our recipes or a double stand for, whether anything runs in them or not."""
    assert {image for dummy, image, given in services()} == {*IMAGES, "grafana_image"} - {
        "flask_app_base_image",
        "nginx_acme_image",
    }


@pytest.mark.parametrize(("image", "command"), CASES)
def test_only_tools_of_the_official_image_are_used(image: str, command: list[str]) -> None:
    assert programs(command) - BUILT_IN <= tools(image)
    assert wget_options(command) <= WGET[0] | WGET[1]


@pytest.mark.parametrize("image", ["nginx_exporter_image", "redis_exporter_image"])
def test_nothing_runs_in_an_image_that_has_only_its_program(image: str) -> None:
    assert len(tools(image)) == 1
    assert not [case for case in CASES if case.values[0] == image]


@pytest.mark.parametrize(
    ("command", "found", "options"),
    [
        (["wget", "-q", "-T", "4", "-O", "-", "http://x"], {"wget"}, {"-q", "-T", "-O"}),
        (["/bin/promtool", "check"], {"promtool"}, set()),
        (["sh", "-c", "a=$(curl -s x) && echo \"$a\" | grep -q '^b 1$'"], {"sh", "curl", "echo", "grep"}, set()),
        (["sh", "-c", 'test "$(A=$(cat /f) redis-cli ping)" = PONG'], {"sh", "test", "cat", "redis-cli"}, set()),
        (["sh", "-c", "wget --tries=1 http://x 2>&1 | grep x"], {"sh", "wget", "grep"}, {"--tries=1"}),
        (["sh", "-c", "A=b env; bash x || ps"], {"sh", "env", "bash", "ps"}, set()),
        (["sh", "-c", "a=$((b + 1))\nwhile curl x; do ps | wc -l & done\n"], {"sh", "curl", "ps", "wc"}, set()),
        (["sh", "-c", "[ -e a ] && { cat 'b; c' \"$d; e\"; }"], {"sh", "[", "cat"}, set()),
    ],
)
def test_what_a_command_uses_is_found(command: list[str], found: set[str], options: set[str]) -> None:
    assert programs(command) == found
    assert wget_options(command) == options
