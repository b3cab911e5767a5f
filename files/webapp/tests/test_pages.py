from __future__ import annotations

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from miniwebapp import passwords
from miniwebapp.models import User, db

Person = dict[str, str]


def submit(client: FlaskClient, path: str, values: Person, page: str | None = None) -> TestResponse:
    """Post a form as a browser does: with the token found on its page."""
    token = re.search(r'name="csrf_token" value="([^"]+)"', client.get(page or path).text)
    assert token
    return client.post(path, data=values | {"csrf_token": token[1]})


def only_user(app: Flask) -> User:
    with app.app_context():
        return db.session.execute(db.select(User)).scalar_one()


def test_empty_list(client: FlaskClient) -> None:
    assert "There are no users yet" in client.get("/").text


def test_add_edit_delete(app: Flask, client: FlaskClient, ada: Person) -> None:
    response = submit(client, "/add", ada)
    assert (response.status_code, response.headers["Location"]) == (303, "/")
    page = client.get("/").text
    assert "User ada was added." in page
    assert "User ada was added." not in client.get("/").text
    user = only_user(app)
    assert f'href="/edit/{user.id}"' in page
    assert f'href="/delete/{user.id}"' in page

    assert 'value="Ada Lovelace"' in client.get(f"/edit/{user.id}").text
    changed = {"name": "Countess", "email": "c@example.com", "username": "countess", "password": ""}
    assert submit(client, f"/edit/{user.id}", changed).status_code == 303
    edited = only_user(app)
    assert (edited.name, edited.email, edited.username) == ("Countess", "c@example.com", "countess")
    assert edited.password_hash == user.password_hash
    submit(client, f"/edit/{user.id}", changed | {"password": "another one"})
    assert passwords.matches("another one", only_user(app).password_hash)

    assert "cannot be undone" in client.get(f"/delete/{user.id}").text
    assert client.get("/api/users").json, "looking at the confirmation deletes nothing"
    assert submit(client, f"/delete/{user.id}", {}).status_code == 303
    assert "User countess was deleted." in client.get("/").text
    assert client.get("/api/users").json == []


@pytest.mark.parametrize("path", ["/add", "/edit"])
def test_errors_keep_what_was_typed(app: Flask, client: FlaskClient, ada: Person, path: str) -> None:
    submit(client, "/add", ada)
    if path == "/edit":
        path = f"/edit/{only_user(app).id}"
    response = submit(client, path, {"name": "<b>Bob</b>", "email": "bob", "username": "b b", "password": "hush hush"})
    assert response.status_code == 400
    assert 'id="email-error">email must be an address' in response.text
    assert 'id="username-error">username may contain only' in response.text
    assert 'id="name-error"' not in response.text
    assert 'value="&lt;b&gt;Bob&lt;/b&gt;"' in response.text
    assert 'value="b b"' in response.text
    assert "hush hush" not in response.text


def test_duplicate(client: FlaskClient, ada: Person) -> None:
    submit(client, "/add", ada)
    response = submit(client, "/add", ada | {"username": "ADA", "email": "other@example.com"})
    assert response.status_code == 409
    assert 'id="username-error">username is already used by another user' in response.text
    assert 'value="other@example.com"' in response.text


@pytest.mark.parametrize("form", [{}, {"name": "only"}])
def test_incomplete_forms(app: Flask, client: FlaskClient, ada: Person, form: Person) -> None:
    submit(client, "/add", ada)
    for path in ("/add", f"/edit/{only_user(app).id}"):
        response = submit(client, path, form)
        assert response.status_code == 400
        assert "username is missing" in response.text


def test_markup_in_a_name_is_text(client: FlaskClient, ada: Person) -> None:
    submit(client, "/add", ada | {"name": "<script>alert(1)</script>"})
    page = client.get("/").text
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_forms_need_the_token_and_the_own_site(app: Flask, client: FlaskClient, ada: Person) -> None:
    submit(client, "/add", ada)
    user_id = only_user(app).id
    for path in ("/add", f"/edit/{user_id}", f"/delete/{user_id}"):
        assert client.post(path, data=ada).status_code == 400
    client.environ_base["HTTP_REFERER"] = "https://evil.example/"
    response = submit(client, f"/delete/{user_id}", {})
    assert response.status_code == 400
    assert "send the form again" in response.text
    assert only_user(app).username == "ada"


def test_error_pages(client: FlaskClient, away: FlaskClient) -> None:
    for path in ("/nothing", "/edit/1", "/delete/1", "/edit/99999999999", "/edit/x"):
        response = client.get(path)
        assert response.status_code == 404
        assert "<h1>Not Found</h1>" in response.text
    assert client.post("/add", data={"name": "x" * 70_000}).status_code == 413
    response = away.get("/")
    assert response.status_code == 503
    assert "The database cannot be reached" in response.text


def test_pages_contain_no_inline_script_or_style(app: Flask, client: FlaskClient, ada: Person) -> None:
    submit(client, "/add", ada)
    user_id = only_user(app).id
    for path in ("/", f"/edit/{user_id}", f"/delete/{user_id}", "/nothing"):
        page = client.get(path).text
        assert not re.search(r"<script|<style|\sstyle=|\son\w+=", page)
        for identifier in re.findall(r'<input id="(\w+)"', page):
            assert f'<label for="{identifier}">' in page
        for link in re.findall(r'(?:href|src)="(/static/[^"]+)"', page):
            with client.get(link) as response:
                assert response.status_code == 200
