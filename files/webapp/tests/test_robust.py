"""No input causes a server error: the API against its description, pages, query strings, logins."""

from __future__ import annotations

import json
import os

import pytest
import schemathesis
import sqlalchemy as sa
from conftest import https, make_app
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from miniwebapp import api, openapi, users
from miniwebapp.models import User, db

CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]
few = settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
text = st.text(st.characters(codec="utf-8"), max_size=150) | st.sampled_from(
    ["\0", "%", "_", "\\", "/", "'", "é", "\u202e", "\U0001f600" * 70, "9" * 5000, "-1", "1e9", "٣", "a" * 5000]
)


@pytest.fixture(scope="session")
def described(migrated: Flask) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_wsgi("/api/openapi.json", migrated)


OPERATIONS = [
    (path, method)
    for path, operations in openapi.document({})["paths"].items()
    for method in operations
    if method != "parameters"
]


@pytest.mark.parametrize("mode", schemathesis.GenerationMode)
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_the_api_keeps_to_its_description(
    described: schemathesis.BaseSchema, path: str, method: str, mode: schemathesis.GenerationMode
) -> None:
    @few
    @given(case=described[path][method].as_strategy(generation_mode=mode))
    def keeps(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS)

    keeps()


def test_the_description_has_the_limits_of_the_fields(client: FlaskClient) -> None:
    schemas = client.get("/api/openapi.json").json["components"]["schemas"]
    assert schemas["NewUser"]["required"] == list(users.FIELDS)
    for name, field in users.FIELDS.items():
        given = schemas["NewUser"]["properties"][name]
        assert (given["minLength"], given["maxLength"]) == (field.shortest, field.longest)
    assert set(schemas["User"]["properties"]) == {"id", "name", "email", "username"}


def test_every_path_of_the_api_is_described(client: FlaskClient) -> None:
    described = client.get("/api/openapi.json").json["paths"]
    for rule in client.application.url_map.iter_rules():
        if rule.rule.startswith("/api/users"):
            operations = described[rule.rule.replace("<user_id:user_id>", "{id}")]
            assert {method.lower() for method in rule.methods or ()} - {"head", "options"} <= set(operations)


def test_the_description_needs_no_login() -> None:
    closed = https(make_app(os.environ["TEST_DATABASE_URL"]))
    assert closed.get("/api/openapi.json").status_code == 200


@few
@given(
    query=st.dictionaries(st.sampled_from(["search", "sort", "order", "page", "limit", "offset", "next"]) | text, text),
    raw=st.binary(max_size=30),
)
def test_query_strings(app: Flask, query: dict[str, str], raw: bytes) -> None:
    client = https(app)
    escaped = "".join(f"%{byte:02x}" for byte in raw)
    for path in ("/", "/api/users", "/login"):
        assert client.get(path, query_string=query).status_code < 500
        assert client.get(f"{path}?search={escaped}&sort={escaped}&page={escaped}&next={escaped}").status_code < 500
    for path in (f"/{escaped}", f"/api/users/{escaped}", f"/edit/{escaped}", f"/static/{escaped}"):
        assert client.get(path).status_code < 500


@few
@given(form=st.dictionaries(st.sampled_from([*users.FIELDS, "role", "token_name", "current_password"]) | text, text))
def test_forms(app: Flask, form: dict[str, str]) -> None:
    client = https(app)
    with client.session_transaction() as session:
        session["csrf_token"] = "0" * 40
    token = client.get("/add").text.split('name="csrf_token" value="')[1].split('"')[0]
    for path in ("/add", "/edit/1", "/delete/1", "/account/password", "/account/tokens"):
        assert client.post(path, data=form | {"csrf_token": token}).status_code < 500, path


@settings(few, max_examples=15)  # each costs a hash
@given(username=text, password=text, header=st.binary(max_size=40))
def test_logins(closed: Flask, username: str, password: str, header: bytes) -> None:
    client = https(closed)
    token = client.get("/login").text.split('name="csrf_token" value="')[1].split('"')[0]
    values = {"csrf_token": token, "username": username, "password": password}
    assert client.post("/login", data=values).status_code in (401, 429)
    for sent in ((username[:200], password[:200]), header.decode("latin-1")):
        credentials = {"auth": sent} if isinstance(sent, tuple) else {"headers": {"Authorization": f"Basic {sent}"}}
        try:
            assert client.get("/api/users", **credentials).status_code in (401, 429)
        except ValueError:  # werkzeug's client refuses a line break in a header, as servers do
            assert "\n" in header.decode("latin-1") or "\r" in header.decode("latin-1")


