from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import https
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from miniwebapp import passwords
from miniwebapp.models import User, db

Person = dict[str, str]
UNKNOWN = ["0", "999999", "2147483647", "2147483648", "9" * 40, "9" * 5000, "-1", "1.5", "x", "%00", "\u0663"]


def add(client: FlaskClient, person: Person) -> int:
    response = client.post("/api/users", json=person)
    assert response.status_code == 201, response.json
    return int(response.headers["Location"].rsplit("/", 1)[1])


def stored(app: Flask, user_id: int) -> User:
    with app.app_context():
        return db.session.get_one(User, user_id)


def test_life_of_a_user(app: Flask, client: FlaskClient, ada: Person) -> None:
    assert client.get("/api/users").json == []
    response = client.post("/api/users", json=ada)
    assert (response.status_code, response.json) == (201, {"message": "User created successfully"})
    user_id = client.get("/api/users").json[0]["id"]
    shown = {"id": user_id, "name": "Ada Lovelace", "email": "ada@example.com", "username": "ada"}
    assert client.get("/api/users").json == [shown]
    assert client.get(response.headers["Location"]).json == shown

    response = client.put(f"/api/users/{user_id}", json={"name": "Ada, Countess of Lovelace 👩‍🔬"})
    assert (response.status_code, response.json) == (200, {"message": "User updated successfully"})
    assert client.get(f"/api/users/{user_id}").json == shown | {"name": "Ada, Countess of Lovelace 👩‍🔬"}
    full = {"name": "A", "email": "a@b.example", "username": "a", "password": "another one"}
    assert client.put(f"/api/users/{user_id}", json=full).status_code == 200
    assert client.get(f"/api/users/{user_id}").json == {
        "id": user_id,
        "name": "A",
        "email": "a@b.example",
        "username": "a",
    }
    assert passwords.matches("another one", stored(app, user_id).password_hash)

    response = client.delete(f"/api/users/{user_id}")
    assert (response.status_code, response.json) == (200, {"message": "User deleted successfully"})
    assert client.get(f"/api/users/{user_id}").status_code == 404


def test_users_are_ordered_by_id(client: FlaskClient, ada: Person) -> None:
    ids = [add(client, ada | {"email": f"{name}@example.com", "username": name}) for name in ("z", "a", "m")]
    assert [user["id"] for user in client.get("/api/users").json] == sorted(ids)


def test_password_is_hashed_and_kept_unless_given(app: Flask, client: FlaskClient, ada: Person) -> None:
    user_id = add(client, ada | {"password": " spaces stay "})
    before = stored(app, user_id).password_hash
    assert before.startswith("$argon2id$")
    assert passwords.matches(" spaces stay ", before)
    client.put(f"/api/users/{user_id}", json={"name": "Other"})
    assert stored(app, user_id).password_hash == before


def test_spaces_around_values_are_dropped(client: FlaskClient, ada: Person) -> None:
    user_id = add(client, {key: f" {value} " for key, value in ada.items()})
    assert client.get(f"/api/users/{user_id}").json["username"] == "ada"


@pytest.mark.parametrize("method", ["get", "put", "delete"])
@pytest.mark.parametrize("user_id", UNKNOWN, ids=lambda value: value[:12])
def test_unknown_user(client: FlaskClient, ada: Person, method: str, user_id: str) -> None:
    response = getattr(client, method)(f"/api/users/{user_id}", json=ada)
    assert response.status_code == 404
    assert response.json["message"]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        *[(field, None, "must be text") for field in ("name", "email", "username", "password")],
        *[(field, "", "must not be empty") for field in ("name", "email", "username", "password")],
        *[(field, " \u00a0", "must not be empty") for field in ("name", "email", "username", "password")],
        *[(field, "a\0b", "control characters") for field in ("name", "email", "username", "password")],
        ("name", "a\n", "control characters"),
        ("name", "\ud800", "control characters"),
        ("password", "\udfff", "control characters"),
        ("name", 7, "must be text"),
        ("email", ["a@example.com"], "must be text"),
        ("username", {"a": 1}, "must be text"),
        ("password", True, "must be text"),
        ("name", "x" * 121, "too long"),
        ("email", "x" * 250 + "@a.de", "too long"),
        ("username", "x" * 65, "too long"),
        ("password", "x" * 257, "too long"),
        ("email", "nobody", "must be an address"),
        ("email", "a@b@c", "must be an address"),
        ("email", "a b@example.com", "must be an address"),
        ("email", "ü@example.com", "must be an address"),
        ("username", "two words", "may contain only"),
        ("username", "аda", "may contain only"),
    ],
)
def test_bad_field(client: FlaskClient, ada: Person, field: str, value: object, said: str) -> None:
    user_id = add(client, ada)
    other = ada | {"email": "b@example.com", "username": "b"}
    for response in (
        client.post("/api/users", json=other | {field: value}),
        client.put(f"/api/users/{user_id}", json={field: value}),
    ):
        assert response.status_code == 400
        assert response.json["message"].startswith(f"{field} ")
        assert said in response.json["message"]
    assert len(client.get("/api/users").json) == 1


