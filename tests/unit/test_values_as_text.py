"""A value that comes as text, as `-e name=value` gives it, means to a role what the value itself means."""

from __future__ import annotations

import functools
import importlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import jinja2
import jinja2.nodes
import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader
from ansible_collections.miniweb.stack.plugins.action import check_input
from role_templates import FACTS, ROLES, ROOT, evaluated, loaded, rendered, worked_out

NAMES = sorted(path.parents[1].name for path in ROLES.glob("*/meta/argument_specs.yml"))
CONVERTED = ("bool", "int", "float")
# What the tasks of some roles register
FOUND = {
    "__flask_app_application": "app",
    "__flask_app_number": 0,
    "__flask_app_run": {"image": "app:1", "image_id": "sha256:1"},
    "__flask_app_scheduled": {
        "key": "cleanup",
        "value": {"command": ["flask", "cleanup"], "at": "daily", "timeout_minutes": 60, "memory_mb": 0},
    },
    "__flask_app_found_timers": {"files": [{"path": "/etc/systemd/system/miniweb-app_old.timer"}]},
    "__flask_app_process": {
        "key": "worker",
        "value": {"command": ["work"], "count": 2, "memory_mb": 64, "health_command": [], "stop_grace_seconds": 5},
    },
    "__ec2_found": {"instances": [{"private_ip_address": "10.0.0.5"}]},
    "__ec2_images": {"images": []},
    "__ec2_autoscale_caller": {"account": "123456789012", "arn": "arn:aws:iam::123456789012:user/alice"},
    "__ec2_autoscale_found": {"subnets": [{"availability_zone": "eu-central-1a", "cidr_block": "10.0.0.0/24"}]},
    "__ec2_subnets": {"subnets": [{"availability_zone": "eu-central-1a", "subnet_id": "subnet-1"}]},
    "__ec2_type": {"availability_zones": ["eu-central-1a"]},
    "__ec2_autoscale_group_now": {"results": [{"desired_capacity": 3}]},
    "__ec2_autoscale_packed": {"digest": "5f1c"},
    "__ec2_autoscale_stored": {"parameter_metadata": {"version": 1}},
}


def options() -> dict[str, dict[str, Any]]:
    """The options of all roles."""
    found: dict[str, dict[str, Any]] = {}
    for role in NAMES:
        specs = yaml.safe_load((ROLES / role / "meta" / "argument_specs.yml").read_text())
        found |= specs["argument_specs"]["main"]["options"]
    return found


def native(default: Any) -> Any:
    """A default, or, for one that depends on the server's disk, a number that it may have."""
    return 64 if isinstance(default, str) else default


OPTIONS = options()
DEFAULTS = {
    name: native(option["default"])
    for name, option in OPTIONS.items()
    if option["type"] in CONVERTED and "default" in option
}
OTHERS = {name: not value if isinstance(value, bool) else value + 1 for name, value in DEFAULTS.items()}
SITE = {"name": "one", "upstream": "http://one:1"}
CHOICES: dict[str, dict[str, Any]] = {
    "defaults": DEFAULTS,
    "others": {
        **OTHERS,
        "ec2_public_ports": [80, 8080],
        "nginx_sites": [
            {**SITE, "port": OTHERS["nginx_https_port"], "websocket": False},
            {**SITE, "port": 8443, "websocket": False, "admin_only": False},
            {**SITE, "port": 9443, "websocket": True, "admin_only": True},
        ],
        "alertmanager_webhooks": [{"name": "one", "url": "https://one", "send_resolved": False}],
    },
}


