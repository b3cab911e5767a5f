# Copyright (c) miniweb.stack maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an application's source says that it needs: its miniweb.yml, or what can be recognised without one."""

from __future__ import annotations

import ast
import functools
import os
import re
import shlex
import typing as t

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.yaml import yaml_load
from ansible_collections.miniweb.stack.plugins.plugin_utils import application_parts

FILE = "miniweb.yml"
PROCFILE = "Procfile"
PROJECT = "pyproject.toml"
# What says which packages are installed; a lock file counts only beside the project file that it belongs to.
REQUIREMENTS = ("requirements.txt", "uv.lock", "poetry.lock", PROJECT)
# The callables of a module that Flask's own command looks for, too
CALLABLES = ("app", "application")
FACTORIES = ("create_app", "make_app")
MODULES = ("wsgi", "app", "application", "main", "run")
# A module that imports one of these, or is called so, has an ASGI application, and so has a command that starts one of the servers.
ASGI_IMPORT = re.compile(r"^\s*(from|import)\s+(fastapi|starlette|quart|litestar)\b", re.MULTILINE)
ASGI_MODULE = "asgi"
ASGI_SERVERS = re.compile(r"\b(uvicorn|hypercorn|daphne)")
# The package with the settings, in Django's own program
DJANGO = re.compile(r"DJANGO_SETTINGS_MODULE[\"']\s*,\s*[\"']([A-Za-z_]\w*)[\w.]*[\"']")
DEFAULT_WSGI = "wsgi:app"
# What a database can be asked for; those that hold the password are secrets.
PARTS = ("url", "host", "port", "name", "user", "password", "url_file", "password_file", "ca_file")
# Under which names an application finds its database unless it gives its own
DATABASE_ENVIRONMENT = {
    "DATABASE_URL": "url",
    "DATABASE_HOST": "host",
    "DATABASE_PORT": "port",
    "DATABASE_NAME": "name",
    "DATABASE_USER": "user",
    "DATABASE_PASSWORD": "password",
    "DATABASE_CA_FILE": "ca_file",
}
# The same of Redis, in which queues and caches are
REDIS_PARTS = ("url", "host", "port", "password", "url_file", "password_file")
REDIS_ENVIRONMENT = {"REDIS_URL": "url", "REDIS_HOST": "host", "REDIS_PORT": "port", "REDIS_PASSWORD": "password"}
# What only a shell understands in a line of a Procfile
SHELL = re.compile(r"[$&|;<>`*()]|^\w+=")
# SQLAlchemy's name of a driver, by what installs it; the first one that the source requires is taken.
DRIVERS = {
    "pymysql": "mysql+pymysql",
    "mysqlclient": "mysql+mysqldb",
    "mysql-connector-python": "mysql+mysqlconnector",
    "asyncmy": "mysql+asyncmy",
    "aiomysql": "mysql+aiomysql",
}
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SECRET_NAME = re.compile(r"[a-z][a-z0-9_]*")
SHORTEST_SECRET, LONGEST_SECRET = 16, 1024
# When Debian packages are needed: while the requirements are installed, and when the application runs
PACKAGES = ("build", "run")
PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]+")
CALLABLE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*(\(.*\))?")

