"""A database whose disk is full: what cannot be stored is refused with the reason, and reading goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pymysql
import pytest
import sqlalchemy as sa
from conftest import Person, https
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError, ProgrammingError

from miniwebapp import room
from miniwebapp.models import db

FULL = (1114, "The table 'users' is full")
LOST = (2013, "Lost connection to MySQL server during query")


@pytest.fixture
def refuse(app: Flask, closed: Flask) -> Iterator[list[tuple[int, str]]]:
    """The error with which the database refuses to store anything, once the list has one."""
    errors: list[tuple[int, str]] = []

    def execute(cursor: object, statement: str, parameters: object, context: object) -> None:
        if errors and not statement.lstrip().upper().startswith(("SELECT", "SHOW")):
            raise pymysql.err.OperationalError(*errors[0])

    engines = []
    for one in (app, closed):
        with one.app_context():
            engines.append(db.engine)
    for engine in engines:
        sa.event.listen(engine, "do_execute", execute)
    yield errors
    for engine in engines:
        sa.event.remove(engine, "do_execute", execute)


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (FULL, True),
        ((1021, "Disk full (/tmp/#sql_1_0.MAI); waiting for someone to free some space..."), True),
        ((1878, "Temporary file write failure."), True),
        ((3, "Error writing file '/tmp/MYfd=42' (OS errno 28 - No space left on device)"), True),
        ((1026, "Error writing file './app/users.ibd' (errno: 28 - No space left on device)"), True),
        ((1030, "Got error 28 from storage engine"), True),
        ((1030, "Got error 128 from storage engine"), False),
        ((1026, "Error writing file './app/users.ibd' (errno: 2 - No such file or directory)"), False),
        ((2003, "Can't connect to MySQL server on 'mysql'"), False),
        ((1205, "Lock wait timeout exceeded; try restarting transaction"), False),
        (LOST, False),
        ((), False),
    ],
    ids=str,
)
def test_which_errors_mean_that_there_is_no_room(app: Flask, error: tuple[int, str], full: bool) -> None:
    with app.app_context():
        assert room.lacks(OperationalError("INSERT", {}, pymysql.err.OperationalError(*error))) == full


@pytest.mark.parametrize(
    ("state", "seconds", "full"),
    [("waiting for handler commit", 9, True), ("waiting for handler commit", 1, False), ("executing", 9, False)],
)
def test_commits_that_wait_mean_that_there_is_no_room(
    app: Flask, monkeypatch: pytest.MonkeyPatch, state: str, seconds: int, full: bool
) -> None:
    row = sa.select(sa.literal(state).label("State"), sa.literal(seconds).label("Time"))
    with app.app_context():
        rows = db.session.execute(row).all()
        monkeypatch.setattr(room, "read", lambda statement: rows)
        assert room.lacks(OperationalError("INSERT", {}, pymysql.err.OperationalError(*LOST))) == full


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_the_api_says_that_there_is_no_room(
    client: FlaskClient, ada: Person, refuse: list[tuple[int, str]], method: str
) -> None:
    client.post("/api/users", json=ada)
    (user,) = client.get("/api/users").json
    refuse.append(FULL)
    path = "/api/users" if method == "post" else f"/api/users/{user['id']}"
    changed = ada | {"name": "Another", "email": "other@example.com", "username": "other"}
    response = getattr(client, method)(path, json=changed)
    assert response.status_code == 507
    assert "no room left in the database" in response.json["message"]
    assert client.get("/api/users").json == [user]
    refuse.clear()
    assert getattr(client, method)(path, json=changed).status_code in (200, 201)


@pytest.mark.parametrize(
    ("language", "sentence"), [("en", "There is no room left"), ("es", "No queda espacio en la base de datos")]
)
def test_the_page_says_that_there_is_no_room(
    client: FlaskClient, ada: Person, refuse: list[tuple[int, str]], language: str, sentence: str
) -> None:
    page = client.get("/add")
    token = page.text.partition('name="csrf_token"')[2].partition('value="')[2].partition('"')[0]
    refuse.append(FULL)
    response = client.post("/add", data=ada | {"csrf_token": token}, headers={"Accept-Language": language})
    assert response.status_code == 507
    assert sentence in response.text
    assert client.get("/").status_code == 200


def test_people_can_log_in_without_room(closed: Flask, ada: Person, refuse: list[tuple[int, str]]) -> None:
    client = https(closed)
    runner = closed.test_cli_runner()
    made = runner.invoke(
        args=["create-admin", "--username", "ada", "--email", ada["email"]], env={"ADMIN_PASSWORD": ada["password"]}
    )
    assert made.exit_code == 0, made.output
    # A failure before, which a login removes
    assert client.get("/api/users", auth=("ada", "wrong password")).status_code == 401
    refuse.append(FULL)
    assert client.get("/api/users", auth=("ada", ada["password"])).status_code == 200
    # One that cannot be counted is not let through.
    assert client.get("/api/users", auth=("ada", "wrong password")).status_code == 507


def test_other_errors_of_the_database_remain_errors(
    client: FlaskClient, ada: Person, refuse: list[tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = ProgrammingError("SELECT", {}, pymysql.err.ProgrammingError(1146, "no table"))

    def fail(query: object) -> None:
        raise wrong

    monkeypatch.setattr("miniwebapp.auth.rows", fail)
    assert client.get("/api/users").status_code == 500
    refuse.append((1205, "Lock wait timeout exceeded; try restarting transaction"))
    assert client.post("/api/users", json=ada).status_code == 503