def everything(value: Any, option: dict[str, Any]) -> Any:
    """A value of an option, with every number and boolean in it as text."""
    if isinstance(value, list):
        return [everything(item, {**option, "type": option["elements"]}) for item in value]
    if isinstance(value, dict):
        return {key: everything(item, option["options"][key]) for key, item in value.items()}
    return str(value).lower() if option["type"] in CONVERTED else value


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The variables of all roles together, with their own key and secrets."""
    directory = tmp_path_factory.mktemp("controller")
    (directory / "key.pub").write_text("ssh-ed25519 AAAA alice")
    found: dict[str, Any] = {}
    for role in NAMES:
        found |= loaded(ROLES / role, "defaults", "vars")
    return {
        **found,
        **FOUND,
        "ansible_check_mode": False,
        "ansible_facts": FACTS,
        "alert_responder_state": "present",
        "ec2_private_key_file": str(directory / "key"),
        "inventory_hostname": "www",
        "miniweb_secrets_dir": str(directory / "secrets"),
        "playbook_dir": str(ROOT / "playbooks"),
    }


def become(system: dict[str, Any], role: str, chosen: dict[str, Any]) -> dict[str, str]:
    """The variables that a role's tasks use, as JSON, and its templates; for the system's role its defaults."""
    path = ROLES / role
    texts = "".join(file.read_text() for file in [*path.glob("tasks/**/*.yml"), *path.glob("vars/*.yml")])
    if role == "miniweb":
        names = sorted(loaded(path, "defaults").keys() - OPTIONS.keys())
    else:
        # Choices are only compared with those of the previous run.
        choices = ("_choices", "_present")
        names = [name for name in loaded(path, "vars") if f" {name} " in texts and not name.endswith(choices)]
    given = {**system, **chosen, "role_path": str(path)}
    values = map(json.dumps, worked_out(path, f"{{{{ [{', '.join(names)}] }}}}", **given))
    # The other templates are rendered as part of the variables, or of these.
    files = list(path.glob("templates/*.j2"))
    texts += "".join(file.read_text() for file in files)
    templates = [file.name for file in files if f"'{file.name}'" not in texts]
    return {**dict(zip(names, values, strict=True)), **{name: rendered(path, name, **given) for name in templates}}


def said(system: dict[str, Any], role: str, chosen: dict[str, Any]) -> list[str]:
    """The problems that the check of a role's input finds."""
    checked = check_input.Role(str(ROLES / role), {**system, **chosen}, DataLoader())
    checked.check()
    return checked.problems


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("role", NAMES)
@pytest.mark.parametrize("result", [become, said])
def test_text_gives_the_same_result(system: dict[str, Any], result: Callable[..., Any], role: str, choice: str) -> None:
    wanted = result(system, role, CHOICES[choice])
    as_text = {name: everything(value, OPTIONS[name]) for name, value in CHOICES[choice].items()}
    assert result(system, role, as_text) == wanted


BY_ROLE = [role for role in NAMES if not role.startswith("ec2")]
# Everything is used that a value may switch on. The role finds it in what its tasks register.
ON: dict[str, Any] = {
    **{name: True if isinstance(value, bool) else value for name, value in DEFAULTS.items()},
    **{name: "present" for name in OPTIONS if name.endswith("_state")},
    **{name: False for name in DEFAULTS if name.endswith("_remove_data")},
    "__flask_app_packed": {"digest": "5f1c"},
    "__nginx_certificate": {"certificate": "a certificate"},
    "ansible_play_name": "site",
    "ansible_play_role_names": BY_ROLE,
    "ansible_role_names": BY_ROLE,
    "alertmanager_email_to": ["ops@example.com"],
    "alertmanager_smtp_username": "alertmanager",
    "flask_app_metrics_path": "/metrics",
    "flask_app_wait_for": ["mysql:3306"],
    "nginx_sites": [{**SITE, "port": 8443}],
    "omit": "(not given)",
}
SCALARS = sorted(name for name, option in OPTIONS.items() if option["type"] in CONVERTED and not name.startswith("ec2"))
OURS = "miniweb.stack."


class Captured(Exception):
    """What a module is made with."""