SPEC: dict[str, dict[str, t.Any]] = {
    "wsgi": {"type": "str"},
    "asgi": {"type": "str"},
    "health_path": {"type": "str"},
    "metrics_path": {"type": "str"},
    "database": {"type": "raw"},
    "redis": {"type": "raw"},
    "environment": {"type": "dict"},
    "secrets": {"type": "dict"},
    "setup": {"type": "list", "elements": "list"},
    "requirements": {"type": "str"},
    "packages": {"type": "dict"},
    "memory_mb": {"type": "int"},
    "preload": {"type": "bool"},
    "processes": {"type": "dict"},
    "schedule": {"type": "dict"},
    "volumes": {"type": "dict"},
    "static": {"type": "list", "elements": "str"},
}
SECRET_SPEC: dict[str, dict[str, t.Any]] = {
    "length": {"type": "int", "default": 32},
    "value": {"type": "bool", "default": False},
    "kept": {"type": "bool", "default": False},
}
# For what neither the file names nor the source shows
DEFAULTS: dict[str, t.Any] = {
    "wsgi": DEFAULT_WSGI,
    "asgi": "",
    "health_path": "/",
    "metrics_path": "",
    "database": True,
    "redis": False,
    "environment": {},
    "secrets": {"secret_key": {"length": 64, "value": True}},
    "setup": [],
    "requirements": "",
    "packages": {},
    "memory_mb": 320,
    # Workers that are forked from an application that has connected to its database would share the connection.
    "preload": False,
    "processes": {},
    "schedule": {},
    "volumes": {},
    "static": ["/static/"],
}


def read(
    directory: str, given: t.Mapping[str, t.Any] | None = None, parts: t.Mapping[str, t.Any] | None = None
) -> dict[str, t.Any]:
    """Return what an application needs, in its full form.

    :param directory: the source; empty if there is none, as for an existing image.
    :param given: the same keys as in the file, which go before it.
    :param parts: processes, schedule and volumes of the site, merged with those that result, name by name.
    :return: the keys of SPEC, and ``served`` (what nginx serves of the volumes), ``migrations``, ``django``, ``driver``,
        ``database_environment``, ``redis_environment`` and ``faults``, one sentence each.
    """
    faults: list[str] = []
    path = os.path.join(directory, FILE)
    declared = _content(path, faults) if directory and os.path.isfile(path) else {}
    found = dict(DEFAULTS)
    for layer in (
        recognised(directory) if directory else {},
        _valid(declared, FILE, faults),
        _valid(given or {}, "flask_app_declaration", faults),
    ):
        if layer.keys() & {"wsgi", "asgi"}:
            found.update(wsgi="", asgi="")
        found.update(layer, environment={**found["environment"], **layer.get("environment", {})})
    for kind in application_parts.SPECS:
        found[kind] = _with_parts(kind, found[kind], (parts or {}).get(kind), faults)
    return {
        **found,
        "database": bool(found["database"]),
        "database_environment": _environment_of(found["database"], DATABASE_ENVIRONMENT),
        "redis": bool(found["redis"]),
        "redis_environment": _environment_of(found["redis"], REDIS_ENVIRONMENT),
        "served": [
            {"volume": name, "url": one["url"], "internal": one["internal"]}
            for name, one in found["volumes"].items()
            if one["url"]
        ],
        "requirements": found["requirements"] or requirements(directory),
        "packages": {when: found["packages"].get(when) or [] for when in PACKAGES},
        "migrations": migrations(directory),
        "django": bool(django_project(directory)),
        "driver": driver(directory, found["requirements"]),
        "secrets": {name: _full_secret(value) for name, value in found["secrets"].items()},
        "faults": faults,
    }


def _environment_of(wanted: t.Any, usual: dict[str, str]) -> dict[str, str]:
    """Return the part of a database, or of Redis, that each variable holds."""
    environment = wanted.get("environment") if isinstance(wanted, dict) else None
    return dict(usual if environment is None else environment)


def _with_parts(kind: str, declared: dict[str, t.Any], given: t.Any, faults: list[str]) -> application_parts.Named:
    """Return the entries of a kind in their full form, with those of the site before them."""
    if given:
        name = f"flask_app_{kind}"
        together = application_parts.merged(declared, given) if isinstance(given, dict) else given
        fault = application_parts.fault_in(kind, together, name)
        if fault:
            faults.append(fault)
        else:
            declared = together
    return application_parts.full(kind, declared)


def _full_secret(value: t.Mapping[str, t.Any] | None) -> dict[str, t.Any]:
    return dict(ArgumentSpecValidator(SECRET_SPEC).validate(dict(value or {})).validated_parameters)


