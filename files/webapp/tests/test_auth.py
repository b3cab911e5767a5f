"""Who may do what: login, sessions, roles, HTTP Basic, tokens, throttling, passwords."""

from __future__ import annotations

import base64
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import Person, https
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.security import generate_password_hash
from werkzeug.test import TestResponse

from miniwebapp import passwords, users
from miniwebapp.models import ADMIN, VIEWER, ApiToken, LoginFailure, User, db, read

PASSWORD = "correct horse battery"


def person(username: str, **changed: str) -> Person:
    return {
        "name": username.title(),
        "email": f"{username}@example.com",
        "username": username,
        "password": PASSWORD,
    } | changed


def add(app: Flask, username: str, role: str) -> int:
    with app.app_context():
        return users.create(users.validate(person(username)) | {"role": role})


def token_in(page: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found
    return found[1]


def submit(client: FlaskClient, path: str, values: Person, page: str | None = None) -> TestResponse:
    return client.post(path, data=values | {"csrf_token": token_in(client.get(page or path).text)})


def log_in(client: FlaskClient, username: str, password: str = PASSWORD, path: str = "/login") -> TestResponse:
    return submit(client, path, {"username": username, "password": password})


def basic(username: str, password: str = PASSWORD) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


@pytest.fixture
def admin(closed: Flask) -> FlaskClient:
    add(closed, "boss", ADMIN)
    client = https(closed)
    assert log_in(client, "boss").status_code == 303
    return client


@pytest.fixture
def viewer(closed: Flask) -> FlaskClient:
    add(closed, "guest", VIEWER)
    client = https(closed)
    assert log_in(client, "guest").status_code == 303
    return client


def test_everything_is_closed_without_a_login(closed: Flask) -> None:
    client, public = https(closed), {"account.login", "account.enter", "static", "health.alive", "health.ready"}
    for rule in closed.url_map.iter_rules():
        path = re.sub(r"<[^>]+>", "1", rule.rule)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            if rule.endpoint in public | {"metrics.show", "api.description"}:
                continue
            status = client.open(path, method=method, json={} if path.startswith("/api") else None).status_code
            assert status in ({401} if path.startswith("/api") else {302, 400}), (method, path, status)


def test_pages_lead_to_the_login_and_back(closed: Flask) -> None:
    add(closed, "boss", ADMIN)
    client = https(closed)
    answer = client.get("/?search=a")
    assert answer.headers["Location"] == "/login?next=/?search%3Da"
    assert log_in(client, "boss", path=answer.headers["Location"]).headers["Location"] == "/?search=a"
    assert "Boss" in client.get("/").text
    assert client.get("/login").status_code == 302


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "javascript:a",
        "",
        "evil",
        "//[",
        "/\t/evil.example",
    ],
)
def test_nobody_is_led_elsewhere(closed: Flask, target: str) -> None:
    add(closed, "boss", ADMIN)
    client = https(closed)
    answer = client.post(
        "/login",
        query_string={"next": target},
        data={
            "username": "boss",
            "password": PASSWORD,
            "csrf_token": token_in(client.get("/login").text),
        },
    )
    assert answer.headers["Location"] == "/"


def test_the_cookie_is_for_this_site_over_https_and_not_for_scripts(admin: FlaskClient) -> None:
    cookie = admin.get_cookie("session")
    assert cookie
    assert (cookie.secure, cookie.http_only, cookie.same_site) == (True, True, "Lax")
    assert cookie.expires


def test_a_wrong_password_and_an_unknown_user_look_the_same(closed: Flask) -> None:
    add(closed, "boss", ADMIN)
    answers = [log_in(https(closed), name, "wrong password") for name in ("boss", "nobody", "n\u00f6body", "boss\x00")]
    assert {answer.status_code for answer in answers} == {401}
    assert all("The username or the password is wrong" in answer.text for answer in answers)
    assert "WWW-Authenticate" not in answers[0].headers


def test_forms_need_their_token(admin: FlaskClient) -> None:
    assert admin.post("/add", data=person("eve")).status_code == 400
    assert admin.post("/logout").status_code == 400


def test_logging_out(admin: FlaskClient) -> None:
    assert submit(admin, "/logout", {}, page="/").status_code == 303
    assert "You have logged out." in admin.get("/login").text
    assert admin.get("/").status_code == 302


