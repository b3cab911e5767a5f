"""The application on the database in TEST_DATABASE_URL, whose tables are emptied."""

from __future__ import annotations

import os
from collections.abc import Iterator

import flask_migrate
import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from miniwebapp import create_app
from miniwebapp.models import ApiToken, LoginFailure, User, db

# A port on which nothing listens.
NOWHERE = "mysql+pymysql://app:app@127.0.0.1:9/app?connect_timeout=1"
Person = dict[str, str]


def pytest_configure() -> None:
    if "TEST_DATABASE_URL" not in os.environ:
        raise pytest.UsageError(
            "TEST_DATABASE_URL is not set; set it to an empty database of a MySQL for tests, "
            "mysql+pymysql://user:password@host/name"
        )


def make_app(url: str, **settings: object) -> Flask:
    return create_app({"SECRET_KEY": "for tests only", "SQLALCHEMY_DATABASE_URI": url, **settings})


def _migrated(**settings: object) -> Iterator[Flask]:
    app = make_app(os.environ["TEST_DATABASE_URL"], **settings)
    with app.app_context():
        flask_migrate.upgrade()
    yield app
    with app.app_context():
        db.engine.dispose()


def _emptied(app: Flask) -> Flask:
    with app.app_context():
        for table in (LoginFailure, ApiToken, User):
            db.session.execute(sa.delete(table))
        db.session.commit()
    return app


@pytest.fixture(scope="session")
def migrated() -> Iterator[Flask]:
    yield from _migrated(OPEN_ACCESS=True)


@pytest.fixture(scope="session")
def migrated_closed() -> Iterator[Flask]:
    yield from _migrated()


@pytest.fixture
def app(migrated: Flask) -> Flask:
    """An application with open access: the API is the same with and without a login."""
    return _emptied(migrated)


@pytest.fixture
def closed(migrated_closed: Flask) -> Flask:
    return _emptied(migrated_closed)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return https(app)


@pytest.fixture
def away() -> FlaskClient:
    """A client of an application whose database cannot be reached."""
    return https(make_app(NOWHERE, OPEN_ACCESS=True))


def https(app: Flask) -> FlaskClient:
    """A client behind the proxy, connected over HTTPS."""
    client = app.test_client()
    client.environ_base |= {
        "HTTP_X_FORWARDED_PROTO": "https",
        "HTTP_X_FORWARDED_FOR": "203.0.113.7",
        "HTTP_REFERER": "https://localhost/",
    }
    return client


@pytest.fixture
def ada() -> Person:
    return {"name": "Ada Lovelace", "email": "ada@example.com", "username": "ada", "password": "correct horse"}