def _content(path: str, faults: list[str]) -> dict[str, t.Any]:
    try:
        with open(path, encoding="utf-8") as stream:
            content = yaml_load(stream.read())
    except (OSError, ValueError) as error:
        faults.append(f"{FILE}: it cannot be read ({error}); correct it.")
        return {}
    except Exception as error:  # Both of YAML's parsers have exceptions of their own.
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        faults.append(f"{FILE}: it is no YAML ({where}{getattr(error, 'problem', error)}); correct it.")
        return {}
    if content is None:
        return {}
    if not isinstance(content, dict):
        faults.append(f"{FILE}: it is a {type(content).__name__}; write keys such as wsgi: wsgi:app.")
        return {}
    return content


def _valid(declared: t.Mapping[str, t.Any], where: str, faults: list[str]) -> dict[str, t.Any]:
    """Return those keys whose values can be used, and report the others."""
    found: dict[str, t.Any] = {}
    for key, value in declared.items():
        fault = _fault(str(key), value)
        if fault:
            faults.append(f"{where}: {fault}")
        elif value is not None:
            found[key] = ArgumentSpecValidator({key: SPEC[key]}).validate({key: value}).validated_parameters[key]
    if {"wsgi", "asgi"} <= found.keys():
        faults.append(f"{where}: wsgi is {found.pop('wsgi')} and asgi is {found.pop('asgi')}; give one of them.")
    return found


def _fault(key: str, value: t.Any) -> str:
    """Return what is wrong with a key and its value, as a sentence without its beginning; empty if nothing is."""
    if key not in SPEC:
        return f'there is no key "{key}"; give {", ".join(SPEC)}.'
    if value is None:
        return ""
    spec = SPEC[key]
    if spec["type"] == "str" and not isinstance(value, str):
        return f"{key} is {value!r}, not text; put the value in quotes."
    if ArgumentSpecValidator({key: spec}).validate({key: value}).error_messages:
        wanted = "a list of commands, each a list of words" if key == "setup" else f"a value of the type {spec['type']}"
        return f"{key} cannot be used; give {wanted}."
    if key in application_parts.SPECS:
        return application_parts.fault_in(key, value, key)
    check = CHECKS.get(key)
    return check(value) if check else ""


def _callable_fault(key: str, example: str, value: str) -> str:
    return "" if CALLABLE.fullmatch(value) else f'{key} is "{value}"; give module:callable, such as {example}.'


def _health_fault(value: str) -> str:
    return "" if value.startswith("/") else f'health_path is "{value}"; give a path that begins with "/".'


def _metrics_fault(value: str) -> str:
    return "" if value[:1] in ("", "/") else f'metrics_path is "{value}"; give a path that begins with "/", or "".'


def _store_fault(key: str, parts: tuple[str, ...], value: t.Any) -> str:
    if isinstance(value, bool):
        return ""
    if not isinstance(value, dict) or set(value) != {"environment"} or not isinstance(value["environment"], dict):
        return f"{key} cannot be used; give true, false, or the key environment with names and parts."
    for name, part in value["environment"].items():
        if not VARIABLE.fullmatch(str(name)):
            return f'{key}.environment: "{name}" is no name of a variable; give letters, digits and "_".'
        if part not in parts:
            return f'{key}.environment.{name} is "{part}"; give {", ".join(parts)}.'
    return ""


def _environment_fault(value: dict[str, t.Any]) -> str:
    for name, text in value.items():
        if not VARIABLE.fullmatch(str(name)):
            return f'environment: "{name}" is no name of a variable; give letters, digits and "_".'
        if not isinstance(text, str):
            return f"environment.{name} is {text!r}, not text; put the value in quotes."
    return ""


