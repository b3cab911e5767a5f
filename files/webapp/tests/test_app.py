"""Everything around the users: configuration, headers, health, commands, migration."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pymysql
import pytest
from conftest import NOWHERE, make_app
from flask import Flask, request
from flask.testing import FlaskClient
from sqlalchemy import URL

from miniwebapp.config import ConfigurationError, from_environment

ROOT = Path(__file__).parent.parent
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBcjCCARegAwIBAgIUESoUAcMusYBBZuzrDiN2c9avOIQwCgYIKoZIzj0EAwIw
DTELMAkGA1UEAwwCY2EwIBcNMjYxMTI2MTY1NDAwWhgPMjEyNjExMDIxNjU0MDBa
MA0xCzAJBgNVBAMMAmNhMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE0YbernDZ
dHMkKrvaHZLaiLdrnRwmKdGAhreqDHfQlyv9kWnKVMFpbqPgd++jH0v0ID30McBx
S3I6Gz/ZD7mmNqNTMFEwHQYDVR0OBBYEFEXh4KxSjUz1Gqji83Slj3FQ5cvdMB8G
A1UdIwQYMBaAFEXh4KxSjUz1Gqji83Slj3FQ5cvdMA8GA1UdEwEB/wQFMAMBAf8w
CgYIKoZIzj0EAwIDSQAwRgIhALjdX/PdVF//2/WSFNNH6xgzfHdNCb48x6kNlHuK
WVGuAiEA7U8hjjD+uxkNg3Tr4vSr6C4mVhgdHl6G1MP/glPxEPI=
-----END CERTIFICATE-----
"""
ENVIRONMENT = {
    "DATABASE_HOST": "mysql",
    "DATABASE_NAME": "app",
    "DATABASE_USER": "app",
    "DATABASE_PASSWORD": "p@ss:/?#[]%",
    "SECRET_KEY": "0123456789abcdef",
}


def test_settings_from_the_environment() -> None:
    settings = from_environment(ENVIRONMENT)
    url = settings["SQLALCHEMY_DATABASE_URI"]
    assert (url.host, url.port, url.database, url.username) == ("mysql", 3306, "app", "app")
    assert url.password == "p@ss:/?#[]%"
    assert url.query["charset"] == "utf8mb4"
    assert settings["TRUSTED_PROXIES"] == 1


def test_settings_from_files(tmp_path: Path) -> None:
    environ = {}
    for name, value in ENVIRONMENT.items():
        (tmp_path / name).write_text(f"{value}\n")
        environ[f"{name}_FILE"] = str(tmp_path / name)
    assert from_environment(environ) == from_environment(ENVIRONMENT)


def test_the_faster_driver_is_taken_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert from_environment(ENVIRONMENT | {"DATABASE_DRIVER": "pymysql"})["SQLALCHEMY_DATABASE_URI"].drivername == (
        "mysql+pymysql"
    )
    monkeypatch.setitem(sys.modules, "MySQLdb", ModuleType("MySQLdb"))
    monkeypatch.setattr("miniwebapp.config.find_spec", lambda name: name)
    assert from_environment(ENVIRONMENT)["SQLALCHEMY_DATABASE_URI"].drivername == "mysql+mysqldb"
    monkeypatch.setattr("miniwebapp.config.find_spec", lambda name: None)
    assert from_environment(ENVIRONMENT)["SQLALCHEMY_DATABASE_URI"].drivername == "mysql+pymysql"
    monkeypatch.setitem(sys.modules, "MySQLdb", None)
    with pytest.raises(ConfigurationError, match="cannot be loaded .* install it with requirements-mysqlclient.txt"):
        from_environment(ENVIRONMENT | {"DATABASE_DRIVER": "mysqlclient"})


@pytest.mark.parametrize(
    ("driver", "query"),
    [("pymysql", {}), ("mysqldb", {"ssl_mode": "VERIFY_IDENTITY"})],
)
def test_a_ca_is_asked_of_either_driver(
    driver: str, query: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "MySQLdb", ModuleType("MySQLdb"))
    given = {"SECRET_KEY": "0123456789abcdef", "DATABASE_URL": f"mysql+{driver}://app@host/other?charset=utf8mb4"}
    ca = str(tmp_path / "ca.pem")
    Path(ca).write_text(CERTIFICATE)
    url = from_environment(given | {"DATABASE_CA_FILE": ca})["SQLALCHEMY_DATABASE_URI"]
    assert url.query == {"charset": "utf8mb4", "ssl_ca": ca} | query


