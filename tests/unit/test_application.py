"""What an application's source says or shows that it needs, and what follows for its environment."""

from __future__ import annotations

import subprocess
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
from ansible import constants
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import lookup_loader
from ansible.template import Templar
from ansible_collections.miniweb.stack.plugins.filter.application_wiring import application_wiring
from ansible_collections.miniweb.stack.plugins.plugin_utils import application, checkout

ROOT = Path(__file__).resolve().parents[2]
DATABASE = {"host": "mysql", "port": 3306, "name": "shop", "user": "shop", "password": "p@ss/w:rd#?%", "ca": ""}
MANAGE = 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings.production")'


def source(directory: Path, **files: str) -> Path:
    """Write files, whose names have "/" as "__" and "." as "_" before the ending."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


@pytest.mark.parametrize(
    ("files", "wsgi"),
    [
        ({}, "wsgi:app"),
        ({"wsgi.py": "from shop import create_app\napp = create_app()"}, "wsgi:app"),
        ({"wsgi.py": "application = object()"}, "wsgi:application"),
        ({"wsgi.py": "from shop import app"}, "wsgi:app"),
        ({"wsgi.py": "from shop import server as app"}, "wsgi:app"),
        ({"app.py": "from flask import Flask\napp = Flask(__name__)"}, "app:app"),
        ({"app.py": "app: object = object()"}, "app:app"),
        ({"main.py": "def create_app():\n    return 1"}, "main:create_app()"),
        ({"main.py": "async def helper(): ...\ndef make_app(): ..."}, "main:make_app()"),
        ({"main.py": "app = 1\ndef create_app(): ..."}, "main:app"),
        ({"main.py": "def other():\n    app = 1", "run.py": "app = 1"}, "run:app"),
        ({"app.py": "app = 1", "wsgi.py": "app = 1"}, "wsgi:app"),
        ({"app.py": "print 'Python 2'", "main.py": "app = 1"}, "main:app"),
        ({"shop/__init__.py": "def create_app(): ...", "tests/__init__.py": ""}, "shop:create_app()"),
        ({"app/__init__.py": "app = 1"}, "app:app"),
        ({"Procfile": "web: gunicorn shop.web:server --log-file -\n", "app.py": "app = 1"}, "shop.web:server"),
        ({"Procfile": "web: python -m gunicorn -w 4 'shop:create_app()'"}, "shop:create_app()"),
        ({"Procfile": "web: .venv/bin/gunicorn 'shop:create_app()'"}, "shop:create_app()"),
        ({"Procfile": "web: flask run\n", "app.py": "app = 1"}, "app:app"),
        ({"Procfile": "web: gunicorn 'shop\nworker: rq worker\n", "app.py": "app = 1"}, "app:app"),
        ({"Procfile": "web: gunicorn shop:app", "miniweb.yml": "wsgi: other:app"}, "other:app"),
        ({"miniweb.yml": "", "app.py": "app = 1"}, "app:app"),
        ({"manage.py": MANAGE, "shop/wsgi.py": "", "shop/asgi.py": "", "app.py": "app = 1"}, "shop.wsgi:application"),
        ({"manage.py": "from flask_script import Manager", "app.py": "app = 1"}, "app:app"),
        ({"manage.py": MANAGE, "app.py": "app = 1"}, "app:app"),
        ({"app/__init__.py": "", "app/main.py": "from flask import Flask\napp = Flask(__name__)"}, "app.main:app"),
        ({"main.py": "# from fastapi import FastAPI\napp = 1"}, "main:app"),
        ({"main.py": "from fastapi import FastAPI\napp = FastAPI()", "miniweb.yml": "wsgi: main:other"}, "main:other"),
    ],
)
def test_the_callable_is_found_without_running_anything(tmp_path: Path, files: dict[str, str], wsgi: str) -> None:
    found = application.read(str(source(tmp_path, **files)))
    assert (found["wsgi"], found["asgi"]) == (wsgi, "")
    assert found["faults"] == []


@pytest.mark.parametrize(
    ("files", "asgi"),
    [
        ({"main.py": "from fastapi import FastAPI\napp = FastAPI()"}, "main:app"),
        ({"app.py": "import quart\napp = quart.Quart(__name__)"}, "app:app"),
        ({"main.py": "from starlette.applications import Starlette\ndef create_app(): ..."}, "main:create_app()"),
        ({"app/__init__.py": "", "app/main.py": "from fastapi import FastAPI\napp = FastAPI()"}, "app.main:app"),
        ({"asgi.py": "from shop import app"}, "asgi:app"),
        ({"manage.py": MANAGE, "shop/asgi.py": ""}, "shop.asgi:application"),
        ({"Procfile": "web: uvicorn shop:app --host 0.0.0.0 --port $PORT"}, "shop:app"),
        ({"Procfile": "web: uvicorn --factory shop:create_app"}, "shop:create_app()"),
        ({"Procfile": "web: gunicorn -k uvicorn.workers.UvicornWorker shop:app -b 0.0.0.0:80"}, "shop:app"),
        ({"Procfile": "web: gunicorn -k uvicorn_worker.UvicornWorker shop:app"}, "shop:app"),
        ({"miniweb.yml": "asgi: shop.asgi:app", "app.py": "app = 1"}, "shop.asgi:app"),
    ],
)
def test_an_asgi_application_is_told_apart(tmp_path: Path, files: dict[str, str], asgi: str) -> None:
    found = application.read(str(source(tmp_path, **files)))
    assert (found["wsgi"], found["asgi"], found["faults"]) == ("", asgi, [])


def test_what_is_given_of_one_kind_goes_before_the_other(tmp_path: Path) -> None:
    directory = str(source(tmp_path, **{"miniweb.yml": "asgi: shop.asgi:app"}))
    found = application.read(directory, {"wsgi": "shop:app"})
    assert (found["wsgi"], found["asgi"], found["faults"]) == ("shop:app", "", [])


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({}, []),
        ({"migrations/env.py": ""}, ["flask", "db", "upgrade"]),
        ({"alembic.ini": ""}, ["alembic", "upgrade", "head"]),
        ({"manage.py": MANAGE, "alembic.ini": ""}, ["python", "manage.py", "migrate", "--noinput"]),
        ({"manage.py": "", "alembic.ini": ""}, ["alembic", "upgrade", "head"]),
    ],
)
def test_migrations(tmp_path: Path, files: dict[str, str], command: list[str]) -> None:
    assert application.read(str(source(tmp_path, **files)))["migrations"] == command


@pytest.mark.parametrize(
    ("files", "setup"),
    [
        ({}, []),
        ({"Procfile": "web: gunicorn a:b\nrelease: flask db upgrade"}, [["flask", "db", "upgrade"]]),
        ({"Procfile": "release: ./bin/release 'two words'"}, [["./bin/release", "two words"]]),
        ({"Procfile": "release:"}, []),
        ({"Procfile": "release: flask db upgrade", "miniweb.yml": "setup: []"}, []),
        ({"miniweb.yml": "setup: [[flask, seed]]"}, [["flask", "seed"]]),
    ],
)
def test_commands_before_the_start(tmp_path: Path, files: dict[str, str], setup: list[list[str]]) -> None:
    assert application.read(str(source(tmp_path, **files)))["setup"] == setup


@pytest.mark.parametrize(
    ("requirements", "driver"),
    [
        ("", "mysql"),
        ("Flask\nPyMySQL==1.1.2\n", "mysql+pymysql"),
        ("pymysql[rsa]>=1\n", "mysql+pymysql"),
        ("mysqlclient~=2.2\n", "mysql+mysqldb"),
        ("mysql-connector-python\n", "mysql+mysqlconnector"),
        ("# pymysqlpool\nmysqlclient-extra\nasyncmy\n", "mysql+asyncmy"),
    ],
)
def test_the_urls_scheme_is_that_of_the_driver(tmp_path: Path, requirements: str, driver: str) -> None:
    directory = str(source(tmp_path, **{"requirements.txt": requirements}))
    assert application.read(directory)["driver"] == driver


def test_what_is_installed_is_declared_with_its_packages(tmp_path: Path) -> None:
    files = {"requirements.txt": "PyMySQL", "requirements-fast.txt": "-r requirements.txt\nmysqlclient"}
    directory = source(tmp_path, **files)
    found = application.read(str(directory))
    assert (found["requirements"], found["packages"]) == ("requirements.txt", {"build": [], "run": []})
    source(
        directory, **{"miniweb.yml": "requirements: requirements-fast.txt\npackages: {build: [gcc, g++], run: null}"}
    )
    found = application.read(str(directory))
    assert (found["requirements"], found["packages"]) == (
        "requirements-fast.txt",
        {"build": ["gcc", "g++"], "run": []},
    )
    assert (found["driver"], found["faults"]) == ("mysql+mysqldb", [])


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ("", ""),
        ("pyproject.toml", "pyproject.toml"),
        ("pyproject.toml uv.lock poetry.lock", "uv.lock"),
        ("pyproject.toml poetry.lock", "poetry.lock"),
        ("pyproject.toml uv.lock requirements.txt", "requirements.txt"),
        ("uv.lock", ""),
        ("uv.lock requirements-c.txt", ""),
    ],
)
def test_what_is_installed(tmp_path: Path, names: str, wanted: str) -> None:
    assert application.read(str(source(tmp_path, **dict.fromkeys(names.split(), ""))))["requirements"] == wanted


def test_a_driver_in_a_project_file_counts_too(tmp_path: Path) -> None:
    for project in (
        '[project]\nname = "shop"\ndependencies = ["flask", "PyMySQL>=1.1"]\n',
        '[tool.poetry.dependencies]\nflask = "^3"\npymysql = {version = "^1.1", extras = ["rsa"]}\n',
    ):
        assert application.read(str(source(tmp_path, **{"pyproject.toml": project})))["driver"] == "mysql+pymysql"


def test_what_is_given_goes_before_the_file_and_the_file_before_what_is_seen(tmp_path: Path) -> None:
    text = "wsgi: shop:app\nhealth_path: /ok\nenvironment: {LANGUAGE: en}\nmemory_mb: 64"
    directory = str(source(tmp_path, **{"miniweb.yml": text, "app.py": "app = 1"}))
    found = application.read(directory, {"health_path": "/healthy"})
    assert (found["wsgi"], found["health_path"], found["metrics_path"]) == ("shop:app", "/healthy", "")
    assert (found["environment"], found["memory_mb"], found["database"]) == ({"LANGUAGE": "en"}, 64, True)
    assert found["faults"] == []


def test_environments_are_merged(tmp_path: Path) -> None:
    directory = str(source(tmp_path, **{"miniweb.yml": "environment: {LANGUAGE: en, THEME: dark}"}))
    found = application.read(directory, {"environment": {"THEME": "light", "TITLE": "Shop"}})
    assert found["environment"] == {"LANGUAGE": "en", "THEME": "light", "TITLE": "Shop"}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("- a list", "miniweb.yml: it is a list; write keys such as wsgi: wsgi:app."),
        ("wsgi: [", "miniweb.yml: it is no YAML (line "),
        ("wsgy: a:b", 'miniweb.yml: there is no key "wsgy"; give wsgi, asgi, health_path, '),
        ("wsgi: shop", 'miniweb.yml: wsgi is "shop"; give module:callable, such as wsgi:app.'),
        ("asgi: shop", 'miniweb.yml: asgi is "shop"; give module:callable, such as main:app.'),
        ("wsgi: a:b\nasgi: c:d", "miniweb.yml: wsgi is a:b and asgi is c:d; give one of them."),
        ("wsgi: 12", "miniweb.yml: wsgi is 12, not text; put the value in quotes."),
        ("wsgi: 'a:b; rm'", "give module:callable"),
        ("health_path: healthz", 'miniweb.yml: health_path is "healthz"; give a path that begins with "/".'),
        ("metrics_path: metrics", 'miniweb.yml: metrics_path is "metrics"; give a path'),
        ("database: maybe", "miniweb.yml: database cannot be used; give true, false, or the key environment"),
        ("database: {env: {}}", "miniweb.yml: database cannot be used"),
        ("database: {environment: {A-B: url}}", 'miniweb.yml: database.environment: "A-B" is no name of a variable'),
        ("database: {environment: {A: uri}}", 'miniweb.yml: database.environment.A is "uri"; give url, host, '),
        ("environment: {A: true}", "miniweb.yml: environment.A is True, not text; put the value in quotes."),
        ("environment: {A: 012}", "miniweb.yml: environment.A is 10, not text"),
        ("environment: {'A B': x}", 'miniweb.yml: environment: "A B" is no name of a variable'),
        ("environment: text", "miniweb.yml: environment cannot be used; give a value of the type dict."),
        ("secrets: {Key: {}}", 'miniweb.yml: secrets: "Key" cannot be used; give small letters'),
        ("secrets: {../key: {}}", 'miniweb.yml: secrets: "../key" cannot be used'),
        ("secrets: {key: secret}", "miniweb.yml: secrets.key cannot be used; give length, value, kept, or {}"),
        ("secrets: {key: {size: 3}}", "miniweb.yml: secrets.key cannot be used; give length, value, kept."),
        ("secrets: {key: {length: 4}}", "miniweb.yml: secrets.key.length is 4; give 16 to 1024 characters."),
        ("setup: flask seed", "miniweb.yml: setup"),
        ("setup: [[flask, 1]]", "miniweb.yml: setup[0] cannot be used; give a list of words"),
        ("setup: [[]]", "miniweb.yml: setup[0] cannot be used"),
        ("static: [static]", 'miniweb.yml: static: "static" cannot be used; give paths of the site'),
        ("static: /static/", "miniweb.yml: static"),
        ("volumes: {a: {path: /data, url: files}}", 'miniweb.yml: volumes.a.url is "files"; give a path of the site'),
        ("volumes: {a: {path: /data, url: /}}", 'miniweb.yml: volumes.a.url is "/"; give'),
        ("volumes: {a: {path: /data, url: /../b/}}", 'miniweb.yml: volumes.a.url is "/../b/"; give'),
        ("volumes: {a: {path: /data, internal: true}}", "miniweb.yml: volumes.a.internal is set without url"),
        (
            "volumes: {a: {path: /data, url: /b/}, c: {path: /other, url: /b/}}",
            "miniweb.yml: volumes: a and c have the same url /b/",
        ),
        ("requirements: [a.txt]", "miniweb.yml: requirements is ['a.txt'], not text"),
        ("packages: [libpq5]", "miniweb.yml: packages cannot be used; give a value of the type dict."),
        ("packages: {test: [libpq5]}", 'miniweb.yml: packages: there is no key "test"; give build, run.'),
        ("packages: {run: libpq5}", "miniweb.yml: packages.run is 'libpq5'; give a list of Debian packages"),
        ("packages: {run: [a b]}", 'miniweb.yml: packages.run: "a b" is no name of a Debian package; give one'),
        ("packages: {build: [$(id)]}", 'miniweb.yml: packages.build: "$(id)" is no name of a Debian package; give'),
        ("packages: {build: [5]}", 'miniweb.yml: packages.build: "5" is no name of a Debian package; give'),
        ("memory_mb: much", "miniweb.yml: memory_mb cannot be used; give a value of the type int."),
        ("preload: perhaps", "miniweb.yml: preload cannot be used; give a value of the type bool."),
        ("memory_mb: 1", "miniweb.yml: memory_mb is 1; give at least 32."),
        ("processes: [a]", "miniweb.yml: processes cannot be used; give a value of the type dict."),
        ("processes: {Work: {command: [a]}}", 'miniweb.yml: processes: "Work" cannot be used as a name; give small'),
        ("processes: {a: [b]}", "miniweb.yml: processes.a is ['b']; give command, count, memory_mb"),
        ("processes: {a: {}}", "miniweb.yml: processes.a has no command; give a list of words"),
        ("processes: {a: {command: []}}", "miniweb.yml: processes.a has no command"),
        ("processes: {a: {command: rq worker}}", "processes.a.command is 'rq worker'; give a list of words"),
        ("processes: {a: {command: [b], count: 0}}", "miniweb.yml: processes.a.count is 0; give at least 1"),
        ("processes: {a: {command: [b], count: x}}", "miniweb.yml: processes.a.count is 'x'; give a number."),
        ("processes: {a: {command: [b], cpu: 1}}", 'miniweb.yml: processes.a: there is no key "cpu"; give command'),
        ("processes: {a: {command: [b], memory_mb: 8}}", "processes.a.memory_mb is 8; give at least 32."),
        (
            "redis: 5",
            "miniweb.yml: redis cannot be used; give true, false, or the key environment with names and parts.",
        ),
        (
            "redis: {environment: {A: user}}",
            'miniweb.yml: redis.environment.A is "user"; give url, host, port, password',
        ),
        ("schedule: {a: {command: [b]}}", "miniweb.yml: schedule.a has no at; give a time in systemd's form, such as"),
        ("schedule: {a: {command: [b], at: 5}}", "miniweb.yml: schedule.a.at is 5, not text; put the value in quotes."),
        ('schedule: {a: {command: [b], at: "%H"}}', 'miniweb.yml: schedule.a.at is "%H"; give a time in systemd'),
        ('schedule: {a: {at: "daily"}}', "miniweb.yml: schedule.a has no command; give a list of words, such as"),
        ("schedule: {a: {command: [b], at: daily, timeout_minutes: 0}}", "schedule.a.timeout_minutes is 0; give at"),
        ("volumes: {a: {}}", "miniweb.yml: volumes.a has no path; give its place in the container"),
        ("volumes: {a: {path: data}}", 'miniweb.yml: volumes.a.path is "data"; give an absolute path'),
        ("volumes: {a: {path: /app/../etc}}", 'miniweb.yml: volumes.a.path is "/app/../etc"; give an absolute path'),
        ("volumes: {a: {path: '/app/x:ro'}}", 'miniweb.yml: volumes.a.path is "/app/x:ro"; give an absolute path'),
        ("volumes: {a: {path: /}}", 'miniweb.yml: volumes.a.path is "/"; give an absolute path'),
        *(
            (f"volumes: {{a: {{path: {path}}}}}", f"volumes.a.path is {path}, where the container has its system")
            for path in ("/etc", "/etc/app", "/usr/share/x", "/venv", "/run/secrets", "/tmp/up", "/app", "/var/lib")
        ),
        (
            "volumes: {a: {path: /data}, b: {path: /data}}",
            "miniweb.yml: volumes: a and b have the same path /data; give each its own.",
        ),
    ],
)
def test_what_is_wrong_in_the_file_is_one_sentence(tmp_path: Path, text: str, fault: str) -> None:
    found = application.read(str(source(tmp_path, **{"miniweb.yml": text})))
    (said,) = found["faults"]
    assert fault in said
    assert said.endswith(".")
    assert found == {**application.read(str(tmp_path / "none")), "faults": [said]}


def test_each_key_that_is_wrong_is_named_and_the_others_count(tmp_path: Path) -> None:
    text = "wsgi: 1\nhealth_path: x\nmetrics_path: /metrics"
    found = application.read(str(source(tmp_path, **{"miniweb.yml": text})), {"memory_mb": 2})
    assert [fault.split(" is ")[0] for fault in found["faults"]] == [
        "miniweb.yml: wsgi",
        "miniweb.yml: health_path",
        "flask_app_declaration: memory_mb",
    ]
    assert found["metrics_path"] == "/metrics"


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("worker: rq worker 'two words'", ["rq", "worker", "two words"]),
        ("worker: rq worker $QUEUE", ["sh", "-c", "rq worker $QUEUE"]),
        ("worker: A=1 rq worker", ["sh", "-c", "A=1 rq worker"]),
        ("Worker: rq worker", ["rq", "worker"]),
    ],
)
def test_other_lines_of_a_procfile_are_processes(tmp_path: Path, line: str, command: list[str]) -> None:
    found = application.read(str(source(tmp_path, Procfile=f"web: gunicorn a:b\nrelease: c\n{line}\nempty:\n")))
    full = {"count": 1, "memory_mb": 0, "health_command": [], "stop_grace_seconds": 30}
    assert (found["processes"], found["faults"]) == ({"worker": {"command": command, **full}}, [])


def test_the_sites_processes_and_volumes_are_merged_with_those_of_the_source(tmp_path: Path) -> None:
    text = "processes: {a: {command: [x], count: 2}, b: {command: [y]}}\nvolumes: {up: {path: /data}}"
    directory = str(source(tmp_path, **{"miniweb.yml": text}))
    given = {"processes": {"a": {"count": 3}, "b": None, "c": {"command": ["z"]}}, "volumes": {"more": {"path": "/x"}}}
    found = application.read(directory, None, given)
    commands = {name: (one["command"], one["count"]) for name, one in found["processes"].items()}
    assert commands == {"a": (["x"], 3), "c": (["z"], 1)}
    assert {name: one["path"] for name, one in found["volumes"].items()} == {"up": "/data", "more": "/x"}
    (fault,) = application.read(directory, None, {"processes": {"d": {}}})["faults"]
    assert fault.startswith("flask_app_processes.d has no command")


def test_the_example_and_the_test_applications_say_it_rightly() -> None:
    for directory in (ROOT / "files" / "webapp", *(ROOT / "tests" / "apps").iterdir()):
        assert application.read(str(directory))["faults"] == []


def declared(**keys: Any) -> dict[str, Any]:
    return application.read("", {"secrets": {}, **keys})


def test_an_application_that_says_nothing_finds_its_database_by_the_commonest_names() -> None:
    wired = application_wiring(application.read(""), DATABASE)
    assert wired["environment"] == {
        "DATABASE_HOST": "mysql",
        "DATABASE_PORT": "3306",
        "DATABASE_NAME": "shop",
        "DATABASE_USER": "shop",
    }
    assert wired["values"] == {
        "SECRET_KEY": "secret_key",
        "DATABASE_URL": "database_url",
        "DATABASE_PASSWORD": "database_password",
    }
    assert wired["wait_for"] == ["mysql:3306"]
    assert wired["secrets"] == [
        {"name": "database_url", "content": "mysql://shop:p%40ss%2Fw%3Ard%23%3F%25@mysql:3306/shop?charset=utf8mb4"},
        {"name": "database_password", "content": DATABASE["password"]},
    ]


@pytest.mark.parametrize(
    ("environment", "ca", "variables", "secrets"),
    [
        ({}, "", {}, []),
        ({"HOST": "host"}, "", {"HOST": "mysql"}, []),
        ({"PASSWORD_FILE": "password_file"}, "", {"PASSWORD_FILE": "/run/secrets/database_password"}, ["password"]),
        ({"URL_FILE": "url_file"}, "", {"URL_FILE": "/run/secrets/database_url"}, ["url"]),
        ({"CA": "ca_file"}, "", {}, []),
        ({"CA": "ca_file"}, "PEM", {"CA": "/run/secrets/database_ca"}, ["ca"]),
        ({"URL": "url"}, "PEM", {}, ["url", "ca"]),
    ],
)
def test_the_source_says_under_which_names_it_finds_its_database(
    environment: dict[str, str], ca: str, variables: dict[str, str], secrets: list[str]
) -> None:
    wired = application_wiring(declared(database={"environment": environment}), {**DATABASE, "ca": ca})
    assert wired["environment"] == variables
    assert [one["name"] for one in wired["secrets"]] == [f"database_{kind}" for kind in secrets]


@pytest.mark.parametrize(
    ("driver", "ca", "query"),
    [
        ("mysql+pymysql", "", "?charset=utf8mb4&ssl_check_hostname=false"),
        ("mysql+pymysql", "PEM", "?charset=utf8mb4&ssl_ca=/run/secrets/database_ca"),
        ("mysql+mysqldb", "", "?charset=utf8mb4"),
        ("mysql+mysqldb", "PEM", "?charset=utf8mb4&ssl_ca=/run/secrets/database_ca&ssl_mode=VERIFY_IDENTITY"),
        ("mysql+asyncmy", "", "?charset=utf8mb4"),
    ],
)
def test_with_a_ca_only_its_server_gets_the_password(driver: str, ca: str, query: str) -> None:
    wired = application_wiring({**declared(), "driver": driver}, {**DATABASE, "host": "2001:db8::1", "ca": ca})
    address = wired["secrets"][0]["content"]
    assert address.startswith(f"{driver}://shop:")
    assert address.endswith(f"@[2001:db8::1]:3306/shop{query}")


@pytest.mark.parametrize(
    ("driver", "ca", "query"),
    [
        ("mysql+pymysql", "", "?charset=utf8mb4"),
        ("mysql+pymysql", "PEM", "?charset=utf8mb4&ssl-ca=/run/secrets/database_ca"),
        ("mysql+mysqldb", "PEM", "?charset=utf8mb4&ssl-ca=/run/secrets/database_ca&ssl_mode=VERIFY_IDENTITY"),
    ],
)
def test_djangos_programs_read_another_url(driver: str, ca: str, query: str) -> None:
    wired = application_wiring({**declared(), "driver": driver, "django": True}, {**DATABASE, "ca": ca})
    address = wired["secrets"][0]["content"]
    assert address.startswith("mysql://shop:")
    assert address.endswith(f"@mysql:3306/shop{query}")


@pytest.mark.parametrize("driver", ["mysql+pymysql", "mysql+mysqldb"])
def test_a_password_of_any_characters_reaches_mysql_as_utf_8(driver: str) -> None:
    password = "ñ€ \\ 'a' \"b\" %d $HOME @/:?#"
    wired = application_wiring({**declared(), "driver": driver}, {**DATABASE, "password": password})
    quoted = urllib.parse.urlsplit(wired["secrets"][0]["content"]).password or ""
    encoding = "latin-1" if driver == "mysql+pymysql" else "utf-8"
    assert urllib.parse.unquote(quoted).encode(encoding) == password.encode()


def test_without_a_database_there_is_no_trace_of_one() -> None:
    wired = application_wiring(declared(environment={"A": "1"}), {})
    assert wired == {"environment": {"A": "1"}, "values": {}, "secrets": [], "wait_for": []}


def test_secrets_are_files_or_on_request_values_and_those_of_the_site_files() -> None:
    secrets = {"key": {"value": True}, "token": {}}
    wired = application_wiring(declared(secrets=secrets), {}, ["key", "payment"])
    assert wired["values"] == {"KEY": "key"}
    assert wired["environment"] == {
        "TOKEN_FILE": "/run/secrets/token",
        "PAYMENT_FILE": "/run/secrets/payment",
    }


def test_what_the_source_sets_wins_over_the_database(tmp_path: Path) -> None:
    wired = application_wiring(declared(environment={"DATABASE_HOST": "proxy"}), DATABASE)
    assert wired["environment"]["DATABASE_HOST"] == "proxy"


def test_generated_secrets_stay_and_are_named_after_the_application(tmp_path: Path) -> None:
    variables = {"inventory_hostname": "web", "miniweb_secrets_dir": str(tmp_path)}

    def secrets(**options: Any) -> dict[str, str]:
        templar = Templar(DataLoader(), variables)
        lookup = lookup_loader.get("miniweb.stack.application_secrets", loader=DataLoader(), templar=templar)
        (found,) = lookup.run([declared(secrets={"key": {"length": 64}, "token": {}})["secrets"]], variables, **options)
        return {one["name"]: one["content"] for one in found}

    first = secrets(application="shop")
    assert {name: len(content) for name, content in first.items()} == {"key": 64, "token": 32}
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")) == [
        "shop_key",
        "shop_token",
    ]
    assert secrets(application="shop") == first
    assert secrets(application="shop", given=["key"]) == {"token": first["token"]}
    assert secrets(application="blog")["key"] != first["key"]


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("create", [False, True])
def test_the_example_keeps_the_secrets_that_it_had_alone(tmp_path: Path, check: bool, create: bool) -> None:
    variables = {
        "inventory_hostname": "web",
        "miniweb_secrets_dir": str(tmp_path),
        "miniweb_secrets_create": create,
        "ansible_check_mode": check,
    }
    source(tmp_path, admin_password="the first one", mysql_password="of MySQL")
    lookup = lookup_loader.get(
        "miniweb.stack.application_secrets", loader=DataLoader(), templar=Templar(DataLoader(), variables)
    )
    wanted = declared(secrets={"admin_password": {}})["secrets"]
    assert lookup.run([wanted], variables, application="app") == [
        [{"name": "admin_password", "content": "the first one"}]
    ]
    assert (tmp_path / "app_admin_password").exists() is not check
    assert (tmp_path / "admin_password").exists() is check
    # No other application can have a file that is not its own.
    for application_name, name in (("shop", "admin_password"), ("app", "mysql_password")):
        (found,) = lookup.run(
            [declared(secrets={name: {}})["secrets"]],
            {**variables, "miniweb_secrets_create": True},
            application=application_name,
        )
        assert found[0]["content"] not in ("the first one", "of MySQL")


def git(directory: Path, *words: str) -> str:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "protocol.file.allow=always"]
    command = ["git", *identity, *words]
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the tag v1, a second commit on main, and a branch."""
    directory = tmp_path / "repository"
    directory.mkdir()
    git(directory, "init", "-q", "-b", "main")
    for number, then in (("1", ["tag", "v1"]), ("2", ["branch", "next"]), ("3", ["checkout", "-q", "next"])):
        source(directory, version=number)
        git(directory, "add", ".")
        git(directory, "commit", "-qm", number)
        git(directory, *then)
    source(directory, version="next")
    git(directory, "commit", "-qam", "next")
    git(directory, "checkout", "-q", "main")
    return directory