def _secrets_fault(value: dict[str, t.Any]) -> str:
    for name, choices in value.items():
        if not SECRET_NAME.fullmatch(str(name)):
            return f'secrets: "{name}" cannot be used; give small letters, digits and "_".'
        if choices is not None and not isinstance(choices, dict):
            return f"secrets.{name} cannot be used; give {', '.join(SECRET_SPEC)}, or {{}}: its value is generated."
        errors = ArgumentSpecValidator(SECRET_SPEC).validate(dict(choices or {})).error_messages
        if errors:
            return f"secrets.{name} cannot be used; give {', '.join(SECRET_SPEC)}."
        length = _full_secret(choices)["length"]
        if not SHORTEST_SECRET <= length <= LONGEST_SECRET:
            return f"secrets.{name}.length is {length}; give {SHORTEST_SECRET} to {LONGEST_SECRET} characters."
    return ""


def _setup_fault(value: list[t.Any]) -> str:
    for number, command in enumerate(value):
        if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
            return f"setup[{number}] cannot be used; give a list of words, such as [flask, create-admin]."
    return ""


def _static_fault(value: list[t.Any]) -> str:
    wrong = next((one for one in value if not re.fullmatch(r"/[A-Za-z0-9._~/-]+", str(one))), None)
    return "" if wrong is None else f'static: "{wrong}" cannot be used; give paths of the site, such as /static/.'


def _packages_fault(value: dict[str, t.Any]) -> str:
    for when, names in value.items():
        if when not in PACKAGES:
            return f'packages: there is no key "{when}"; give {", ".join(PACKAGES)}.'
        if not isinstance(names, list | None):
            return f"packages.{when} is {names!r}; give a list of Debian packages, such as [libpq5]."
        wrong = next((name for name in names or [] if not isinstance(name, str) or not PACKAGE.fullmatch(name)), None)
        if wrong is not None:
            return f'packages.{when}: "{wrong}" is no name of a Debian package; give one such as libpq5.'
    return ""


def _memory_fault(value: t.Any) -> str:
    return "" if int(value) >= 32 else f"memory_mb is {value}; give at least 32."


CHECKS: dict[str, t.Callable[[t.Any], str]] = {
    "wsgi": functools.partial(_callable_fault, "wsgi", DEFAULT_WSGI),
    "asgi": functools.partial(_callable_fault, "asgi", "main:app"),
    "health_path": _health_fault,
    "metrics_path": _metrics_fault,
    "database": functools.partial(_store_fault, "database", PARTS),
    "redis": functools.partial(_store_fault, "redis", REDIS_PARTS),
    "environment": _environment_fault,
    "secrets": _secrets_fault,
    "setup": _setup_fault,
    "packages": _packages_fault,
    "memory_mb": _memory_fault,
    "static": _static_fault,
}


def recognised(directory: str) -> dict[str, t.Any]:
    """Return what a source without a file of its own shows: its Procfile, Django's project, or the callable that Flask would find."""
    lines = procfile(os.path.join(directory, PROCFILE))
    served_by = served(lines.get("web", [])) or django_callable(directory) or callable_in(directory)
    others = {name.lower().replace("_", "-").strip("-"): line for name, line in lines.items()}
    processes = {
        name: {"command": line} for name, line in others.items() if name not in ("", "web", "release") and line
    }
    return {
        **served_by,
        **({"setup": [lines["release"]]} if lines.get("release") else {}),
        **({"processes": processes} if processes else {}),
    }


def procfile(path: str) -> dict[str, list[str]]:
    """Return the commands of a Procfile by the name of their process; empty without one. Other lines are left out.

    A line that needs a shell is handed to one.
    """
    found: dict[str, list[str]] = {}
    for line in _text(path).splitlines():
        name, colon, command = line.partition(":")
        if colon and re.fullmatch(r"[A-Za-z0-9_-]+", name):
            try:
                found[name] = shlex.split(command)
            except ValueError:
                continue
            if name not in ("web", "release") and SHELL.search(command.strip()):
                found[name] = ["sh", "-c", command.strip()]
    return found