@pytest.mark.parametrize(
    "password", ["plain", 'it\'s "a" \\ $HOME ${HOME} %(user)s # ;', "ñandú", "€ \U0001f511", " blanks "]
)
def test_pymysql_sends_the_password_as_mysql_has_stored_it(password: str, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(password, encoding="utf-8")
    of_file = ENVIRONMENT | {"DATABASE_PASSWORD": "", "DATABASE_PASSWORD_FILE": str(tmp_path / "password")}
    url = URL.create("mysql+pymysql", "app", password, "mysql", database="app").render_as_string(hide_password=False)
    of_url = {"SECRET_KEY": ENVIRONMENT["SECRET_KEY"], "DATABASE_URL": url}
    for environ in (of_file | {"DATABASE_DRIVER": "pymysql"}, of_url):
        given = from_environment(environ)["SQLALCHEMY_DATABASE_URI"].password
        assert pymysql.connect(password=given, defer_connect=True).password == password.encode()


def test_database_url_overrides() -> None:
    settings = from_environment({"SECRET_KEY": "0123456789abcdef", "DATABASE_URL": "mysql+pymysql://app@host/other"})
    assert settings["SQLALCHEMY_DATABASE_URI"].database == "other"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        *[({name: ""}, f"{name} is not set") for name in ENVIRONMENT],
        ({"DATABASE_PORT": "33o6"}, "DATABASE_PORT is '33o6'; set a number from 1 to 65535"),
        ({"DATABASE_DRIVER": "odbc"}, "DATABASE_DRIVER is 'odbc'; set mysqlclient or pymysql"),
        ({"OPEN_ACCESS": "yes"}, "OPEN_ACCESS is 'yes'; set true or false"),
        ({"LOGIN_WINDOW_SECONDS": "0"}, "LOGIN_WINDOW_SECONDS is '0'; set a number from 1 to 86400"),
        ({"DATABASE_PORT": "65536"}, "DATABASE_PORT is '65536'"),
        ({"DATABASE_PORT": "9" * 5000}, "DATABASE_PORT is '999"),
        ({"TRUSTED_PROXIES": "-1"}, "TRUSTED_PROXIES is '-1'"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY has 5 characters"),
        ({"SECRET_KEY_FILE": "/a"}, "SECRET_KEY and SECRET_KEY_FILE are both set"),
        ({"SECRET_KEY": "", "SECRET_KEY_FILE": "/no/such"}, "SECRET_KEY_FILE names /no/such, which cannot be read"),
        ({"SECRET_KEY": "", "SECRET_KEY_FILE": os.devnull}, "which is empty"),
        ({"SECRET_KEY": "", "SECRET_KEY_FILE": sys.executable}, "which is not UTF-8 text"),
        ({"DATABASE_CA_FILE": "/no/such"}, "DATABASE_CA_FILE names /no/such, which cannot be read"),
        ({"DATABASE_CA_FILE": str(ROOT / "wsgi.py")}, "wsgi.py, which holds no certificate in PEM format"),
        ({"DATABASE_CA_FILE": os.devnull}, f"DATABASE_CA_FILE names {os.devnull}, which holds no certificate"),
        ({"DATABASE_URL": "nonsense"}, "DATABASE_URL is not a URL"),
        ({"DATABASE_URL": "mysql+pymysql://u:p@host:port/db"}, "DATABASE_URL is not a URL"),
        ({"DATABASE_URL": "dbase://u:p@host/db"}, "DATABASE_URL is not a URL"),
        ({"DATABASE_URL": "mysql+pyodbc://u:p@host/db"}, "DATABASE_URL is not a URL"),
    ],
)
def test_bad_settings(change: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_environment(ENVIRONMENT | change)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("command", [["gunicorn", "--check-config"], ["flask", "--app", "wsgi", "seed"]])
def test_bad_settings_end_the_program_with_one_sentence(command: list[str]) -> None:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    done = subprocess.run(command, check=False, cwd=ROOT, env={"PATH": path}, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stdout + done.stderr == (
        "miniwebapp: SECRET_KEY is not set; set SECRET_KEY, or SECRET_KEY_FILE to a file that holds it\n"
    )


def test_health(client: FlaskClient, away: FlaskClient) -> None:
    for path in ("/healthz", "/readyz"):
        response = client.get(path)
        assert (response.status_code, response.json) == (200, {"status": "ok"})
    assert away.get("/healthz").status_code == 200
    response = away.get("/readyz")
    assert response.status_code == 503
    assert response.json == {"status": "unavailable", "message": "The database cannot be reached"}


@pytest.mark.parametrize("path", ["/", "/api/users", "/nothing", "/static/style.css", "/healthz"])
def test_security_headers(client: FlaskClient, path: str) -> None:
    with client.get(path) as response:
        headers = response.headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"


def test_session_cookie_is_guarded(client: FlaskClient) -> None:
    cookie = client.get("/add").headers["Set-Cookie"]
    assert {"Secure", "HttpOnly", "SameSite=Lax"} <= set(cookie.split("; "))


@pytest.mark.parametrize(
    ("proxies", "address", "scheme"), [(0, "127.0.0.1", "http"), (1, "3.3.3.3", "https"), (2, "2.2.2.2", "https")]
)
def test_trusted_proxies(proxies: int, address: str, scheme: str) -> None:
    app = make_app(NOWHERE, OPEN_ACCESS=True, TRUSTED_PROXIES=proxies)
    app.add_url_rule("/who", view_func=lambda: [request.remote_addr, request.scheme, request.host])
    headers = {
        "X-Forwarded-For": "1.1.1.1, 2.2.2.2, 3.3.3.3",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example",
    }
    assert app.test_client().get("/who", headers=headers).json == [address, scheme, "localhost"]


def test_seed_adds_the_samples_once(app: Flask, client: FlaskClient) -> None:
    runner = app.test_cli_runner()
    assert runner.invoke(args=["seed"]).output == "Added ada.\nAdded grace.\n"
    before = client.get("/api/users").json
    assert [user["username"] for user in before] == ["ada", "grace"]
    again = runner.invoke(args=["seed"])
    assert (again.exit_code, again.output) == (0, "")
    assert client.get("/api/users").json == before


def test_seed_leaves_a_user_of_the_same_name_alone(app: Flask, client: FlaskClient, ada: dict[str, str]) -> None:
    client.post("/api/users", json=ada | {"name": "Another", "email": "another@example.com"})
    assert app.test_cli_runner().invoke(args=["seed"]).output == "Added grace.\n"
    assert client.get("/api/users").json[0]["name"] == "Another"


@pytest.mark.parametrize(("command", "said"), [(["seed"], "refused"), (["db", "upgrade"], "cannot be reached")])
def test_commands_without_database(away: FlaskClient, command: list[str], said: str) -> None:
    result = away.application.test_cli_runner().invoke(args=command)
    assert result.exit_code == 1
    assert result.output.startswith("Error: The database ")
    assert said in result.output
    assert result.output.count("\n") == 1
