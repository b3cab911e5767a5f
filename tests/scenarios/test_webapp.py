"""The application's own tests, in its own project, on a real MySQL."""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from helpers.server import ROOT, default_of
from helpers.waiting import eventually
from sandbox import registry
from sandbox.engine import docker, remove_container

NAME = "miniweb-webapp-tests"
ADDRESS = "127.0.80.7"


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of an empty database; a parameter is the size of its disk."""
    password = secrets.token_hex()
    image = registry.on_engine(default_of("mysql", "mysql_image"))
    given = {"MYSQL_ROOT_PASSWORD": secrets.token_hex(), "MYSQL_DATABASE": "miniwebapp", "MYSQL_USER": "miniwebapp"}
    options = ["--name", NAME, "--publish", f"{ADDRESS}:3306:3306", "--tmpfs", f"/var/lib/mysql:size={request.param}"]
    for name, value in (given | {"MYSQL_PASSWORD": password}).items():
        options += ["--env", f"{name}={value}"]
    # All have the same name and address.
    with (ROOT / ".sandbox" / "webapp.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        remove_container(NAME)
        docker("run", "--detach", *options, image)
        try:
            assert eventually(greets), docker("logs", "--tail", "20", NAME)
            yield f"mysql+pymysql://miniwebapp:{password}@{ADDRESS}/miniwebapp?charset=utf8mb4"
        finally:
            remove_container(NAME)


def greets() -> bool:
    """Whether a server speaks first, as MySQL does and Docker's own listener does not."""
    try:
        with socket.create_connection((ADDRESS, 3306), timeout=2) as connection:
            return bool(connection.recv(1))
    except OSError:
        return False


@pytest.mark.parametrize(
    ("database", "tests"),
    [("2g", "tests"), ("420m", "tests/full_disk.py")],
    indirect=["database"],
    ids=["all", "full_disk"],
)
def test_the_applications_own_tests_pass(database: str, tests: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", tests],
        cwd=ROOT / "files" / "webapp",
        # With the application's own time limit
        env={**os.environ, "TEST_DATABASE_URL": f"{database}&read_timeout=10"},
        check=False,
    )
    assert done.returncode == 0