@functools.cache
def specification(module: str) -> dict[str, Any]:
    """The argument specification of one of our modules."""
    found = importlib.import_module(f"ansible_collections.miniweb.stack.plugins.modules.{module}")

    def capture(**given: Any) -> None:
        raise Captured(given["argument_spec"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(found, "ServerModule", capture)
        with pytest.raises(Captured) as captured:
            found.main()
    spec: dict[str, Any] = captured.value.args[0]
    return spec


def calls(tasks: Any) -> Iterator[tuple[str, Any]]:
    """The modules of ours that tasks call, with their arguments."""
    for task in tasks or []:
        for name, value in task.items():
            if name in ("block", "rescue", "always"):
                yield from calls(value)
            elif name.startswith(OURS) and name != f"{OURS}check_input":
                yield name.removeprefix(OURS), value


def handed(system: dict[str, Any], role: str, chosen: dict[str, Any]) -> list[str]:
    """What a role hands to our modules, as JSON, after the modules' own conversion."""
    path = ROLES / role
    variables = {**system, **ON, **chosen, "role_path": str(path)}
    found = []
    for file in sorted(path.glob("tasks/**/*.yml")):
        for module, arguments in calls(DataLoader().load_from_file(str(file), trusted_as_template=True)):
            worked = evaluated(path, arguments, **variables)
            given = {name: value for name, value in worked.items() if value != variables["omit"]}
            checked = ArgumentSpecValidator(specification(module)).validate(given)
            assert checked.error_messages == [], (module, checked.error_messages)
            found.append(json.dumps([module, checked.validated_parameters], sort_keys=True, default=str))
    return found


@pytest.fixture(scope="module")
def handed_natively(system: dict[str, Any]) -> Callable[..., list[str]]:
    """What a role hands over where one variable is as it is or another; what is asked again is not worked out again."""
    return functools.cache(lambda role, **chosen: handed(system, role, chosen))


@pytest.mark.parametrize("wanted", [True, False])
def test_the_systems_own_values_as_text_are_handed_over_as_themselves(
    system: dict[str, Any], handed_natively: Callable[..., list[str]], wanted: bool
) -> None:
    names = [name for name in SCALARS if name.startswith("miniweb_")]
    assert names
    for role in BY_ROLE:
        # Creates the secrets, which have to be there where the role does not.
        handed_natively(role)
        assert handed(system, role, dict.fromkeys(names, str(wanted))) == handed(
            system, role, dict.fromkeys(names, wanted)
        ), role


@pytest.mark.parametrize("role", BY_ROLE)
def test_a_roles_values_as_text_are_handed_over_as_themselves(
    system: dict[str, Any], handed_natively: Callable[..., list[str]], role: str
) -> None:
    values = {name: str(ON.get(name, True)) for name in SCALARS if name.startswith(f"{role}_")}
    assert handed(system, role, values) == handed_natively(role)


# What is switched off hides others, so each is alone.
@pytest.mark.parametrize("name", [name for name in SCALARS if isinstance(ON.get(name, True), bool)])
def test_false_as_text_is_handed_over_as_false(
    system: dict[str, Any], handed_natively: Callable[..., list[str]], name: str
) -> None:
    for role in (role for role in BY_ROLE if name.startswith(f"{role}_")):
        assert handed(system, role, {name: "False"}) == handed_natively(role, **{name: False})


def samples(option: dict[str, Any]) -> list[dict[str, Any]]:
    """Entries of a list that have every suboption, each boolean once true and once false."""
    of_type: dict[str, Any] = {"int": 8443, "list": ["/static/"], "dict": {}}
    given = {
        name: samples(one) if "options" in one else of_type.get(one["type"], "http://one:1")
        for name, one in option["options"].items()
    }
    return [
        {name: switch if option["options"][name]["type"] == "bool" else value for name, value in given.items()}
        | ({"name": f"site_{switch}".lower()} if "name" in option["options"] else {})
        for switch in (True, False)
    ]


LISTS = sorted(
    name
    for name, option in OPTIONS.items()
    if any(one["type"] in CONVERTED for one in option.get("options", {}).values())
)


@pytest.mark.parametrize("name", LISTS)
def test_values_as_text_in_an_option_with_suboptions_are_handed_over_as_themselves(
    system: dict[str, Any], name: str
) -> None:
    option = OPTIONS[name]
    native = samples(option) if option["type"] == "list" else samples(option)[0]
    text = everything(native, option)
    assert text != native
    for role in (role for role in BY_ROLE if name.startswith(f"{role}_")):
        assert handed(system, role, {name: text}) == handed(system, role, {name: native})


EXPRESSIONS = {"changed_when", "failed_when", "that", "until", "when"}


def templates(tasks: Any, key: str = "") -> Iterator[str]:
    """The templates in tasks, expressions included."""
    if isinstance(tasks, dict):
        for name, item in tasks.items():
            yield from templates(item, name)
    elif isinstance(tasks, list):
        for item in tasks:
            yield from templates(item, key)
    elif isinstance(tasks, str):
        yield f"{{{{ ({tasks}) }}}}" if key in EXPRESSIONS else tasks


def unconverted(node: jinja2.nodes.Node) -> Iterator[str]:
    """The options in an expression that may still be text where it uses them."""
    if isinstance(node, jinja2.nodes.Name) and node.name in DEFAULTS:
        yield node.name
    if not isinstance(node, jinja2.nodes.Filter) or node.name not in CONVERTED:
        for child in node.iter_child_nodes():
            # A module converts a value that is passed on unchanged.
            if not isinstance(node, jinja2.nodes.Output) or not isinstance(child, jinja2.nodes.Name):
                yield from unconverted(child)


@pytest.mark.parametrize("where", ["playbooks/*.yml", *(f"roles/{role}/tasks/**/*.yml" for role in NAMES)])
def test_tasks_convert_what_no_module_does(where: str) -> None:
    paths = sorted(ROOT.glob(where))
    assert paths
    found = {
        (path.name, name)
        for path in paths
        for text in templates(yaml.safe_load(path.read_text()))
        for name in unconverted(jinja2.Environment().parse(text))
    }
    assert found == set()