@pytest.mark.parametrize(("version", "wanted"), [("HEAD", "3"), ("main", "3"), ("v1", "1"), ("next", "next")])
def test_a_version_of_a_repository_is_checked_out(tmp_path: Path, repository: Path, version: str, wanted: str) -> None:
    destination = tmp_path / "here"
    source(destination, left="over")
    commit = checkout.check_out(f"file://{repository}", version, str(destination))
    assert commit == git(repository, "rev-parse", version)
    assert (destination / "version").read_text() == wanted
    # Git's own files hold the URL, which may have a login.
    assert destination.stat().st_mode & 0o077 == 0
    assert not (destination / "left").exists()


def test_a_later_checkout_has_what_changed_and_nothing_else(tmp_path: Path, repository: Path) -> None:
    destination, other = tmp_path / "here", tmp_path / "other"
    checkout.check_out(f"file://{repository}", "HEAD", str(destination))
    source(destination, version="edited", left="over")
    source(repository, version="4")
    git(repository, "commit", "-qam", "4")
    git(repository, "branch", "-D", "next")
    assert checkout.check_out(f"file://{repository}", git(repository, "rev-parse", "v1"), str(destination))
    assert (destination / "version").read_text() == "1"
    checkout.check_out(f"file://{repository}", "HEAD", str(destination))
    assert (destination / "version").read_text() == "4"
    assert not (destination / "left").exists()
    with pytest.raises(checkout.GitFailed, match='it has no branch, tag or commit "next"'):
        checkout.check_out(f"file://{repository}", "next", str(destination))
    git(tmp_path, "clone", "-q", str(repository), str(other))
    git(other, "commit", "-q", "--amend", "-m", "rewritten")
    checkout.check_out(f"file://{other}", "HEAD", str(destination))
    assert git(destination, "log", "-1", "--format=%s") == "rewritten"