def test_a_viewer_reads(closed: Flask, viewer: FlaskClient) -> None:
    boss = add(closed, "boss", ADMIN)
    page = viewer.get("/").text
    assert "boss@example.com" in page
    assert "/edit/" not in page
    assert "Add a user" not in page
    assert viewer.get(f"/api/users/{boss}").status_code == 200
    for method, path in (
        ("GET", "/add"),
        ("GET", f"/edit/{boss}"),
        ("DELETE", f"/api/users/{boss}"),
        ("POST", "/api/users"),
    ):
        answer = viewer.open(path, method=method, json={} if path.startswith("/api") else None)
        assert answer.status_code == 403, path
    token = token_in(viewer.get("/").text)
    assert viewer.post(f"/delete/{boss}", data={"csrf_token": token}).status_code == 403


def test_an_administrator_makes_another_one(closed: Flask, admin: FlaskClient, viewer: FlaskClient) -> None:
    with closed.app_context():
        guest = db.session.execute(db.select(User.id).filter_by(username="guest")).scalar_one()
    kept = {"name": "Guest", "email": "guest@example.com", "username": "guest", "password": ""}
    assert submit(admin, f"/edit/{guest}", kept | {"role": "boss"}).status_code == 400
    assert submit(admin, f"/edit/{guest}", kept | {"role": ADMIN}).status_code == 303
    assert viewer.get("/add").status_code == 200, "at once, in the same session"


def test_the_last_administrator_stays(closed: Flask, admin: FlaskClient) -> None:
    with closed.app_context():
        boss = db.session.execute(db.select(User.id)).scalar_one()
    kept = {"name": "Boss", "email": "boss@example.com", "username": "boss", "password": "", "role": VIEWER}
    for answer in (submit(admin, f"/edit/{boss}", kept), submit(admin, f"/delete/{boss}", {})):
        assert answer.status_code == 409
        assert "This is the only administrator: make another user one first" in answer.text
    answer = admin.delete(f"/api/users/{boss}")
    assert (answer.status_code, answer.json) == (
        409,
        {"message": "This is the only administrator: make another user one first"},
    )
    add(closed, "second", ADMIN)
    assert submit(admin, f"/delete/{boss}", {}).status_code == 303
    assert admin.get("/").status_code == 302, "a deleted user's session has ended"


def test_changing_the_own_password_ends_other_sessions(closed: Flask, viewer: FlaskClient) -> None:
    other = https(closed)
    log_in(other, "guest")
    values = {"current_password": PASSWORD, "password": "a very new password"}
    wrong = submit(viewer, "/account/password", values | {"current_password": "wrong"}, page="/account")
    assert wrong.status_code == 401
    assert 'id="current_password-error"' in wrong.text
    short = submit(viewer, "/account/password", values | {"password": "short"}, page="/account")
    assert (short.status_code, "too short: 5 characters, at least 10 are needed" in short.text) == (400, True)
    assert submit(viewer, "/account/password", values, page="/account").status_code == 303
    assert viewer.get("/").status_code == 200
    assert other.get("/").status_code == 302
    assert log_in(https(closed), "guest", "a very new password").status_code == 303


def test_http_basic(closed: Flask) -> None:
    add(closed, "boss", ADMIN)
    client = https(closed)
    assert client.get("/api/users", headers=basic("boss")).status_code == 200
    assert client.post("/api/users", json=person("ada"), headers=basic("boss")).status_code == 201
    answer = client.get("/api/users", headers=basic("boss", "wrong"))
    assert (answer.status_code, answer.json) == (401, {"message": "The username or the password is wrong"})
    assert answer.headers["WWW-Authenticate"].startswith("Basic")
    assert not client.get_cookie("session")


@pytest.mark.parametrize("header", ["Basic", "Basic !!!", "Basic YQ==", "Bearer", "Bearer x", "Digest a=b", "\u00e4"])
def test_other_credentials_are_refused(closed: Flask, header: str) -> None:
    assert https(closed).get("/api/users", headers={"Authorization": header}).status_code == 401


