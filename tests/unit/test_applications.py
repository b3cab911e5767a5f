"""Several applications on one server: what an entry of miniweb_applications gets, what it is refused for, and what it does not see."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible import constants
from ansible.parsing.dataloader import DataLoader
from ansible.template import trust_as_template
from ansible_collections.miniweb.stack.plugins.action.check_input import Application, Role
from ansible_collections.miniweb.stack.plugins.plugin_utils import applications
from role_templates import FACTS, ROLES, loaded, worked_out

SYSTEM = sorted(path.parents[1].name for path in ROLES.glob("*/meta/service.yml"))
PLUGINS = ROLES.parent / "plugins"
NOTES = str(ROLES.parent / "tests" / "apps" / "notes")
BLOG = {"flask_app_name": "my-blog", "flask_app_source_dir": NOTES, "nginx_server_names": ["blog.example.com"]}
WORKER = {"flask_app_name": "mailer", "flask_app_source_dir": NOTES, "flask_app_wants_database": "false"}
PASSWORD = "a password of 12 or more"

Values = Callable[..., dict[str, Any]]


@pytest.fixture
def variables(tmp_path: Path) -> Values:
    """The variables of a play of the whole system, with those that an inventory sets."""

    def found(**inventory: Any) -> dict[str, Any]:
        known: dict[str, Any] = {
            "inventory_hostname": "www",
            "ansible_facts": FACTS,
            "ansible_check_mode": True,
            "ansible_run_tags": ["all"],
            "ansible_skip_tags": [],
            "group_names": [],
            "playbook_dir": str(ROLES.parent / "playbooks"),
            "miniweb_secrets_dir": str(tmp_path),
        }
        for role in SYSTEM:
            known |= loaded(ROLES / role, "defaults", "vars")
        return {**known, **DataLoader().load(trust_as_template(yaml.safe_dump(inventory)))}

    return found


def value(given: dict[str, Any], text: str) -> Any:
    """Evaluate a template string as in a task of the whole system."""
    return worked_out(ROLES / "flask_app", f"{{{{ {text} }}}}", **given)


def test_each_gets_a_site_a_database_and_a_probe_of_its_own(variables: Values) -> None:
    given = variables(miniweb_applications=[BLOG, WORKER], nginx_max_body_mb=3)
    own = value(given, "nginx_sites[3:]")
    assert [(one["name"], one["upstream"], one["server_names"]) for one in own] == [
        ("my-blog", "http://my-blog:8000", ["blog.example.com"])
    ]
    assert (own[0]["health_path"], own[0]["max_body_mb"], own[0]["cached_paths"]) == ("/", 3, ["/static/"])
    (account,) = value(given, "mysql_accounts")
    assert (account["database"], account["user"]) == ("my_blog", "my_blog")
    assert account["password"] != value(given, "mysql_password")
    assert value(given, "blackbox_exporter_targets | map(attribute='instance')")[1:] == ["https://blog.example.com"]
    module = value(given, "blackbox_exporter_modules['http_2xx_my-blog'].http")
    assert (module["headers"]["Host"], module["tls_config"]["server_name"]) == ("blog.example.com",) * 2
    assert value(given, "miniweb_application_services") == ["my-blog", "mailer"]


def test_one_that_is_removed_keeps_neither_site_nor_probe_nor_account(variables: Values) -> None:
    given = variables(miniweb_applications=[{**BLOG, "flask_app_state": "absent"}])
    assert value(given, "nginx_sites | map(attribute='name')") == ["prometheus", "grafana", "alertmanager"]
    assert value(given, "mysql_accounts") == []
    assert value(given, "blackbox_exporter_targets | length") == 1
    assert value(given, "blackbox_exporter_modules.keys() | list") == ["http_2xx"]
    # It is removed, so it is no stray.
    assert value(given, "miniweb_application_services") == ["my-blog"]


def test_what_is_set_for_the_first_one_does_not_hold_for_the_others(variables: Values) -> None:
    given = variables(
        miniweb_applications=[BLOG],
        flask_app_environment={"LANGUAGE": "en"},
        flask_app_secrets=[{"name": "payment_key", "content": PASSWORD}],
        flask_app_git_url="https://git.example.com/shop.git",
        flask_app_workers=7,
        flask_app_base_image="registry.example.com/python:3.13",
        mysql_database="shop",
        nginx_basic_auth_users=[{"name": "alice", "password": PASSWORD}],
    )
    names = ["environment", "secrets", "git_url", "workers", "source_dir", "base_image"]
    (own,) = value(
        given, f"lookup('miniweb.stack.applications', {', '.join(repr(f'flask_app_{name}') for name in names)})"
    )
    assert list(own.values()) == [{}, [], "", 2, NOTES, "registry.example.com/python:3.13"]
    assert value(given, "mysql_accounts | map(attribute='database')") == ["my_blog"]
    assert value(given, "nginx_sites[-1].basic_auth_users") == []


@pytest.mark.parametrize(
    ("number", "wanted"),
    [
        (0, {"name": "miniwebapp", "user": "miniwebapp", "url": "https://www"}),
        (1, {"name": "my_blog", "user": "writer", "url": "https://blog.example.com"}),
    ],
)
def test_each_finds_its_own_database_and_address(variables: Values, number: int, wanted: dict[str, str]) -> None:
    entry = {**BLOG, "mysql_user": "writer", "mysql_password": PASSWORD}
    given = variables(miniweb_applications=[entry], nginx_server_names=["www"]) | {"__flask_app_number": number}
    database = value(given, "lookup('miniweb.stack.per_application', 'flask_app_database')")
    address = value(given, "lookup('miniweb.stack.per_application', 'flask_app_external_url')")
    assert {"name": database["name"], "user": database["user"], "url": address} == wanted
    assert (database["password"] == PASSWORD) is bool(number)


def contributed(given: dict[str, Any], number: int) -> dict[str, Any]:
    """What an application contributes to other services, by the kind of file."""
    files = value(
        given | {"__flask_app_number": number}, "lookup('miniweb.stack.per_application', '__flask_app_contributions')"
    )
    return {one["ext"]: yaml.safe_load(one["content"]) for one in files}


def test_what_is_measured_of_one_is_not_taken_for_that_of_another(variables: Values) -> None:
    own = {"flask_app_metrics_path": "/own", "flask_app_alert_error_percent": 9}
    given = variables(miniweb_applications=[{**BLOG, **own}, WORKER], flask_app_metrics_path="/metrics")
    limits = []
    for number, name, path in ((0, "app", "/metrics"), (1, "my-blog", "/own")):
        found = contributed(given, number)
        (job,) = found["jobs.yml"]["scrape_configs"]
        assert (job["job_name"], job["metrics_path"]) == (name, path)
        assert job["static_configs"][0]["targets"] == [f"{name}:8000"]
        rules = [rule for group in found["rules.yml"]["groups"] for rule in group["rules"]]
        assert [rule["labels"]["job"] for rule in rules if rule["expr"] == "vector(1)"] == [name]
        for expr in (rule["expr"] for rule in rules if rule["expr"] != "vector(1)"):
            # Each series is one of its job.
            assert expr.count("{") == expr.count(f'job="{name}"') > 0, expr
            assert re.findall(r"\w*[_:][\w:]*\b(?!\()", re.sub(r"[\w:]+\{.*?\}", "", expr)) == [], expr
        limits += [rule["expr"].rpartition("> ")[2] for rule in rules if rule.get("alert") == "HighErrorRatio"]
    assert limits == ["5", "9"]
    # One dashboard shows all of them.
    assert contributed(given, 0)["json"] == contributed(given, 1)["json"]
    assert contributed(given, 2) == {}


@pytest.mark.parametrize(
    ("entry", "limit", "reservation"),
    [({}, "320m", "128m"), ({"flask_app_memory_limit_mb": 96}, "96m", "96m")],
    ids=["default", "own"],
)
def test_the_memory_of_an_entry_is_that_of_its_containers(
    variables: Values, entry: dict[str, Any], limit: str, reservation: str
) -> None:
    given = variables(miniweb_applications=[{**WORKER, **entry}], flask_app_memory_limit_mb=700)
    services = [
        value(given | {"__flask_app_number": number}, "lookup('miniweb.stack.per_application', '__flask_app_service')")
        for number in (0, 1)
    ]
    assert [(one["mem_limit"], one["mem_reservation"]) for one in services] == [
        ("700m", "128m"),
        (limit, reservation),
    ]


@pytest.mark.parametrize(
    ("first", "other", "mysql", "redis"),
    [
        ({"database": False}, {"database": False}, "absent", "absent"),
        ({"database": False}, {"database": True}, "present", "absent"),
        ({"database": True}, {"database": False}, "present", "absent"),
        ({"redis": True}, {"database": False}, "present", "present"),
        ({"database": False}, {"database": False, "redis": True}, "absent", "present"),
    ],
)
def test_mysql_and_redis_are_there_as_long_as_one_wants_them(
    variables: Values, first: dict[str, Any], other: dict[str, Any], mysql: str, redis: str
) -> None:
    entry = {
        "flask_app_name": "blog",
        "flask_app_image": "blog:1",
        "flask_app_declaration": other,
        "miniweb_redis_database": 3,
    }
    given = variables(miniweb_applications=[entry], flask_app_image="shop:1", flask_app_declaration=first)
    assert (value(given, "mysql_state"), value(given, "redis_state")) == (mysql, redis)
    found = value(given | {"__flask_app_number": 1}, "lookup('miniweb.stack.per_application', '__flask_app_wired')")
    urls = [one["content"].rpartition("/")[2] for one in found["secrets"] if one["name"] == "redis_url"]
    assert urls == (["3"] if other.get("redis") else [])


def test_a_play_that_does_not_deploy_the_whole_system_has_none(variables: Values) -> None:
    given = variables(miniweb_applications=[BLOG])
    del given[applications.EACH]
    assert value(given, "lookup('miniweb.stack.applications', 'flask_app_name')") == []


def found_by(given: dict[str, Any], *roles: str) -> str:
    """What the check of the input finds wrong with roles of the system."""
    checked = [Role(str(ROLES / role), given, DataLoader()) for role in roles]
    for role in checked:
        role.check()
    return "\n".join(problem for role in checked for problem in role.problems)


def found_in(given: dict[str, Any], number: int) -> str:
    """What it finds wrong with one entry."""
    one = Application(number, applications.entries(given, None)[number - 1], given, DataLoader())
    one.check()
    return "\n".join(one.problems)


REDIS = {"flask_app_declaration": {"redis": True, "wsgi": "app:app"}}
GIVEN = {"nginx_server_names": ["www.example.com"], "miniweb_admin_addresses": ["203.0.113.7"]}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (BLOG, ""),
        ({**BLOG, "flask_app_workers": "{{ 1 + 2 }}", "mysql_password": PASSWORD}, ""),
        ({}, "miniweb_applications, entry 2: flask_app_name is not set: give the application a name"),
        (
            {**BLOG, "flask_app_memory": 1},
            "miniweb_applications, my-blog: flask_app_memory cannot be set for one application",
        ),
        ({**BLOG, "flask_app_workers": "two"}, 'miniweb_applications, my-blog: flask_app_workers is "two"'),
        ({**BLOG, "nginx_max_body_mb": "big"}, 'miniweb_applications, my-blog: nginx_max_body_mb is "big"'),
        (
            {**BLOG, "flask_app_source_dir": ""},
            "miniweb_applications, my-blog: flask_app_source_dir, flask_app_git_url",
        ),
        ({**BLOG, "flask_app_name": "nginx"}, 'flask_app_name: "nginx" is the name of another part of this system'),
        ({**BLOG, "flask_app_name": "My blog"}, 'flask_app_name: "My blog" cannot be used'),
        ({**BLOG, "flask_app_mail": {"password": PASSWORD}}, "flask_app_mail has no server, sender"),
    ],
)
def test_what_is_wrong_with_an_entry_is_said_with_its_name(
    variables: Values, entry: dict[str, Any], message: str
) -> None:
    found = found_in(variables(miniweb_applications=[WORKER, entry], **GIVEN), 2)
    assert message in found
    assert message or not found
    assert PASSWORD not in found


OTHER = {**WORKER, "flask_app_image": "mailer:1", "flask_app_source_dir": ""}
ELSEWHERE = {"miniweb_database_host": "db.example.com"}


@pytest.mark.parametrize(
    ("role", "entries", "inventory", "message"),
    [
        ("miniweb", [BLOG, WORKER], {}, ""),
        (
            "miniweb",
            [BLOG, {**WORKER, "flask_app_name": "my-blog"}],
            {},
            "the services are app, my-blog, my-blog; give each",
        ),
        ("miniweb", [{**BLOG, "flask_app_name": "app"}], {}, "the services are app, app; give each"),
        (
            "miniweb",
            [
                {**BLOG, "flask_app_name": "a", "flask_app_processes": {"b": {"command": ["work"]}}},
                {**WORKER, "flask_app_name": "a-b"},
            ],
            {},
            "the services are app, a, a-b, a-b; give each",
        ),
        ("miniweb", [{**BLOG, **REDIS}], {}, ""),
        (
            "miniweb",
            [{**BLOG, **REDIS, "miniweb_redis_database": 1}, {**OTHER, **REDIS, "miniweb_redis_database": 2}],
            {},
            "",
        ),
        (
            "miniweb",
            [{**BLOG, **REDIS}, {**OTHER, **REDIS}],
            {},
            "miniweb_redis_database: the numbers are 0, 0; give each",
        ),
        ("miniweb", [{**BLOG, **REDIS}], {"flask_app_wants_redis": True}, "the numbers are 0, 0; give each"),
        ("miniweb", [{**BLOG, **REDIS, "miniweb_redis_database": 16}], {}, "the numbers are 16; give each"),
        ("miniweb", [BLOG], ELSEWHERE, "my-blog has no mysql_password for the external database db.example.com"),
        ("miniweb", [{**BLOG, "mysql_password": PASSWORD}], ELSEWHERE, ""),
        ("nginx", [BLOG, {**WORKER, "nginx_server_names": ["notes.example.com"]}], {}, ""),
        ("nginx", [BLOG, {**WORKER, "nginx_server_names": ["blog.example.com"]}], {}, "give each name once"),
        ("nginx", [{**BLOG, "nginx_server_names": ["WWW.example.com"]}], {}, "give each name once"),
        (
            "nginx",
            [{**BLOG, "nginx_server_names": ["blog.example.com", "blog.example.com"]}],
            {},
            "give each name once",
        ),
        ("mysql", [BLOG], {}, ""),
        (
            "mysql",
            [{**BLOG, "mysql_database": "miniwebapp"}],
            {},
            "the databases are miniwebapp, miniwebapp and the accounts",
        ),
        ("mysql", [{**BLOG, "mysql_user": "exporter"}], {}, "miniwebapp, exporter, exporter; give each"),
        ("mysql", [{**BLOG, "mysql_user": "root"}], {}, 'mysql_accounts: "root" cannot be used'),
        (
            "mysql",
            [{**BLOG, "mysql_password": "short"}],
            {},
            "mysql_accounts: the password of my_blog has fewer than 12",
        ),
    ],
)
def test_what_two_applications_cannot_share_is_named(
    variables: Values, role: str, entries: list[dict[str, Any]], inventory: dict[str, Any], message: str
) -> None:
    found = found_by(variables(miniweb_applications=entries, **GIVEN, **inventory), role)
    assert message in found
    assert message or not found


def test_what_is_wrong_with_an_account_is_said_without_its_password(variables: Values) -> None:
    found = found_by(variables(mysql_accounts=[{"user": "blog", "password": PASSWORD}]), "mysql")
    assert "mysql_accounts: missing required arguments: database" in found
    assert PASSWORD not in found


def test_names_that_are_taken_are_those_of_services_jobs_and_directories() -> None:
    taken = loaded(ROLES / "flask_app", "vars")["__flask_app_taken"]
    parts = [yaml.safe_load(path.read_text()) for path in ROLES.glob("*/meta/service.yml")]
    names = {name for part in parts for name in part["services"]}
    names |= {job["name"] for part in parts for job in part.get("jobs") or []}
    texts = [
        path.read_text() for kind in ("*.yml", "*.j2", "*.py") for top in (ROLES, PLUGINS) for path in top.rglob(kind)
    ]
    # Without what is only an example
    names |= {name for text in texts for name in re.findall(r"/opt/miniweb/([a-z0-9-]+)(?![\w.-])", text)} - {
        "shop",
        "backup",
    }
    assert {name for name in names if "_" not in name and "{{" not in name} <= set(taken)


def test_entries_may_set_what_the_roles_have() -> None:
    known = applications.options()
    # Without a default, the value for the first application would hold for the others.
    assert set(loaded(ROLES / "flask_app", "defaults")) == set(applications.options_of(applications.ROLE))
    assert known["nginx_server_names"]["elements"] == "str"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, [str(ROLES.parent / "playbooks" / ".." / "files" / "webapp")]),
        ({"flask_app_source_dir": NOTES}, [NOTES]),
        ({"flask_app_git_url": "https://git.example.com/shop.git"}, ["https://git.example.com/shop.git"]),
        ({"flask_app_image": "shop:1"}, ["shop:1"]),
        ({"flask_app_source_dir": NOTES, "flask_app_image": "shop:1"}, [NOTES, "shop:1"]),
    ],
    ids=["nothing", "directory", "repository", "image", "two"],
)
def test_the_example_counts_only_when_no_source_is_given(
    variables: Values, given: dict[str, Any], wanted: list[str]
) -> None:
    assert value(variables(**given), "__flask_app_sources") == wanted


def test_one_source_is_enough(variables: Values) -> None:
    given = variables(flask_app_source_dir=NOTES, flask_app_image="shop:1")
    assert f"2 of them are set ({NOTES}, shop:1); set exactly one" in found_by(given, "flask_app")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Make a repository of these files; return its URL."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))

    def make(files: dict[str, str]) -> str:
        directory = tmp_path / "repository"
        directory.mkdir()
        for name, text in files.items():
            (directory / name).write_text(text)
        identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
        for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "Begin"]):
            subprocess.run(["git", *words], cwd=directory, check=True, capture_output=True)
        return f"file://{directory}"

    return make


PLAIN = {"main.py": "from flask import Flask\napp = Flask(__name__)\n", "requirements.txt": "Flask\n"}


def from_repository(variables: Values, url: str, number: int) -> tuple[dict[str, Any], str]:
    """The variables of the first application or of an entry that has only the URL, and what is wrong with it."""
    if not number:
        given = variables(flask_app_git_url=url)
        return given, found_by(given, "flask_app")
    given = variables(miniweb_applications=[{"flask_app_name": "blog", "flask_app_git_url": url}])
    return given | {"__flask_app_number": number}, found_in(given, number)


@pytest.mark.parametrize("number", [0, 1], ids=["first", "other"])
def test_the_url_of_a_repository_is_all_that_is_needed(
    variables: Values, repository: Callable[..., str], number: int
) -> None:
    given, found = from_repository(variables, repository(PLAIN), number)
    assert found == ""
    assert value(given, "lookup('miniweb.stack.per_application', 'flask_app_wsgi')") == "main:app"


@pytest.mark.parametrize(
    ("number", "files", "message"),
    [
        (0, {**PLAIN, "miniweb.yml": "wsgy: a:b"}, 'miniweb.yml: there is no key "wsgy"; give wsgi, asgi, '),
        (1, {**PLAIN, "miniweb.yml": "wsgy: a:b"}, 'applications, blog: miniweb.yml: there is no key "wsgy"; give'),
        (0, {**PLAIN, "miniweb.yml": "wsgi: ["}, "miniweb.yml: it is no YAML (line "),
        (0, {"main.py": ""}, "flask_app_git_url: the repository must have a requirements.txt or a pyproject.toml"),
    ],
    ids=["unknown key", "unknown key of an entry", "no YAML", "no requirements"],
)
def test_what_is_wrong_in_a_repository_is_found_before_anything_changes(
    variables: Values, repository: Callable[..., str], number: int, files: dict[str, str], message: str
) -> None:
    assert message in from_repository(variables, repository(files), number)[1]


def test_a_procfile_is_enough_for_all_of_an_application(variables: Values, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "requirements.txt").write_text("Flask\n")
    (source / "Procfile").write_text(
        "web: gunicorn shop.web:server\nrelease: flask db upgrade\nworker: rq worker high\nmail_out: python mail.py\n"
    )
    given = variables(flask_app_source_dir=str(source), flask_app_name="shop")
    assert found_by(given, "flask_app") == ""
    assert value(given, "flask_app_services") == ["shop", "shop-worker", "shop-mail-out"]
    assert value(given, "__flask_app_service.command")[-1] == "shop.web:server"
    # After the check of Gunicorn's settings, before anything starts
    assert value(given, "__flask_app_commands")[1:] == [["flask", "db", "upgrade"]]
    processes = value(given, "__flask_app_wanted_processes")
    assert [one["key"] for one in processes] == ["worker", "mail-out"]
    run = {"__flask_app_process": processes[0], "__flask_app_run": {"image": "shop:1", "image_id": ""}}
    assert value(given | run, "__flask_app_process_service.command")[-3:] == ["rq", "worker", "high"]


@pytest.mark.parametrize(
    ("first", "others", "needed"),
    [
        ({}, [], 8),
        ({"flask_app_workers": 3, "flask_app_threads": "5"}, [], 15),
        ({"flask_app_workers": 3, "flask_app_worker_class": "sync"}, [], 3),
        ({}, [{**BLOG, "flask_app_workers": 10}, WORKER], 48),
        ({}, [{**BLOG, "flask_app_processes": {"worker": {"command": ["work"], "count": 3}}}], 19),
        ({"flask_app_wants_database": False}, [BLOG], 8),
        ({}, [{**BLOG, "flask_app_state": "absent"}], 8),
    ],
)
def test_mysql_has_a_connection_for_each_thread(
    variables: Values, first: dict[str, Any], others: list[dict[str, Any]], needed: int
) -> None:
    given = variables(**first, miniweb_applications=others)
    assert found_by({**given, "mysql_max_connections": needed + 5}, "mysql") == ""
    said = f"mysql_max_connections is {needed + 4}: set it to at least {needed + 5}, because the applications may have {needed}"
    assert said in found_by({**given, "mysql_max_connections": needed + 4}, "mysql")


@pytest.mark.parametrize("name", ["flask_app_workers", "flask_app_threads"])
def test_no_application_is_without_workers(variables: Values, name: str) -> None:
    assert f"{name} is 0: set it to at least 1." in found_by(variables(**{name: 0}), "flask_app")
    assert f"{name} is -1: set it to at least 1." in found_in(variables(miniweb_applications=[{**BLOG, name: -1}]), 1)