def test_longest_values_fit(client: FlaskClient) -> None:
    label = "d" * 63
    email = "e" * (254 - 3 * 64) + f"@{label}.{label}.{label}"
    longest = {"name": "\U0001f600" * 120, "email": email[-254:], "username": "u" * 64, "password": "word" * 64}
    user_id = add(client, longest)
    shown = client.get(f"/api/users/{user_id}").json
    assert shown == {"id": user_id} | {key: longest[key] for key in ("name", "email", "username")}


@pytest.mark.parametrize("field", ["name", "email", "username", "password"])
def test_missing_field(client: FlaskClient, ada: Person, field: str) -> None:
    del ada[field]
    response = client.post("/api/users", json=ada)
    assert (response.status_code, response.json) == (400, {"message": f"{field} is missing"})


def test_all_errors_are_told_at_once(client: FlaskClient) -> None:
    message = client.post("/api/users", json={"name": 1}).json["message"]
    assert message == "name must be text; email is missing; username is missing; password is missing"


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 60_000, "application/json", 400),
        (b'{"name": ' + b"1" * 5000 + b"}", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'"text"', "application/json", 400),
        (b"null", "application/json", 400),
        (b"{}", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"name=a", "application/x-www-form-urlencoded", 415),
        (b" " * (64 * 1024 + 1), "application/json", 413),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_bad_body(client: FlaskClient, ada: Person, body: bytes, content_type: str, status: int) -> None:
    user_id = add(client, ada)
    for response in (
        client.post("/api/users", data=body, content_type=content_type),
        client.put(f"/api/users/{user_id}", data=body, content_type=content_type),
    ):
        assert response.status_code == status
        assert response.json["message"]


def test_too_large_a_body_of_unknown_length(client: FlaskClient, ada: Person) -> None:
    body = io.BytesIO(json.dumps(ada).encode() + b" " * 64 * 1024)
    response = client.post(
        "/api/users",
        input_stream=body,
        content_type="application/json",
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert response.status_code == 413
    assert client.get("/api/users").json == []


@pytest.mark.parametrize(
    ("same", "fields"),
    [
        ({"email": "ada@example.com"}, ["email"]),
        ({"username": "ada"}, ["username"]),
        ({"email": "ADA@Example.COM"}, ["email"]),
        ({"username": "aDa"}, ["username"]),
        ({"email": "ada@example.com", "username": "ada"}, ["email", "username"]),
    ],
)
def test_duplicate(client: FlaskClient, ada: Person, same: Person, fields: list[str]) -> None:
    add(client, ada)
    other = {"name": "B", "email": "b@example.com", "username": "b", "password": "another secret"}
    user_id = add(client, other)
    message = "; ".join(f"{field} is already used by another user" for field in fields)
    third = other | {"email": "c@example.com", "username": "c"}
    for response in (client.post("/api/users", json=third | same), client.put(f"/api/users/{user_id}", json=same)):
        assert (response.status_code, response.json) == (409, {"message": message})
    kept = client.put(f"/api/users/{user_id}", json={"email": "b@example.com", "username": "c"} | same)
    assert kept.json == {"message": message}, "the user's own e-mail is no duplicate"
    assert client.get(f"/api/users/{user_id}").json["username"] == "b"


def test_user_may_keep_or_recase_the_own_names(client: FlaskClient, ada: Person) -> None:
    user_id = add(client, ada)
    assert client.put(f"/api/users/{user_id}", json=ada).status_code == 200
    assert client.put(f"/api/users/{user_id}", json={"username": "Ada"}).status_code == 200
    assert client.get(f"/api/users/{user_id}").json["username"] == "Ada"


def test_same_user_at_the_same_time(app: Flask, ada: Person) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: https(app).post("/api/users", json=ada).status_code, range(4)))
    assert sorted(answers) == [201, 409, 409, 409]


def test_user_deleted_between_read_and_write(client: FlaskClient, ada: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("miniwebapp.users.find", lambda _: None)
    response = client.put("/api/users/999999", json=ada)
    assert (response.status_code, response.json) == (404, {"message": "User not found"})


def test_errors_are_json(client: FlaskClient) -> None:
    for response, status in (
        (client.get("/api"), 404),
        (client.get("/api/nothing"), 404),
        (client.patch("/api/users", json={}), 405),
    ):
        assert (response.status_code, response.content_type) == (status, "application/json")
        assert response.json["message"]
    assert "POST" in response.headers["Allow"]


def test_unexpected_error_is_json_without_details(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("miniwebapp.auth.rows", lambda query: 1 / 0)
    response = client.get("/api/users")
    assert (response.status_code, response.content_type) == (500, "application/json")
    assert "division" not in response.json["message"]


def test_database_away(away: FlaskClient, ada: Person) -> None:
    for response in (away.get("/api/users"), away.post("/api/users", json=ada)):
        assert response.status_code == 503
        assert response.json == {"message": "The database cannot be reached; try again in a moment"}


text = st.text(st.characters(codec=None), max_size=130)  # surrogates too
value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)
field = st.sampled_from(["name", "email", "username", "password"])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.dictionaries(field, value) | value, ident=st.integers() | st.just("{id}"))
def test_no_input_breaks_the_server(app: Flask, body: object, ident: object) -> None:
    client = https(app)
    data = json.dumps(body)
    for response in (
        client.post("/api/users", data=data, content_type="application/json"),
        client.put(f"/api/users/{ident}", data=data, content_type="application/json"),
    ):
        assert response.status_code < 500
        assert isinstance(response.json["message"], str)
    assert client.get("/api/users").status_code == 200