@pytest.mark.parametrize(
    "name", ["X-Request-ID", "X-Forwarded-Proto", "Accept-Language", "Cookie", "Authorization", "X-CSRFToken"]
)
@pytest.mark.parametrize(
    "value", ["", "\xff", "a" * 7000, "\0", "session=.eJw", "en;q=nan", "es-" * 500, "Bearer \xe9", "%"]
)
def test_headers(closed: Flask, name: str, value: str) -> None:
    for path in ("/", "/api/users", "/login", "/metrics"):
        assert https(closed).get(path, headers={name: value}).status_code < 500


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("limit=0", "limit must be a number from 1 to 1000"),
        ("limit=1001", "limit must be"),
        ("limit=", "limit must be"),
        ("limit=%D9%A3", "limit must be"),
        ("offset=-1", "offset must be a number from 0 to 100000"),
        ("offset=" + "9" * 5000, "offset must be"),
        ("sort=password_hash", "sort must be one of id, name, username, email"),
        ("order=up", "order must be one of asc, desc"),
        ("search=" + "a" * 121, "search is too long: 121 characters, 120 are allowed"),
    ],
)
def test_wrong_parameters_of_the_list(client: FlaskClient, query: str, said: str) -> None:
    answer = client.get(f"/api/users?{query}")
    assert answer.status_code == 400
    assert said in answer.json["message"]


@pytest.fixture
def many(app: Flask) -> FlaskClient:
    names = ["100% Ada", "100 Ada", "a_b", "aXb", "back\\slash", "Élodie", "eva", "Zoë", "'; DROP"]
    with app.app_context():
        rows = [{"name": n, "email": f"m{i}@b.example", "username": f"u{i}"} for i, n in enumerate(names)]
        db.session.execute(sa.insert(User), [row | {"password_hash": "-"} for row in rows])
        db.session.commit()
    return https(app)


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("100%", ["100% Ada"]),
        ("100", ["100 Ada", "100% Ada"]),
        ("a_", ["a_b"]),
        ("_", []),
        ("%", []),
        ("back\\", ["back\\slash"]),
        ("é", ["Élodie", "eva"]),
        ("E", ["Élodie", "eva"]),
        ("m3@", ["aXb"]),
        ("U8", ["'; DROP"]),
        ("'", ["'; DROP"]),
        (" zoë ", ["Zoë"]),
        ("Ada", []),
        ("\0", []),
    ],
)
def test_a_search_finds_what_begins_so(many: FlaskClient, search: str, found: list[str]) -> None:
    answer = many.get("/api/users", query_string={"search": search, "sort": "name"})
    assert sorted(user["name"] for user in answer.json) == sorted(found)
    page = many.get("/", query_string={"search": search}).text
    assert page.count("<bdi>") == len(found)


@pytest.mark.parametrize("sort", users.SORTS)
def test_pages_of_the_list_are_all_of_it_once(many: FlaskClient, sort: str) -> None:
    everybody = many.get("/api/users").json
    for order in api.ORDERS:
        path: str | None = f"/api/users?limit=4&sort={sort}&order={order}"
        seen = []
        while path:
            answer = many.get(path)
            seen += answer.json
            path = answer.headers["Link"].split(">")[0][1:] if "Link" in answer.headers else None
        assert sorted(user["id"] for user in seen) == [user["id"] for user in everybody]
        if sort != "name":  # MySQL's collation differs from Python's sort order
            keys = [user[sort] for user in seen]
            assert keys == sorted(keys, reverse=order == "desc")


def test_pages(many: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "PER_PAGE", 4)
    assert "Page 1 of 3" in many.get("/").text
    page = many.get("/?page=2&sort=email&order=desc").text
    assert "Page 2 of 3" in page
    assert 'aria-sort="descending"' in page
    assert "page=3" in page
    for number in ("3", "4", "999999999999"):
        assert "Page 3 of 3" in many.get(f"/?page={number}").text
    for number in ("0", "-1", "x", ""):
        assert "Page 1 of 3" in many.get(f"/?page={number}").text
    monkeypatch.setattr(users, "MOST_FOUND", 5)
    assert "More than 5 users are found" in many.get("/?search=u").text


def test_deep_and_large_json(client: FlaskClient) -> None:
    for body in ('{"name":' * 8000, '{"a":' + "9" * 60_000 + "}", json.dumps({"name": "\ud800"}), '{"name": NaN}'):
        answer = client.post("/api/users", data=body, content_type="application/json")
        assert answer.status_code == 400
