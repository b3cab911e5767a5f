"""Settings from environment variables, or from the files they name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from ssl import PROTOCOL_TLS_CLIENT, SSLContext, SSLError
from typing import Any

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

SECRET_KEY_MINIMUM = 16
DRIVERS = {"mysqlclient": "MySQLdb", "pymysql": "pymysql"}

DEFAULTS: dict[str, Any] = {
    "LOGIN_FAILURES_PER_ADDRESS": 50,
    "LOGIN_FAILURES_PER_USERNAME": 5,
    "LOGIN_WINDOW_SECONDS": 15 * 60,
    "MAX_CONTENT_LENGTH": 64 * 1024,
    "OPEN_ACCESS": False,
    "PERMANENT_SESSION_LIFETIME": 12 * 3600,
    "SESSION_COOKIE_SECURE": True,
    "SESSION_COOKIE_HTTPONLY": True,
    "SESSION_COOKIE_SAMESITE": "Lax",
    "SESSION_REFRESH_EACH_REQUEST": False,
    "SQLALCHEMY_ENGINE_OPTIONS": {
        "hide_parameters": True,  # keeps the values of failed statements out of the log
        "isolation_level": "READ COMMITTED",  # no gap locks
        "pool_recycle": 1800,
        "pool_reset_on_return": None,  # the session has already rolled back
        "pool_timeout": 10,
    },
    "TRUSTED_PROXIES": 1,
    "WTF_CSRF_TIME_LIMIT": None,  # a CSRF token is valid as long as its session
}


class ConfigurationError(Exception):
    """One sentence for the operator, naming the variable."""


def from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    secret_key = _value(environ, "SECRET_KEY")
    if len(secret_key) < SECRET_KEY_MINIMUM:
        raise ConfigurationError(
            f"SECRET_KEY has {len(secret_key)} characters but needs at least {SECRET_KEY_MINIMUM}; "
            "make one with: openssl rand -hex 32"
        )
    return {
        "SECRET_KEY": secret_key,
        "OPEN_ACCESS": _switch(environ, "OPEN_ACCESS"),
        "SQLALCHEMY_DATABASE_URI": _verified(environ, _database_url(environ)),
        **{
            name: _number(environ, name, DEFAULTS[name], lowest, highest)
            for name, lowest, highest in (
                ("LOGIN_FAILURES_PER_ADDRESS", 1, 100_000),
                ("LOGIN_FAILURES_PER_USERNAME", 1, 1000),
                ("LOGIN_WINDOW_SECONDS", 1, 86_400),
                ("TRUSTED_PROXIES", 0, 10),
            )
        },
    }


def _database_url(environ: Mapping[str, str]) -> URL:
    url = _given_database_url(environ)
    if url.password and url.get_driver_name() == "pymysql":
        # PyMySQL encodes passwords as latin-1, MySQL and its other clients as UTF-8.
        url = url.set(password=url.password.encode().decode("latin-1"))
    return url


def _given_database_url(environ: Mapping[str, str]) -> URL:
    if given := _value(environ, "DATABASE_URL", ""):
        try:
            url = make_url(given)
            url.get_dialect().import_dbapi()
        except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
            # The value may contain a password, so the message does not repeat it.
            raise ConfigurationError(
                "DATABASE_URL is not a URL of a known database; write mysql+pymysql://user:password@host/name"
            ) from error
        return url
    return URL.create(
        f"mysql+{_driver(environ)}",
        host=_value(environ, "DATABASE_HOST"),
        port=_number(environ, "DATABASE_PORT", 3306, 1, 65535),
        database=_value(environ, "DATABASE_NAME"),
        username=_value(environ, "DATABASE_USER"),
        password=_value(environ, "DATABASE_PASSWORD"),
        query={"charset": "utf8mb4", "connect_timeout": "5", "read_timeout": "10", "write_timeout": "10"},
    )


def _verified(environ: Mapping[str, str], url: URL) -> URL:
    """The URL, with a CA: only a server whose certificate is from it and for its host name gets the password."""
    file = environ.get("DATABASE_CA_FILE")
    if not file:
        return url
    try:
        SSLContext(PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except SSLError as error:
        raise ConfigurationError(f"DATABASE_CA_FILE names {file}, which holds no certificate in PEM format") from error
    except OSError as error:
        raise ConfigurationError(f"DATABASE_CA_FILE names {file}, which cannot be read: {error.strerror}") from error
    # PyMySQL insists on both by itself.
    mode = {"ssl_mode": "VERIFY_IDENTITY"} if url.get_driver_name() == "mysqldb" else {}
    return url.update_query_dict({"ssl_ca": file} | mode)


def _driver(environ: Mapping[str, str]) -> str:
    """The driver: by default mysqlclient, which is faster, if it is installed."""
    chosen = _value(environ, "DATABASE_DRIVER", "mysqlclient" if find_spec("MySQLdb") else "pymysql")
    if chosen not in DRIVERS:
        raise ConfigurationError(f"DATABASE_DRIVER is {chosen!r}; set {' or '.join(DRIVERS)}")
    try:
        import_module(DRIVERS[chosen])
    except ImportError as error:
        raise ConfigurationError(
            f"DATABASE_DRIVER is {chosen!r}, which cannot be loaded ({error}); "
            "install it with requirements-mysqlclient.txt, or set pymysql"
        ) from error
    return "mysqldb" if chosen == "mysqlclient" else chosen


def _switch(environ: Mapping[str, str], name: str) -> bool:
    text = _value(environ, name, "false").lower()
    if text not in ("true", "false"):
        raise ConfigurationError(f"{name} is {text!r}; set true or false")
    return text == "true"


def admin_password(environ: Mapping[str, str]) -> str:
    """The password of the administrator that `create-admin` creates."""
    return _value(environ, "ADMIN_PASSWORD")


def sample_users(environ: Mapping[str, str]) -> bool:
    """Whether `setup` adds sample users."""
    return _switch(environ, "SAMPLE_USERS")


def _value(environ: Mapping[str, str], name: str, default: str | None = None) -> str:
    value, file = environ.get(name), environ.get(f"{name}_FILE")
    if value and file:
        raise ConfigurationError(f"{name} and {name}_FILE are both set; set one of them")
    if file:
        try:
            value = Path(file).read_text(encoding="utf-8").rstrip("\r\n")
        except OSError as error:
            raise ConfigurationError(f"{name}_FILE names {file}, which cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise ConfigurationError(f"{name}_FILE names {file}, which is not UTF-8 text") from error
        if not value:
            raise ConfigurationError(f"{name}_FILE names {file}, which is empty; write the value into it")
    if not value:
        if default is None:
            raise ConfigurationError(f"{name} is not set; set {name}, or {name}_FILE to a file that holds it")
        return default
    return value


def _number(environ: Mapping[str, str], name: str, default: int, lowest: int, highest: int) -> int:
    text = _value(environ, name, str(default))
    if text.isascii() and text.isdigit() and len(text) < 10 and lowest <= int(text) <= highest:
        return int(text)
    raise ConfigurationError(f"{name} is {text!r}; set a number from {lowest} to {highest}")