def served(words: list[str]) -> dict[str, str]:
    """Return the callable in a command that starts Gunicorn or an ASGI server, by its kind; empty if there is none."""
    asgi = any(ASGI_SERVERS.search(word) for word in words)
    if not asgi and not any(os.path.basename(word) == "gunicorn" for word in words):
        return {}
    end = "()" if "--factory" in words else ""
    return next(({"asgi" if asgi else "wsgi": word + end} for word in reversed(words) if CALLABLE.fullmatch(word)), {})


def django_project(directory: str) -> str:
    """Return the name of the package with Django's settings; empty for what is no project of Django."""
    found = DJANGO.search(_text(os.path.join(directory, "manage.py"))) if directory else None
    return found[1] if found else ""


def django_callable(directory: str) -> dict[str, str]:
    """Return the callable of a Django project by its kind; empty if there is none."""
    project = django_project(directory)
    kinds = [kind for kind in ("wsgi", "asgi") if os.path.isfile(os.path.join(directory, project, f"{kind}.py"))]
    return {kinds[0]: f"{project}.{kinds[0]}:application"} if project and kinds else {}


def migrations(directory: str) -> list[str]:
    """Return the command that brings the database's schema up to date; empty if there is none."""
    if django_project(directory):
        return ["python", "manage.py", "migrate", "--noinput"]
    if directory and os.path.isfile(os.path.join(directory, "migrations", "env.py")):
        return ["flask", "db", "upgrade"]
    if directory and os.path.isfile(os.path.join(directory, "alembic.ini")):
        return ["alembic", "upgrade", "head"]
    return []


def callable_in(directory: str) -> dict[str, str]:
    """Return the first callable or factory at the top of a source by its kind; empty if there is none. Nothing is imported."""
    packages = sorted(
        entry.name
        for entry in (os.scandir(directory) if os.path.isdir(directory) else ())
        if entry.name.isidentifier() and os.path.isfile(os.path.join(entry.path, "__init__.py"))
    )
    for module in (*MODULES, ASGI_MODULE, *packages, *(f"{package}.main" for package in packages)):
        path = module.replace(".", os.sep)
        for file in (f"{path}.py", os.path.join(path, "__init__.py")):
            text = _text(os.path.join(directory, file))
            names = top_names(text)
            for name in (*CALLABLES, *FACTORIES):
                if name in names:
                    asgi = module == ASGI_MODULE or ASGI_IMPORT.search(text)
                    return {"asgi" if asgi else "wsgi": f"{module}:{name}{'()' if name in FACTORIES else ''}"}
    return {}


def top_names(source: str) -> set[str]:
    """Return the names that a module defines at its top level; empty for what is no Python."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return set()
    found = {node.name for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    for node in body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found.update(target.id for target in targets if isinstance(target, ast.Name))
        if isinstance(node, ast.ImportFrom):
            found.update(alias.asname or alias.name for alias in node.names)
    return found


def requirements(directory: str) -> str:
    """Return the first file of a source that says which packages are installed; empty if there is none."""
    names = set(os.listdir(directory)) if os.path.isdir(directory) else set()
    needed = {name: {name, PROJECT} if name.endswith(".lock") else {name} for name in REQUIREMENTS}
    return next((name for name in REQUIREMENTS if needed[name] <= names), "")


def driver(directory: str, declared: str = "") -> str:
    """Return SQLAlchemy's name of the MySQL driver that a source requires; that of mysqlclient if it names none.

    :param declared: the file that is read before the usual ones.
    """
    files = [declared, "requirements.txt", PROJECT] if directory else []
    for text in [_text(os.path.join(directory, name)).lower() for name in files if name]:
        for package, name in DRIVERS.items():
            if re.search(rf"(^|[\"'\s]){re.escape(package)}\b(?!-)", text, re.MULTILINE):
                return name
    return "mysql"


def _text(path: str) -> str:
    """Return a file's text; empty if there is none, or it is not text."""
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except (OSError, ValueError):
        return ""