@pytest.mark.parametrize(
    ("url", "version", "fault"),
    [
        ("file:///does/not/exist", "HEAD", "file:///does/not/exist cannot be fetched ("),
        ("https://ada:secret@127.0.0.1:1/shop.git", "HEAD", "https://***@127.0.0.1:1/shop.git cannot be fetched ("),
        ("https://ada:a@secret@127.0.0.1:1/shop.git", "HEAD", "https://***@127.0.0.1:1/shop.git cannot be fetched ("),
        ("{repository}", "v9", 'cannot be fetched (it has no branch, tag or commit "v9")'),
        ("{repository}", "--upload-pack=touch", 'it has no branch, tag or commit "--upload-pack=touch"'),
        ("--upload-pack=touch", "HEAD", "cannot be fetched ("),
    ],
)
def test_a_repository_that_cannot_be_had_is_one_clause_without_its_login(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, url: str, version: str, fault: str
) -> None:
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    found = checkout.kept(url.format(repository=f"file://{repository}"), version, str(tmp_path / "here"))
    assert fault in found["fault"]
    assert "secret" not in found["fault"]
    assert "\n" not in found["fault"]


def test_a_repository_is_fetched_once_in_a_run(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    given = (f"file://{repository}", "HEAD", str(tmp_path / "here"))
    first = checkout.kept(*given)
    source(repository, version="4")
    git(repository, "commit", "-qam", "4")
    assert checkout.kept(*given) == first
    assert (tmp_path / "here" / "version").read_text() == "3"


REDIS = {"host": "redis", "port": 6379, "password": "p@ss/ñ€"}


def test_an_application_that_wants_redis_finds_it_by_the_commonest_names() -> None:
    wired = application_wiring(declared(redis=True), {}, redis=REDIS)
    assert wired["environment"] == {"REDIS_HOST": "redis", "REDIS_PORT": "6379"}
    assert wired["values"] == {"REDIS_URL": "redis_url", "REDIS_PASSWORD": "redis_password"}
    assert wired["secrets"] == [
        {"name": "redis_url", "content": "redis://:p%40ss%2F%C3%B1%E2%82%AC@redis:6379/0"},
        {"name": "redis_password", "content": "p@ss/ñ€"},
    ]
    assert wired["wait_for"] == ["redis:6379"]


def test_redis_and_the_database_are_found_by_the_sources_own_names() -> None:
    names = {"redis": {"environment": {"BROKER_FILE": "url_file"}}, "database": {"environment": {"DB": "host"}}}
    wired = application_wiring(declared(**names), DATABASE, redis={**REDIS, "host": "2001:db8::1"})
    assert wired["environment"] == {"BROKER_FILE": "/run/secrets/redis_url", "DB": "mysql"}
    assert [one["content"].partition("@")[2] for one in wired["secrets"]] == ["[2001:db8::1]:6379/0"]
    assert wired["wait_for"] == ["mysql:3306", "2001:db8::1:6379"]


@pytest.mark.parametrize(
    ("given", "environment", "values"),
    [
        (
            {"encryption": "starttls", "user": "shop", "password": "secret"},
            {"MAIL_USE_TLS": "true", "MAIL_USERNAME": "shop"},
            {"MAIL_PASSWORD": "mail_password"},
        ),
        ({"encryption": "tls"}, {"MAIL_USE_SSL": "true"}, {}),
        ({"encryption": "none"}, {}, {}),
    ],
    ids=["starttls", "tls", "none"],
)
def test_mail_is_given_under_the_names_of_flask_mail(
    given: dict[str, Any], environment: dict[str, str], values: dict[str, str]
) -> None:
    mail = {"server": "smtp.example.com", "port": 587, "sender": "shop@example.com", **given}
    wired = application_wiring(declared(), {}, mail=mail)
    always = {"MAIL_SERVER": "smtp.example.com", "MAIL_PORT": "587", "MAIL_DEFAULT_SENDER": "shop@example.com"}
    assert (wired["environment"], wired["values"]) == ({**always, **environment}, values)
    assert wired["secrets"] == [{"name": name, "content": "secret"} for name in values.values()]


def test_only_volumes_with_a_url_are_served() -> None:
    volumes = {
        "private": {"path": "/a"},
        "open": {"path": "/b", "url": "/b/"},
        "checked": {"path": "/c", "url": "/c/", "internal": True},
    }
    assert declared(volumes=volumes)["served"] == [
        {"volume": "open", "url": "/b/", "internal": False},
        {"volume": "checked", "url": "/c/", "internal": True},
    ]