def test_a_token_is_shown_once_works_and_is_revoked(closed: Flask, viewer: FlaskClient) -> None:
    page = submit(viewer, "/account/tokens", {"token_name": "backup"}, page="/account").text
    found = re.search(r"<code>([^<]+)</code>", page)
    assert found
    header = {"Authorization": f"Bearer {found[1]}"}
    assert found[1] not in viewer.get("/account").text
    assert https(closed).get("/api/users", headers=header).status_code == 200
    assert https(closed).post("/api/users", json=person("eve"), headers=header).status_code == 403
    with closed.app_context():
        assert db.session.execute(db.select(ApiToken.digest)).scalar_one() != found[1]
        identifier = db.session.execute(db.select(ApiToken.id)).scalar_one()
    assert submit(viewer, f"/account/tokens/{identifier}/revoke", {}, page="/account").status_code == 303
    assert https(closed).get("/api/users", headers=header).status_code == 401
    assert submit(viewer, "/account/tokens", {"token_name": " "}, page="/account").status_code == 400


def token_of(app: Flask, username: str, name: str = "backup") -> str:
    return app.test_cli_runner().invoke(args=["token", "create", username, "--name", name]).output.strip()


def works(app: Flask, token: str) -> bool:
    return https(app).get("/api/users", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def identifier(app: Flask, username: str) -> int:
    with app.app_context():
        return db.session.execute(db.select(User.id).where(User.username == username)).scalar_one()


def as_edited(username: str, **changed: str) -> Person:
    return person(username, password="") | changed


OTHER = "another password"


def by_page(app: Flask, admin: FlaskClient, username: str) -> int:
    path = f"/edit/{identifier(app, username)}"
    return submit(admin, path, as_edited(username, password=OTHER)).status_code


def by_api(app: Flask, admin: FlaskClient, username: str) -> int:
    return admin.put(f"/api/users/{identifier(app, username)}", json={"password": OTHER}).status_code


def by_own_page(app: Flask, admin: FlaskClient, username: str) -> int:
    client = https(app)
    log_in(client, username)
    values = {"current_password": PASSWORD, "password": OTHER}
    return submit(client, "/account/password", values, page="/account").status_code


def by_command(app: Flask, admin: FlaskClient, username: str) -> int:
    return app.test_cli_runner().invoke(args=["set-password", username, "--password", OTHER]).exit_code


def by_another_name(app: Flask, admin: FlaskClient, username: str) -> int:
    return submit(admin, f"/edit/{identifier(app, username)}", as_edited(username, name="Other")).status_code


def by_deleting(app: Flask, admin: FlaskClient, username: str) -> int:
    return submit(admin, f"/delete/{identifier(app, username)}", {}).status_code


@pytest.mark.parametrize(
    ("way", "username", "answer", "left"),
    [
        (by_page, "guest", 303, False),
        (by_api, "guest", 200, False),
        (by_command, "guest", 0, False),
        (by_command, "boss", 0, False),
        (by_deleting, "guest", 303, False),
        # Their own doing
        (by_own_page, "guest", 303, True),
        (by_page, "boss", 303, True),
        (by_api, "boss", 200, True),
        (by_another_name, "guest", 303, True),
    ],
)
def test_tokens_end_when_someone_else_sets_the_password(
    closed: Flask, admin: FlaskClient, way: Any, username: str, answer: int, left: bool
) -> None:
    add(closed, "guest", VIEWER)
    add(closed, "bystander", VIEWER)
    token, others = token_of(closed, username), token_of(closed, "bystander")
    assert works(closed, token)
    assert way(closed, admin, username) == answer
    assert works(closed, token) is left
    assert works(closed, others)


def test_what_a_token_may_do_is_looked_up_with_each_request(closed: Flask) -> None:
    runner, client = closed.test_cli_runner(), https(closed)
    own, other = add(closed, "reader", VIEWER), add(closed, "bystander", VIEWER)
    headers = {"Authorization": f"Bearer {token_of(closed, 'reader')}"}
    some = client.get("/api/users?limit=1000", headers=headers).json
    assert {user["id"] for user in some} >= {own, other}
    paths = ("/api/users", "/api/users?limit=5", f"/api/users/{other}", "/api/users/999999999")

    def answers(given: dict[str, str]) -> list[int]:
        return [client.get(path, headers=given).status_code for path in paths]

    assert answers(headers) == [200, 200, 200, 404]
    assert client.get("/api/users", headers=headers).json == sorted(some, key=lambda user: user["id"])
    assert client.get(f"/api/users/{other}", headers=headers).json in some
    assert client.head("/api/users", headers=headers).status_code == 200
    assert client.delete(f"/api/users/{other}", headers=headers).status_code == 403
    with closed.app_context():
        db.session.execute(db.update(User).where(User.id == own).values(role=ADMIN))
        db.session.commit()
    assert client.delete(f"/api/users/{other}", headers=headers).status_code == 200
    assert answers(headers) == [200, 200, 404, 404]
    assert answers({"Authorization": "Bearer another"}) == [401] * 4
    (line,) = runner.invoke(args=["token", "list", "reader"]).output.strip().splitlines()
    assert runner.invoke(args=["token", "revoke", "reader", line.split("\t")[0]]).exit_code == 0
    assert answers(headers) == [401] * 4


def test_a_password_that_is_refused_ends_no_token(closed: Flask, admin: FlaskClient) -> None:
    add(closed, "guest", VIEWER)
    token, path = token_of(closed, "guest"), f"/edit/{identifier(closed, 'guest')}"
    assert submit(admin, path, as_edited("guest", password="short")).status_code == 400
    assert submit(admin, path, as_edited("guest", password=OTHER, email="boss@example.com")).status_code == 409
    assert works(closed, token)


def test_administrators_see_and_revoke_the_tokens_of_others(closed: Flask, admin: FlaskClient) -> None:
    add(closed, "guest", VIEWER)
    path = f"/edit/{identifier(closed, 'guest')}"
    assert "Tokens for programs" not in admin.get(path).text
    token, other = token_of(closed, "guest", "nightly <backup>"), token_of(closed, "guest", "reports")
    page = admin.get(path).text
    assert "nightly &lt;backup&gt;" in page
    assert "A new password ends these tokens, too." in page
    assert token not in page
    first, second = re.findall(rf'action="({path}/tokens/[0-9]+/revoke)"', page)
    assert submit(admin, first, {}, page=path).headers["Location"] == path
    assert (works(closed, token), works(closed, other)) == (False, True)
    # Not by way of another user's page
    own = f"/edit/{identifier(closed, 'boss')}"
    assert submit(admin, second.replace(path, own), {}, page=path).status_code == 303
    assert works(closed, other)
    assert submit(admin, second.replace(path, "/edit/999999"), {}, page=path).status_code == 404
    assert "A new password ends" not in admin.get(own).text


def test_viewers_neither_see_nor_revoke_the_tokens_of_others(closed: Flask, viewer: FlaskClient) -> None:
    add(closed, "boss", ADMIN)
    token, boss = token_of(closed, "boss"), identifier(closed, "boss")
    with closed.app_context():
        number = db.session.execute(db.select(ApiToken.id)).scalar_one()
    assert viewer.get(f"/edit/{boss}").status_code == 403
    for path in (f"/edit/{boss}/tokens/{number}/revoke", f"/account/tokens/{number}/revoke"):
        submit(viewer, path, {}, page="/account")
    assert works(closed, token)


def test_guessing_is_slowed_down(closed: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    add(closed, "boss", ADMIN)
    client = https(closed)
    for name in ("boss", "boss ", "BOSS", "boss", " boss"):
        assert log_in(client, name, "wrong").status_code == 401
    answer = log_in(client, "BOSS")
    assert answer.status_code == 429, "even with the right password"
    assert 0 < int(answer.headers["Retry-After"]) <= 15 * 60 + 1
    assert "Too many failed logins: try again in" in answer.text
    assert client.get("/api/users", headers=basic("boss")).status_code == 429

    elsewhere = https(closed)
    elsewhere.environ_base["HTTP_X_FORWARDED_FOR"] = "198.51.100.1"
    assert log_in(elsewhere, "boss").status_code == 303, "others are not locked out"
    monkeypatch.setitem(closed.config, "LOGIN_WINDOW_SECONDS", -1)
    assert log_in(client, "boss", "wrong").status_code == 401
    with closed.app_context():
        assert db.session.query(LoginFailure).count() == 2, "what no longer counts is removed"


def test_guessing_names_is_slowed_down(closed: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(closed.config, "LOGIN_FAILURES_PER_ADDRESS", 3)
    client = https(closed)
    assert [log_in(client, f"name{i}", "wrong").status_code for i in range(4)] == [401, 401, 401, 429]


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("short", "password is too short: 5 characters, at least 10 are needed"),
        ("Password123", "password is among the first that anybody tries"),
        ("aaaaaaaaaaaaaa", "password is among the first that anybody tries"),
        ("LOVELACE-ADA", "password must not be the name, e-mail or username"),
    ],
)
def test_bad_passwords_are_refused_with_the_reason(client: FlaskClient, password: str, said: str) -> None:
    values = person("lovelace-ada", password=password)
    answer = client.post("/api/users", json=values)
    assert (answer.status_code, answer.json) == (400, {"message": said})


def test_hashes_of_the_former_version_work_and_are_renewed(closed: Flask) -> None:
    user_id = add(closed, "boss", ADMIN)
    with closed.app_context():
        db.session.get_one(User, user_id).password_hash = generate_password_hash("an old password", method="scrypt")
        db.session.commit()
    assert log_in(https(closed), "boss", "an old password").status_code == 303
    with closed.app_context():
        kept = db.session.get_one(User, user_id).password_hash
    assert kept.startswith("$argon2id$")
    assert passwords.matches("an old password", kept)


def test_open_access_says_so(client: FlaskClient, viewer: FlaskClient) -> None:
    assert "Demonstration: without a login, everybody" in client.get("/").text
    assert "Demonstration" not in viewer.get("/").text


def test_the_first_administrator(closed: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    runner, words = closed.test_cli_runner(), ["create-admin", "--email", "admin@example.com"]
    monkeypatch.delenv("ADMIN_PASSWORD", raising=False)
    assert "ADMIN_PASSWORD is not set" in runner.invoke(args=words).output
    monkeypatch.setenv("ADMIN_PASSWORD", PASSWORD)
    assert runner.invoke(args=words).output == "Added the administrator admin.\n"
    monkeypatch.setenv("ADMIN_PASSWORD", "another password")
    assert runner.invoke(args=words).exit_code == 0
    client = https(closed)
    assert log_in(client, "admin").status_code == 303
    assert client.get("/add").status_code == 200
    assert "There is no user" in runner.invoke(args=["create-token", "nobody", "--name", "a"]).output
    token = runner.invoke(args=["create-token", "admin", "--name", "a program"]).output.strip()
    assert https(closed).get("/api/users", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    done = runner.invoke(args=["set-password", "admin", "--password", "a third password"])
    assert done.exit_code == 0, done.output
    assert log_in(https(closed), "admin", "a third password").status_code == 303


def test_setup_is_all_that_a_new_version_needs(closed: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMIN_PASSWORD", PASSWORD)
    monkeypatch.setenv("ADMIN_EMAIL", "boss@example.com")
    runner = closed.test_cli_runner()
    monkeypatch.setenv("SAMPLE_USERS", "yes")
    assert "SAMPLE_USERS is 'yes'; set true or false" in runner.invoke(args=["setup"]).output
    monkeypatch.setenv("SAMPLE_USERS", "false")
    assert runner.invoke(args=["setup"]).output == "Added the administrator admin.\n"
    monkeypatch.setenv("SAMPLE_USERS", "true")
    assert runner.invoke(args=["setup"]).output == "Added ada.\nAdded grace.\n"
    done = runner.invoke(args=["setup"])
    assert (done.exit_code, done.output) == (0, "")
    client = https(closed)
    assert log_in(client, "admin").status_code == 303
    assert "boss@example.com" in client.get("/").text


def test_a_user_with_the_first_administrators_name(closed: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever created it before logins existed cannot log in; if there are other administrators, it is not promoted."""
    monkeypatch.setenv("ADMIN_PASSWORD", "the operator's password")
    runner, words = closed.test_cli_runner(), ["create-admin", "--username", "boss", "--email", "other@example.com"]
    add(closed, "boss", VIEWER)
    assert runner.invoke(args=words).output == "Made boss the administrator.\n"
    assert log_in(https(closed), "boss").status_code == 401
    assert log_in(https(closed), "boss", "the operator's password").status_code == 303
    add(closed, "guest", VIEWER)
    words[2] = "guest"
    result = runner.invoke(args=words)
    assert (result.exit_code, "guest is no administrator and stays so" in result.output) == (0, True)
    words[2] = "third"
    assert runner.invoke(args=[*words[:4], "guest@example.com"]).output == (
        "Error: email is already used by another user\n"
    )


def test_tokens_on_the_command_line(closed: Flask) -> None:
    add(closed, "robot", ADMIN)
    runner = closed.test_cli_runner()
    made = runner.invoke(args=["token", "create", "robot", "--name", "nightly backup"]).output.strip()
    client, header = https(closed), {"Authorization": f"Bearer {made}"}
    assert client.get("/api/users", headers=header).status_code == 200
    number, _date, name = runner.invoke(args=["token", "list", "robot"]).output.strip().split("\t")
    assert name == "nightly backup"
    assert runner.invoke(args=["token", "revoke", "robot", number]).exit_code == 0
    assert client.get("/api/users", headers=header).status_code == 401
    assert f"robot has no token {number}" in runner.invoke(args=["token", "revoke", "robot", number]).output
    assert "needs 1 to 64" in runner.invoke(args=["token", "create", "robot", "--name", "x" * 65]).output
    assert 'There is no user "nobody"' in runner.invoke(args=["token", "list", "nobody"]).output


def test_the_12th_hour_ends_a_session(admin: FlaskClient) -> None:
    with admin.session_transaction() as session:
        session["since"] -= 12 * 3600 + 1
    assert admin.get("/").headers["Location"] == "/login?next=/"


def test_login_renews_the_session(closed: Flask) -> None:
    add(closed, "boss", ADMIN)
    client = https(closed)
    client.get("/login")
    with client.session_transaction() as session:
        session["planted"], before = "by another", session["csrf_token"]
    log_in(client, "boss")
    client.get("/")
    with client.session_transaction() as session:
        assert "planted" not in session
        assert session["csrf_token"] != before


@pytest.mark.parametrize("name", ["bo\0ss", "boss\0", "b\u00f6ss", "boss\u200b"])
def test_names_that_only_mysql_takes_for_the_same(closed: Flask, name: str) -> None:
    """They would circumvent the counting of failures."""
    add(closed, "boss", ADMIN)
    assert log_in(https(closed), name).status_code == 401
    assert https(closed).get("/api/users", headers=basic(name)).status_code == 401


def test_failures_of_one_network_count_together(closed: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(closed.config, "LOGIN_FAILURES_PER_ADDRESS", 3)
    codes = []
    for last in range(4):
        client = https(closed)
        client.environ_base["HTTP_X_FORWARDED_FOR"] = f"2001:db8::{last}"
        codes.append(log_in(client, f"name{last}", "wrong").status_code)
    assert codes == [401, 401, 401, 429]


def test_logging_in_costs_one_question(closed: Flask) -> None:
    """With HTTP Basic one query for the user, one for the list; with a token, one for both."""
    add(closed, "robot", ADMIN)
    token = closed.test_cli_runner().invoke(args=["token", "create", "robot", "--name", "a"]).output.strip()

    def queries() -> int:
        with closed.app_context():
            return int(read(sa.text("SHOW GLOBAL STATUS LIKE 'Com_select'"))[0][1])

    for header, number in (({"Authorization": f"Bearer {token}"}, 1), (basic("robot"), 2)):
        before = queries()
        assert https(closed).get("/api/users", headers=header).status_code == 200
        assert queries() == before + number


def test_two_administrators_cannot_remove_each_other(closed: Flask) -> None:
    ids = [add(closed, name, ADMIN) for name in ("one", "two")]

    def delete(user_id: int) -> int:
        with closed.app_context():
            try:
                users.delete(user_id)
            except users.UserError as error:
                return error.code
        return 200

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(delete, ids)) == [200, 409]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_no_other_sites_form_reaches_the_api_with_the_session(admin: FlaskClient, content_type: str) -> None:
    admin.environ_base["HTTP_REFERER"] = "https://evil.example/"
    body = '{"name": "Eve", "email": "eve@example.com", "username": "eve", "password": "correct horse battery"}'
    assert admin.post("/api/users", data=body, content_type=content_type).status_code in (400, 415)
    assert len(admin.get("/api/users").json) == 1
    answer = admin.options("/api/users", headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in answer.headers
