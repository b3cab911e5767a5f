"""Secrets of every shape are in no log entry and no result of a module."""

from __future__ import annotations

import ast
import syslog
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.miniweb.stack.plugins.module_utils.server_files import FileState, difference
from helpers.shapes import SHAPES, found

MODULES = Path(__file__).resolve().parents[2] / "plugins" / "modules"
LOGIN = {"user": "app", "database": "app", "privileges": ["SELECT"]}
FILE = {"dest": "/etc/systemd/system/web.service"}
# How each module is handed a secret
HANDED: dict[str, tuple[str, Any]] = {
    "a service's secret": ("compose_service", lambda s: {"secrets": [{"name": "a", "content": s}]}),
    "a service's file": ("compose_service", lambda s: {"files": [{"dest": "a", "secret": s}]}),
    "a service's contribution": (
        "compose_service",
        lambda s: {"contributions": [{"reader": "r", "ext": "password", "secret": s}]},
    ),
    "a service's environment": ("compose_service", lambda s: {"definition": {"image": "a", "environment": {"KEY": s}}}),
    "a contribution": ("contributions", lambda s: {"contributions": [{"reader": "r", "ext": "password", "secret": s}]}),
    "a unit's file": ("systemd_unit", lambda s: {"start": "timer", "files": [{**FILE, "secret": s}]}),
    "an account's password": ("mysql_account", lambda s: {**LOGIN, "password": s, "root_password": "another-one"}),
    "root's password": ("mysql_account", lambda s: {**LOGIN, "password": "another-one", "root_password": s}),
    "another account's password": (
        "mysql_account",
        lambda s: {
            **LOGIN,
            "password": "another-one",
            "root_password": "another-one",
            "also": [{**LOGIN, "user": "b", "password": s}],
        },
    ),
    "a private key": ("tls_certificate", lambda s: {"certificate": "-----BEGIN", "private_key": s}),
    "an option of the engine": ("docker_daemon", lambda s: {"configuration": {"proxies": {"http-proxy": s}}}),
    "a file packed with a source": ("source_archive", lambda s: {"extra_files": {"a": s}}),
}
# What a user has not marked as a secret is in the result, but not in the log either.
UNMARKED = {"a service's environment", "an option of the engine", "a file packed with a source"}


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Everything that modules write to the server's log."""
    lines: list[str] = []
    monkeypatch.setattr("ansible.module_utils.basic.has_journal", False)
    monkeypatch.setattr(syslog, "syslog", lambda priority, text: lines.append(str(text)))
    yield lines


def texts(value: Any) -> Iterator[str]:
    """All texts in a result."""
    if isinstance(value, dict):
        for one in value.values():
            yield from texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)
    else:
        yield str(value)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("handed", HANDED)
def test_a_secret_is_in_no_log_entry_and_no_result(
    run_module: Any, log: list[str], tmp_path: Path, handed: str, shape: str
) -> None:
    module, arguments = HANDED[handed]
    secret = SHAPES[shape]
    required: dict[str, dict[str, Any]] = {
        "compose_service": {"name": "web", "directory": str(tmp_path), "definition": {"image": "a"}},
        "contributions": {"name": "web", "contributions_directory": str(tmp_path)},
        "systemd_unit": {"name": "web"},
        "tls_certificate": {"directory": str(tmp_path)},
        "docker_daemon": {"path": str(tmp_path / "daemon.json")},
        "source_archive": {"path": str(tmp_path), "dest": str(tmp_path / "archive")},
    }
    result = run_module(module, check_mode=True, **{**required.get(module, {}), **arguments(secret)})
    written = "\n".join(log)
    assert "Invoked with" in written
    assert found([secret], written) == set()
    if handed not in UNMARKED:
        assert found([secret], "\n".join(texts(result))) == set()


def test_the_log_says_what_was_done_to_what(run_module: Any, log: list[str], tmp_path: Path) -> None:
    run_module("compose_service", check_mode=True, name="web", state="absent", directory=str(tmp_path))
    (line,) = log
    assert "name=web" in line
    assert "state=absent" in line


@pytest.mark.parametrize("path", sorted(MODULES.glob("*.py")), ids=lambda path: path.stem)
def test_no_module_is_built_on_ansibles_own(path: Path) -> None:
    names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
    assert "AnsibleModule" not in names, "Use ServerModule, whose log entry holds no secret."


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("proxy=http://me:s3cr3t@proxy:3128/", "proxy=http://me:********@proxy:3128/"),
        ('{"a": "mysql+pymysql://me:s3%40cr3t@db/x"}', '{"a": "mysql+pymysql://me:********@db/x"}'),
        (
            "redis://:s3cr3t@cache:6379/0 and https://me:t@b/",
            "redis://:********@cache:6379/0 and https://me:********@b/",
        ),
        ("http://proxy:3128/ and me@example.com", "http://proxy:3128/ and me@example.com"),
        ("https://me@git.example.com:443/a", "https://me@git.example.com:443/a"),
    ],
)
def test_a_diff_holds_no_password_of_a_url(text: str, shown: str) -> None:
    assert difference("/a", None, FileState(text.encode(), 0o644), hidden=False)["after"] == shown
